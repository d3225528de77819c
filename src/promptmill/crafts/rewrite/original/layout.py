"""The original's files, one at a time: a data base of base prompts, and parquet files with one base prompt each.

Their rows are keyed by lists, (base, variation), where variation -1 is the base prompt. The original wrote its files in
place and none of them twice, so empty ones, half ones and some of another base prompt occur: such a file is a remark,
never the end.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from promptmill.errors import InputError
from promptmill.judge.imported import original_rows

KEY = "bpv_idx"
DATABASE, TOPICS = "base_prompts.db", "prompt_topics.db"
HIGHEST = 10**9
"""No index of a base prompt or a variation is as large."""
COLUMNS = {"prompt_variation": "prompt_variation_string", "model_output": "model_output_string"}
FOLDERS = {
    "prompt_variation": "prompt_variations",
    "model_output": "model_outputs",
    "validation_score": "validation_scores",
}  # fmt: skip
"""Kinds of per-prompt files, and the folders in which the original has them."""


@dataclass(slots=True)
class Remarks:
    """What is wrong with which file, in the order in which it was found."""

    found: list[dict[str, str]] = field(default_factory=list)

    def add(self, path: Path, problem: str) -> None:
        self.found.append({"file": path.name, "problem": problem})


@dataclass(frozen=True)
class Layout:
    """Where a folder has what. files: by kind and base index. topics: how many, where they are told.

    The original never says which topic a base prompt was written for, so they are counted only.
    """

    database: Path | None
    topics: Path | None
    files: Mapping[str, Mapping[int, Path]]

    @property
    def empty(self) -> bool:
        return self.database is None and not any(self.files.values())


def layout_of(folder: Path, remarks: Remarks) -> Layout:
    """What there is of the original's layout: in the folder itself, in its subfolders, or under `data` as in the
    original's repository."""
    roots = [root for root in (folder, folder / "data") if root.is_dir()]
    places = [place for root in roots for place in (root, root / "base_prompts")]
    files = {
        kind: _numbered([root / part for root in roots for part in (name, ".")], kind, remarks)
        for kind, name in FOLDERS.items()
    }
    return Layout(_first(places, DATABASE), _first(places, TOPICS), files)


def _first(places: Sequence[Path], name: str) -> Path | None:
    return next((place / name for place in places if (place / name).is_file()), None)


def _numbered(places: Sequence[Path], kind: str, remarks: Remarks) -> dict[int, Path]:
    pattern = re.compile(rf"([0-9]{{1,9}})_{kind}\.parquet")
    found: dict[int, Path] = {}
    for path in (path for place in places if place.is_dir() for path in sorted(place.iterdir())):
        match = pattern.fullmatch(path.name)
        if match and found.setdefault(int(match[1]), path) != path:
            remarks.add(path, f"there twice; {found[int(match[1])].parent.name}/{found[int(match[1])].name} was read")
    return dict(sorted(found.items()))


def read_base_prompts(path: Path, remarks: Remarks) -> dict[int, str]:
    """Texts of the base prompts by index, as they stand in the data base."""
    texts: dict[int, str] = {}
    counts: Counter[str] = Counter()
    for index, text in _select(path, "bp_idx, base_prompt_string", "base_prompts", remarks):
        if type(index) is not int or not 0 <= index < HIGHEST:
            counts["without an index"] += 1
        elif not isinstance(text, str) or not text.strip():
            counts["without a text"] += 1
        elif texts.setdefault(index, text) != text:
            counts["with an index that was there before"] += 1
    _say(path, counts, remarks)
    return texts


def count_topics(path: Path, remarks: Remarks) -> int:
    return sum(1 for _ in _select(path, "topic", "topics", remarks))


def _select(path: Path, columns: str, table: str, remarks: Remarks) -> list[tuple[Any, ...]]:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)) as base:
            rows = base.execute(f"SELECT {columns} FROM {table} ORDER BY rowid").fetchall()
    except sqlite3.Error as error:
        remarks.add(path, f"cannot be read ({error})")
        return []
    if not rows:
        remarks.add(path, "empty")
    return rows


def read_texts(path: Path, base: int, kind: str, remarks: Remarks) -> dict[int, str | None]:
    """The texts of a variation or output file by variation, in the order of the file; nothing, and a remark, for a
    file that has none. None: a row without a text."""
    column = COLUMNS[kind]
    texts: dict[int, str | None] = {}
    counts: Counter[str] = Counter()
    for key, text in _rows(path, column, remarks):
        if not isinstance(key, list) or len(key) != 2 or not all(type(one) is int for one in key):
            counts[f"without a key ({KEY})"] += 1
        elif key[0] != base:
            counts["of another base prompt"] += 1
        elif not -1 <= key[1] < HIGHEST:
            counts["with a variation below -1 or beyond reason"] += 1
        elif key[1] in texts:
            counts["with a key that was there before"] += 1
        else:
            texts[key[1]] = text if isinstance(text, str) and text.strip() else None
    if texts and not any(texts.values()):
        remarks.add(path, f"all null: {column} has no text in any of {len(texts)} rows")
        texts = {}
    _say(path, counts, remarks)
    return texts


def read_score_rows(path: Path, base: int, validators: Sequence[str], remarks: Remarks) -> list[dict[str, Any]]:
    """The rows of a score file in long form, one for each variation, criterion and validator (see `judge.table`).
    validators: their names in order; more of them are called validator_3 and so on."""
    try:
        rows, width = original_rows(path, validators)
    except (InputError, TypeError) as error:  # a list of words is no list of scores
        problem = str(error).removeprefix(f"{path}: ") if isinstance(error, InputError) else "its scores are no numbers"
        remarks.add(path, problem)
        return []
    if validators and width != len(validators):
        remarks.add(path, f"has {width} validator{'s' * (width > 1)}, but {len(validators)} names were given")
    kept, met = [], set()
    counts: dict[str, set[tuple[str, int]]] = {}
    for row in rows:
        key, place = (row["base_id"], row["variation_id"]), (row["variation_id"], row["validator"], row["criterion"])
        if key[0] != str(base):
            counts.setdefault("of another base prompt", set()).add(key)
        elif not -1 <= key[1] < HIGHEST:
            counts.setdefault("with a variation below -1 or beyond reason", set()).add(key)
        elif place in met:
            counts.setdefault("with a key that was there before", set()).add(key)
        else:
            met.add(place)
            kept.append(row)
    _say(path, {what: len(keys) for what, keys in counts.items()}, remarks)
    return kept


def _rows(path: Path, column: str, remarks: Remarks) -> Iterator[tuple[Any, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
            problem = _no_table(schema, rows, column)
            if problem:
                remarks.add(path, problem)
                return
            for batch in file.iter_batches(batch_size=1024, columns=[KEY, column]):
                yield from zip(batch.column(KEY).to_pylist(), batch.column(column).to_pylist(), strict=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        remarks.add(path, f"cannot be read as parquet ({' '.join(str(error).split())[:120]})")


def _no_table(schema: Any, rows: int, column: str) -> str:
    """Why there is nothing to be read, if so."""
    import pyarrow as pa

    missing = [name for name in (KEY, column) if name not in schema.names]
    if not rows:
        return "empty"
    if missing:
        return f"has no column {missing[0]} (columns: {', '.join(schema.names) or 'none'})"
    if any(pa.types.is_null(schema.field(name).type) for name in (KEY, column)):
        return f"all null: {rows} rows of the type null"
    return ""


def _say(path: Path, counts: Mapping[str, int], remarks: Remarks) -> None:
    for what, count in counts.items():
        remarks.add(path, f"{count} row{'s' * (count > 1)} {what}, left out")
