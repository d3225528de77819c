"""Which operator next: drawn by what each has brought so far (Thompson sampling on Beta posteriors)."""

from __future__ import annotations

import random
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any

from promptmill.crafts.breed.config import BreedConfig

# Successes and failures that each operator starts with: what is known of them before anything is tried. Reflection is
# the strongest where there are failures to be shown; the others have to show that they bring something.
PRIORS: dict[str, tuple[float, float]] = {
    "reflect": (6.0, 6.0), "mutate": (0.5, 4.0), "first_order": (0.5, 8.0), "zero_order": (0.5, 6.0),
    "hyper_first": (0.5, 6.0), "hyper_zero": (0.5, 6.0), "lamarckian": (0.5, 5.0), "eda": (0.25, 10.0),
    "eda_ranked": (0.5, 6.0), "lineage": (0.5, 6.0), "merge": (0.5, 4.0), "add_demos": (0.5, 3.0),
}  # fmt: skip


@dataclass
class Bandit:
    """tried, better: children of each operator, and those that won. last: place of the one drawn last, where they are
    drawn in turn."""

    how: str
    last: int = -1
    tried: dict[str, int] = field(default_factory=dict)
    better: dict[str, int] = field(default_factory=dict)

    @classmethod
    def start(cls, config: BreedConfig) -> Bandit:
        return cls(config.operators, -1, dict.fromkeys(PRIORS, 0), dict.fromkeys(PRIORS, 0))

    def draw(self, rng: random.Random, without: Set[str] = frozenset()) -> str:
        """An operator, not one of `without`."""
        names = [name for name in PRIORS if name not in without]
        if self.how == "in_turn":
            return self._next(without)
        if self.how == "uniform":
            return rng.choice(names)
        drawn = {name: rng.betavariate(*self._posterior(name)) for name in names}
        return max(names, key=lambda name: drawn[name])

    def _next(self, without: Set[str]) -> str:
        """The one after the last in their order that can be had."""
        order = list(PRIORS)
        turns = [(self.last + 1 + step) % len(order) for step in range(len(order))]
        self.last = next(at for at in turns if order[at] not in without)
        return order[self.last]

    def _posterior(self, name: str) -> tuple[float, float]:
        good, bad = PRIORS[name]
        return good + self.better[name], bad + self.tried[name] - self.better[name]

    def note(self, name: str, better: bool) -> None:
        self.tried[name] += 1
        self.better[name] += better

    def table(self) -> dict[str, Any]:
        """For the report: tried, better, and the share that it is now believed to bring."""
        rows = {}
        for name in PRIORS:
            good, bad = self._posterior(name)
            rows[name] = {"tried": self.tried[name], "better": self.better[name], "credit": good / (good + bad)}
        return rows
