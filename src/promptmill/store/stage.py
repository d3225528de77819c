"""Rows in, rows out: a stage is a folder of parquet shards whose name says all that decides its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptmill.errors import InputError
from promptmill.store.files import write_whole

if TYPE_CHECKING:
    import pyarrow as pa


def digest(*parts: Any) -> str:
    """Twelve hexadecimal digits for the JSON of `parts`: the name of a stage or a run made from them. An iterator
    counts as the list of what it gives, and is never in memory as a whole."""
    found = hashlib.sha256()
    for text in _json_list(iter(parts)):
        found.update(text.encode())
    return found.hexdigest()[:12]


def _json_list(values: Iterator[Any]) -> Iterator[str]:
    """The JSON of a list, piece by piece."""
    yield "["
    for at, value in enumerate(values):
        if at:
            yield ", "
        if isinstance(value, Iterator):
            yield from _json_list(value)
        else:
            yield json.dumps(value, sort_keys=True, ensure_ascii=False)
    yield "]"


class Stage:
    """Shards of one table. A shard is whole or absent, and writing it twice gives the same bytes, so a job that is
    queued again does no harm; nothing in a row may depend on the clock."""

    def __init__(self, folder: Path, schema: pa.Schema):
        self.folder, self.schema = folder, schema

    def path(self, shard: int) -> Path:
        return self.folder / f"part-{shard:05d}.parquet"

    def done(self, shard: int) -> bool:
        return self.path(shard).exists()

    def write(self, shard: int, rows: Sequence[Mapping[str, Any]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pylist(list(rows), schema=self.schema)
        write_whole(self.path(shard), lambda part: pq.write_table(table, part, compression="zstd"))

    def shards(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows in order, a shard at a time."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for path in self.shards():
            try:
                yield from pq.read_table(path).to_pylist()
            except (OSError, pa.ArrowInvalid) as error:
                raise InputError(f"{path}: cannot be read as parquet ({' '.join(str(error).split())})") from None
