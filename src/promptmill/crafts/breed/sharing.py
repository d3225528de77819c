"""Fitness sharing: units that are alike divide what they earn, so that a crowd does not win by its number alone.

Goldberg and Richardson, Genetic algorithms with sharing for multimodal function optimization (ICGA 1987).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import fsum, isfinite

from promptmill.errors import InputError


def shared(fitness: Sequence[float], likeness: Callable[[int, int], float], radius: float = 0.5) -> list[float]:
    """Each fitness divided by the crowd around it: f_i / sum_j sh(d_ij), with d = 1 - likeness.

    sh(d) = 1 - d / radius within the radius and 0 beyond it (the triangular function of the paper, alpha = 1). A unit
    is at no distance from itself, so a loner keeps its fitness.

    likeness: of the i-th and the j-th unit, 1 for the same; symmetric, and asked for once for each pair.
    InputError where the radius is not above 0, or a fitness is negative or not finite: a crowd would gain by dividing.
    """
    if not (isfinite(radius) and radius > 0):
        raise InputError(f"fitness sharing: the radius must be above 0, not {radius}")
    for at, value in enumerate(fitness):
        if not (isfinite(value) and value >= 0):
            raise InputError(f"fitness sharing: needs scores of 0 or more, unit {at} has {value}; use another scorer")
    weights = [[1.0] for _ in fitness]
    for i in range(len(fitness)):
        for j in range(i):
            weight = _share(1 - likeness(i, j), radius)
            weights[i].append(weight)
            weights[j].append(weight)
    return [value / fsum(near) for value, near in zip(fitness, weights, strict=True)]


def _share(distance: float, radius: float) -> float:
    """What one unit takes of another's niche, 0 to 1 (rounding can bring a likeness a little over 1)."""
    return min(1.0, max(0.0, 1 - distance / radius))
