"""`promptmill recover submit`: a file that Kaggle takes, whatever the texts are like and however many."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from promptmill.crafts.recover.config import CONSTANT
from tests.recovering import FIRST, TASKS, TEXTS, UPPER, made_by, script

SCRIPTED = ("--model", "scripted:script.yaml", "--embedder", "none", "--draws", "4")
TEXT_COLUMNS = ("original_text", "rewritten_text")
PEAK = """
import resource, sys
from promptmill.cli.main import main
import promptmill.cli.recover, pyarrow.parquet
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sys.argv = ["promptmill", *sys.argv[1:]]
try:
    main()
finally:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, file=sys.stderr)
"""
"""The command, and by how many megabytes the process has grown."""


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def test_csv(tmp_path: Path) -> Path:
    """As the competition's test.csv."""
    (tmp_path / "script.yaml").write_text(yaml.safe_dump(script()))
    rows = [{"id": f"{at}a", "original_text": text, "rewritten_text": made_by(prompt, text)}
            for at, (prompt, text) in enumerate(zip(TASKS, TEXTS, strict=True))]  # fmt: skip
    rows.insert(2, {"id": "0007", "original_text": TEXTS[0], "rewritten_text": ""})
    write_csv(tmp_path / "test.csv", rows)
    return tmp_path / "test.csv"


def test_every_row_gets_its_prompt_in_its_place(cli, test_csv: Path, tmp_path: Path) -> None:
    said = cli("recover", "submit", "test.csv", *SCRIPTED, "--out", "run")
    assert said.code == 0, said.err
    assert "1 of 5 rows have no candidate of their own and got the constant prompt" in said.err
    rows = read_csv(tmp_path / "submission.csv")
    assert [row["id"] for row in rows] == ["0a", "1a", "0007", "2a", "3a"]
    assert [row["rewrite_prompt"] for row in rows] == [*list(TASKS)[:2], CONSTANT, *list(TASKS)[2:]]
    assert list(rows[0]) == ["id", "rewrite_prompt"]


def test_a_prediction_goes_on_to_be_a_submission(cli, test_csv: Path, tmp_path: Path) -> None:
    full = [row for row in read_csv(test_csv) if row["rewritten_text"]]
    write_csv(test_csv, full)
    assert cli("recover", "predict", "test.csv", *SCRIPTED, "--out", "run").code == 0
    made = (tmp_path / "run" / "predictions.jsonl").read_bytes()
    said = cli("recover", "submit", "test.csv", *SCRIPTED, "--out", "run", "--to", "sub.csv", "--json")
    assert json.loads(said.out) == {"rows": 4, "constant": 0, "file": "sub.csv"}
    assert (tmp_path / "run" / "predictions.jsonl").read_bytes() == made
    assert len(read_csv(tmp_path / "sub.csv")) == 4


def test_a_row_without_text_gets_the_prompt_of_its_group(cli, test_csv: Path, tmp_path: Path) -> None:
    rows = [{"id": "a", "original_text": TEXTS[0], "rewritten_text": made_by(UPPER, TEXTS[0]), "group": "g"},
            {"id": "b", "original_text": TEXTS[1], "rewritten_text": "", "group": "g"},
            {"id": "c", "original_text": TEXTS[1], "rewritten_text": "", "group": ""}]  # fmt: skip
    write_csv(test_csv, rows)
    cli("recover", "submit", "test.csv", *SCRIPTED, "--out", "run", "--set", "recover.rank.generic=Improve it.")
    assert [row["rewrite_prompt"] for row in read_csv(tmp_path / "submission.csv")] == [UPPER, UPPER, "Improve it."]


def test_where_no_prompt_came_every_row_gets_the_constant_one_and_the_exit_code_says_so(
    cli, test_csv: Path, tmp_path: Path
) -> None:
    (tmp_path / "script.yaml").write_text("default: lucrarea")
    said = cli("recover", "submit", "test.csv", *SCRIPTED, "--out", "run")
    assert said.code == 1
    assert [row["rewrite_prompt"] for row in read_csv(tmp_path / "submission.csv")] == [CONSTANT] * 5


def test_an_abstained_row_gets_its_best_candidate(cli, test_csv: Path, tmp_path: Path) -> None:
    assert cli("recover", "submit", "test.csv", *SCRIPTED, "--out", "run", "--abstain", "1").code == 0
    assert read_csv(tmp_path / "submission.csv")[0]["rewrite_prompt"] == UPPER


@pytest.mark.parametrize(("to", "words"), [
    ("nowhere/sub.csv", ["--to nowhere/sub.csv", "no folder nowhere"]), (".", ["--to .", "is a folder"]),
])  # fmt: skip
def test_a_place_that_cannot_be_written_is_said_first(mistake, test_csv: Path, to: str, words: list[str]) -> None:
    mistake(["recover", "submit", "test.csv", *SCRIPTED, "--to", to], words)


def test_a_file_with_no_text_at_all_is_refused(mistake, test_csv: Path) -> None:
    write_csv(test_csv, [{"id": "a", "original_text": "x", "rewritten_text": ""}])
    mistake(["recover", "submit", "test.csv", *SCRIPTED], ["no row has a rewritten_text"])


def test_a_forecast_writes_no_submission(cli, test_csv: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    assert cli("recover", "submit", "test.csv", *SCRIPTED, "--forecast").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_whole_test_set_of_long_texts_takes_little_memory(tmp_path: Path) -> None:
    rng = random.Random(0)
    words = ["plain", 'say "so"', "one, two", "line\nbreak", "it's", "semi;colon", "tab\there", "{braces}", "ünï"]
    rows = [
        {
            "id": f"{at:07x}",
            **{name: " ".join(rng.choices(words, k=400)) for name in ("original_text", "rewritten_text")},
        }
        for at in range(1400)
    ]
    rows[700]["rewritten_text"] = ""
    write_csv(tmp_path / "test.csv", rows)
    said = f'Say "so", with commas,\nand lines, then {FIRST}'
    rules = {"rules": [{"user": "instruction only", "answer": said}], "default": "so it is"}
    (tmp_path / "script.yaml").write_text(yaml.safe_dump(rules))
    done = subprocess.run(
        [sys.executable, "-c", PEAK, "recover", "submit", "test.csv", *SCRIPTED[:4], "--draws", "1", "--out", "run"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = read_csv(tmp_path / "submission.csv")
    assert [row["id"] for row in made] == [row["id"] for row in rows]
    assert {row["rewrite_prompt"] for at, row in enumerate(made) if at != 700} == {said}
    assert made[700]["rewrite_prompt"] == CONSTANT
    texts = (tmp_path / "test.csv").stat().st_size // 2**20
    assert int(done.stderr.splitlines()[-1]) < 60 + 8 * texts, "megabytes"
