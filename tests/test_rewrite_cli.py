"""`promptmill rewrite` from the command line: all of it on the embedded model, and what is wrong told in one line."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from promptmill.crafts.rewrite.finished import finished_rewrite
from promptmill.crafts.rewrite.pipeline import STEPS
from promptmill.store.run import Run
from tests.rewriting import INTENTS, WEAK, finished_run, settings, small_shards

TINY = settings(synthesize__variations=1, synthesize__inputs=1, rewrites=2, learn__train__epochs=1)
PROMPTS = [
    {"prompt": f"{verb} the words, {how}.", "inputs": ["a small cat", "two red hats"], "split": split}
    for verb, how, split in (
        ("Reverse", "from the last to the first", "train"), ("Sort", "by their letters", "train"),
        ("Count", "and say how many", "train"), ("Write", "in uppercase", "dev"), ("Find", "the longest", "test"),
    )
]  # fmt: skip
RULES = {"refuse": {}, "mumble": {"default": "hmm"}, "three": {"default": "3"}}


@pytest.fixture(scope="module")
def one_go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Files to give, in the folder where `cli` runs."""
    for split in ("all", "train"):
        rows = [one for one in PROMPTS if split in ("all", one["split"])]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, rules in RULES.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(rules or {"rules": []}))
        judges = [{"name": f"{name}-{at}", "criteria": ["correctness"], "model": {"name": f"scripted:{name}.yaml"}}
                  for at in "abc"]  # fmt: skip
        (tmp_path / f"{name}-panel.yaml").write_text(yaml.safe_dump({"judges": judges}))
    return tmp_path


def read(folder: Path, name: str = "report.json"):
    return json.loads((folder / name).read_text())


# All of it


def test_a_run_learns_and_is_tested(one_go: Path):
    report = read(one_go)
    assert report["synthesize"]["splits"]["test"] > 0
    (learned,) = report["rounds"]
    assert sum(learned["pairs"].values()) >= 4
    assert learned["steps"] >= 6
    losses = [row["loss"] for row in learned["rows"] if row.get("loss") is not None]
    assert losses[-1] < losses[0], "it gets better at what it is taught"
    assert [one["round"] for one in report["test"]["rounds"]] == [0, 1]
    assert len(report["test"]["rows"]) == report["synthesize"]["splits"]["test"]
    assert report["verdict"]
    assert {"writer", "task", "judge", "rewriter"} <= set(report["calls"])
    assert report["calls"]["judge"] + report["calls"]["task"] < report["paid"]["calls"]
    page = (one_go / "report.html").read_text()
    assert INTENTS[1] in page


PAID = {"writer": "writer calls", "rewriter": "rewrites", "task": "answers", "judge": "judgements"}


def test_the_forecast_is_not_passed(cli, one_go: Path):
    most = json.loads(cli("rewrite", "run", *INTENTS, *settings(), "--forecast", "--json").out)
    calls = read(one_go)["calls"]
    assert {role for role, kind in PAID.items() if calls[role] > most[kind]} == set()


def test_the_forecast_knows_the_inputs_and_splits_of_a_file_and_the_panel(cli, tmp_path: Path):
    rows = [{"prompt": f"Say the word {at}.", "inputs": ["a b"] * 9, "split": "test" if at else "train"}
            for at in range(3)]  # fmt: skip
    (tmp_path / "given.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ("rewrite", "run", "--prompts", "given.jsonl", *settings(test__proof=0, rewrites=1))
    most = json.loads(cli(*given, "--forecast", "--json").out)
    assert most["base prompts"] == 3
    assert most["answers"] >= 9 * 3 + 9 * 2 * 2
    assert most["writer calls"] == 3 * 2, "two variations of each; the inputs are there"
    judges = [
        {"name": "one", "model": {"name": "embedded"}, "repeats": 3},
        {"name": "two", "model": {"name": "embedded"}},
    ]
    (tmp_path / "panel.yaml").write_text(yaml.safe_dump({"judges": judges}))
    with_panel = json.loads(cli(*given, "--panel", "panel.yaml", "--forecast", "--json").out)
    judges[0]["repeats"] = 1
    (tmp_path / "panel.yaml").write_text(yaml.safe_dump({"judges": judges}))
    plain = json.loads(cli(*given, "--panel", "panel.yaml", "--forecast", "--json").out)
    assert with_panel["judgements"] > 1.5 * plain["judgements"]


def test_stage_by_stage_comes_to_the_same_report_as_in_one_go(cli, one_go: Path, tmp_path: Path):
    folder = str(tmp_path / "steps")
    with small_shards():
        for step in STEPS:
            begun = [*INTENTS, *settings(), *WEAK, "--out", folder] if step == "synthesize" else ["--continue", folder]
            said = cli("rewrite", step, *begun)
            assert said.code == 0, said.err
            assert read(tmp_path / "steps")["step"] == step
            following = STEPS[STEPS.index(step) + 1 :][:1]
            assert f"next: promptmill rewrite {following[0] if following else 'apply'}" in said.out
    assert read(tmp_path / "steps") == read(one_go)
    assert read(tmp_path / "steps", "manifest.json") == read(one_go, "manifest.json")


def test_apply_gives_a_prompt_or_says_why_not(cli, one_go: Path):
    said = cli("rewrite", "apply", "Say the words in reverse order.", "--rewriter", str(one_go), "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["prompt"] == "Say the words in reverse order."
    assert found["rewrite"] or found["reason"]
    assert cli("rewrite", "apply", "Say the words.", "--rewriter", str(one_go), "--candidates", "1").code == 0
    cli("rewrite", "apply", "  ", "--rewriter", str(one_go)).is_one_error_line("empty")


def test_export_gives_the_seven_tables(cli, one_go: Path, tmp_path: Path):
    said = cli("rewrite", "export", str(one_go), "--to", "prose", "--json")
    assert said.code == 0, said.err
    counts = json.loads(said.out)
    assert sorted(path.stem for path in (tmp_path / "prose").iterdir()) == sorted(counts)
    assert len(counts) == 7
    assert counts["model_outputs"] > 0
    assert counts["test_results"] > 0
    tables = {path.stem: pq.read_table(path).to_pylist() for path in (tmp_path / "prose").iterdir()}
    prompt, answer = ("base_id", "variation_id"), ("base_id", "variation_id", "input_id", "sample_id")
    keys = {"prompt_variations": prompt, "model_outputs": answer,
            "validator_scores": (*answer, "validator", "criterion", "repeat", "planted")}  # fmt: skip
    found = {name: [tuple(row[key] for key in names) for row in tables[name]] for name, names in keys.items()}
    assert all(len(set(rows)) == len(rows) for rows in found.values()), "each key comes once"
    assert {key[:2] for key in found["model_outputs"]} <= set(found["prompt_variations"])
    assert {key[:4] for key in found["validator_scores"]} <= set(found["model_outputs"])


def test_an_earlier_step_leaves_the_later_report_as_it_is(cli, one_go: Path, tmp_path: Path):
    copied = shutil.copytree(one_go, tmp_path / "copy")
    for step in ("judge", "train"):
        said = cli("rewrite", step, "--continue", str(copied), *WEAK)
        assert said.code == 0, said.err
        assert f"next: promptmill rewrite {'pairs' if step == 'judge' else 'test'}" in said.out
    assert read(copied) == read(one_go)
    assert finished_rewrite(copied).report["verdict"]


def test_the_panel_is_reported_again_as_the_run_has_reported_it(cli, one_go: Path):
    told = json.loads((one_go / "panel.json").read_text())
    again = json.loads(cli("panel", "report", str(one_go), "--json").out)
    assert {key: again[key] for key in ("gate", "weights", "verdict")} == {
        key: told[key] for key in ("gate", "weights", "verdict")
    }  # fmt: skip


# What is wrong beforehand leaves nothing behind

BEFOREHAND = {
    "no intent": ([], ["--intent"]),
    "an intent that is empty": (["--intent", "words", "--intent", " "], ["--intent", "empty"]),
    "a rubric without anchors": (["--panel", "bare.yaml"], ["correctness has no anchors"]),
    "a test panel with such a rubric": (["--test-panel", "bare.yaml"], ["correctness has no anchors"]),
    "a panel file that is no panel": (["--panel", "three.yaml"], ["unknown key 'rewrite.judge.default'"]),
    "a panel file that is a list": (["--panel", "list.yaml"], ["--panel list.yaml", "mapping"]),
    "a panel that is not there": (["--panel", "gone.yaml"], ["gone.yaml"]),
    "a criterion that the rubric has not": (["--panel", "other.yaml"], ["no criterion 'beauty'"]),
    "prompts without the column": (["--prompts", "promt.jsonl"], ["promt.jsonl, line 1", "no column 'prompt'"]),
    "a rewriter on a server": (
        ["--set", "rewriter={name: gpt, base_url: 'http://localhost:9/v1'}"], ["gpt cannot be trained", "--rewriter"],
    ),
    "a main model on a server that would be its own rewriter": (
        ["--model", "gpt", "--base-url", "http://localhost:9/v1"], ["gpt cannot be trained", "--rewriter"],
    ),
    "a target that is no model": (["--set", "rewrite.test.target={name: no/such}"], ["no/such"]),
    "a price that is unknown": (["--budget-cost", "1"], ["--budget-cost needs the price"]),
    "settings that nobody knows": (["--set", "rewrite.pears=1"], ["unknown key 'rewrite.pears'"]),
    "nothing left for training": (
        ["--set", "rewrite.synthesize.dev=0.5", "--set", "rewrite.synthesize.test=0.5"], ["nothing for training"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BEFOREHAND)
def test_what_can_be_known_beforehand_leaves_no_run(mistake, own: Path, what: str):
    given, words = BEFOREHAND[what]
    (own / "promt.jsonl").write_text('{"promt": "Say it."}\n')
    (own / "list.yaml").write_text("- a\n- b\n")
    (own / "rubric.yaml").write_text("correctness:\n")
    (own / "bare.yaml").write_text("judges: [{name: a, rubric: rubric.yaml}]\n")
    (own / "other.yaml").write_text("judges: [{name: a, criteria: [beauty]}]\n")
    intents = [] if what == "no intent" else INTENTS
    mistake(["rewrite", "run", *intents, *TINY, *given], words, begun=False)


def test_the_rubric_and_requests_of_a_setup_are_those_of_the_judges(cli, mistake, own: Path):
    assert cli("rewrite", "init", "setup").code == 0
    rubric = own / "setup" / "model_input" / "rubric.yaml"
    levels = dict.fromkeys(range(1, 6), "as beautiful as that")
    rubric.write_text(yaml.safe_dump({"beauty": {"weight": 1.0, "levels": levels}}))
    mistake(["rewrite", "run", *INTENTS, "--setup", "setup"], ["no criterion 'correctness'", "it has: beauty"])


# What is found out on the way


def begun(cli, *given: str):
    said = cli("rewrite", "run", *TINY, *given, "--out", "run")
    assert "Traceback" not in said.err
    assert not list(Path("run").rglob("*.part"))
    return said


def test_a_validator_that_never_answers_readably_stops_the_run_with_its_name(cli, own: Path):
    begun(cli, "--prompts", "all.jsonl", "--panel", "mumble-panel.yaml").is_one_error_line(
        "the panel may not be believed", "mumble-a: only 0.0% of its answers can be read", "--allow-weak-panel"
    )
    assert (own / "run" / "panel.json").exists()
    assert not (own / "run" / "report.json").exists()


def test_judges_that_find_all_equal_stop_it_and_with_leave_the_report_bears_the_warning(cli, own: Path):
    given = ("--prompts", "all.jsonl", "--panel", "three-panel.yaml")
    begun(cli, *given).is_one_error_line("all scores are equal")
    said = begun(cli, *given, *WEAK)
    if said.code == 0:  # broken rules are something to learn, whatever the judges say
        report = read(own / "run")
        assert any("the panel is weak" in one for one in report["warnings"])
        assert set(report["rounds"][0]["pairs"]) == {"guard"}
        assert report["verdict"].endswith("under a panel that did not pass its gate")
    else:
        said.is_one_error_line("no pair of prompts was believed")


def test_a_main_model_that_refuses_is_named_with_the_reason(cli, own: Path):
    begun(cli, "--prompts", "all.jsonl", "--model", "scripted:refuse.yaml", "--rewriter", "embedded",
          "--panel", "three-panel.yaml").is_one_error_line("refuse.yaml has answered none", "refused")  # fmt: skip


def test_an_intent_that_yields_nothing_is_named(cli, own: Path):
    begun(cli, *INTENTS[:2], "--writer", "scripted:refuse.yaml").is_one_error_line(
        "no base prompt for 'the order of words'", "refused"
    )


def test_an_empty_test_split_is_told_before_anything_is_learned(cli, own: Path):
    begun(cli, "--prompts", "train.jsonl", *WEAK).is_one_error_line("no base prompt is held out", "rewrite train")
    assert not list((own / "run").glob("round-*"))
    assert not list((own / "run" / "stages").glob("outputs-*"))


def test_a_domain_with_one_base_prompt_is_a_warning(cli, own: Path):
    (own / "one.jsonl").write_text(json.dumps(PROMPTS[0]) + "\n")
    said = cli("rewrite", "synthesize", "--prompts", "one.jsonl", *TINY, "--out", "run")
    assert said.code == 0, said.err
    assert "'given' has one base prompt only" in said.err


def test_when_no_pair_is_believed_the_run_says_what_to_do(cli, own: Path):
    more = settings(pairs__margin=5, pairs__longest=1000, synthesize__variations=0, synthesize__inputs=1, rewrites=1)
    said = cli("rewrite", "train", "--prompts", "all.jsonl", *more, *WEAK, "--out", "run")
    said.is_one_error_line("round 1: no pair of prompts was believed", "pairs.margin")


def test_a_budget_ends_it_early_and_the_same_command_goes_on(cli, own: Path):
    step = ["rewrite", "answer", "--prompts", "all.jsonl", *TINY, "--out", "run"]
    with small_shards(2):
        said = cli(*step, "--budget-calls", "20")
        assert said.code == 3, said.err
        assert said.err.count("error:") == 1
        assert "20 of 20 calls" in said.err
        before = {path: path.stat().st_mtime_ns for path in (own / "run").rglob("part-*.parquet")}
        assert before
        assert cli(*step, "--budget-calls", "20").code == 3, "the budget is the run's, not the session's"
        done = cli(*step, "--json")
        assert done.code == 0, done.err
        assert {path: path.stat().st_mtime_ns for path in before} == before
        assert cli(*[*step[:-1], "whole"]).code == 0
    assert read(own / "run", "manifest.json") == read(own / "whole", "manifest.json")
    paid = []
    for name in ("run", "whole"):
        with sqlite3.connect(own / name / "calls.sqlite") as store:
            paid.append(store.execute("SELECT count(*) FROM calls").fetchone())
    assert paid[0] == paid[1]


# Runs of other crafts, and runs that are not at their end


def test_runs_are_not_taken_for_one_another(cli, one_go: Path, tmp_path: Path):
    cli("bake", "report", str(one_go)).is_one_error_line(str(one_go))
    with Run(tmp_path / "asked", "eval", {}):
        pass
    for command in (["apply", "Say it.", "--rewriter", "asked"], ["export", "asked", "--to", "x"]):
        cli("rewrite", *command).is_one_error_line("asked")
    assert not (tmp_path / "x").exists()


def test_a_run_that_is_not_trained_cannot_be_applied(cli, own: Path):
    assert cli("rewrite", "synthesize", "--prompts", "all.jsonl", *TINY, "--out", "run").code == 0
    cli("rewrite", "apply", "Say it.", "--rewriter", "run").is_one_error_line(
        "no rewriter is trained yet", "--continue"
    )
    cli("rewrite", "apply", "Say it.", "--rewriter", "nowhere").is_one_error_line("not the folder of a run")
    (own / "run" / "report.json").unlink()
    cli("rewrite", "apply", "Say it.", "--rewriter", "run").is_one_error_line("has not come to its end")


def test_a_finished_rewrite_is_found_by_its_folder(one_go: Path):
    found = finished_rewrite(one_go)
    assert found.config.rewrites == 3
    assert [Path(one).name for one in found.rewriter.adapters] == ["adapter"]
    assert "{prompt}" in found.roles.wording.refine
