"""The original's folder as a run of ours: its base prompts, variations, outputs and scores as stages.

Nothing is asked of any model. What cannot be read is told by the file's name, and the rest is imported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptmill.crafts.rewrite.config import SynthesizeConfig
from promptmill.crafts.rewrite.original.exporting import base_id_of
from promptmill.crafts.rewrite.original.layout import (
    DATABASE,
    FOLDERS,
    Layout,
    Remarks,
    count_topics,
    layout_of,
    read_base_prompts,
    read_score_rows,
    read_texts,
)
from promptmill.crafts.rewrite.tables import BASE, BaseRow, InputRow, OutputRow, VariationRow
from promptmill.errors import InputError
from promptmill.judge.imported import original_rows
from promptmill.judge.table import scores_schema
from promptmill.store.records import row_of, schema_of
from promptmill.store.run import Run
from promptmill.store.stage import Stage
from promptmill.vary.dedup import clusters
from promptmill.vary.sketches import Sketches
from promptmill.vary.splits import Shares, splits_of

if TYPE_CHECKING:
    import pyarrow as pa

    Table = tuple[str, pa.Schema, Iterable[dict[str, Any]]]

CRAFT = "rewrite-import"
DOMAIN = "imported"
NO_VARIATION = "empty: the file has no variation there"
NO_OUTPUT = "empty: the file has no output there"
ORDER = ("bases", "variations", "inputs", "outputs", "scores")
ROWS = 4096
"""Rows of a shard; as many are in memory at a time."""

Row = dict[str, Any]


@dataclass
class _Reader:
    """The rows of a folder, table by table.

    told, own: texts of base prompts by index, as the data base and as the variation files have them. met: indices that
    have any rows. lengths: characters of the outputs. unread: scores without a number.
    """

    layout: Layout
    remarks: Remarks
    validators: Sequence[str] = ()
    told: dict[int, str] = field(init=False)
    own: dict[int, str] = field(default_factory=dict)
    met: set[int] = field(default_factory=set)
    lengths: dict[tuple[str, int], int] = field(default_factory=dict)
    unread: int = 0

    def __post_init__(self) -> None:
        self.told = read_base_prompts(self.layout.database, self.remarks) if self.layout.database else {}

    def variations(self) -> Iterator[Row]:
        for index, variation, text in self._texts("prompt_variation"):
            if variation == BASE and text is not None:
                self.own[index] = text
            origin = "base" if variation == BASE else "imported"
            error = None if text is not None else NO_VARIATION
            yield row_of(VariationRow(base_id_of(index), variation, origin, 0, text, error))

    def outputs(self) -> Iterator[Row]:
        for index, variation, text in self._texts("model_output"):
            base, error = base_id_of(index), None if text is not None else NO_OUTPUT
            self.lengths[base, variation] = len(text or "")
            yield row_of(OutputRow(base, variation, 0, 0, text, None, error))

    def scores(self) -> Iterator[Row]:
        for index, path in self.layout.files["validation_score"].items():
            for row in read_score_rows(path, index, self.validators, self.remarks):
                self.met.add(index)
                self.unread += row["expected"] is None
                yield {**row, "base_id": base_id_of(index)}

    def with_length(self, row: Row) -> Row:
        return {**row, "length": self.lengths.get((row["base_id"], row["variation_id"]))}

    def bases(self, domain: str, together: float, shares: Shares) -> Iterator[Row]:
        """Once all else is read. A cluster, prompts that say nearly the same, lies in one split."""
        texts = self._base_texts()
        indices = sorted(texts)
        heads = clusters(Sketches([texts[one] for one in indices]), together)
        names = [base_id_of(indices[head]) for head in heads]
        splits = splits_of(dict.fromkeys(names, (domain,)), shares)
        for index, name in zip(indices, names, strict=True):
            text = texts[index]
            yield row_of(BaseRow(base_id_of(index), domain, None, text, text, name, splits[name]))

    def _texts(self, kind: str) -> Iterator[tuple[int, int, str | None]]:
        for index, path in self.layout.files[kind].items():
            for variation, text in read_texts(path, index, kind, self.remarks).items():
                self.met.add(index)
                yield index, variation, text

    def _base_texts(self) -> dict[int, str]:
        """What was answered is in the variation files; the data base was shuffled after it at least once."""
        for index in sorted(self.told.keys() & self.own.keys()):
            if self.told[index] != self.own[index]:
                file = self.layout.files["prompt_variation"][index]
                self.remarks.add(file, f"({index}, -1) is another text than in {DATABASE}; this file's was taken")
        texts = self.told | self.own
        if unknown := sorted(self.met - texts.keys()):
            which = ", ".join(map(str, unknown[:10])) + (", …" if len(unknown) > 10 else "")
            several = f"{len(unknown)} base prompts ({which})" if len(unknown) > 1 else f"base prompt {which}"
            path = self.layout.database or Path(DATABASE)
            self.remarks.add(path, f"no text of {several}, whose other rows are imported all the same")
        return texts


def import_original(
    folder: Path, out: Path, *, domain: str = DOMAIN, validators: Sequence[str] = (),
    config: SynthesizeConfig | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Make a run of the original's folder.

    domain: what the base prompts are for. validators: names of the judges, in the order of their scores.
    config: its `together`, `dev` and `test` decide clusters and splits.
    Returns what stands in the run's report.json: rows by table, files, stages, topics, and `problems`, each with a
    file's name. InputError, one line, where there is no such folder, nothing of the layout in it, or nothing readable,
    and where `out` holds something else.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    config, remarks = config or SynthesizeConfig(), Remarks()
    layout = layout_of(folder, remarks)
    if layout.empty:
        files = ", ".join([DATABASE, *(f"N_{kind}.parquet" for kind in FOLDERS)])
        raise InputError(f"{folder}: has none of the original's files ({files}), in it or in its subfolders")
    _check_names(layout, validators)
    reader = _Reader(layout, remarks, tuple(validators))
    bases = reader.bases(domain, config.together, Shares(config.dev, config.test))
    tables = _tables(reader, bases)
    if tables is None:
        first = remarks.found[0] if remarks.found else {"file": DATABASE, "problem": "empty"}
        raise InputError(f"{folder}: nothing in it can be read; {first['file']}: {first['problem']}")
    identity = {
        "layout": "original", "files": _digest(layout), "domain": domain, "validators": list(validators),
        "together": config.together, "dev": config.dev, "test": config.test,
    }  # fmt: skip
    with Run(out, CRAFT, identity) as run:
        counts = {name: _fill(run.stage(name, schema), rows) for name, schema, rows in tables}
        topics = count_topics(layout.topics, remarks) if layout.topics else 0
        report = {
            "craft": CRAFT, "rows": {name: counts[name] for name in ORDER}, "unread": reader.unread,
            "files": {kind: len(files) for kind, files in layout.files.items()}, "topics": topics,
            "stages": {name: [name] for name in ORDER}, "problems": remarks.found,
        }  # fmt: skip
        run.finish(report)
    return report


def _check_names(layout: Layout, validators: Sequence[str]) -> None:
    """Names that are too few or too many are wrong for all files alike, so the first that can be read tells."""
    for path in layout.files["validation_score"].values() if validators else ():
        try:
            width = original_rows(path, validators)[1]
        except (InputError, TypeError):  # it is told of when it is imported
            continue
        if width != len(validators):
            raise InputError(f"--validators: {len(validators)} names, but {path.name} has {width} validators")
        return


def _tables(reader: _Reader, bases: Iterator[Row]) -> Sequence[Table] | None:
    """What is to be written, in the order in which it must be; None where there is nothing. The base prompts come last:
    what the other files say of them is known then."""
    found = [_begun(rows) for rows in (reader.variations(), reader.outputs(), reader.scores())]
    if not any(some for some, _ in found) and not reader.told:
        return None
    variations, outputs, scores = (rows for _, rows in found)
    return [
        ("variations", schema_of(VariationRow), variations),
        ("outputs", schema_of(OutputRow), outputs),
        ("scores", scores_schema(), map(reader.with_length, scores)),
        ("inputs", schema_of(InputRow), ()),
        ("bases", schema_of(BaseRow), bases),
    ]


def _begun(rows: Iterator[Row]) -> tuple[bool, Iterator[Row]]:
    """Whether there is a first row, and all of them."""
    first = list(islice(rows, 1))
    return bool(first), chain(first, rows)


def _fill(stage: Stage, rows: Iterable[Row]) -> int:
    """A shard at a time; a table without rows is one empty shard, so that its columns can be read."""
    walk, shard, count = iter(rows), 0, 0
    while (part := list(islice(walk, ROWS))) or not shard:
        stage.write(shard, part)
        shard, count = shard + 1, count + len(part)
    return count


def _digest(layout: Layout) -> str:
    """Of all that is read, by content; a moved folder is the same."""
    whole = hashlib.sha256()
    paths = [layout.database, layout.topics, *(path for files in layout.files.values() for path in files.values())]
    for path in paths:
        if path:
            with path.open("rb") as file:
                whole.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()[:12]
