"""`promptmill recover predict` as a user meets it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from promptmill.cli.config import RecoverRunConfig, resolve
from promptmill.cli.recover_forecast import calls_of
from promptmill.crafts.recover.config import CONSTANT
from promptmill.crafts.recover.traces import groups_of, write_traces
from tests.conftest import Said
from tests.crash import server_process
from tests.recovering import (
    EMBEDDED,
    FIRST,
    REVERSE,
    TASKS,
    TEXTS,
    UPPER,
    lines,
    row_of,
    script,
    sets,
    settings,
    trace,
    traces,
    write_jsonl,
)

SCRIPTED = ("--model", "scripted:script.yaml", "--embedder", "none")
FOUR = ("--draws", "4")


@pytest.fixture
def world(cli, tmp_path: Path):
    """Run `recover predict pairs.jsonl` on traces, with the scripted world as recoverer and generator."""
    (tmp_path / "script.yaml").write_text(yaml.safe_dump(script()))

    def run(rows: list[Any], *more: str, out: str = "run") -> Said:
        write_jsonl(tmp_path / "pairs.jsonl", [row if isinstance(row, dict) else row_of(row) for row in rows])
        return cli("recover", "predict", "pairs.jsonl", *SCRIPTED, *FOUR, "--out", out, *more)

    return run


# What comes out


def test_pairs_of_known_prompts_get_candidates_and_figures(world, tmp_path: Path) -> None:
    said = world(traces(tuple(TASKS), each=3))
    assert said.code == 0
    found = lines(tmp_path / "run" / "predictions.jsonl")
    assert [one["id"] for one in found] == [f"t{at}" for at in range(12)]
    assert [one["candidates"][0]["prompt"] for one in found] == [prompt for prompt in TASKS for _ in range(3)]
    assert all(sum(each["score"] for each in one["candidates"]) == pytest.approx(1, abs=1e-3) for one in found)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    (test,) = report["tests"]
    assert {row["arm"]: row["exact"][0] for row in test["arms"]}["all"] == 1.0
    assert (test["space"], report["space"], report["calibrated"]) == ("n-grams", "n-grams", False)
    assert report["counts"] == {"groups": 12, "told": 12, "cannot_tell": 0, "no_candidate": 0}
    assert "not calibrated" in said.out
    assert "scs (n-grams)" in said.out
    assert (tmp_path / "run" / "report.html").exists()


def test_texts_alone_and_groups_without_labels_are_recovered_too(world, tmp_path: Path) -> None:
    rows = [*(trace(f"a{at}", UPPER, text, False, group="g") for at, text in enumerate([*TEXTS[:2], None])),
            trace("b", REVERSE, None, False)]  # fmt: skip
    said = world(rows)
    assert said.code == 0
    group, alone = lines(tmp_path / "run" / "predictions.jsonl")
    assert (group["id"], group["traces"], group["candidates"][0]["prompt"]) == ("g", ["a0", "a1", "a2"], UPPER)
    assert (alone["id"], alone["candidates"][0]["prompt"]) == ("b", REVERSE)
    assert json.loads((tmp_path / "run" / "report.json").read_text())["tests"] == []
    assert "whether they are right is not known here" in (tmp_path / "run" / "report.html").read_text()


def test_where_some_prompts_are_known_the_figures_are_theirs(world, tmp_path: Path) -> None:
    rows = [trace("a", UPPER), trace("b", REVERSE, known=False)]
    assert world(rows).code == 0
    (test,) = json.loads((tmp_path / "run" / "report.json").read_text())["tests"]
    assert test["groups"] == 1


def test_the_embedded_model_recovers_from_end_to_end(cli, tmp_path: Path) -> None:
    rows = [*traces(each=1), *(trace(f"g{at}", UPPER, text, group="g") for at, text in enumerate(TEXTS[:2])),
            trace("alone", REVERSE, None, known=False)]  # fmt: skip
    write_traces(tmp_path / "pairs.csv", rows)
    said = cli("recover", "predict", "pairs.csv", *EMBEDDED, *sets(), "--out", "run")
    assert said.code == 0, said.err
    found = lines(tmp_path / "run" / "predictions.jsonl")
    assert [one["id"] for one in found] == ["t0", "t1", "g", "alone"]
    assert all(one["candidates"][0]["parts"]["likelihood"] is not None for one in found)
    made = (tmp_path / "run" / "predictions.jsonl").read_bytes()
    calls = json.loads((tmp_path / "run" / "report.json").read_text())["calls"]
    again = cli("recover", "predict", "--continue", "run")
    assert again.code == 0, again.err
    assert (tmp_path / "run" / "predictions.jsonl").read_bytes() == made
    assert json.loads((tmp_path / "run" / "report.json").read_text())["calls"] == calls


def test_a_chat_server_is_asked_for_prompts_and_not_for_scores(cli, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "pairs.jsonl", [row_of(one) for one in traces(each=2)])
    with server_process() as url:
        said = cli("recover", "predict", "pairs.jsonl", "--model", "mock", "--base-url", url, "--embedder", "none",
                   *FOUR, "--out", "run")  # fmt: skip
    assert said.code == 0, said.err
    assert said.err.count("warning: mock does not tell how likely a given text is") == 2
    found = lines(tmp_path / "run" / "predictions.jsonl")
    assert all(one["candidates"][0]["prompt"].startswith("Add the numbers.") for one in found)
    assert {one["candidates"][0]["parts"]["likelihood"] for one in found} == {None}


def test_prompts_of_a_bank_are_candidates_and_a_bank_that_knows_the_truth_is_told(world, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "bank.jsonl", [{"prompt": UPPER}, {"prompt": "Count the letters."}, {"prompt": "lucrarea"}])
    said = world([trace("a", UPPER)], "--bank", "bank.jsonl", "--set", "recover.candidates.draws=0")
    assert said.code == 0, said.err
    assert "1 of 1 true prompts stand in the bank" in said.err
    (one,) = lines(tmp_path / "run" / "predictions.jsonl")
    assert {each["prompt"] for each in one["candidates"]} == {UPPER, "Count the letters."}
    assert one["candidates"][0]["prompt"] == UPPER


def test_below_the_bound_it_cannot_tell(world, tmp_path: Path) -> None:
    said = world([trace("a", UPPER, known=False)], "--abstain", "1")
    assert "cannot tell" in said.out
    (one,) = lines(tmp_path / "run" / "predictions.jsonl")
    assert one["abstained"]
    assert one["candidates"][0]["prompt"] == UPPER


def test_where_no_prompt_came_the_exit_code_says_so_and_all_is_told(cli, tmp_path: Path) -> None:
    (tmp_path / "script.yaml").write_text(yaml.safe_dump({"default": "lucrarea"}))
    write_jsonl(tmp_path / "pairs.jsonl", [row_of(trace("a", UPPER))])
    said = cli("recover", "predict", "pairs.jsonl", *SCRIPTED, "--out", "run")
    assert said.code == 1
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["missing"]["no_prompt"] == {"attack": 8}
    assert "no candidate came" in (tmp_path / "run" / "report.html").read_text()
    (line,) = lines(tmp_path / "run" / "predictions.jsonl")
    assert (line["candidates"], line["abstained"]) == ([], True)


def test_calls_that_fail_are_said_and_the_others_count(cli, tmp_path: Path) -> None:
    rules = script()
    del rules["default"]
    rules["rules"][0]["user"] = "old dog.*instruction only|instruction only.*old dog"
    rules["rules"].append({"user": "Say yes", "answer": "yes"})
    (tmp_path / "script.yaml").write_text(yaml.safe_dump(rules))
    write_jsonl(tmp_path / "pairs.jsonl", [row_of(one) for one in traces((UPPER,), each=2)])
    said = cli("recover", "predict", "pairs.jsonl", *SCRIPTED, *FOUR, "--out", "run")
    assert said.code == 0, said.err
    assert "warning: 4 of 8 answers did not come (refused: no rule matches" in said.err
    first, second = lines(tmp_path / "run" / "predictions.jsonl")
    assert (bool(first["candidates"]), second["candidates"]) == (True, [])


def test_what_steers_a_terminal_is_shown_as_signs(world, tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[31m[bold red]"
    rows = [row_of(trace("a", UPPER), id=f"i{evil}", rewrite_prompt=f"Say {evil} it.")]
    said = world(rows)
    assert said.code == 0
    assert "\x1b]0" not in said.out + said.err
    assert "i␛]0;owned␇␛[31m[bold" in said.out
    assert "\x1b" not in (tmp_path / "run" / "report.html").read_text()


def test_the_report_is_on_standard_output_and_nothing_else(world, tmp_path: Path) -> None:
    said = world([trace("a", UPPER)], "--json")
    assert json.loads(said.out) == json.loads((tmp_path / "run" / "report.json").read_text())


# Forecast and budget


def test_a_forecast_leaves_nothing_behind_and_is_not_exceeded(world, tmp_path: Path) -> None:
    rows = [*traces(tuple(TASKS), each=3), *(trace(f"g{at}", UPPER, text, group="g") for at, text in enumerate(TEXTS))]
    before = {path.name for path in tmp_path.iterdir()}
    said = world(rows, "--forecast", "--json", out="none")
    assert said.code == 0
    most = json.loads(said.out)
    assert "forecast: at most" in said.err
    assert {path.name for path in tmp_path.iterdir()} - before == {"pairs.jsonl"}
    assert world(rows).code == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert sum(report["calls"].values()) <= sum(most.values())


def test_a_forecast_counts_what_is_asked_for() -> None:
    config = settings(candidates={"draws": 3, "together": 2, "pooled": 3, "most": 5}, rank={"scored": 2})
    groups = groups_of([trace("a", UPPER), *(trace(f"g{at}", UPPER, text, group="g") for at, text in enumerate(TEXTS))])
    assert calls_of(config, groups) == {
        "answers": 3 + (2 * 3 + 2), "scores": 3 * (6 + 1) + 3 * 5 + 2, "texts written again": 8,
    }  # fmt: skip
    quiet = settings(candidates={"draws": 0}, rank={"likelihood": False, "posterior": False}, behaviour={"texts": 0})
    assert calls_of(quiet, groups) == {}


def test_a_spent_budget_keeps_what_was_answered(world, tmp_path: Path) -> None:
    rows = traces(tuple(TASKS), each=3)
    stopped = world(rows, "--budget-calls", "30", out="broken")
    assert stopped.code == 3
    assert stopped.err.count("error: the budget does not allow the next call") == 1
    assert world(rows, out="broken").code == 0
    assert world(rows, out="whole").code == 0
    assert (tmp_path / "broken" / "predictions.jsonl").read_bytes() == (
        tmp_path / "whole" / "predictions.jsonl"
    ).read_bytes()


# What decides the result


def test_a_run_goes_on_by_its_folder_and_with_its_own_answers_only(world, cli, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "bank.jsonl", [{"prompt": UPPER}])
    rows = [trace("a", UPPER)]
    assert world(rows, "--bank", "bank.jsonl").code == 0
    assert cli("recover", "predict", "--continue", "run").code == 0
    assert cli("--continue", "run", "--json").code == 0
    write_jsonl(tmp_path / "bank.jsonl", [{"prompt": FIRST}])
    cli("recover", "predict", "--continue", "run").is_one_error_line("was begun with bank=")
    assert world([trace("a", UPPER, cluster="c")], "--bank", "bank.jsonl", out="two").code == 0
    write_jsonl(tmp_path / "pairs.jsonl", [row_of(trace("a", UPPER), cluster="d")])
    cli("recover", "predict", "--continue", "two").is_one_error_line("was begun with traces=")


def test_another_generator_is_another_run(world, cli, tmp_path: Path) -> None:
    assert world([trace("a", UPPER)]).code == 0
    shutil.copy(tmp_path / "script.yaml", tmp_path / "same.yaml")
    other = script()
    other["default"] = "something else"
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
    first = world([trace("a", UPPER)], "--generator", "scripted:same.yaml", out="two")
    assert first.code == 0
    assert cli("recover", "predict", "--continue", "two").code == 0
    (tmp_path / "same.yaml").write_text(yaml.safe_dump(other))
    cli("recover", "predict", "--continue", "two").is_one_error_line("was begun with generator=")


def test_how_a_server_is_reached_is_said_once_for_both_models() -> None:
    given = {"model": "a", "generator": "b", "generator_base_url": "http://localhost:1/v1", "concurrency": 3}
    config = resolve(RecoverRunConfig, given)
    assert config.generator is not None
    assert (config.generator.name, config.generator.concurrency, config.model.base_url) == ("b", 3, None)
    assert resolve(RecoverRunConfig, given | {"set_": ["generator.concurrency=5"]}).generator.concurrency == 5


# What cannot be used is said before a run is begun

GOOD = {"rewritten_text": "X", "original_text": "x"}


@pytest.mark.parametrize(("rows", "words"), [
    ([{"text": "x"}], ["pairs.jsonl, line 1", "no column 'rewritten_text'"]),
    ([GOOD, {"rewritten_text": " "}], ["line 2", "the rewritten_text is empty"]),
    ([{**GOOD, "id": 1}, {**GOOD, "id": "1"}], ["line 2", "the id '1'"]),
    ([{**GOOD, "group": "g", "rewrite_prompt": "a"}, {**GOOD, "group": "g", "rewrite_prompt": "b"}],
     ["group 'g'", "different prompts"]),
    ([{**GOOD, "id": "g"}, {**GOOD, "group": "g"}], ["'g' is the name of a group and the id of a trace"]),
    ([], ["holds no examples"]),
])  # fmt: skip
def test_a_file_that_cannot_be_used_is_told_in_one_line(
    mistake, tmp_path: Path, rows: list[Any], words: list[str]
) -> None:
    (tmp_path / "script.yaml").write_text("default: x")
    write_jsonl(tmp_path / "pairs.jsonl", rows)
    mistake(["recover", "predict", "pairs.jsonl", *SCRIPTED], words)


@pytest.mark.parametrize(("arguments", "words"), [
    (["--draws", "0"], ["draws is 0 and there is no bank"]),
    (["--layout", "sideways"], ["layout", "system"]),
    (["--set", "recover.candidates.temperatures=[-1]"], ["temperatures"]),
    (["--set", "recover.rank.generic="], ["generic"]),
    (["--bank", "nothing.csv"], ["there is no file nothing.csv"]),
    (["--bank", "held.jsonl"], ["no row is for a bank"]),
    (["--embedder", "./nowhere"], ["embedder"]),
    (["--generator", "scripted:nowhere.yaml"], ["nowhere.yaml", "cannot be read"]),
    (["--generator", "./nowhere"], ["no model at ./nowhere"]),
    (["--recoverer", "nowhere"], ["not the folder of a run"]),
    (["--budget-cost", "1", "--prices", "prices.yaml", "--generator", "scripted:other.yaml"],
     ["price of 'other.yaml'"]),
])  # fmt: skip
def test_a_setting_that_cannot_be_used_is_told_in_one_line(
    mistake, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:  # fmt: skip
    for name in ("script.yaml", "other.yaml"):
        (tmp_path / name).write_text("default: x")
    (tmp_path / "prices.yaml").write_text("script.yaml: {input: 1, output: 1}")
    write_jsonl(tmp_path / "held.jsonl", [{"prompt": "x", "split": "test"}])
    write_jsonl(tmp_path / "pairs.jsonl", [GOOD])
    given = arguments if "--embedder" in arguments else [*arguments, "--embedder", "none"]
    mistake(["recover", "predict", "pairs.jsonl", "--model", "scripted:script.yaml", *given], words)


def test_the_constant_prompt_is_what_effects_are_measured_against(world, tmp_path: Path) -> None:
    assert world([trace("a", UPPER)]).code == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["settings"]["rank"]["generic"] == CONSTANT
