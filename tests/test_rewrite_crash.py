"""kill -9 in each stage of a rewrite: the continued run makes the same files, byte for byte, and the same report.

A kill in each stage; `pytest tests/test_rewrite_crash.py --kills 9` makes it three. Of the files it is shards and
adapters that are held against each other, as manifest.json names them, and of the rest the report, page and metrics:
all but checkpoints, which hold the clock, events.jsonl and the times in calls.sqlite.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from promptmill.store.manifest import manifest
from tests.crash import killed
from tests.rewriting import INTENTS, WEAK, begin, finished_run, settings

TUNED = {"tune_main": True, "tune__lora__rank": 2, "tune__train__epochs": 5, "tune__train__batch_items": 4,
         "tune__train__checkpoint_seconds": 0}  # fmt: skip
COMMAND = ["rewrite", "run", *INTENTS, *settings(**TUNED), *WEAK]
BEGUN = {
    "synthesize": "stages/topics-*", "answer": "stages/outputs-variations-*", "judge": "stages/scores-variations-*",
    "pairs": "stages/scores-round-1-*/part-00002.parquet", "train": "round-1/checkpoints/*",
    "tune": "tuned/checkpoints/*", "test": "stages/outputs-test-0-*",
}  # fmt: skip
"""What is there once a stage is at work, or about to be."""
LONGEST = 0.6
"""Seconds after that, before the kill."""


def _ended(folder: Path, *more: str) -> int | None:
    process = begin(*COMMAND, "--out", str(folder), *more)
    process.join(240)
    return process.exitcode


def _text(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8").replace(str(folder), "RUN")


def _calls(folder: Path) -> list[tuple[Any, ...]]:
    """By key: the request, and what it was booked as."""
    with sqlite3.connect(folder / "calls.sqlite") as store:
        return store.execute(
            "SELECT key, role, model, request, prompt_tokens, completion_tokens FROM calls ORDER BY key"
        ).fetchall()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quick run, and beyond its end the tuning of the main model, never broken off."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    shutil.copytree(finished_run(tmp_path_factory), folder)
    assert _ended(folder) == 0
    return folder


def test_a_run_that_is_killed_in_every_stage_makes_the_same(unbroken: Path, tmp_path: Path, kills: int):
    rng, broken, met = random.Random(kills), tmp_path / "run", 0
    for stage in BEGUN:
        for _ in range(max(1, kills // 3)):
            process = begin(*COMMAND, "--out", str(broken))
            met += killed(process, broken, BEGUN[stage], rng.uniform(0, LONGEST))
    assert met >= 5, "kills must meet the run alive"
    assert _ended(broken) == 0
    made = json.loads(_text(broken, "manifest.json"))
    assert made == json.loads(_text(unbroken, "manifest.json")) == manifest(unbroken)
    assert list(made["adapters"]) == [f"{one}/adapter/adapter_model.safetensors" for one in ("round-1", "tuned")]
    for name in (
        "report.json",
        "report.html",
        "metrics.jsonl",
        "panel.json",
        "round-1/outcome.json",
        "tuned/outcome.json",
    ):
        assert _text(broken, name) == _text(unbroken, name), name
    assert _calls(broken) == _calls(unbroken), "a call counts once, however often its shard was begun"
    assert not list(broken.rglob("*.part"))


def test_a_second_round_that_is_killed_makes_the_same_and_is_held_against_the_first(tmp_path: Path):
    given, whole, broken = (
        [*INTENTS, *settings(rounds=2, synthesize__dev=0.4, synthesize__topics=3), *WEAK],
        tmp_path / "a",
        tmp_path / "b",
    )

    def run(step: str, folder: Path) -> None:
        process = begin("rewrite", step, *given, "--out", str(folder))
        process.join(240)
        assert process.exitcode == 0

    run("judge", whole)
    shutil.copytree(whole, broken)
    run("train", whole)
    assert json.loads(_text(whole, "report.json"))["rounds"][1]["dev"] is not None
    met = 0
    for sign in ("round-2/checkpoints/*", "stages/dev_rewrites-*", "stages/outputs-dev-2-*"):
        met += killed(begin("rewrite", "train", *given, "--out", str(broken)), broken, sign, 0.0)
    assert met >= 1, "kills must meet the run alive"
    run("train", broken)
    for name in ("manifest.json", "report.json"):
        assert _text(broken, name) == _text(whole, name), name


def test_a_second_run_asks_nothing_and_changes_nothing(unbroken: Path, tmp_path: Path):
    again = tmp_path / "run"
    shutil.copytree(unbroken, again)
    before, calls = _text(again, "manifest.json"), _calls(again)
    assert _ended(again) == 0
    assert _text(again, "manifest.json") == before
    assert _text(again, "report.json") == _text(unbroken, "report.json")
    assert _calls(again) == calls
