"""How long sampling and training have taken, over all sessions of a run. Seconds go into events.jsonl as they pass, so
those of a killed session count too; a report holds none, for an unbroken run's must equal a continued one's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from promptmill.store.run import Run

EVENT = "worked"
EVERY = 10.0
"""Seconds that a kill costs the books at most."""


@contextmanager
def timed(run: Run, phase: str) -> Iterator[Callable[[], None]]:
    """Seconds of what is inside, as events of the run. It yields what is to be called now and then."""
    noted = time.monotonic()

    def note(least: float = EVERY) -> None:
        nonlocal noted
        passed = time.monotonic() - noted
        if passed >= least:
            run.event(EVENT, phase=phase, seconds=round(passed, 3))
            noted += passed

    try:
        yield note
    finally:
        note(0.0)


def times_of(folder: Path) -> dict[str, float]:
    """Seconds of each phase, by its name; empty where nothing is known (a folder made before there were any)."""
    found: dict[str, float] = {}
    path = folder / "events.jsonl"
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        if f'"{EVENT}"' not in line:
            continue
        try:
            told = json.loads(line)
            found[told["phase"]] = found.get(told["phase"], 0.0) + told["seconds"]
        except (ValueError, KeyError, TypeError):
            continue  # a line that a kill has cut
    return found
