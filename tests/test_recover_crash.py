"""kill -9 in each stage of a prediction and of a training: the continued run makes the same files and the same report.

A kill in each stage; `pytest tests/test_recover_crash.py --kills 9` makes it three. Held against each other are tables,
adapters, what was fitted, predictions, report, page and metrics: all but checkpoints, which hold the clock,
events.jsonl and the times in calls.sqlite.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from promptmill.crafts.recover.traces import Trace
from tests.crash import check_survives_kills, killed
from tests.recovering import (
    EMBEDDED,
    REVERSE,
    TEXTS,
    TRAIN,
    UPPER,
    begin,
    finished_training,
    row_of,
    sets,
    trace,
    traces,
    write_jsonl,
)

PREDICT = ("recover", "predict", "pairs.jsonl", *EMBEDDED, *sets())
PREDICTING = {
    "draws": "stages/draws-*/part-00001.parquet", "parts": "stages/parts-*/part-00001.parquet",
    "again": "stages/again-*/part-00001.parquet", "end": "predictions.jsonl",
}  # fmt: skip
TRAINING = {
    "sft": "sft/checkpoints/*", "lesson": "stages/draws-lesson-sft-*", "dpo": "dpo/checkpoints/*",
    "fit": "stages/parts-dev-*", "test": "stages/again-*", "end": "stages/draws-other-prompts-dpo-*",
}  # fmt: skip
"""What is there once a stage is at work, or about to be."""
LONGEST = 0.25
"""Seconds after that, before the kill."""
MADE = ("report.json", "report.html", "predictions.jsonl", "metrics.jsonl", "ranker.json", "critic.json", "bank.jsonl",
        "sft/outcome.json", "dpo/outcome.json")  # fmt: skip


def _ended(folder: Path, command: Sequence[str], *more: str) -> int | None:
    process = begin(*command, "--out", folder.name, *more, folder=folder.parent)
    process.join(240)
    return process.exitcode


def _killed_everywhere(folder: Path, command: Sequence[str], stages: Mapping[str, str], kills: int) -> int:
    """How many kills met the run alive. Then it is let come to its end."""
    rng, met = random.Random(kills), 0
    for there in stages.values():
        for _ in range(max(1, kills // 3)):
            process = begin(*command, "--out", folder.name, folder=folder.parent)
            met += killed(process, folder, there, rng.uniform(0, LONGEST))
    assert _ended(folder, command) == 0
    return met


def _made(folder: Path) -> dict[str, Any]:
    """Files by name, and the calls: the requests, and what they were booked as."""
    found: dict[str, Any] = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in (*folder.glob("stages/*/*"), *folder.glob("*/adapter/*.safetensors"))
    }
    for name in MADE:
        if (folder / name).exists():
            found[name] = (folder / name).read_text(encoding="utf-8").replace(str(folder), "RUN")
    with sqlite3.connect(folder / "calls.sqlite") as store:
        found["calls"] = store.execute(
            "SELECT key, role, model, request, prompt_tokens, completion_tokens FROM calls ORDER BY key"
        ).fetchall()
    return found


def _same(broken: Path, unbroken: Path) -> None:
    ours, theirs = _made(broken), _made(unbroken)
    assert set(ours) == set(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert not list(broken.rglob("*.part"))


def pairs() -> list[Trace]:
    """Single ones, a group, and a text alone."""
    group = [trace(f"g{at}", UPPER, text, group="g") for at, text in enumerate(TEXTS)]
    return [*traces(each=4), *group, trace("alone", REVERSE, None, known=False)]


def test_a_prediction_that_is_killed_in_every_stage_makes_the_same(tmp_path: Path, kills: int):
    write_jsonl(tmp_path / "pairs.jsonl", [row_of(one) for one in pairs()])
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert _ended(unbroken, PREDICT) == 0
    met = _killed_everywhere(broken, PREDICT, PREDICTING, kills)
    assert met >= 2, "kills must meet the run alive"
    _same(broken, unbroken)
    assert (broken / "predictions.jsonl").read_text().count("\n") == 10


def test_what_a_server_has_answered_is_not_asked_again_after_a_kill(cli, tmp_path: Path, kills: int):
    write_jsonl(tmp_path / "pairs.jsonl", [row_of(one) for one in traces(each=30)])
    command = ["recover", "predict", "pairs.jsonl", "--model", "mock", "--embedder", "none", "--draws", "4"]
    survived = check_survives_kills(cli, command, tmp_path, concurrency=4, kills=max(1, kills // 3))
    assert survived.kills >= 1
    assert survived.report["counts"]["told"] == 60


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_training(tmp_path_factory)


def test_a_training_that_is_killed_in_every_stage_makes_the_same(trained: Path, tmp_path: Path, kills: int):
    shutil.copy(trained.parent / "lesson.jsonl", tmp_path)
    met = _killed_everywhere(tmp_path / "run", TRAIN, TRAINING, kills)
    assert met >= 4, "kills must meet the run alive"
    _same(tmp_path / "run", trained)
