"""Runs of searches that are done: one JSON line each, so that a benchmark that was broken off goes on where it stopped.

A row: search, ground (a landscape's variant or a task), budget, seed; then what the search itself has told.
`quality` is that of the prompt it ended with; `beliefs` are (calls, quality) at each change of what it held to be best.
Rows of our own searches carry a digest of our code: after a change of it they are made anew, those of others are kept.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from promptmill.errors import InputError
from promptmill.settings import read_text

Row = dict[str, Any]
Key = tuple[str, str, int, int]
"""search, ground, budget, seed."""

SOURCE = Path(__file__).resolve().parents[1] / "src" / "promptmill"
DECIDES = ("crafts/breed", "vary", "measure")
"""What a search of ours follows from."""
CLOSE = 1e-9
"""Scores that differ by less are equal: a mean of equal scores is not always that score to the last bit."""
SHOWN = 160
"""Characters of a row that are printed at most."""


@dataclass
class Rows:
    """The rows of a file, which need not be there yet; None: they are kept in memory only."""

    path: Path | None = None
    _held: dict[Key, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path is None or not self.path.exists():
            return
        text = read_text(self.path)
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # a line that a kill has cut in the middle
            self.path.write_text(whole, encoding="utf-8")
        for number, line in enumerate(whole.splitlines(), 1):
            row = _read(line, f"{self.path} line {number}")
            self._held[_key(row)] = row

    def get(
        self, key: Key, run: Callable[[], Row], ours: bool = True, enough: Callable[[Row], bool] = lambda row: True
    ) -> Row:
        """The row of a run, which is made if it is not there. enough: whether one that is there tells what is asked."""
        code = {"code": digest()} if ours else {}
        held = self._held.get(key)
        if held is not None and held.get("code") == code.get("code") and enough(held):
            return held
        begun = time.perf_counter()
        told = run()
        name = dict(zip(("search", "ground", "budget", "seed"), key, strict=True))
        line = json.dumps({**name, **code, "seconds": round(time.perf_counter() - begun, 1), **told})
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        print(line if len(line) <= SHOWN else line[: SHOWN - 1] + "…", flush=True)
        self._held[key] = dict(json.loads(line))  # as it will be read the next time
        return self._held[key]


@cache
def digest() -> str:
    """SHA-256 (the first 12 hex digits) of the code that decides what our searches do."""
    told = hashlib.sha256()
    for file in sorted(file for part in DECIDES for file in (SOURCE / part).rglob("*")):
        if file.suffix in (".py", ".yaml"):
            told.update(file.relative_to(SOURCE).as_posix().encode() + b"\n" + file.read_bytes())
    return told.hexdigest()[:12]


def reached(row: Row, goal: float) -> int | None:
    """Calls until the belief was first worth `goal`; None where that was not within the budget."""
    return next((calls for calls, worth in row["beliefs"] if worth >= goal - CLOSE and calls <= row["budget"]), None)


def at(row: Row, mark: int, start: float) -> float:
    """What the belief was worth after `mark` calls. start: what the prompt is worth from which the search sets out."""
    if "beliefs" in row:
        return float(next((worth for calls, worth in reversed(row["beliefs"]) if calls <= mark), start))
    return float(row["quality"] if mark == row["budget"] else row["curve"][str(mark)])


def spread(values: Sequence[float]) -> str:
    """Mean, least and most, for a table."""
    if not values:
        return "–"
    return f"{sum(values) / len(values):.3f} ({min(values):.2f}–{max(values):.2f})"


def _key(row: Row) -> Key:
    return row["search"], row["ground"], row["budget"], row["seed"]


def _read(line: str, where: str) -> Row:
    try:
        row = dict(json.loads(line))
        _key(row)
    except (ValueError, TypeError, KeyError):
        raise InputError(f"--out {where}: not a row of this benchmark; remove the line or give another file") from None
    return row
