"""The prompts by which texts are rewritten: a user's own, or written by the writer from intents; and variations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptmill.crafts.recover.config import SynthesizeConfig
from promptmill.crafts.recover.synthesize.cells import cell, first_of
from promptmill.crafts.recover.synthesize.parts import prompt_id_of
from promptmill.crafts.recover.synthesize.records import BASE, PromptRow
from promptmill.errors import InputError
from promptmill.model.shards import SHARD_ROWS, Listener, fill
from promptmill.store.records import record_of, row_of
from promptmill.store.stage import Stage
from promptmill.tasks.formats import read_table
from promptmill.tasks.task import SPLITS
from promptmill.vary.variations import ORIGIN, Varied, variations
from promptmill.vary.wording import Wording
from promptmill.vary.writing import Writer

COLUMNS = ("prompt", "rewrite_prompt")
GIVEN, WRITTEN = "given", "written"


@dataclass(frozen=True, slots=True)
class GivenPrompt:
    """A prompt of the user's own. category: by which it is counted. split, cluster: where the file says so."""

    text: str
    category: str = GIVEN
    split: str | None = None
    cluster: str | None = None


def read_prompts(path: Path) -> list[GivenPrompt]:
    """Prompts from JSON lines, JSON, CSV or parquet.

    Columns: `prompt` (or `rewrite_prompt`); optional `category`, `split` (train, dev or test) and `cluster`. Others are
    not looked at. InputError names file and row of what cannot be used.
    """
    found = []
    for row in read_table(path).rows:
        where = f"{path}, {row.where}"
        text, split = first_of(row.values, COLUMNS, where), cell(row.values, "split", where)
        if split not in (None, *SPLITS):
            raise InputError(f"{where}: split must be train, dev or test, not {split!r}")
        category, cluster = cell(row.values, "category", where), cell(row.values, "cluster", where)
        found.append(GivenPrompt(text, category or GIVEN, split, cluster))
    return found


def bases_of(given: Iterable[GivenPrompt], drafts: Stage | None) -> tuple[list[PromptRow], int]:
    """The base prompts, each once (case and spacing aside), the given ones first; and of how many."""
    found: dict[str, PromptRow] = {}
    count = 0
    for one in given:
        count, key = count + 1, prompt_id_of(one.text)
        row = PromptRow(key, key, BASE, GIVEN, one.category, one.text, None, one.split, one.cluster)
        found.setdefault(key, row)
    for draft in drafts.rows() if drafts else ():
        if draft["text"] is not None:
            count, key = count + 1, prompt_id_of(draft["text"])
            found.setdefault(key, PromptRow(key, key, BASE, WRITTEN, draft["domain"], draft["text"]))
    return list(found.values()), count


async def write_variations(
    stage: Stage, writer: Writer, wording: Wording, config: SynthesizeConfig, seed: int, bases: Sequence[PromptRow],
    on: Listener,
) -> Stage:  # fmt: skip
    """`config.variations` of each base prompt, of its category, split and cluster. One that did not come, or says what
    its base prompt or another one of it says, is a row without text and with the reason."""

    async def make(part: Sequence[PromptRow]) -> list[dict[str, Any]]:
        prompts = [Varied(one.base_id, one.text or "", one.category, literal=True) for one in part]
        found = await variations(writer, wording, prompts, config.variations, seed)
        return [
            row_of(PromptRow(prompt_id_of(said.text) if said.text else None, base.base_id, at, ORIGIN, base.category,
                             said.text, said.error, base.split, base.cluster))
            for base, several in zip(part, found, strict=True)
            for at, said in enumerate(several)
        ]  # fmt: skip

    wanted = bases if config.variations else ()
    rows = max(1, SHARD_ROWS // max(1, config.variations))
    return await fill(stage, wanted, make, models=[writer.model], rows=rows, on=on)


def read_rows(stage: Stage) -> Iterator[PromptRow]:
    for row in stage.rows():
        yield record_of(PromptRow, row)


def usable(bases: Sequence[PromptRow], varied: Iterable[PromptRow]) -> list[PromptRow]:
    """All prompts that have a text, each base prompt with its variations; a variation that says what another prompt
    says already is none."""
    seen = {one.prompt_id for one in bases}
    families: dict[str, list[PromptRow]] = {one.base_id: [one] for one in bases}
    for one in varied:
        if one.prompt_id is not None and one.prompt_id not in seen:
            seen.add(one.prompt_id)
            families[one.base_id].append(one)
    return [one for family in families.values() for one in family]
