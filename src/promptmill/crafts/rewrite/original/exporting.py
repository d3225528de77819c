"""A run's tables in the original's layout: a data base of base prompts, and three parquet files for each of them.

One value per validator stands in each criterion column. What a validator did not say readably is null there; the
original wrote 0, which is off the scale, and averaged it in.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from promptmill.crafts.rewrite.original.layout import COLUMNS, DATABASE, FOLDERS, KEY
from promptmill.crafts.rewrite.original.prose import refuse
from promptmill.crafts.rewrite.original.run_tables import RunTables, tables_of
from promptmill.crafts.rewrite.original.scratch import Scratch
from promptmill.crafts.rewrite.tables import BASE
from promptmill.errors import InputError
from promptmill.store.files import write_whole
from promptmill.store.whole import whole_folder

if TYPE_CHECKING:
    import pyarrow as pa

ORIGINAL_WEIGHTS = {"section_1": 1.0, "section_2": 1.0, "section_3": 0.5, "section_4": 2.0, "section_5": 0.5}
"""The original's; `total_score` is at most 25 with them."""
KEPT = ("base_id", "variation_id", "input_id", "sample_id", "validator", "criterion", "repeat", "expected")
NUMBERED = re.compile(r"bp-([0-9]{6,9})")

Place = tuple[int, int]
Row = Mapping[str, Any]


def base_id_of(index: int) -> str:
    """The id of the original's base prompt with that index, which stays to be seen in it."""
    return f"bp-{index:06d}"


@dataclass
class Columns:
    """Of the score files: who judged, by what, in the order in which they were met; whether all values are levels (the
    mean over repeats need not be one)."""

    validators: dict[str, None] = field(default_factory=dict)
    criteria: dict[str, None] = field(default_factory=dict)
    whole: bool = True

    def see(self, row: Row) -> None:
        self.validators.setdefault(row["validator"])
        self.criteria.setdefault(row["criterion"])
        self.whole &= not row.get("repeat") and (row["expected"] is None or float(row["expected"]).is_integer())


def export_original(run: Path, to: Path, weights: Mapping[str, float] | None = None) -> dict[str, int]:
    """Write the original's layout into the new folder `to`.

    weights: of the criteria in total_score; 1 for one that is not named. The original's own where none are given.
    Gives counts: base_prompts, prompt_variations, model_outputs, validation_scores (rows written), files, and
    left_out_outputs and left_out_scores: of further inputs and samples, for the layout has room for one. Planted
    answers are left out uncounted. A base prompt without outputs or scores has no such file.
    InputError for a folder that is no run, or a target in which there is something.
    """
    tables = tables_of(run)
    refuse(to)
    with whole_folder(to) as folder, Scratch(folder) as scratch:
        return _Writer(tables, folder, scratch, ORIGINAL_WEIGHTS if weights is None else weights).write()


class _Writer:
    def __init__(self, tables: RunTables, folder: Path, scratch: Scratch, weights: Mapping[str, float]):
        self.tables, self.folder, self.scratch, self.weights = tables, folder, scratch, weights
        self.columns = Columns()
        self.counts: Counter[str] = Counter()

    def write(self) -> dict[str, int]:
        for kind in ("variations", "outputs"):
            self.scratch.put(kind, ((row["base_id"], row) for row in self.tables.rows(kind)))
        self.scratch.put("scores", ((row["base_id"], row) for row in self._seen_scores()))
        self.scratch.index()
        texts = {row["base_id"]: row["text"] for row in self.tables.rows("bases")}
        indices = self._indices(texts)
        self._base_prompts(indices, texts)
        schema = self._score_schema()
        for base, index in indices.items():
            outputs, used = self._outputs(base)
            variations = self._variations(base, texts.get(base), bool(outputs))
            self._texts("prompt_variation", index, variations)
            self._texts("model_output", index, outputs)
            scored = [self._scored(index, one, of) for one, of in sorted(self._scores(base, used).items())]
            self._file("validation_score", index, scored, schema)
        names = ("base_prompts", *FOLDERS.values(), "files", "left_out_outputs", "left_out_scores")
        return {name: self.counts[name] for name in names}

    def _seen_scores(self) -> Iterator[Row]:
        for row in self.tables.rows("scores"):
            if not row.get("planted"):
                self.columns.see(row)
                yield {key: row.get(key) for key in KEPT}

    def _indices(self, texts: Mapping[str, str]) -> dict[str, int]:
        """Of the base prompts, those without a text after the others: an imported one's own, else numbers from 0."""
        bases = list(texts)
        known = set(bases)
        for kind in ("variations", "outputs", "scores"):
            for base in self.scratch.keys(kind):
                if base not in known:
                    known.add(base)
                    bases.append(base)
        matches = [NUMBERED.fullmatch(base) for base in bases]
        own = [int(match[1]) for match in matches if match]
        if len(own) == len(bases) and all(base_id_of(one) == base for one, base in zip(own, bases, strict=True)):
            return dict(sorted(zip(bases, own, strict=True), key=lambda one: one[1]))
        return {base: number for number, base in enumerate(bases)}

    def _base_prompts(self, indices: Mapping[str, int], texts: Mapping[str, str]) -> None:
        rows = [(index, texts[base]) for base, index in indices.items() if base in texts]

        def write(part: Path) -> None:
            with closing(sqlite3.connect(part)) as base, base:
                base.execute("CREATE TABLE base_prompts (bp_idx INT, base_prompt_string TEXT)")
                base.executemany("INSERT INTO base_prompts VALUES (?, ?)", rows)

        write_whole(self.folder / DATABASE, write)
        self.counts["base_prompts"] = len(rows)

    def _variations(self, base: str, text: str | None, answered: bool) -> dict[int, str | None]:
        """With the base prompt itself, where there are variations or it was answered: some runs keep it apart."""
        found: dict[int, str | None] = {}
        for row in self.scratch.take("variations", base):
            found.setdefault(row["variation_id"], row["text"])
        if text is not None and (found or answered):
            found.setdefault(BASE, text)
        return found

    def _outputs(self, base: str) -> tuple[dict[int, str | None], dict[int, Place]]:
        """The answers that are written, and of which input and sample they are."""
        rows = self.scratch.take("outputs", base)
        found: dict[int, str | None] = {}
        used: dict[int, Place] = {}
        for row in sorted(rows, key=_place):
            if row["variation_id"] not in used:
                used[row["variation_id"]] = _place(row)
                found[row["variation_id"]] = row["output"]
        self.counts["left_out_outputs"] += len(rows) - len(found)
        return found, used

    def _scores(self, base: str, used: Mapping[int, Place]) -> dict[int, dict[tuple[str, str], float | None]]:
        """Of each variation, by validator and criterion: the score of the answer that is written, the mean over its
        repeats; of the first answer that was scored where no answers are known. Of a score that is there twice (the
        base prompt's, judged again in a later round) the first counts."""
        rows = self.scratch.take("scores", base)
        places = dict(used)
        for row in rows:
            place = _place(row)
            if row["variation_id"] not in used:
                places[row["variation_id"]] = min(place, places.get(row["variation_id"], place))
        found: dict[int, dict[tuple[str, str], dict[int, float | None]]] = {}
        for row in rows:
            if _place(row) != places[row["variation_id"]]:
                self.counts["left_out_scores"] += 1
                continue
            scores = found.setdefault(row["variation_id"], {}).setdefault((row["validator"], row["criterion"]), {})
            scores.setdefault(row["repeat"] or 0, row["expected"])
        return {one: {key: _mean(scores.values()) for key, scores in of.items()} for one, of in found.items()}

    def _scored(self, index: int, variation: int, scores: Mapping[tuple[str, str], float | None]) -> dict[str, Any]:
        """A row of a score file. A criterion's mean is over the validators that could be read; without one of the
        means there is no total, for it would be on another scale."""
        row: dict[str, Any] = {KEY: [index, variation]}
        means: dict[str, float | None] = {}
        for criterion in self.columns.criteria:
            values = [scores.get((validator, criterion)) for validator in self.columns.validators]
            row[criterion] = [int(value) if value is not None and self.columns.whole else value for value in values]
            means[criterion] = row[f"{criterion}_avg"] = _mean(values)
        parts = [None if mean is None else self.weights.get(one, 1.0) * mean for one, mean in means.items()]
        row["total_score"] = sum(part for part in parts if part is not None) if None not in parts else None
        return row

    def _score_schema(self) -> pa.Schema:
        """The original's; decimal numbers in the lists where some score is no level."""
        import pyarrow as pa

        each, criteria = pa.list_(pa.int64() if self.columns.whole else pa.float64()), list(self.columns.criteria)
        fields: list[tuple[str, pa.DataType]] = [
            (KEY, pa.list_(pa.int64())),
            *((criterion, each) for criterion in criteria),
            *((f"{criterion}_avg", pa.float64()) for criterion in criteria),
            ("total_score", pa.float64()),
        ]
        names = [name for name, _ in fields]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"two columns would be called {doubled[0]!r}; call the criterion otherwise")
        return pa.schema(fields)

    def _texts(self, kind: str, index: int, texts: Mapping[int, str | None]) -> None:
        import pyarrow as pa

        column = COLUMNS[kind]
        schema = pa.schema([(KEY, pa.list_(pa.int64())), (column, pa.string())])
        self._file(kind, index, [{KEY: [index, one], column: text} for one, text in sorted(texts.items())], schema)

    def _file(self, kind: str, index: int, rows: Sequence[Row], schema: pa.Schema) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if rows:
            path = self.folder / FOLDERS[kind] / f"{index}_{kind}.parquet"
            write_whole(path, lambda part: pq.write_table(pa.Table.from_pylist(list(rows), schema), part))
            self.counts[FOLDERS[kind]] += len(rows)
            self.counts["files"] += 1


def _mean(values: Iterable[float | None]) -> float | None:
    """Of those that there are."""
    read = [value for value in values if value is not None]
    return fmean(read) if read else None


def _place(row: Row) -> Place:
    return row["input_id"], row["sample_id"]
