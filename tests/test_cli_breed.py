"""`promptmill breed` as a user meets it: what it writes, what its options do, and one clear line for each mistake."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import SCRIPTED
from tests.crash import DAY_CARE, SUITE

# A writer that answers with pieces of what it is asked, so that there is always something new, and a model that says
# the word in four cases of ten, and in seven where the instruction speaks of steps or care.
WRITER = [
    {"user": r"^(.*) Reply with the new instruction only\.\n\nInstruction: ([^\n]*)", "answer": r"\2 \1"},
    {"user": r"^(.*) Write one instruction for", "answer": r"\1"},
    {"user": r"request only\.\n\n", "answer": "Think about each word."},
    {"user": r"only\.\n\n1\. ([^\n]*)", "answer": r"\1 Please."},
    {"user": r"First: ([^\n]*)\nSecond: ([^\n]*)", "answer": r"\1 \2"},
    {"user": r"only\.\n\n", "answer": "Repeat the word."},
]
SPEAKER = [
    {"system": "step|care", "user": r"say (\w*[0-6])$", "answer": r"\1"},
    {"user": r"say (\w*[0-3])$", "answer": r"\1"},
]
BREED = ("breed", "words.jsonl", "--model", "scripted:words.yaml", "--prompt", "Say it back.", "--search-calls", "150")


def write_words(folder: Path, rules: list[dict[str, Any]] = SPEAKER, **more: Any) -> None:
    """The task and the model of BREED."""
    rows = [{"input": f"say w{i}", "gold": f"w{i}"} for i in range(120)]
    (folder / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    script = {"rules": [*WRITER, *rules], "default": "hm"} | more
    (folder / "words.yaml").write_text(yaml.safe_dump(script))


@pytest.fixture
def words(tmp_path: Path) -> None:
    write_words(tmp_path)


def report_of(run: str) -> dict[str, Any]:
    return json.loads(Path(run, "report.json").read_text())


def test_breed_writes_the_report_and_the_best_prompt_can_be_used(cli, sums):
    said = cli("breed", sums, *SCRIPTED, "--scorer", "contains", "--prompt", "Add.", "--out", "r",
               "--as-paper", "--set", "breed.population=4", "--set", "breed.generations=2")  # fmt: skip
    assert said.code == 0, said.err
    report = json.loads(Path("r/report.json").read_text())
    assert set(report) >= {"best_prompt", "dev", "test", "verdict", "calls", "tokens", "cost"}
    assert set(report["test"]) >= {"seed", "best", "gain", "lo", "hi", "p"}
    assert set(report["calls"]) == {"task", "writer"}
    assert report["verdict"] in " ".join(said.out.split())
    assert "r/report.html" in said.out
    assert report["best_prompt"]["system"] in Path("r/report.html").read_text()
    prompt = cli("ask", "4 plus 1", *SCRIPTED, "--prompt-file", "r/report.json")
    assert prompt.code == 0
    lines = [json.loads(line) for line in Path("r/metrics.jsonl").read_text().splitlines()]
    assert [line["generation"] for line in lines] == [0, 1, 2]


def test_a_breed_that_is_given_more_ends_in_a_proof_within_its_budget(cli, sums):
    arguments = ("breed", sums, *SCRIPTED, "--scorer", "contains", "--prompt", "Add.", "--out", "r",
                 "--set", "breed.population=4", "--set", "breed.generations=40")  # fmt: skip
    for budget in (420, 700, 900):
        said = cli(*arguments, "--budget-calls", str(budget))
        report = json.loads(Path("r/report.json").read_text())
        assert not report["verdict"].startswith("not proved"), (budget, report["verdict"])
        assert report["paid"]["calls"] <= budget
        assert said.code in (0, 3)


def test_a_model_that_never_answers_ends_with_code_1(cli, sums, tmp_path: Path):
    (tmp_path / "silent.yaml").write_text("rules: [{user: 'instruction only', answer: 'Hm.'}]")
    small = ("--limit", "3", "--set", "breed.population=2", "--set", "breed.generations=1")
    said = cli("breed", sums, "--model", "scripted:silent.yaml", *small)
    assert said.code == 1
    assert "not proved: the seed prompt got no answer" in said.out
    assert cli("eval", sums, "--model", "scripted:silent.yaml", "--limit", "3").code == 1


def test_a_forecast_of_a_finished_run_changes_nothing_in_it(cli, sums):
    arguments = ("breed", sums, *SCRIPTED, "--prompt", "Add.", "--out", "r", "--set", "breed.population=4",
                 "--set", "breed.generations=2")  # fmt: skip
    cli(*arguments)
    before = {name: Path("r", name).read_bytes() for name in ("metrics.jsonl", "report.json", "run.json")}
    said = cli(*arguments, "--forecast", "--json")
    assert json.loads(said.out)["calls"] > 0
    assert {name: Path("r", name).read_bytes() for name in before} == before


def test_the_forecast_says_how_many_children_the_calls_buy(cli, words):
    said = cli(*BREED, "--forecast")
    found = re.search(r"enough for (\d+) children if each races to the end, (\d+) if none does$", said.err.strip())
    assert found, said.err
    assert 1 < int(found[1]) < int(found[2])
    more = cli(*BREED[:-1], "450", "--forecast").err
    assert int(re.findall(r"enough for (\d+)", more)[0]) > 2 * int(found[1])
    assert "enough for 1 child if" in cli(*BREED[:-1], "60", "--forecast").err
    by_generations = ("--set", "breed.strategy=paper", "--set", "breed.population=6", "--set", "breed.generations=4")
    assert cli(*BREED, *by_generations, "--forecast").err.strip().endswith("enough for 17 children")
    assert not Path("runs").exists()


def test_debug_walks_through_the_operators_in_turn(cli, tmp_path: Path):
    write_words(tmp_path, rules=[])  # nothing is ever right, so it is always the same operators that can run
    assert cli(*BREED, "--debug", "--out", "r").code == 0
    tried = {name: row["tried"] for name, row in report_of("r")["credit"].items() if row["tried"]}
    assert set(tried) >= {"reflect", "mutate", "zero_order", "hyper_zero", "hyper_first"}
    assert max(tried.values()) > 2
    assert max(tried.values()) - min(tried.values()) <= 1


def test_debug_goes_over_the_papers_way_to_draw_operators(cli, words):
    small = ("--set", "breed.population=4", "--set", "breed.generations=1", "--set", "breed.batch=4", "--limit", "8")
    assert cli(*BREED, "--debug", "--as-paper", *small, "--out", "r").code == 0
    settings = json.loads(Path("r/run.json").read_text())["identity"]["breed"]
    assert (settings["strategy"], settings["operators"], settings["population"]) == ("paper", "in_turn", 4)


def test_verbose_says_each_child_and_each_race(cli, words):
    said = cli(*BREED, "--verbose", "--out", "r")
    operators = report_of("r")["operators"]
    born = re.findall(r"^(\d+): (\w+) of (\d+): .", said.err, re.MULTILINE)
    assert len(born) == sum(row["children"] for row in operators.values())
    assert {operator for _, operator, _ in born} == set(operators)
    raced = re.findall(r"^(\d+) (beats|does not beat) (\d+): p\(better\) = [01]\.\d\d$", said.err, re.MULTILINE)
    line = report_of("r")["lineage"]
    assert [(str(line[1]["id"]), "beats", "0")] == [race for race in raced if race[1] == "beats"][:1]
    quiet = cli(*BREED, "--out", "quiet")
    assert re.findall(r"^\d+", quiet.err, re.MULTILINE) == []
    assert report_of("quiet") == report_of("r")


OPENER = "Let's think step by step."
CHAINED = [
    {"prefix": OPENER, "system": "step|care", "user": r"say (\w*[0-7])$", "answer": r"\1"},
    {"prefix": OPENER, "user": r"say (\w*[0-4])$", "answer": r"\1"},
]


def chained(run: str) -> set[bool]:
    """Whether the task model was asked with the chain's first words, without, or (both values) now so, now so."""
    with closing(sqlite3.connect(Path(run, "calls.sqlite"))) as calls:
        rows = calls.execute("SELECT request FROM calls WHERE role = 'task'").fetchall()
    return {OPENER in request for (request,) in rows}


def test_a_chain_that_serves_better_is_found_where_both_ways_are_tried(cli, tmp_path: Path):
    write_words(tmp_path, CHAINED)
    assert cli(*BREED[:-1], "300", "--test-cot", "--test-no-cot", "--out", "r").code == 0
    report = report_of("r")
    assert report["lineage"][0]["chain"] is None, "the gain is held against the prompt as it was given"
    assert report["lineage"][-1]["chain"] is True
    assert report["seed_prompt"]["prefix"] == ""
    assert report["best_prompt"]["prefix"] == OPENER
    assert report["verdict"].startswith("improved")
    assert report["test"]["best"] > 0.5
    assert chained("r") == {True, False}


def test_one_way_alone_is_the_only_one_that_the_search_asks(cli, tmp_path: Path):
    write_words(tmp_path, CHAINED)
    cli(*BREED, "--test-no-cot", "--out", "without")
    assert chained("without") == {False}
    assert report_of("without")["best_prompt"]["prefix"] == ""
    assert report_of("without")["test"]["best"] == 0
    cli(*BREED, "--test-cot", "--out", "with")
    assert len(report_of("with")["lineage"]) > 1
    assert report_of("with")["best_prompt"]["prefix"] == OPENER


def test_wandb_has_the_numbers_beside_the_run(cli, words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wandb = pytest.importorskip("wandb")
    for name, value in {"HOME": str(tmp_path), "WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"}.items():
        monkeypatch.setenv(name, value)
    said = cli(*BREED, "--limit", "8", "--use-wandb", "--wandb-project", "words", "--out", "r")
    wandb.teardown()
    assert said.code == 0, said.err
    assert len(list(Path("r/wandb").glob("offline-run-*/run-*.wandb"))) == 1
    assert report_of("r")["verdict"] in " ".join(said.out.split())


def day_care(*more: str) -> tuple[str, ...]:
    return ("breed", "--day-care", str(DAY_CARE), "--task", "animal", "--fitness-suite", str(SUITE),
            "--model", "scripted:words.yaml", *more)  # fmt: skip


def test_a_day_care_is_bred_from_its_folder(cli, tmp_path: Path):
    write_words(tmp_path, [{"user": r"careful", "answer": "yes"}], default="no")
    said = cli(*day_care("--limit", "20", "--search-calls", "60", "--out", "r"))
    assert said.code == 0, said.err
    report = report_of("r")
    assert report["task"] == "animal"
    assert report["failures"] == {}
    assert "Say whether there is an animal" in report["seed_prompt"]["user"]
    assert "{text}" in report["best_prompt"]["user"]


MISTAKES = {
    "bad set key": (["breed", "sums.jsonl", "--set", "breed.populaton=3"], ["breed.populaton", "population"]),
    "bad set value": (["breed", "sums.jsonl", "--set", "breed.population=one"], ["breed.population", "one"]),
    "set without value": (["breed", "sums.jsonl", "--set", "breed.population"], ["key=value"]),
    "budget too small": (["breed", "sums.jsonl", *SCRIPTED, "--budget-calls", "10"], ["too little", "need"]),
    "no time": (["breed", "sums.jsonl", *SCRIPTED, "--minutes", "0"], ["minutes", "greater than 0"]),
    "nothing to breed for": (["breed", *SCRIPTED], ["a task", "--day-care"]),
    "task and folder": (["breed", "sums.jsonl", "--day-care", "d"], ["sums.jsonl", "--day-care d", "one of them"]),
    "task without folder": (["breed", "sums.jsonl", "--task", "animal"], ["--task", "--day-care DIR"]),
    "suite without folder": (["breed", "sums.jsonl", "--fitness-suite", "s"], ["--fitness-suite", "--day-care DIR"]),
    "decoder without folder": (["breed", "--decoder-options", "argmax"], ["--decoder-options", "--day-care DIR"]),
    "folder alone": (["breed", "--day-care", "d"], ["d", "--task NAME"]),
    "folder without suite": (["breed", "--day-care", "d", "--task", "animal"], ["d", "--fitness-suite FILE"]),
    "no such folder": (["breed", "--day-care", "d", "--task", "animal", "--fitness-suite", "s"], ["folder d"]),
    "folder and prompt": ([*day_care("--prompt", "Say.")], ["--prompt", "description"]),
    "folder and prompt file": ([*day_care("--prompt-file", "p")], ["--prompt-file", "description"]),
    "folder and scorer": ([*day_care("--scorer", "exact")], ["--scorer", "own files"]),
    "folder and wording": ([*day_care("--wording", "w.yaml")], ["--wording", "own files"]),
    "folder and sampling": ([*day_care("--max-tokens", "9")], ["--max-tokens", "--decoder-options"]),
    "bad decoder": ([*day_care("--decoder-options", "beam(3)")], ["beam(3)", "argmax"]),
    "continue without a run": (["breed", "--continue"], ["--continue", "folder"]),
    "continue what is not there": (["breed", "--continue", "runs/x"], ["runs/x", "not the folder of a run"]),
    "continue what is no run": (["breed", "--continue", "."], ["not the folder of a run"]),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_clear_line_and_leaves_nothing_behind(case: str, mistake, sums):
    mistake(*MISTAKES[case], begun=case == "budget too small")
