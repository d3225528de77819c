"""The texts that are rewritten: a user's own, or written by the writer on subjects."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from promptmill.crafts.recover.config import SynthesizeConfig
from promptmill.crafts.recover.synthesize.cells import first_of
from promptmill.crafts.recover.synthesize.records import OriginalRow, TextRow
from promptmill.errors import InputError
from promptmill.model.embedded import EMBEDDED_MODELS
from promptmill.model.gate import Model
from promptmill.model.local import LocalBackend
from promptmill.model.shards import SHARD_ROWS, Listener, fill
from promptmill.prompt import fill as filled
from promptmill.settings import read_text
from promptmill.store.records import record_of, row_of
from promptmill.store.stage import Stage
from promptmill.tasks.formats import read_table
from promptmill.vary.dedup import copies
from promptmill.vary.wording import Wording
from promptmill.vary.writing import Writer

COLUMNS = ("original_text", "text")
SUBJECTS = tuple(
    f"the {name}"
    for name in (
        "park river house school garden forest market kitchen street beach tower bridge hill lake station shop church "
        "castle library cave island village office teacher doctor farmer sailor baker nurse judge painter singer dog "
        "cat horse bird bear wolf rabbit owl whale boat car door clock letter map drum mirror bread soup cake tea"
    ).split()
)
"""Everyday things, of which any writer has something to say; the embedded models know them all."""
LENGTHS = ("one or two sentences", "about 60 words", "about 120 words")
"""Said with the subject, in turn, to writers that can count: the request itself has no place for a length."""


def read_originals(path: Path) -> list[str]:
    """Texts from a table (CSV, JSON lines, JSON or parquet) with the column `original_text` or `text`, or from a .txt
    file with an empty line between texts. InputError names file and row of what cannot be used."""
    if path.suffix.lower() == ".txt":
        texts = [part.strip() for part in re.split(r"\n[ \t]*\n", read_text(path).replace("\r\n", "\n"))]
        if not any(texts):
            raise InputError(f"{path} holds no text")
        return [text for text in texts if text]
    return [first_of(row.values, COLUMNS, f"{path}, {row.where}") for row in read_table(path).rows]


def subjects_for(writer: Model, topics: Sequence[str], config: SynthesizeConfig, seed: int) -> list[str]:
    """What the writer is asked to write about: the topics, or plain subjects where there are none; with a length,
    except for the embedded models, which know the request in its own words alone."""
    plain = random.Random(f"{seed}/subjects").sample(SUBJECTS, min(config.topics, len(SUBJECTS)))
    subjects = list(dict.fromkeys(topics)) or plain
    if isinstance(writer.backend, LocalBackend) and writer.name in EMBEDDED_MODELS:
        return subjects
    return [f"{subject} ({LENGTHS[at % len(LENGTHS)]})" for at, subject in enumerate(subjects)]


async def write_texts(
    stage: Stage, writer: Writer, wording: Wording, config: SynthesizeConfig, subjects: Sequence[str], on: Listener
) -> Stage:
    """A row for each answer, alike or not: of each subject as many texts that differ as make `config.originals` in all,
    as far as the writer has so many to say."""
    count = -(-config.originals // len(subjects))

    async def make(part: Sequence[str]) -> list[dict[str, Any]]:
        found = await writer.distinct([filled(wording.write_text, {"subject": one}) for one in part], count)
        return [
            row_of(TextRow(subject, at, one.text, one.error))
            for subject, several in zip(part, found, strict=True)
            for at, one in enumerate(several)
        ]

    return await fill(stage, subjects, make, models=[writer.model], rows=max(1, SHARD_ROWS // count), on=on)


async def keep_originals(stage: Stage, given: Sequence[str], written: Stage | None, config: SynthesizeConfig) -> Stage:
    """The originals: the given ones, or the first `config.originals` of the written ones, a round of all subjects
    before the next; without those that say nearly the same as one before."""
    if stage.done(0):
        return stage
    texts: list[tuple[str, str | None]] = [(text, None) for text in given]
    if written is not None:
        rows: Iterable[TextRow] = (record_of(TextRow, row) for row in written.rows())
        came = [(row.number, at, row) for at, row in enumerate(rows) if row.text is not None]
        texts = [(row.text or "", row.subject) for _, _, row in sorted(came, key=lambda one: one[:2])]
    kept, _, _ = copies([text for text, _ in texts], config.alike)
    most = config.originals if written is not None else len(kept)
    rows_of = [row_of(OriginalRow(number, *texts[at])) for number, at in enumerate(kept[:most])]
    stage.write(0, rows_of)
    return stage


def read_kept(stage: Stage) -> list[OriginalRow]:
    return [record_of(OriginalRow, row) for row in stage.rows()]
