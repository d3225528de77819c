"""Intervals and tests for scores, single and paired.

Every score is a function of summed per-item statistics (`Score.row`), so a bootstrap draws how often each item counts
and multiplies: weights [draws, u] @ rows [u, k] → sums [draws, k] → scores [draws].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from promptmill.score.scorer import Scorer

    Total = Callable[[NDArray[np.float64], NDArray[np.float64] | int], NDArray[np.float64]]

LEVEL = 0.95
DRAWS = 2000
CHUNK = 4_000_000
"""Numbers of one block of bootstrap weights: about 32 MB."""


class Interval(NamedTuple):
    lo: float
    hi: float


class Gain(NamedTuple):
    """b's score less a's, its interval, and the two-sided p of "no difference"."""

    gain: float
    lo: float
    hi: float
    p: float


def z_of(level: float) -> float:
    """The normal quantile of a two-sided interval: 1.96 for 0.95. Raises ValueError for a level outside (0, 1)."""
    if not 0 < level < 1:
        raise ValueError(f"a confidence level lies between 0 and 1, not {level}")
    return NormalDist().inv_cdf(0.5 + level / 2)


def wilson(k: float, n: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval for k successes of n (Wilson 1927). No trials: (0, 1), nothing is known."""
    if not 0 <= k <= n:
        raise ValueError(f"there cannot be {k} successes in {n} trials")
    if n == 0:
        return Interval(0.0, 1.0)
    z = z_of(level)
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    # at the ends the formula gives 0 and 1 but for rounding
    return Interval(0.0 if k == 0 else max(0.0, centre - half), 1.0 if k == n else min(1.0, centre + half))


def mcnemar_exact(b: int, c: int) -> float:
    """Exact McNemar test: two-sided p that of b + c discordant pairs so uneven a share falls to one side.

    The binomial test at 1/2, twice the smaller tail; 1 where there are no discordant pairs. Exact integers throughout.
    """
    if b < 0 or c < 0:
        raise ValueError(f"counts cannot be negative: {b}, {c}")
    n, k = b + c, min(b, c)
    term = tail = 1
    for i in range(1, k + 1):
        term = term * (n - i + 1) // i
        tail += term
    return min(1.0, float(2 * tail / 2**n))


def paired_interval(b: int, c: int, n: int, level: float = LEVEL) -> Interval:
    """Tango's score interval for (b - c) / n, the gain of paired proportions.

    b: pairs won; c: pairs lost; n: all pairs. It inverts the score test, holds its level for small n, stays within
    [-1, 1] and has width even where b = c = 0. No pairs: (-1, 1).
    Sources: Tango 1998, Statistics in Medicine 17:891; recommended by Fagerland, Lydersen & Laake 2014, ibid. 33:2850.
    """
    if b < 0 or c < 0 or b + c > n:
        raise ValueError(f"there cannot be {b} won and {c} lost in {n} pairs")
    if n == 0:
        return Interval(-1.0, 1.0)
    z, gain = z_of(level), (b - c) / n

    def statistic(delta: float) -> float:
        """The score statistic of "the gain is delta", falling in delta; variance at the constrained estimate of c."""
        middle = -b - c + (2 * n - b + c) * delta
        lost = (math.sqrt(max(0.0, middle**2 + 8 * n * c * delta * (1 - delta))) - middle) / (4 * n)
        variance = n * (2 * lost + delta * (1 - delta))
        over = b - c - n * delta
        return over / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, over)

    def solve(lo: float, hi: float, target: float) -> float:
        for _ in range(60):
            middle = (lo + hi) / 2
            lo, hi = (middle, hi) if statistic(middle) > target else (lo, middle)
        return (lo + hi) / 2

    return Interval(
        -1.0 if gain == -1 else solve(-1.0, gain, z),
        1.0 if gain == 1 else solve(gain, 1.0, -z),
    )


def bootstrap_totals(
    rows: NDArray[np.float64],
    totals: Sequence[tuple[slice, Total]],
    seed: int = 0,
    draws: int = DRAWS,
    sizes: NDArray[np.float64] | None = None,
) -> list[NDArray[np.float64]]:
    """Scores, shape [draws], of resampled items, one array for each (columns of `rows`, total) in `totals`.

    rows: shape [n, k], n >= 1. sizes: shape [n], of how many items each row is the sum, where it is not of one: a total
    is then told how many items were drawn each time, shape [draws]. Equal rows are drawn together, by how often any of
    them comes: the same distribution as drawing items one by one, and for scores of 0 and 1 a matrix of two columns
    instead of n.
    """
    import numpy as np

    drawn = rows if sizes is None else np.column_stack([rows, sizes])
    unique, counts = np.unique(drawn, axis=0, return_counts=True)
    n, rng = len(rows), np.random.default_rng(seed)
    unique, members = np.ascontiguousarray(unique[:, : rows.shape[1]]), unique[:, rows.shape[1] :]
    step = max(1, CHUNK // len(unique))
    parts: list[list[NDArray[np.float64]]] = [[] for _ in totals]
    for start in range(0, draws, step):
        weights = rng.multinomial(n, counts / n, size=min(step, draws - start))
        sums = weights @ unique
        items = n if sizes is None else (weights @ members)[:, 0]
        for found, (columns, total) in zip(parts, totals, strict=True):
            found.append(total(sums[:, columns], items))
    return [np.concatenate(found) for found in parts]


def bootstrap_interval(
    stats: ArrayLike,
    total: Total,
    seed: int = 0,
    level: float = LEVEL,
    draws: int = DRAWS,
    groups: Sequence[Hashable] | None = None,
) -> Interval:
    """Percentile bootstrap interval of a corpus score within [0, 1] (Efron & Tibshirani 1993).

    stats: shape [n, k]. groups: of each item what it belongs to, n of them: whole groups are drawn then, for items of
    one are not independent (`paired_bootstrap`). Where all rows are equal resampling sees no spread; then the interval
    is widened to what so many equal items or groups allow (`unseen`): (0, 1) for no items, never zero width.
    """
    import numpy as np

    items = _matrix(stats)
    if len(items) == 0:
        return Interval(0.0, 1.0)
    rows, sizes = _summed(items, groups)
    if _all_alike(rows, sizes):
        score = float(total(items.sum(axis=0), len(items)))
        share = unseen(len(rows), level)
        return Interval((1 - share) * score, (1 - share) * score + share)
    (scores,) = bootstrap_totals(rows, [(slice(None), total)], seed, draws, sizes)
    lo, hi = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(lo), float(hi))


def unseen(n: int, level: float = LEVEL) -> float:
    """The largest share of other items that n items all of one kind leave credible (Wilson's bound for 0 of n)."""
    return wilson(0, n, level).hi


def score_interval(
    rows: Sequence[Sequence[float]], scorer: Scorer, seed: int = 0, level: float = LEVEL
) -> tuple[float, float, float]:
    """(score, lo, hi) of a set: Wilson's interval where all values are 0 or 1 and the scorer is binary, else bootstrap.

    rows: `Score.row` of each item. No items: (nan, 0, 1).
    """
    matrix = _matrix(rows)
    if len(matrix) == 0:
        return math.nan, 0.0, 1.0
    score = float(scorer.total(matrix.sum(axis=0), len(matrix)))
    if scorer.binary and ((matrix == 0) | (matrix == 1)).all():
        return score, *wilson(int(matrix[:, -1].sum()), len(matrix), level)
    return score, *bootstrap_interval(matrix, scorer.total, seed, level)


def paired_bootstrap(
    stats_a: ArrayLike,
    stats_b: ArrayLike,
    total: Total,
    seed: int = 0,
    level: float = LEVEL,
    draws: int = DRAWS,
    groups: Sequence[Hashable] | None = None,
) -> Gain:
    """b's corpus score less a's, by resampling pairs: percentile interval and two-sided p.

    stats_a, stats_b: shape [n, k], row i of both is the same item. groups: of each item what it belongs to, n of them:
    whole groups are drawn then, as many as there are, and a draw has as many items as its groups have. ValueError where
    shapes or lengths differ. p is twice the smaller share of resamples at or beyond 0, and never below 2^(1-m) for m
    differing pairs (or groups): less no sign test of m can show.
    Source: Efron & Tibshirani 1993, chapters 13 and 16; for comparing systems, Koehn 2004; for groups, Davison &
    Hinkley 1997, section 3.8.
    """
    import numpy as np

    a, b = _matrix(stats_a), _matrix(stats_b)
    if a.shape != b.shape:
        raise ValueError(f"paired statistics must have one shape, not {a.shape} and {b.shape}")
    n = len(a)
    if n == 0:
        return Gain(math.nan, -1.0, 1.0, 1.0)
    k, items = a.shape[1], np.hstack([a, b])
    gain = float(total(b.sum(axis=0), n)) - float(total(a.sum(axis=0), n))
    rows, sizes = _summed(items, groups)
    differ = int((rows[:, :k] != rows[:, k:]).any(axis=1).sum())
    floor = min(1.0, 2.0 ** (1 - differ))
    if _all_alike(rows, sizes):
        share = unseen(len(rows), level)
        return Gain(gain, (1 - share) * gain - share, (1 - share) * gain + share, floor)
    before, after = bootstrap_totals(rows, [(slice(0, k), total), (slice(k, None), total)], seed, draws, sizes)
    gains = after - before
    lo, hi = np.quantile(gains, [(1 - level) / 2, (1 + level) / 2])
    tail = min(int((gains <= 0).sum()), int((gains >= 0).sum()))
    return Gain(gain, float(lo), float(hi), max(floor, min(1.0, 2 * (tail + 1) / (draws + 1))))


def _summed(
    items: NDArray[np.float64], groups: Sequence[Hashable] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """What is drawn: the items [n, k], or the sums over each group [g, k] and its number of items [g]."""
    import numpy as np

    if groups is None:
        return items, None
    if len(groups) != len(items):
        raise ValueError(f"{len(items)} items need as many groups, not {len(groups)}")
    places = {group: at for at, group in enumerate(dict.fromkeys(groups))}
    member = np.array([places[group] for group in groups])
    sums = np.zeros((len(places), items.shape[1]))
    np.add.at(sums, member, items)
    return sums, np.bincount(member).astype(np.float64)


def _all_alike(rows: NDArray[np.float64], sizes: NDArray[np.float64] | None) -> bool:
    """Whether no draw can differ from another: all items are equal, or the means of all groups, but for rounding."""
    import numpy as np

    means = rows if sizes is None else rows / sizes[:, None]
    return bool(np.allclose(means, means[0], rtol=1e-12, atol=0))


def _matrix(stats: ArrayLike) -> NDArray[np.float64]:
    """Shape [n, k]; a flat list of values is [n, 1]."""
    import numpy as np

    matrix = np.asarray(stats, dtype=np.float64)
    return matrix.reshape(len(matrix), -1) if matrix.size else np.empty((0, 1))
