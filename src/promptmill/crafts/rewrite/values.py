"""What the panel's scores say of each prompt: its value, how much better it is than another, and how sure that is."""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from statistics import fmean, variance
from typing import Any

from promptmill.crafts.rewrite.tables import BASE
from promptmill.judge.judge import Judgement
from promptmill.judge.panel import Panel, Scored

KEYS = ("base_id", "variation_id", "input_id", "sample_id")
Place = tuple[int, int]
"""(input_id, sample_id)."""

LEAST_SE = 0.01
"""Of a margin, on the panel's scale from 0 to 1: a few answers that happen to agree do not make it certain."""


@dataclass(frozen=True, slots=True)
class Margin:
    """Of a mean difference in value. n: answers compared."""

    mean: float
    se: float
    n: int

    def believed(self, z: float, least: float) -> bool:
        noise = z * self.se if z else 0.0  # the error may be infinite, and then nothing but z=0 believes
        return self.mean >= least and self.mean > noise


@dataclass
class Values:
    """Of all prompts of all bases: each judge's value of each answer, 0 to 1."""

    panel: Panel
    packed: dict[str, dict[int, array[float]]] = field(default_factory=dict)
    """Of each prompt all that is known of its answers, one after another: the place, and a number for each judge, NaN
    where there is none. There may be a hundred thousand of them."""

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Rows of a table of scores, those of an answer one after another. What no judge could read, and planted
        answers, have no value."""
        real = (row for row in rows if row["planted"] is None)
        for (base, variation, *place), scores in groupby(real, itemgetter(*KEYS)):
            scored = [
                Scored(row["validator"], row["criterion"], Judgement(row["expected"]), row["repeat"]) for row in scores
            ]
            if judged := self.panel.values(scored):
                packed = self.packed.setdefault(base, {}).setdefault(variation, array("d"))
                packed.extend((*place, *(judged.get(one.name, math.nan) for one in self.panel.judges)))

    def answers(self, base: str, variation: int) -> dict[Place, dict[str, float]]:
        """Each judge's value of each of a prompt's answers, those aside that it could not read."""
        packed = self.packed.get(base, {}).get(variation)
        if packed is None:
            return {}
        names = [one.name for one in self.panel.judges]
        width, found = 2 + len(names), {}
        for at in range(0, len(packed), width):
            given, sample, *numbers = packed[at : at + width]
            judged = {name: one for name, one in zip(names, numbers, strict=True) if not math.isnan(one)}
            found[int(given), int(sample)] = judged
        return found

    def variations(self, base: str) -> list[int]:
        return sorted(self.packed.get(base, {}))

    def of(self, base: str) -> dict[int, float]:
        """The value of each prompt of a base that has one."""
        return {one: value for one in self.variations(base) if (value := self.mean(base, one)) is not None}

    def by_place(self, base: str, variation: int) -> dict[Place, float]:
        """The value of each of a prompt's answers that has one."""
        return {place: self._mean(judged) for place, judged in self.answers(base, variation).items()}

    def mean(self, base: str, variation: int) -> float | None:
        """The prompt's value; None where nothing of it was scored."""
        places = self.by_place(base, variation)
        return fmean(places.values()) if places else None

    def margin(self, base: str, better: int, worse: int = BASE) -> Margin | None:
        """By how much `better` is better, over the inputs and samples that both have, by the judges that read both.

        The standard error is of the differences over inputs and samples; with one of them only, over the judges.
        """
        a, b = (self.answers(base, one) for one in (better, worse))
        both = [(a[place], b[place]) for place in sorted(a.keys() & b.keys())]
        by_place = [
            [(judge, x[judge] - y[judge]) for judge in sorted(x.keys() & y.keys())] for x, y in both
        ]  # fmt: skip
        by_place = [judged for judged in by_place if judged]
        if not by_place:
            return None
        means = [self._mean(dict(judged)) for judged in by_place]
        spread = means if len(means) > 1 else [difference for _, difference in by_place[0]]
        se = math.sqrt(variance(spread) / len(spread)) if len(spread) > 1 else math.inf
        return Margin(fmean(means), max(LEAST_SE, se), len(means))

    def judge_means(self, base: str, variation: int) -> Iterator[tuple[str, float]]:
        """Each judge's own mean of a prompt."""
        found: dict[str, list[float]] = defaultdict(list)
        for judged in self.answers(base, variation).values():
            for judge, value in judged.items():
                found[judge].append(value)
        for judge, values in sorted(found.items()):
            yield judge, fmean(values)

    def _mean(self, judged: Mapping[str, float]) -> float:
        weights = self.panel.weights
        return sum(weights[judge] * value for judge, value in judged.items()) / sum(weights[judge] for judge in judged)
