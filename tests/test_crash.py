"""kill -9 at random instants costs the calls in flight and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.crash import check_survives_kills


@pytest.fixture
def sums(tmp_path: Path) -> str:
    rows = [{"question": f"Add {i} and {i * 7 % 90}.", "answer": str(i + i * 7 % 90)} for i in range(300)]
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_eval_killed_five_times_ends_in_the_same_report(sums: str, tmp_path: Path):
    survived = check_survives_kills(
        ["eval", sums, "--scorer", "number", "--split", "all", "--model", "mock"], tmp_path, 8
    )
    assert survived.kills >= 4, "the last instant may fall after the end"
    assert survived.report["answered"] == 300


def test_breed_killed_five_times_ends_in_the_same_report(sums: str, tmp_path: Path):
    command = ["breed", sums, "--scorer", "number", "--model", "mock", "--set", "breed.population=6"]
    command += ["--set", "breed.generations=4", "--prompt", "Add the numbers."]
    survived = check_survives_kills(command, tmp_path, 8, seed=1)
    assert survived.kills >= 4
    assert survived.report["verdict"].startswith("improved")
