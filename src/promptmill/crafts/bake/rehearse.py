"""What a bake must leave as it was: answers of the model to other prompts, which it is held to while it learns.

In a trial without it other prompted skills fell from 93 % to 49 %; with it they stayed where they were.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptmill.crafts.bake.config import BakeConfig, BakeSampleConfig
from promptmill.crafts.bake.contexts import contexts
from promptmill.crafts.bake.questions import Question
from promptmill.errors import InputError
from promptmill.model.local.choosing import seed_of
from promptmill.model.local.loaded import Loaded
from promptmill.prompt import Prompt, holes
from promptmill.settings import load_yaml, read_text
from promptmill.store.stage import Stage, digest

if TYPE_CHECKING:
    import pyarrow as pa

    from promptmill.train.batches import Item

BATCH = 64  # answers drawn together, and of a shard
ALGORITHM = "bake-rehearsal-1"  # change it when the same settings give other answers


def other_prompts(path: Path | None = None) -> tuple[str, ...]:
    """The instructions to be rehearsed: ours, or those of a YAML or JSON list. InputError for another file."""
    source = path or Path(__file__).with_name("rehearsal.yaml")
    found = load_yaml(read_text(source), str(source))
    if not isinstance(found, list) or not found or not all(isinstance(one, str) and one.strip() for one in found):
        raise InputError(f"{source}: must be a list of prompts, each a text")
    if bad := next((one for one in found if holes(one)), None):
        raise InputError(f"{source}: {bad[:40]!r} has holes; a rehearsed prompt stands before the question as it is")
    return tuple(found)


@dataclass(frozen=True)
class Rehearsal:
    """What is to be rehearsed, before its first token is drawn. contexts: what stands before each answer. name: of its
    stage; it follows from all that decides the answers."""

    contexts: tuple[tuple[int, ...], ...]
    sample: BakeSampleConfig
    seed: int
    name: str

    @property
    def shards(self) -> int:
        return -(-len(self.contexts) // BATCH)


def plan_rehearsal(
    loaded: Loaded, baked: Prompt, prompts: Sequence[str], questions: Sequence[Question], config: BakeConfig, seed: int
) -> Rehearsal:
    """At most `rehearsal_answers` questions, each under one of the other prompts; where there are more prompts than
    answers, under some of them. All of it follows from `seed`. Of the model only its tokenizer is needed. InputError
    where a prompt does not fit."""
    rng = random.Random(f"rehearsal {seed}")
    others = [one for one in prompts if one.strip() != baked.system.strip()]
    share = config.rehearsal_answers // max(1, len(others))
    chosen = others if share else rng.sample(others, config.rehearsal_answers)
    made: list[tuple[int, ...]] = []
    for prompt in chosen:
        asked = rng.sample(list(questions), min(max(1, share), len(questions)))
        whole = Prompt(user=f"{prompt}\n\n{{input}}") if loaded.chat.folds_system else Prompt(prompt)
        try:
            made += [one.prompted for one in contexts(loaded, whole, asked, config.sample)]
        except InputError as error:
            raise InputError(f"the rehearsed prompt {prompt[:40]!r}: {error}") from None
    plain = config.sample.model_copy(
        update={"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_new_tokens": 0, "teacher": "online"}
    )
    name = digest(ALGORITHM, loaded.fingerprint, made, plain.max_new_tokens, seed)
    return Rehearsal(tuple(made), plain, seed, f"rehearsal-{name}")


def rehearsed(
    loaded: Loaded, plan: Rehearsal, stage: Stage, on: Callable[[int, int], None] = lambda done, total: None
) -> list[Item]:
    """Answers that the model gives, before it is trained, at temperature 1; as items without a teacher. Those that are
    in the stage (`Stage(folder / plan.name, rehearsal_schema())`) are not drawn again.

    Raises what `draw` raises, and InputError where nothing was answered.
    """
    for number in range(plan.shards):
        on(number * BATCH, len(plan.contexts))
        if not stage.done(number):
            stage.write(number, _drawn(loaded, plan, plan.contexts[number * BATCH : (number + 1) * BATCH]))
    on(len(plan.contexts), len(plan.contexts))
    from promptmill.train.batches import Item

    items = [
        Item(tuple(row["context_ids"]), tuple(row["answer_ids"])) for row in stage.rows() if len(row["answer_ids"])
    ]
    if not items:
        raise InputError("no other prompt was answered, so nothing can be rehearsed; set rehearsal=0 to do without")
    return items


def rehearsal_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([("context_ids", pa.list_(pa.int32())), ("answer_ids", pa.list_(pa.int32()))])


def _drawn(loaded: Loaded, plan: Rehearsal, part: Sequence[tuple[int, ...]]) -> list[dict[str, Any]]:
    from promptmill.crafts.bake.draw import Wanted, draw

    wanted = [Wanted(context, seed_of(context, plan.seed, 0, 0)) for context in part]
    return [
        {"context_ids": one.context, "answer_ids": drawn.ids}
        for one, drawn in zip(wanted, draw(loaded, None, wanted, plan.sample), strict=True)
    ]
