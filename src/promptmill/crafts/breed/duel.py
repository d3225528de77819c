"""A challenger meets the incumbent: on which examples, in which order, and when it is decided.

The failures go first, for only these can be won; then what the incumbent had right, for only this can be lost. Scores
between 0 and 1 have no such order: there the examples come as drawn, in blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from promptmill.crafts.breed.proof import length_cost
from promptmill.crafts.breed.unit import Unit

if TYPE_CHECKING:
    from promptmill.crafts.breed.breeder import Breeder
    from promptmill.tasks.task import Example

GATE = 4
"""Failures on which a child is tried first."""
BLOCK = 6
"""Examples asked at once in a race."""
HOPELESS = 0.2
"""A challenger goes when it is better with less than this probability."""
ENOUGH = 0.9
"""Share of the examples that a challenger must answer: a prompt must not win by the questions that failed."""


async def better(breeder: Breeder, incumbent: Unit, child: Unit, sample: Sequence[str]) -> float:
    """The probability that the child is better than the incumbent; low as soon as there is no hope."""
    order = breeder.rng.sample(list(sample), len(sample))
    order = [key for key in order if key not in child.used and key not in incumbent.used and key in incumbent.seen]
    if not await _passes_gate(breeder, incumbent, child, order):
        return 0.0
    if not breeder.task.scorer.binary:
        return await _graded(breeder, incumbent, child, order)
    return await _counted(breeder, incumbent, child, order)


async def _passes_gate(breeder: Breeder, incumbent: Unit, child: Unit, order: Sequence[str]) -> bool:
    """Whether it mends, on the whole, what its writer was shown, or what the incumbent is known to fail at."""
    await breeder.measure(incumbent, _examples(breeder, child.shown))  # it may be a newer one than the child's parent
    wrong = [key for key in order if incumbent.value(key) < 1]
    gate = [key for key in child.shown if key in incumbent.seen and incumbent.value(key) < 1] or wrong[:GATE]
    await breeder.measure(child, _examples(breeder, gate))
    return not gate or _length(breeder, incumbent, child, order) >= 1 or sum(_gains(child, incumbent, gate)) > 0


async def _counted(breeder: Breeder, incumbent: Unit, child: Unit, order: Sequence[str]) -> float:
    """Right or wrong: examples won and lost, under Jeffreys' prior on the share of those won."""
    wrong = [key for key in order if incumbent.value(key) < 1]
    right = [key for key in order if incumbent.value(key) == 1]
    await breeder.measure(child, _examples(breeder, wrong))
    won, lost = _count(breeder, incumbent, child, wrong, order)
    if (won <= lost and wrong) or not _answered(child, wrong):
        return 0.0
    met = 0
    while met < len(right):
        block = right[met : met + BLOCK]
        await breeder.measure(child, _examples(breeder, block))
        met += len(block)
        if not _answered(child, right[:met]):
            return 0.0
        won, lost = _count(breeder, incumbent, child, [*wrong, *right[:met]], order)
        expected = lost * (len(right) / met)
        probability = float(stats.beta.sf(0.5, won + 0.5, max(lost, expected) + 0.5))
        if probability < HOPELESS:
            return probability
    return float(stats.beta.sf(0.5, won + 0.5, lost + 0.5))


def _count(
    breeder: Breeder, incumbent: Unit, child: Unit, keys: Sequence[str], order: Sequence[str]
) -> tuple[float, float]:
    """Examples won and lost so far. All of them anew each time: either may have settled on another way by now."""
    gains, length = _gains(child, incumbent, keys), _length(breeder, incumbent, child, order)
    return sum(gain for gain in gains if gain > 0) + max(0.0, length), max(0.0, -length) - sum(
        gain for gain in gains if gain < 0
    )


async def _graded(breeder: Breeder, incumbent: Unit, child: Unit, order: Sequence[str]) -> float:
    """Scores by degree: Student's t of the differences. A corpus score that is no mean must not be worse either."""
    probability, scorer = 0.5, breeder.task.scorer
    for met in range(BLOCK, len(order) + BLOCK, BLOCK):
        here = order[:met]
        await breeder.measure(child, _examples(breeder, here))
        if not _answered(child, here):
            return 0.0
        length = _length(breeder, incumbent, child, here) / len(here)
        probability = _positive([gain + length for gain in _gains(child, incumbent, here)])
        if probability < HOPELESS:
            return probability
    mine, its = child.fitness(scorer, order), incumbent.fitness(scorer, [key for key in order if key in child.seen])
    return probability if (mine or 0.0) >= (its or 0.0) else min(probability, 0.5)


def _positive(differences: Sequence[float]) -> float:
    """The probability that their mean is above zero."""
    n, mean = len(differences), float(np.mean(differences))
    spread = float(np.std(differences, ddof=1)) if n > 1 else 0.0
    if spread == 0.0:
        return 0.5 if mean == 0 or n < 2 else float(mean > 0)
    return float(stats.t.cdf(mean / (spread / n**0.5), n - 1))


def _length(breeder: Breeder, incumbent: Unit, child: Unit, order: Sequence[str]) -> float:
    """Examples' worth of the child's being shorter; negative where it is longer."""
    return -length_cost(breeder, child, incumbent) * len(order)


def _answered(child: Unit, keys: Sequence[str]) -> bool:
    return sum(key in child.seen for key in keys) >= ENOUGH * len(keys)


def _gains(child: Unit, incumbent: Unit, keys: Sequence[str]) -> list[float]:
    return [child.value(key) - incumbent.value(key) for key in keys if key in child.seen and key in incumbent.seen]


def _examples(breeder: Breeder, keys: Sequence[str]) -> list[Example]:
    return [breeder.examples[key] for key in keys]
