"""What a breed tells while it runs, as typed records; whoever listens gets them one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Progress:
    """Something was answered. phase: "search", "dev" or "test". total: 0 where it is not known before."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Born:
    """A new unit. drawn: the mutation prompt or thinking style by which the writer made it."""

    id: int
    parent: int
    operator: str
    drawn: str
    instruction: str


@dataclass(frozen=True, slots=True)
class Raced:
    """A challenger has met the incumbent. probability: of being better, as it was believed when the race ended."""

    challenger: int
    incumbent: int
    probability: float
    won: bool


@dataclass(frozen=True, slots=True)
class Round:
    """A round or generation has ended; row: its line in metrics.jsonl."""

    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """The search is over. reason: why before its calls were spent; empty where they were."""

    reason: str


Event = Progress | Born | Raced | Round | Ended
Listener = Callable[[Event], None]
