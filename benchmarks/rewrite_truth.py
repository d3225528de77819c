"""What is measured beside the pipeline's own test: scores on many texts, and broken rules on many prompts."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.rewrite_prompts import Held, best_known, further, held_out, scores_of
from promptmill.crafts.rewrite.finished import finished_rewrite
from promptmill.crafts.rewrite.guard.guard import Guard
from promptmill.crafts.rewrite.rewriter import rewritten
from promptmill.model.chat import Failure
from promptmill.model.gate import Model, together
from promptmill.model.load import ModelConfig, open_backend

Row = dict[str, Any]
MANY = 500
"""Prompts on which broken rules are counted: of the test's hundred a single one more is a percent."""


def known(rows: Sequence[Row]) -> list[Row]:
    """Those of prompts whose task is known."""
    return [row for row in rows if row["base_score"] is not None]


def measured_again(
    rows: Sequence[Row], held: Sequence[Held], seed: int, path: Path
) -> tuple[list[Row], dict[str, float]]:
    """The rows with scores on further texts, and the best known wordings' there. path: where they are kept; what is in
    there is not measured again."""
    model, asked = Model(open_backend(ModelConfig())), further(held, seed)
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"best": {}, "scores": {}}
    if not found["best"]:
        best = best_known(model, asked, seed)
        found["best"] = {one.prompt: value for one, value in zip(asked, best, strict=True)}
    scores: dict[str, dict[str, float]] = found["scores"]
    wanted: dict[str, list[str]] = {}
    for row in known(rows):
        prompt = row["prompt"]
        texts = [one for one in (prompt, row["raw"], row["rewrite"]) if one is not None]
        if missing := [one for one in texts if one not in scores.get(prompt, {})]:
            wanted[prompt] = missing
    for prompt, more in scores_of(model, asked, wanted).items():
        scores.setdefault(prompt, {}).update(more)
    path.write_text(json.dumps(found))

    def again(row: Row) -> Row:
        mine = scores[row["prompt"]]
        base = mine[row["prompt"]]
        told = {"base": base, "raw": mine.get(row["raw"], base), "rewrite": mine.get(row["rewrite"], base)}
        return row | {f"{name}_score": score for name, score in told.items()}

    return [again(row) for row in known(rows)], found["best"]


def broken(run: Path, seed: int, count: int = MANY) -> float:
    """The share of the rewriter's first answers to other prompts in reserved wordings that break a rule."""
    found = finished_rewrite(run)
    model, guard, prompts = Model(open_backend(found.rewriter)), Guard(), held_out(count, seed + MANY, inputs=1)
    most = found.config.synthesize.max_tokens

    async def first_answers() -> list[list[str | Failure | None]]:
        async with model:
            wording = found.roles.wording
            return await together([rewritten(model, wording, one.prompt, max_tokens=most) for one in prompts])

    answers = [first for (first,) in asyncio.run(first_answers())]
    return fmean(not isinstance(text, str) or bool(guard(one.prompt, text))
                 for one, text in zip(prompts, answers, strict=True))  # fmt: skip
