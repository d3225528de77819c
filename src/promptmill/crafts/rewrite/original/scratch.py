"""Rows put aside on disk and taken out again by key, so that tables in any order can be joined in little memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

Row = dict[str, Any]


class Scratch:
    """A temporary data base in `folder`, which is gone at the end. It is written without syncing: nothing of it is to
    outlive the process."""

    def __init__(self, folder: Path):
        self.path = folder / ".scratch.sqlite"
        self._base = sqlite3.connect(self.path, isolation_level=None)
        self._base.execute("PRAGMA journal_mode = OFF")
        self._base.execute("PRAGMA synchronous = OFF")
        self._base.execute("CREATE TABLE aside (kind TEXT, key TEXT, row TEXT)")

    def put(self, kind: str, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> int:
        """Put (key, row) aside; how many there were."""
        before = self._base.total_changes
        self._base.execute("BEGIN")
        given = ((kind, key, json.dumps(row)) for key, row in rows)
        self._base.executemany("INSERT INTO aside VALUES (?, ?, ?)", given)
        self._base.execute("COMMIT")
        return self._base.total_changes - before

    def index(self) -> None:
        """To be called once all is put aside, before anything is taken."""
        self._base.execute("CREATE INDEX keys ON aside (kind, key)")

    def take(self, kind: str, key: str) -> list[Row]:
        """The rows of a key, in the order in which they came."""
        found = self._base.execute("SELECT row FROM aside WHERE kind = ? AND key = ? ORDER BY rowid", (kind, key))
        return [json.loads(text) for (text,) in found]

    def keys(self, kind: str) -> Iterator[str]:
        """Each once, in the order in which they came."""
        found = self._base.execute("SELECT key FROM aside WHERE kind = ? GROUP BY key ORDER BY min(rowid)", (kind,))
        return (key for (key,) in found)

    def __enter__(self) -> Scratch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.close()
        self.path.unlink(missing_ok=True)
