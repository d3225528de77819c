"""`promptmill panel`: reports on given scores, and a trial of a panel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from promptmill.judge.table import scores_schema
from tests.judging import scores_table
from tests.panels import like, original, world

ANSWERS = [
    {"instruction": "Write the text in uppercase.", "input": "the dog ran", "output": "THE DOG RAN"},
    {"instruction": "Write the text in uppercase.", "input": "the dog ran", "output": "arr, th dog sailed"},
    {"instruction": "Reverse the word order.", "input": "my dog ran", "output": "ran dog my"},
    {"instruction": "Reverse the word order.", "input": "my dog ran", "output": "MY DOG RAN"},
]
GOOD_JUDGE = {
    "rules": [
        {"user": "which output.*A: (THE DOG RAN|ran dog my)\n", "answer": "A"},
        {"user": "which output", "answer": "B"},
        {"user": r"Answer yes or no.*Output: (THE DOG RAN|ran dog my)$", "answer": "yes"},
        {"user": "Answer yes or no", "answer": "no"},
        {"user": r"Rate.*Output: (THE DOG RAN|ran dog my)$", "answer": "5"},
        {"user": r"Rate.*Output: .", "answer": "2"},
        {"user": "Rate", "answer": "1"},
    ]
}
FIRST = {"rules": [{"user": "which output", "answer": "A"}], "default": "well"}


@pytest.fixture
def judges(tmp_path: Path) -> None:
    """A panel of three scripted judges, the last of whom cannot be read and likes what comes first."""
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ANSWERS))
    for name, script in (("good", GOOD_JUDGE), ("first", FIRST)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(script))
    (tmp_path / "panel.yaml").write_text(yaml.safe_dump({"judges": [
        {"name": "rater", "model": {"name": "scripted:good.yaml"}, "criteria": ["correctness"]},
        {"name": "yes", "model": {"name": "scripted:good.yaml"}, "ask": "yes_no"},
        {"name": "mute", "model": {"name": "scripted:first.yaml"}, "criteria": ["correctness"]},
    ]}))  # fmt: skip


TRY = ("panel", "try", "--panel", "panel.yaml", "--answers", "answers.jsonl", "--out", "run")


def test_a_panel_is_tried_on_given_answers(cli, judges, tmp_path):
    said = cli(*TRY)
    assert said.code == 0, said.err
    for words in (
        "mute: only 0.0% of its answers can be read",
        "not one of its answers can be read",
        "gate: not passed",
    ):
        assert words in said.out
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (report["answers"], report["bases"]) == (4, 2)
    assert set(report["planted"]) <= {"truncated", "shuffled", "off_topic", "empty"}
    rater, yes, mute = report["judges"]
    assert rater["planted"]["auc"] > 0.7
    assert rater["flips"] == {"share": 0.0, "compared": 2}
    assert mute["flips"] == {"share": 1.0, "compared": 2}
    assert yes["readable"] == 1
    assert report["calls"]["judge"] > 20
    assert "rater" in (tmp_path / "run" / "report.html").read_text()
    table = pq.read_table(tmp_path / "run" / "stages" / "scores")
    assert table.schema.equals(scores_schema())
    assert {row["error"] is None for row in table.to_pylist() if row["validator"] == "mute"} == {False}


def test_the_same_command_goes_on_and_asks_nothing_twice(cli, judges, tmp_path):
    few = cli(*TRY, "--budget-calls", "9")
    assert few.code == 3
    assert "the same command with more goes on" in few.err
    first = cli(*TRY, "--json")
    shards = [path.read_bytes() for path in sorted((tmp_path / "run" / "stages").rglob("*.parquet"))]
    second = cli(*TRY, "--json")
    assert json.loads(first.out)["judges"] == json.loads(second.out)["judges"]
    assert [path.read_bytes() for path in sorted((tmp_path / "run" / "stages").rglob("*.parquet"))] == shards
    assert json.loads(second.out)["paid"] == json.loads(first.out)["paid"]


def test_a_forecast_leaves_nothing_behind(cli, judges, tmp_path):
    said = cli(*TRY, "--forecast")
    assert "forecast: at most" in said.err
    assert not (tmp_path / "run").exists()


def test_a_run_is_reported_again_with_another_gate(cli, judges):
    cli(*TRY, "--no-plant", "--compare", "0")
    said = cli("panel", "report", "run", "--json", "--min-readable", "0", "--min-alpha", "-1", "--min-same-order", "0")
    report = json.loads(said.out)
    assert report["gate"]["passes"]
    assert report["planted"] == {}
    assert report["judges"][0]["flips"] is None


def test_a_run_is_reported_again_by_the_weights_that_it_had(cli, judges, tmp_path):
    panel = yaml.safe_load((tmp_path / "panel.yaml").read_text())
    panel["judges"][1]["weight"] = 9
    (tmp_path / "panel.yaml").write_text(yaml.safe_dump(panel))
    tried = json.loads(cli(*TRY, "--json").out)
    again = json.loads(cli("panel", "report", "run", "--json").out)
    assert again["weights"] == tried["weights"]
    assert again["weights"]["judges"] == {"rater": 1, "yes": 9, "mute": 1}
    assert again["panel"] == tried["panel"]
    assert json.loads(cli("panel", "report", "run/stages/scores", "--json").out)["agreement"] == tried["agreement"]


def test_a_run_is_reported_again_by_the_limits_that_its_panel_had_to_pass(cli, judges, tmp_path):
    panel = yaml.safe_load((tmp_path / "panel.yaml").read_text())
    (tmp_path / "panel.yaml").write_text(
        yaml.safe_dump(panel | {"gate": {"min_readable": 0.0, "min_planted_auc": 0.1}})
    )
    tried = json.loads(cli(*TRY, "--json").out)
    again = json.loads(cli("panel", "report", "run", "--json").out)
    assert again["gate"] == tried["gate"]
    assert again["gate"]["settings"]["min_readable"] == 0.0
    other = json.loads(cli("panel", "report", "run", "--json", "--min-readable", "0.5").out)["gate"]["settings"]
    assert (other["min_readable"], other["min_planted_auc"]) == (0.5, 0.1)


def test_the_embedded_panel_tries_answers_out_of_the_box(cli, judges):
    said = cli("panel", "try", "--answers", "answers.jsonl", "--json", "--compare", "2")
    report = json.loads(said.out)
    assert [judge["name"] for judge in report["judges"]] == ["embedded-yes-no", "embedded-rate", "small-yes-no"]
    assert all(judge["readable"] == 1 for judge in report["judges"])
    assert [judge["how"] for judge in report["judges"]] == [{"exact": judge["asked"]} for judge in report["judges"]]


def test_scores_in_the_originals_layout_are_reported(cli, tmp_path):
    (tmp_path / "scores").mkdir()
    original(tmp_path / "scores")
    (tmp_path / "scores" / "9_validation_score.parquet").touch()
    said = cli("panel", "report", "scores", "--validators", "falcon,gemma", "--out", "there")
    assert said.code == 0
    assert "falcon, gemma" in said.out
    assert "warning: 9_validation_score.parquet: the file is empty" in said.err
    report = json.loads((tmp_path / "there" / "panel.json").read_text())
    assert report["problems"] == ["9_validation_score.parquet: the file is empty"]
    assert "the file is empty" in (tmp_path / "there" / "report.html").read_text()


def test_a_panel_at_chance_is_a_verdict_and_no_error(cli, tmp_path):
    rng, bases, planted, truth = world()
    pq.write_table(scores_table({name: rng.uniform(1, 5, len(bases)) for name in "abc"}, bases, planted),
                   tmp_path / "scores.parquet")  # fmt: skip
    said = cli("panel", "report", "scores.parquet")
    assert said.code == 0
    assert "The panel must not be believed" in said.out
    assert "gate: not passed" in said.out
    pq.write_table(scores_table({name: like(truth, rng) for name in "abc"}, bases, planted), tmp_path / "good.parquet")
    assert "gate: passed" in cli("panel", "report", "good.parquet").out


@pytest.mark.parametrize(("arguments", "words"), [
    (("report", "nowhere"), ("nowhere", "no such file")),
    (("report", "answers.jsonl"), ("no column 'base_id'",)),
    (("report", "run.parquet", "--validators", "a,"), ("--validators a,", "different names")),
    (("report", "good.csv", "--validators", "a,b"), ("--validators names the judges of the original's files",)),
    (("report", "good.csv", "--min-alpha", "2"), ("gate: min_alpha",)),
    (("try", "--answers", "good.csv"), ("good.csv", "line 2", "instruction")),
    (("try", "--answers", "answers.jsonl", "--panel", "good.yaml"), ("--panel good.yaml", "unknown key 'rules'")),
    (("try", "--answers", "answers.jsonl", "--panel", "two.yaml"), ("two judges are called 'a'",)),
    (("try", "--answers", "answers.jsonl", "--panel", "depth.yaml"), ("judge a", "no criterion 'depth'")),
])  # fmt: skip
def test_a_mistake_is_one_clear_line(cli, judges, tmp_path, arguments, words):
    (tmp_path / "good.csv").write_text("base_id,validator,criterion,expected\n1,a,x,3\n")
    (tmp_path / "two.yaml").write_text("judges: [{name: a}, {name: a}]\n")
    (tmp_path / "depth.yaml").write_text("judges: [{name: a, criteria: [depth]}]\n")
    pq.write_table(scores_table({"a": np.array([3.0])}, np.array([0])), tmp_path / "run.parquet")
    cli("panel", *arguments).is_one_error_line(*words)
    assert not (tmp_path / "runs").exists()
