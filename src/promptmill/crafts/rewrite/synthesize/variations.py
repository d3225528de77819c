"""Variations of base prompts by an operator that breed uses too: first order, by a mutation prompt of the wording."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from promptmill.crafts.rewrite import shards
from promptmill.crafts.rewrite.config import SynthesizeConfig
from promptmill.crafts.rewrite.synthesize.writing import UNREADABLE, Said, Writer, carried_out
from promptmill.crafts.rewrite.tables import BaseRow, VariationRow, record_of, row_of
from promptmill.prompt import Prompt
from promptmill.store.stage import Stage
from promptmill.vary.operators.direct import first_order
from promptmill.vary.read import read_instruction
from promptmill.vary.scene import Child, Genome, Member, Scene
from promptmill.vary.wording import Wording

ORIGIN = "first_order"
HOLES = "holes: the rewrite changes the holes of the prompt"
VARIED = ("train", "dev")
"""Base prompts of the test are varied by nobody but the rewriter."""


async def write_variations(
    stage: Stage, writer: Writer, wording: Wording, config: SynthesizeConfig, seed: int, bases: Stage,
    on: shards.Listener,
) -> Stage:  # fmt: skip
    """`config.variations` of each base prompt for train and dev. One that did not come, or says what the base prompt or
    another one says, is a row without text and with the reason."""

    async def make(part: Sequence[BaseRow]) -> list[dict[str, Any]]:
        plans = [(base, drawn, repeat) for base in part for drawn, repeat in _drawn(base, wording, config, seed)]
        said: list[Said] = [Said(None)] * len(plans)

        async def ask(at: int, request: str) -> str | None:
            said[at] = await writer.answer(request, plans[at][2])
            return said[at].text

        runs = [first_order(_scene(base, drawn, wording), random.Random(0)) for base, drawn, _ in plans]
        made = await carried_out(runs, ask)
        texts = [_made(child, one) for child, one in zip(made, said, strict=True)]
        count = config.variations
        parts = [texts[at : at + count] for at in range(0, len(texts), count)]
        return [row_of(row) for base, several in zip(part, parts, strict=True) for row in _rows(base, several)]

    wanted: Iterable[BaseRow] = (
        record_of(BaseRow, row) for row in bases.rows() if row["split"] in VARIED and config.variations
    )
    rows = max(1, shards.SHARD_ROWS // max(1, config.variations))
    return await shards.fill(stage, wanted, make, models=[writer.model], rows=rows, on=on)


def _drawn(base: BaseRow, wording: Wording, config: SynthesizeConfig, seed: int) -> list[tuple[str, int]]:
    """Mutation prompts for a base prompt, by a generator of its own: no other base prompt changes them. All differ as
    far as there are so many; then they come again with another repeat index."""
    rng = random.Random(f"{seed}/{base.base_id}")
    prompts = list(dict.fromkeys(wording.all_mutation_prompts))
    drawn: list[tuple[str, int]] = []
    while len(drawn) < config.variations:
        repeat = len(drawn) // len(prompts)
        drawn += [(one, repeat) for one in rng.sample(prompts, len(prompts))]
    return drawn[: config.variations]


def _scene(base: BaseRow, drawn: str, wording: Wording) -> Scene:
    return Scene(base.intent, wording, Member(Genome(Prompt(system=base.text), drawn)))


def _made(child: Child | None, said: Said) -> Said:
    if child is not None:
        return Said(child.genome.instruction)
    if said.text is None:
        return said
    return Said(None, HOLES if read_instruction(said.text) else UNREADABLE)


def _rows(base: BaseRow, several: Sequence[Said]) -> list[VariationRow]:
    seen = {" ".join(base.text.split()): "the base prompt"}
    rows = []
    for at, one in enumerate(several):
        text, error = one.text, one.error
        if text is not None:
            same = " ".join(text.split())
            if same in seen:
                text, error = None, f"repeats: {seen[same]}"
            else:
                seen[same] = f"variation {at}"
        rows.append(VariationRow(base.base_id, at, ORIGIN, 0, text, error))
    return rows
