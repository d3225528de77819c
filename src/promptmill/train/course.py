"""How training goes: the rate of each step, means of what batches told, and what is told to others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptmill.train.settings import TrainSettings

if TYPE_CHECKING:
    from promptmill.train.distil import Parts


@dataclass(frozen=True)
class Course:
    """For a progress line, after every step. loss: of the step; validation: the last one, if there was any."""

    step: int
    steps: int
    epoch: int
    loss: float
    validation: float | None
    tokens: float


@dataclass(frozen=True)
class Outcome:
    """folder: the kept weights; ended: "epochs", "patience" or "stopped"; first, best: validation loss before
    training and of what was kept (None without validation); rows: all that was reported."""

    folder: Path
    ended: str
    steps: int
    tokens: float
    first: float | None
    best: float | None
    best_step: int
    rows: tuple[dict[str, Any], ...]


def learning_rate(settings: TrainSettings, step: int, steps: int) -> float:
    """Of the step after `step` others, of `steps` in all."""
    if step < settings.warmup_steps:
        return settings.rate * (step + 1) / (settings.warmup_steps + 1)
    if settings.schedule == "constant":
        return settings.rate
    done = (step - settings.warmup_steps) / max(1, steps - 1 - settings.warmup_steps)
    share = settings.last_rate + (1 - settings.last_rate) * (1 + math.cos(math.pi * min(1.0, done))) / 2
    return settings.rate * share


class Means:
    """Means of parts over batches, each by its own count."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[float, float]] = {}

    def add(self, parts: Parts) -> None:
        for name, (total, count) in parts.items():
            before = self.sums.get(name, (0.0, 0.0))
            self.sums[name] = (before[0] + total, before[1] + count)

    def means(self) -> dict[str, float]:
        return {name: total / count for name, (total, count) in self.sums.items() if count}
