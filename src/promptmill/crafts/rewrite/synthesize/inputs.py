"""What base prompts are tried on: as given, out of a task, or written."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from promptmill.crafts.rewrite.config import SynthesizeConfig
from promptmill.crafts.rewrite.synthesize.prompts_file import GivenInput, GivenPrompt
from promptmill.crafts.rewrite.tables import BaseRow, InputRow
from promptmill.model import shards
from promptmill.prompt import fill
from promptmill.store.records import record_of, row_of
from promptmill.store.stage import Stage
from promptmill.tasks.task import Example, Task
from promptmill.vary.dedup import exactly
from promptmill.vary.wording import Wording
from promptmill.vary.writing import Said, Writer

if TYPE_CHECKING:
    import pyarrow as pa

FAILED = -1
"""The input_id of what did not come."""


def raw_schema() -> pa.Schema:
    """A row for each input, and for each answer that is none (input_id -1), with the reason. Not the columns of
    InputRow: by its columns a table is known."""
    import pyarrow as pa

    columns: dict[str, pa.DataType] = {
        "base_id": pa.string(),
        "input_id": pa.int32(),
        "text": pa.string(),
        "golds": pa.list_(pa.string()),
        "error": pa.string(),
    }
    return pa.schema(columns)


async def write_inputs(
    raw: Stage, stage: Stage, writer: Writer, wording: Wording, config: SynthesizeConfig, seed: int, bases: Stage,
    given: Sequence[GivenPrompt], on: shards.Listener,
) -> Stage:  # fmt: skip
    """The inputs of every base prompt: those that were given with it; else `config.inputs` examples of its task, out of
    the same split (train's for a dev prompt where the task has none of dev); else as many written by the writer, which
    differ, as far as it has so many to say. A base prompt without any has no row."""
    known: dict[str, GivenPrompt] = {}
    for one in given:
        known.setdefault(exactly(one.text), one)

    async def make(part: Sequence[BaseRow]) -> list[dict[str, Any]]:
        ready = [_ready(base, known, config, seed) for base in part]
        open_at = [at for at, inputs in enumerate(ready) if inputs is None]
        requests = [fill(wording.write_input, {"description": part[at].intent}) for at in open_at]
        written = dict(zip(open_at, await writer.distinct(requests, config.inputs), strict=True))
        return [
            row
            for at, (base, inputs) in enumerate(zip(part, ready, strict=True))
            for row in (_written(base, written[at]) if inputs is None else _given(base, inputs))
        ]

    walk: Iterator[BaseRow] = (record_of(BaseRow, row) for row in bases.rows())
    rows = max(1, shards.SHARD_ROWS // max(1, config.inputs))
    await shards.fill(raw, walk, make, models=[writer.model], rows=rows, on=on)
    whole = (InputRow(*(row[name] for name in ("base_id", "input_id", "text", "golds"))) for row in _came(raw))
    return await shards.fill(stage, whole, _as_rows)


def _ready(
    base: BaseRow, known: Mapping[str, GivenPrompt], config: SynthesizeConfig, seed: int
) -> Sequence[GivenInput] | None:
    """The inputs that need no writer; None where they have to be written."""
    mine = known.get(exactly(base.text))
    if mine is not None and mine.inputs:
        return mine.inputs
    if mine is not None and mine.known is not None:
        return _examples(mine.known, base, max(1, config.inputs), seed)
    return None


def _examples(task: Task, base: BaseRow, count: int, seed: int) -> list[GivenInput]:
    """Examples of the task, drawn by a generator of that base prompt's own."""
    split = "train" if base.split == "dev" and not task.dev else base.split
    examples = task.split(split)
    rng = random.Random(f"{seed}/{base.base_id}/inputs")
    return [GivenInput(_shown(task, one), one.gold) for one in rng.sample(examples, min(count, len(examples)))]


def _shown(task: Task, example: Example) -> str:
    """The user's turn of the task; the bare fields where its instruction stands in that turn."""
    return fill(task.prompt.user, example.fields) if task.prompt.system else example.shown


def _given(base: BaseRow, inputs: Sequence[GivenInput]) -> Iterator[dict[str, Any]]:
    for at, one in enumerate(inputs):
        gold = None if one.gold is None else list(one.gold)
        yield {"base_id": base.base_id, "input_id": at, "text": one.input, "golds": gold, "error": None}


def _written(base: BaseRow, said: Sequence[Said]) -> Iterator[dict[str, Any]]:
    yield from _given(base, [GivenInput(one.text) for one in said if one.text is not None])
    for one in said:
        if one.text is None:
            yield {"base_id": base.base_id, "input_id": FAILED, "text": None, "golds": None, "error": one.error}


def _came(raw: Stage) -> Iterator[dict[str, Any]]:
    return (row for row in raw.rows() if row["input_id"] != FAILED)


async def _as_rows(part: Sequence[InputRow]) -> list[dict[str, Any]]:
    return [row_of(row) for row in part]
