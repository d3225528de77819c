"""What the tests of `rewrite` share: a quick pipeline on the embedded model, tables by hand, and the command with small
shards in a process of its own, so that there is something to break off."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from promptmill.cli.main import main
from promptmill.crafts.rewrite.tables import BaseRow
from promptmill.crafts.rewrite.values import Values
from promptmill.judge.judge import Judge
from promptmill.judge.panel import Panel
from promptmill.model import shards
from promptmill.model.gate import Model
from tests.judging import RUBRIC, WORDING, Weighted

HEAVY = ["tests.rewriting", "torch", "transformers", "peft", "scipy.stats", "pyarrow.parquet", "safetensors.torch",
         "transformers.models.llama.modeling_llama", "promptmill.train.course", "promptmill.model.local.decode",
         "promptmill.judge.report"]  # fmt: skip
SMALL_SHARD = 12
QUICK = {
    "rewrite.synthesize.topics": 2, "rewrite.synthesize.prompts": 3, "rewrite.synthesize.variations": 2,
    "rewrite.synthesize.inputs": 2, "rewrite.synthesize.max_tokens": 32, "rewrite.synthesize.together": 0.95,
    "rewrite.answer.max_tokens": 32, "rewrite.rounds": 1, "rewrite.rewrites": 3, "rewrite.test.candidates": 2,
    "rewrite.test.proof": 2,
    "rewrite.pairs.z": 0, "rewrite.pairs.margin": 0.01, "rewrite.learn.train.epochs": 3,
    "rewrite.learn.train.batch_items": 4, "rewrite.learn.train.checkpoint_seconds": 0,
}  # fmt: skip
INTENTS = ("--intent", "the order of words", "--intent", "finding words")
WEAK = ("--allow-weak-panel",)


def settings(**changes: Any) -> list[str]:
    """QUICK, with changes: `pairs__z=1` is rewrite.pairs.z."""
    values = QUICK | {f"rewrite.{name.replace('__', '.')}": value for name, value in changes.items()}
    return [part for name, value in values.items() for part in ("--set", f"{name}={json.dumps(value)}")]


def base(name: str = "b", text: str = "Say it.", split: str = "train", domain: str = "words") -> BaseRow:
    return BaseRow(name, domain, None, f"what {name} is for", text, name, split)


def panel_of(*names: str, weights: Mapping[str, float] | None = None, **shares: Mapping[str, float]) -> Panel:
    """Judges by one criterion, a model each, which answers what `shares` says, or A and 5."""
    told = {name: shares.get(name, {"5": 1.0, "A": 1.0}) for name in names}
    judges = [
        Judge(name, Model(Weighted(lambda text, one=name: told[one], name), attempts=1), RUBRIC, WORDING,
              criteria=("correctness",))
        for name in names
    ]  # fmt: skip
    return Panel(judges, weights or dict.fromkeys(names, 1.0))


def score_rows_of(
    base_id: str, variation: int, by_input: Sequence[Mapping[str, float | None]], planted: str | None = None
) -> list[dict[str, Any]]:
    """A table's rows of one prompt: of each input what each judge makes of the answer, 0 to 1; None: unread."""
    return [
        {"base_id": base_id, "variation_id": variation, "input_id": given, "sample_id": 0, "planted": planted,
         "validator": judge, "criterion": "correctness", "repeat": 0,
         "expected": None if value is None else 1 + 4 * value}
        for given, judged in enumerate(by_input)
        for judge, value in judged.items()
    ]  # fmt: skip


def values_of(panel: Panel, scores: Mapping[int, Sequence[Mapping[str, float | None]]], base_id: str = "b") -> Values:
    """Of one base prompt, by variation."""
    values = Values(panel)
    for variation, by_input in scores.items():
        values.add(score_rows_of(base_id, variation, by_input))
    return values


@contextmanager
def small_shards(rows: int = SMALL_SHARD) -> Iterator[None]:
    """Shards of all stages hold so many items at most."""
    parts = shards._parts
    with patch.object(shards, "_parts", lambda items, most: parts(items, min(most, rows))):
        yield


def begin(*command: str) -> multiprocessing.process.BaseProcess:
    """The command with small shards, in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)  # read once, not by every process that is killed
    process = context.Process(target=_run, args=(command,))
    process.start()
    return process


def finished_run(factory: pytest.TempPathFactory) -> Path:
    """The folder of a quick run in one go, with small shards: made once, and only to be read."""
    if not _FINISHED:
        folder = factory.mktemp("rewrite") / "run"
        process = begin("rewrite", "run", *INTENTS, *settings(), *WEAK, "--out", str(folder))
        process.join(240)
        assert process.exitcode == 0
        _FINISHED.append(folder)
    return _FINISHED[0]


_FINISHED: list[Path] = []


def _run(command: Sequence[str]) -> None:
    sys.argv = ["promptmill", *command]
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    with small_shards():
        main()
