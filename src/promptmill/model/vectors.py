"""Vectors of texts in a file, so that no text is embedded twice, in whatever session."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from promptmill.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]


class VectorFile:
    """An SQLite file of vectors by the hash of embedder and text; no text is in it.

    fingerprint: of the embedder. read_only: a file of another run, which may be absent. InputError for one that is no
    such file.
    """

    def __init__(self, path: Path, fingerprint: str, *, read_only: bool = False):
        self.path, self.fingerprint, self.read_only = path, fingerprint, read_only
        where = f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        self._file = sqlite3.connect(where, uri=True, check_same_thread=False)
        try:
            if not read_only:
                with self._file:
                    self._file.execute(
                        "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL)"
                    )
            self._file.execute("SELECT vector FROM vectors LIMIT 1").fetchone()
        except sqlite3.DatabaseError:
            self._file.close()
            raise InputError(f"{path}: holds no vectors; remove it, they are made again") from None

    def get(self, texts: Sequence[str]) -> dict[str, Vector]:
        """Those that are known."""
        found = {}
        for text in texts:
            row = self._file.execute("SELECT vector FROM vectors WHERE key = ?", (self._key(text),)).fetchone()
            if row is not None:
                found[text] = np.frombuffer(row[0], dtype="<f4").astype(np.float32)
        return found

    def put(self, vectors: Mapping[str, Vector]) -> None:
        rows: Iterable[tuple[bytes, bytes]] = (
            (self._key(text), vector.astype("<f4").tobytes()) for text, vector in vectors.items()
        )
        with self._file:
            self._file.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)

    def close(self) -> None:
        self._file.close()

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(f"{self.fingerprint}\0{text}".encode("utf-8", "surrogatepass")).digest()
