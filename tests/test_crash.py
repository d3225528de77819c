"""kill -9 at random instants costs the calls in flight and nothing else.

Three kills each, to be quick; `pytest tests/test_crash.py --kills 10` makes it ten.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.crash import DAY_CARE, SUITE, check_survives_kills

BREED = ["--scorer", "number", "--model", "mock", "--prompt", "Add the numbers.", "--limit", "40"]
SEARCHES = {
    "race": "--search-calls 150",
    "paper": "--set breed.strategy=paper --set breed.population=4 --set breed.batch=12 --set breed.generations=2",
}


@pytest.fixture
def sums(tmp_path: Path) -> str:
    rows = [{"question": f"Add {i} and {i * 7 % 90}.", "answer": str(i + i * 7 % 90)} for i in range(300)]
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_killed_eval_ends_in_the_same_report(cli, sums: str, tmp_path: Path, kills: int):
    command = ["eval", sums, "--scorer", "number", "--split", "all", "--model", "mock"]
    survived = check_survives_kills(cli, command, tmp_path, 8, kills)
    assert survived.kills >= kills - 1, "the last instant may fall after the end"
    assert survived.report["answered"] == 300


@pytest.mark.parametrize("search", SEARCHES)
def test_a_killed_breed_ends_in_the_same_report(cli, search: str, sums: str, tmp_path: Path, kills: int):
    survived = check_survives_kills(cli, ["breed", sums, *BREED, *SEARCHES[search].split()], tmp_path, 8, kills, seed=1)
    assert survived.kills >= kills - 1
    assert survived.report["verdict"].startswith("improved")


def test_a_killed_breed_from_a_day_care_ends_in_the_same_report(cli, tmp_path: Path, kills: int):
    command = ["breed", "--day-care", str(DAY_CARE), "--task", "animal", "--fitness-suite", str(SUITE),
               "--model", "mock", "--set", "model.dialect=vllm", "--limit", "40", "--search-calls", "150"]  # fmt: skip
    survived = check_survives_kills(cli, command, tmp_path, 8, kills, seed=2, server="tests.crash")
    assert survived.kills >= kills - 1
    assert survived.report["verdict"].startswith("improved")
    assert survived.report["failures"] == {}
