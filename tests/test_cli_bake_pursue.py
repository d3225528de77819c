"""`bake pursue`: a prompt is baked, put before the baked model, and baked again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promptmill.crafts.bake.pursued import Reached, verdict
from promptmill.crafts.bake.pursuit import Round
from promptmill.measure.compare import Comparison
from tests.bakes import PROMPT, files, settings

SHOUT = "Write the text in uppercase."


def test_rounds_are_baked_one_on_the_other_and_tried(cli, tmp_path: Path):
    command = ["bake", "pursue", "--prompt", SHOUT, "--task", "uppercase", "--behaviour", "uppercase", "--limit", "12",
               "--model", "embedded-small", "--out", "run", *settings(train__epochs=1)]  # fmt: skip
    said = cli(*command, "--rounds", "2")
    assert said.code == 0, said.err
    assert "in 2 rounds" in said.err
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    first, second = report["rounds"]
    assert [one["adapter"] for one in report["rounds"]] == ["round-1/adapter", "round-2/adapter"]
    assert first["kl_to_start"] == pytest.approx(first["best"], rel=0.02), "the first round began with it"
    assert first["kl_to_start"] < report["start"]["kl_to_start"]
    assert second["kl_to_start"] != second["best"]
    assert report["start"]["behaviour"][0]["prompted"] > report["start"]["behaviour"][0]["bare"]
    assert report["gained"][0]["n"] == first["behaviour"][0]["n"] == 12
    assert report["gained"][0]["score_a"] == first["behaviour"][0]["bare"]
    assert report["gained"][0]["score_b"] == second["behaviour"][0]["bare"]
    assert "95 % interval" in report["verdict"]
    adapters = "--adapter run/round-1/adapter --adapter run/round-2/adapter"
    assert said.out.splitlines()[-1] == f"next: promptmill ask TEXT --model embedded-small {adapters}"
    assert cli("ask", "the old dog ran", "--model", "embedded-small", *adapters.split()).code == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "By round" in page
    assert report["verdict"][1:20] in page
    assert "does not work alone" in (tmp_path / "run" / "round-2" / "adapter" / "README.md").read_text()
    again = cli(*command, "--rounds", "2", "--json")
    assert json.loads(again.out)["rounds"] == report["rounds"]


def test_a_pursuit_goes_on_where_it_stopped_and_may_be_given_more_rounds(cli, tiny_folder: Path, tmp_path: Path):
    given = ["bake", "pursue", "--prompt", PROMPT, "--model", str(tiny_folder), *files(tmp_path), "--out", "run",
             *settings(train__epochs=1, sample__teacher="online")]  # fmt: skip
    once = cli(*given, "--rounds", "1")
    assert once.code == 0, once.err
    assert "with two or more" in once.out
    first = (tmp_path / "run" / "round-1" / "adapter" / "adapter_model.safetensors").read_bytes()
    more = cli("bake", "pursue", "--continue", "run", "--rounds", "2", "--json")
    assert more.code == 0, more.err
    report = json.loads(more.out)
    assert len(report["rounds"]) == 2
    assert [one["kl_to_start"] for one in report["rounds"]] == [None, None], "that teacher is not at hand any more"
    assert "no task was tried" in report["verdict"]
    assert (tmp_path / "run" / "round-1" / "adapter" / "adapter_model.safetensors").read_bytes() == first
    cli(*given, "--set", "bake.train.epochs=2").is_one_error_line("bake.train.epochs", "name another folder")


def test_a_forecast_counts_the_rounds_and_leaves_nothing_behind(cli, tiny_folder: Path, tmp_path: Path):
    said = cli("bake", "pursue", "--prompt", PROMPT, "--model", str(tiny_folder), *files(tmp_path), *settings(),
               "--forecast", "--json")  # fmt: skip
    assert json.loads(said.out) == {"questions": 12, "most_tokens": 3 * 12 * 2 * 8, "epochs": 6}
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--dtype", "bfloat16"], ["load it in float32"]),
        (["--rounds", "0"], ["rounds"]),
        (["--prompt", "cat " * 300], ["context", "256"]),
        (["--task", "uppercase"], ["--inputs and --task"]),
        (["--adapter", "none"], ["no adapter at none"]),
        (["--behaviour", "no-such-task"], ["no-such-task"]),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    mistake, tiny_folder: Path, tmp_path: Path, given: list[str], words: list[str]
):
    mistake(["bake", "pursue", "--prompt", PROMPT, "--model", str(tiny_folder), *files(tmp_path), *given], words)


@pytest.mark.parametrize(
    ("gain", "lo", "hi", "p", "words"),
    [
        (0.2, 0.1, 0.3, 0.001, "iterating gained: shout without the prompt 0.500 after one round, 0.700 after 2"),
        (-0.2, -0.3, -0.1, 0.001, "iterating lost: "),
        (0.01, -0.05, 0.07, 0.7, "no gain by iterating is shown: "),
    ],
)
def test_whether_iterating_gained_is_said_with_its_interval(
    gain: float, lo: float, hi: float, p: float, words: str
) -> None:
    found = Comparison(100, 0.5, 0.5 + gain, gain, lo, hi, p, "", 0, 0, 0, 0)
    rounds = [Reached(Round(number, None, ()), None, ()) for number in (1, 2)]  # type: ignore[arg-type]
    said = verdict(rounds, [("shout", found)])
    assert said.startswith(words)
    assert f"(95 % interval {lo:+.3f} to {hi:+.3f}, 100 examples)" in said
