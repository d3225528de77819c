"""`bake run --trajectories`: answers that are there already are trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from promptmill.crafts.bake.ready import question_in
from promptmill.model.local import LocalBackend
from promptmill.train.loop import Trainer
from tests.bakes import PROMPT, another_model, files, settings

TRAIN = settings()


@pytest.fixture
def drawn(cli, tiny_folder: Path, tmp_path: Path) -> list[str]:
    """The trajectories of a finished run ("drawn", 24 answers), and as the original's file ("old.jsonl"). The model and
    what is rehearsed, as options."""
    common = ["--model", str(tiny_folder), *files(tmp_path)[2:]]
    said = cli("bake", "sample", "--prompt", PROMPT, *common[:2], "--inputs", "asked.jsonl", *TRAIN, "--out", "drawn",
               "--original", "old.jsonl")  # fmt: skip
    assert said.code == 0, said.err
    return common


def adapter(run: Path) -> bytes:
    return (run / "adapter" / "adapter_model.safetensors").read_bytes()


def learning(**changes: Any) -> list[str]:
    """The settings without those of the sampling."""
    values = settings(**changes)
    kept = [value for value in values[1::2] if not value.startswith("bake.sample.")]
    return [part for value in kept for part in ("--set", value)]


def test_answers_of_a_finished_run_give_the_adapter_that_one_bake_gives(cli, drawn: list[str], tmp_path: Path):
    whole = cli("bake", "run", "--prompt", PROMPT, *drawn, "--inputs", "asked.jsonl", *TRAIN, "--out", "whole")
    assert whole.code == 0, whole.err
    command = ["bake", "run", *drawn, *learning()]
    said = cli(*command, "--trajectories", "drawn", "--out", "apart", "--json")
    assert said.code == 0, said.err
    assert "24 answers are there, then 2 epochs" in said.err
    assert adapter(tmp_path / "apart") == adapter(tmp_path / "whole")
    report = json.loads(said.out)
    assert report["prompt"]["system"] == PROMPT
    assert report["settings"]["sample"]["max_new_tokens"] == 8, "as they were drawn"
    assert report["questions"] == {"from": "the trajectories of drawn"}
    assert "the trajectories of drawn" in (tmp_path / "apart" / "adapter" / "README.md").read_text()
    assert "of the KL to the prompted model is gone" in (tmp_path / "apart" / "report.html").read_text()
    again = cli(*command, "--trajectories", "whole", "--prompt", PROMPT, "--out", "again")
    assert again.code == 0, again.err
    assert adapter(tmp_path / "again") == adapter(tmp_path / "whole"), "a bake has trajectories as well"
    assert cli("bake", "report", "apart").code == 0
    longer = cli("bake", "run", "--continue", "apart", "--set", "bake.train.epochs=3")
    assert longer.code == 0, longer.err
    two, three = (
        json.loads((tmp_path / run / "report.json").read_text())["training"]["steps"] for run in ("again", "apart")
    )
    assert three > two


def test_the_originals_file_is_learned_with_the_prompted_model_as_teacher(cli, drawn: list[str], tmp_path: Path):
    command = ["bake", "run", "--prompt", PROMPT, *drawn, *TRAIN, "--trajectories", "old.jsonl"]
    said = cli(*command, "--out", "both", "--json")
    assert said.code == 0, said.err
    report = json.loads(said.out)
    sampled = json.loads((tmp_path / "drawn" / "report.json").read_text())["sampling"]
    for key in ("questions", "answers", "tokens"):
        assert report["sampling"][key] == sampled[key], "the file beside it is what is held out"
    assert report["sampling"]["teacher"] == report["settings"]["sample"]["teacher"] == "online"
    assert report["kl"]["best"] < report["kl"]["first"]
    assert "drawn at | not known" in (tmp_path / "both" / "adapter" / "README.md").read_text()
    assert cli("bake", "report", "both").code == 0
    (tmp_path / "old.validation.jsonl").unlink()
    alone = cli(*command, "--out", "alone", "--json")
    assert json.loads(alone.out)["sampling"]["questions"]["validation"] > 0, "a share, where there is no such file"
    other = cli(*command[:2], "--prompt", "my cat", *command[4:], "--out", "other", "--json")
    assert "does not stand before its answers" in other.err
    assert any("does not stand before" in line for line in json.loads(other.out)["warnings"])


def test_a_broken_bake_of_ready_answers_goes_on(cli, drawn: list[str], tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch):  # fmt: skip
    command = ["bake", "run", "--prompt", PROMPT, *drawn, *TRAIN, "--trajectories", "old.jsonl", "--out"]
    assert cli(*command, "unbroken").code == 0

    def broken(trainer: Trainer) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", broken)
        assert cli(*command, "broken").code == 130
    part = next((tmp_path / "broken").glob("stages/*/part-00000.parquet"))
    before = part.read_bytes()
    part.unlink()
    assert cli(*command, "broken").code == 0
    assert part.read_bytes() == before
    for name in ("adapter/adapter_model.safetensors", "report.json", "metrics.jsonl"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes(), name
    with (tmp_path / "old.jsonl").open("a") as file:
        file.write((tmp_path / "old.jsonl").read_text().splitlines()[0] + "\n")
    cli(*command, "broken").is_one_error_line("questions.trajectories", "name another folder")


@pytest.mark.parametrize("system", [True, False])
def test_a_question_is_found_in_what_a_chat_template_made_of_it(tiny_backend: LocalBackend, system: bool):
    chat = tiny_backend.chat
    rendered = chat.render((*((("system", ""),) if system else ()), ("user", "is the\nsky blue ?")))
    assert question_in(chat, rendered) == "is the\nsky blue ?"
    assert question_in(chat, "is the sky blue ?") == "is the sky blue ?"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--trajectories", "drawn", "--prompt", "another"], ["another than that of the trajectories of drawn"]),
        (["--trajectories", "drawn", "--task", "uppercase"], ["--task and --trajectories"]),
        (["--trajectories", "drawn", "--set", "bake.sample.temperature=2"], ["leave out the settings of bake.sample"]),
        (["--trajectories", "drawn", "--model", "other"], ["drawn from another model", "give --model"]),
        (["--trajectories", "old.jsonl"], ["which prompt"]),
        (["--trajectories", "nowhere.jsonl", "--prompt", PROMPT], ["there is no file nowhere.jsonl"]),
        (["--trajectories", "empty"], ["no run.json"]),
        (["--trajectories", "high.jsonl", "--prompt", PROMPT], ["line 2", "the token 100000", "vocabulary"]),
        (["--trajectories", "long.jsonl", "--prompt", PROMPT], ["line 2", "context", "256", "leave the line out"]),
        (["--trajectories", "gone", "--prompt", PROMPT], ["were removed"]),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    cli, drawn: list[str], tmp_path: Path, given: list[str], words: list[str]
):
    another_model(tmp_path / "other", seed=1)
    (tmp_path / "empty").mkdir()
    shutil.copytree(tmp_path / "drawn", tmp_path / "gone", ignore=shutil.ignore_patterns("trajectories-*"))
    lines = (tmp_path / "old.jsonl").read_text().splitlines()
    for name, answer in (("high.jsonl", [100_000]), ("long.jsonl", [9] * 256)):
        asked = json.loads(lines[1])["prompt_input_ids"]
        changes = {"input_ids": asked + answer, "generated_text_mask": [0] * len(asked) + [1] * len(answer)}
        (tmp_path / name).write_text(f"{lines[0]}\n{json.dumps(json.loads(lines[1]) | changes)}\n")
    cli("bake", "run", *drawn, *given).is_one_error_line(*words)
    assert not (tmp_path / "runs").exists()
