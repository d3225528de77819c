"""Variations of base prompts by an operator that breed uses too (vary/variations.py)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from promptmill.crafts.rewrite.config import SynthesizeConfig
from promptmill.crafts.rewrite.tables import BaseRow, VariationRow
from promptmill.model import shards
from promptmill.store.records import record_of, row_of
from promptmill.store.stage import Stage
from promptmill.vary.variations import ORIGIN, Varied, variations
from promptmill.vary.wording import Wording
from promptmill.vary.writing import Writer

VARIED = ("train", "dev")
"""Base prompts of the test are varied by nobody but the rewriter."""


async def write_variations(
    stage: Stage, writer: Writer, wording: Wording, config: SynthesizeConfig, seed: int, bases: Stage,
    on: shards.Listener,
) -> Stage:  # fmt: skip
    """`config.variations` of each base prompt for train and dev. One that did not come, or says what the base prompt or
    another one says, is a row without text and with the reason."""

    async def make(part: Sequence[BaseRow]) -> list[dict[str, Any]]:
        prompts = [Varied(base.base_id, base.text, base.intent) for base in part]
        found = await variations(writer, wording, prompts, config.variations, seed)
        return [
            row_of(VariationRow(base.base_id, at, ORIGIN, 0, one.text, one.error))
            for base, several in zip(part, found, strict=True)
            for at, one in enumerate(several)
        ]

    wanted: Iterable[BaseRow] = (
        record_of(BaseRow, row) for row in bases.rows() if row["split"] in VARIED and config.variations
    )
    rows = max(1, shards.SHARD_ROWS // max(1, config.variations))
    return await shards.fill(stage, wanted, make, models=[writer.model], rows=rows, on=on)
