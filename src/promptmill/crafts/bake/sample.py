"""Trajectories drawn from the prompted model into a stage, shard by shard, so that a broken sampling goes on.

A shard's answers are drawn in batches of that shard alone, and each answer has its own stream of random numbers: a
sampling that was killed and continued writes the shards that an unbroken one writes, byte for byte on the same machine
(another batch size or device may differ in the last bits of a score).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from promptmill.crafts.bake.config import BakeSampleConfig
from promptmill.crafts.bake.contexts import Context, contexts
from promptmill.crafts.bake.questions import Question
from promptmill.crafts.bake.trajectories import Kept, Trajectory, row_of, schema_of
from promptmill.errors import ModelError
from promptmill.model.local.choosing import seed_of
from promptmill.model.local.loaded import Loaded
from promptmill.prompt import Prompt
from promptmill.store.stage import Stage, digest

if TYPE_CHECKING:
    import pyarrow as pa

    from promptmill.crafts.bake.draw import Drawn, Wanted
    from promptmill.model.local.cache import Prefix

ALGORITHM = "bake-sample-1"  # change it when the same settings give other trajectories
SHARD_ROWS, SHARD_BYTES = 256, 1 << 28  # what a kill costs at most, and what a shard takes in memory

Listener = Callable[[int, int], None]
"""Told (answers that are there, answers in all) at the beginning and after each shard."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One answer to come."""

    question: Question
    context: Context
    repeat: int


@dataclass(frozen=True)
class Plan:
    """A whole sampling before its first token: every context is known, and fits.

    name: of its stage; it follows from all that decides the rows.
    """

    loaded: Loaded
    config: BakeSampleConfig
    seed: int
    name: str
    kept: Kept
    shards: tuple[tuple[Piece, ...], ...]

    @property
    def schema(self) -> pa.Schema:
        return schema_of(self.kept)

    @property
    def answers(self) -> int:
        return sum(map(len, self.shards))

    @property
    def most_tokens(self) -> int:
        """New tokens at most."""
        return self.answers * self.config.max_new_tokens

    @property
    def most_bytes(self) -> int:
        """Of the stage at most, but for the contexts."""
        return self.most_tokens * (self.kept.bytes_a_token + 4)


def plan_sampling(
    loaded: Loaded, prompt: Prompt, questions: Sequence[Question], config: BakeSampleConfig, seed: int = 0
) -> Plan:
    """What `sample` will draw. InputError for a prompt that cannot be baked into this model (see contexts.py)."""
    made = contexts(loaded, prompt, questions, config)
    pieces = [
        Piece(question, context, repeat)
        for question, context in zip(questions, made, strict=True)
        for repeat in range(config.sequences)
    ]
    text, dtype = loaded.model.config.get_text_config(), str(loaded.model.dtype).removeprefix("torch.")
    kept = Kept(config.teacher, 0)
    if config.teacher == "topk":
        kept = Kept("topk", 0, k=min(config.k, text.vocab_size))
    elif config.teacher == "hidden":
        kept = Kept("hidden", 0, width=text.hidden_size, dtype=dtype)
    rows = max(1, min(SHARD_ROWS, SHARD_BYTES // (config.max_new_tokens * (kept.bytes_a_token + 4))))
    shards = tuple(tuple(pieces[low : low + rows]) for low in range(0, len(pieces), rows))
    told = [[question.text, question.split] for question in questions]
    name = digest(
        ALGORITHM, loaded.fingerprint, prompt.to_dict(), told, config.model_dump(exclude={"validation"}), seed, rows
    )
    kept = Kept(kept.teacher, len(shards), kept.k, kept.width, kept.dtype)
    return Plan(loaded, config, seed, f"trajectories-{name}", kept, shards)


def sample(plan: Plan, stage: Stage, *, batch_size: int = 64, on: Listener | None = None) -> None:
    """Draw what is not there yet. Blocks; to be run by one thread, while nothing else asks the model.

    stage: `Stage(folder / plan.name, plan.schema)`. ModelError where the model gives no usable scores, or where not
    even one answer fits its memory.
    """
    if all(stage.done(number) for number in range(len(plan.shards))):
        if on:
            on(plan.answers, plan.answers)
        return
    from promptmill.crafts.bake.draw import shared_prefix

    prefix = shared_prefix(plan.loaded.model, [piece.context.prompted for shard in plan.shards for piece in shard])
    there = sum(len(shard) for number, shard in enumerate(plan.shards) if stage.done(number))
    for number, shard in enumerate(plan.shards):
        if on:
            on(there, plan.answers)
        if not stage.done(number):
            stage.write(number, [row_of(one, plan.kept) for one in _drawn(plan, prefix, shard, batch_size)])
            there += len(shard)
    if on:
        on(there, plan.answers)


def _drawn(plan: Plan, prefix: Prefix | None, shard: Sequence[Piece], batch_size: int) -> list[Trajectory]:
    """The shard's trajectories in its order, drawn in batches of contexts that are about as long."""
    from promptmill.crafts.bake.draw import Wanted

    order = sorted(range(len(shard)), key=lambda at: len(shard[at].context.prompted))  # stable: repeats stay together
    found: dict[int, Drawn] = {}
    for low in range(0, len(order), batch_size):
        places = order[low : low + batch_size]
        wanted = [
            Wanted(piece.context.prompted, seed_of(piece.context.prompted, plan.seed, piece.repeat, 0))
            for piece in (shard[at] for at in places)
        ]
        found.update(zip(places, _within_memory(plan, prefix, wanted), strict=True))
    return [_trajectory(piece, found[at]) for at, piece in enumerate(shard)]


def _within_memory(plan: Plan, prefix: Prefix | None, wanted: Sequence[Wanted]) -> list[Drawn]:
    """A batch; out of memory, in two halves."""
    import torch

    from promptmill.crafts.bake.draw import draw

    try:
        return draw(plan.loaded, prefix, wanted, plan.config)
    except torch.OutOfMemoryError:
        if len(wanted) == 1:
            raise ModelError(
                f"{plan.loaded.name}: the memory does not hold one answer of {plan.config.max_new_tokens} tokens; "
                "lower max_new_tokens, shorten the prompt, or load the model with fewer bits"
            ) from None
    torch.cuda.empty_cache()
    half = len(wanted) // 2
    return _within_memory(plan, prefix, wanted[:half]) + _within_memory(plan, prefix, wanted[half:])


def _trajectory(piece: Piece, drawn: Drawn) -> Trajectory:
    question, context = piece.question, piece.context
    return Trajectory(
        question.id, question.text, piece.repeat, question.split, np.array(context.prompted, np.int32),
        np.array(context.bare, np.int32), drawn.ids, drawn.finish, drawn.scores, drawn.hidden,
    )  # fmt: skip


def recorded(config: BakeSampleConfig, eos: frozenset[int]) -> dict[str, Any]:
    """The distribution that answers were drawn from, for a report: nothing of it is left to a model's own defaults."""
    return {
        "temperature": config.temperature, "top_p": config.top_p, "top_k": config.top_k,
        "min_new_tokens": config.min_new_tokens, "max_new_tokens": config.max_new_tokens, "end_tokens": sorted(eos),
    }  # fmt: skip
