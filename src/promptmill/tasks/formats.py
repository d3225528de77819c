"""Reading rows from a file as it is: JSON, JSON lines, CSV, parquet. What the rows mean is for `shapes` to say."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from promptmill.errors import InputError
from promptmill.settings import read_text

DELIMITERS = ",;\t"


@dataclass(slots=True)
class Row:
    """One raw record. where: "line 3" or "row 3" or "example 3", for messages."""

    where: str
    values: Mapping[str, Any]


@dataclass(slots=True)
class Table:
    """The records of one file.

    head:   what stood beside them (the other keys of a BIG-bench task.json).
    nested: they stood under the key "examples"; keyed: each had a key of its own there.
    """

    path: Path
    rows: list[Row]
    head: Mapping[str, Any] = field(default_factory=dict)
    nested: bool = False
    keyed: bool = False

    @property
    def columns(self) -> list[str]:
        """The columns of the first row, in order."""
        return list(self.rows[0].values) if self.rows else []


def read_table(path: Path, kind: str = "auto", delimiter: str | None = None, limit: int | None = None) -> Table:
    """Read a data file.

    kind:  "jsonl", "csv", "parquet", "json", or "auto" (by the name, then by the content).
    limit: read no more than so many rows (a JSON document is read whole all the same).
    Raises InputError for a missing, empty or broken file, naming the line.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a data file or a task YAML in it")
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    with path.open("rb") as file:
        start = file.read(4)
    if kind == "auto" and path.suffix == ".parquet" and start != b"PAR1":
        raise InputError(f"{path} is no parquet file, whatever its name says; write it again, or name it by what it is")
    if kind == "parquet" or (kind == "auto" and start == b"PAR1"):
        table = Table(path, _read_parquet(path, limit))
    else:
        text = read_text(path)
        if kind == "auto":
            kind = _kind_of(path, text)
        if kind == "csv":
            table = Table(path, list(islice(_read_csv(path, text, delimiter), limit)))
        else:
            table = _read_json(path, text, kind, limit)
    if not table.rows:
        raise InputError(f"{path} holds no examples")
    return table


def _kind_of(path: Path, text: str) -> str:
    """JSON lines may be called .json and the other way round, so the content decides between the two."""
    if path.suffix.lower() in (".csv", ".tsv"):
        return "csv"
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return "jsonl"
    first, _, rest = text.lstrip().partition("\n")
    if first[:1] not in ("{", "["):
        return "json" if path.suffix.lower() == ".json" else "csv"
    try:
        one = isinstance(json.loads(first), dict)
    except json.JSONDecodeError:
        return "json"
    return "jsonl" if one and rest.strip() else "json"


def _read_json(path: Path, text: str, kind: str, limit: int | None) -> Table:
    if kind == "jsonl":
        return Table(path, list(islice(_read_lines(path, text), limit)))
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not JSON: {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None
    if isinstance(document, list):
        return Table(path, list(islice(_dicts(path, "row", enumerate(document, 1)), limit)))
    if not isinstance(document, dict):
        raise InputError(f"{path}: a JSON data file is a list of rows or an object with examples")
    examples = document.get("examples")
    if examples is None:
        if document.get("subtasks") or "keywords" in document:
            raise InputError(
                f"{path}: this BIG-bench task has no examples of its own; name one of its subtasks' task.json"
            )
        return Table(path, [Row("row 1", document)])
    head = {key: value for key, value in document.items() if key != "examples"}
    keyed = isinstance(examples, dict)
    if not isinstance(examples, dict | list):
        raise InputError(f"{path}: examples must be a list or an object, not {type(examples).__name__}")
    numbered = examples.items() if isinstance(examples, dict) else enumerate(examples, 1)
    return Table(path, list(islice(_dicts(path, "example", numbered), limit)), head, True, keyed)


def _dicts(path: Path, word: str, numbered: Any) -> Iterator[Row]:
    for number, values in numbered:
        if not isinstance(values, dict):
            raise InputError(
                f"{path}, {word} {number}: an object with named values is needed, not {type(values).__name__}"
            )
        yield Row(f"{word} {number}", values)


def _read_lines(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):  # splitlines would also split inside strings, at U+2028
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number}: not JSON: {error.msg} (column {error.colno})") from None
        except (
            ValueError,
            RecursionError,
        ) as error:  # a number of thousands of digits, lists within lists within lists
            raise InputError(f"{path}, line {number}: cannot be read as JSON ({error})") from None
        yield from _dicts(path, "line", [(number, values)])


def sniff_delimiter(header: str) -> str:
    """The one of , ; and tab that cuts the header line into most columns (a comma where none does)."""
    return max(DELIMITERS, key=lambda sign: len(next(csv.reader([header], delimiter=sign), [])))


def _read_csv(path: Path, text: str, delimiter: str | None) -> Iterator[Row]:
    sign = delimiter or sniff_delimiter(text.lstrip("\r\n").partition("\n")[0].rstrip("\r"))
    csv.field_size_limit(1 << 27)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=sign, strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            at, line = line, reader.line_num + 1
            if not cells or (len(cells) == 1 and not cells[0].strip()):
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                if doubled := sorted({name for name in header if header.count(name) > 1}):
                    raise InputError(f"{path}, line {at}: the column {doubled[0]!r} stands twice in the header")
                continue
            if len(cells) != len(header):
                hint = f"put text that holds {'a tab' if sign == chr(9) else sign} in double quotes"
                raise InputError(f"{path}, line {at}: {len(cells)} columns where the header has {len(header)}; {hint}")
            yield Row(f"line {at}", dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not CSV: {error}") from None


def _read_parquet(path: Path, limit: int | None) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            rows: list[Row] = []
            for batch in file.iter_batches(batch_size=min(limit or 4096, 4096)):
                before = len(rows)
                rows += [Row(f"row {before + i}", values) for i, values in enumerate(batch.to_pylist(), 1)]
                if limit is not None and len(rows) >= limit:
                    return rows[:limit]
            return rows
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read as parquet: {' '.join(str(error).split())}") from None
