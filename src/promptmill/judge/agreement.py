"""How far judges agree: on scores, on order, and how many of them are needed. Arrays in, numbers out.

Scores are [items, judges] with NaN where a judge could not be read. `bases` and `groups` are integer codes [items] from
0: the base prompt of an item, and what it is compared within (the answers of one base prompt to one input). What is
called "within" is blind to differences between groups: that all judges find one base prompt's answers better than
another's says nothing on whether they can tell two answers to the same prompt apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from promptmill.measure.statistics import LEVEL, bootstrap_totals

Floats: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
Scale = Literal["nominal", "ordinal", "interval"]

DRAWS = 1000
BLOCKS = 2000
"""More base prompts than this are drawn in so many blocks: the interval is as good, and time and memory are bounded."""
MOST_IN_GROUP = 500
"""Of a larger group so many items, evenly spread, stand for its pairs."""
MOST_CATEGORIES = 64


class Estimate(NamedTuple):
    """value: nan where it is not defined. lo, hi: 95 % interval by bootstrap over base prompts, nan for one alone."""

    value: float
    lo: float
    hi: float
    n: int


UNKNOWN = Estimate(math.nan, math.nan, math.nan, 0)


class Order(NamedTuple):
    """same: share of the decided pairs that both judges order alike; nan for none. ties: share of all pairs that at
    least one of them does not decide. pairs: how many there were."""

    same: float
    ties: float
    pairs: int


def sums_by(codes: Codes, columns: Floats, count: int) -> Floats:
    """Rows of `columns` [n, k] added up by code: [count, k]."""
    return np.stack([np.bincount(codes, weights=column, minlength=count) for column in columns.T], axis=1)


def bootstrapped(rows: Floats, total: Callable[[Floats], Floats], n: int, seed: int = 0) -> Estimate:
    """A function of summed rows [bases, k], with its interval from base prompts drawn again."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(total(rows.sum(axis=0)[None])[0]) if len(rows) else math.nan
        if len(rows) < 2 or math.isnan(value):
            return Estimate(value, math.nan, math.nan, n)
        if len(rows) > BLOCKS:
            rows = sums_by(np.arange(len(rows)) % BLOCKS, rows, BLOCKS)
        (drawn,) = bootstrap_totals(rows, [(slice(None), lambda sums, _: total(sums))], seed, DRAWS)
    known = drawn[~np.isnan(drawn)]
    lo, hi = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(lo), float(hi), n)


def krippendorff_alpha(
    scores: Floats, bases: Codes | None = None, scale: Scale = "interval", seed: int = 0
) -> Estimate:
    """Krippendorff's alpha: 1 for perfect agreement, 0 for what chance gives; nan where all scores are equal or no item
    has two of them. n: items with two scores or more.

    Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability" (coincidences, metric differences).
    """
    shared = np.sum(~np.isnan(scores), axis=1) >= 2
    scores = scores[shared]
    if not len(scores):
        return UNKNOWN
    codes = np.zeros(len(scores), np.int64) if bases is None else np.unique(bases[shared], return_inverse=True)[1]
    count = int(codes.max()) + 1
    rows, total = _interval_parts(scores) if scale == "interval" else _coincidence_parts(scores, scale)
    return bootstrapped(sums_by(codes, rows, count), total, len(scores), seed)


def _interval_parts(scores: Floats) -> tuple[Floats, Callable[[Floats], Floats]]:
    """Per item: its disagreement, its scores' count, sum and sum of squares. The pairs need not be formed."""
    centred = scores - np.nanmean(scores)  # for the sums of squares' sake
    m = np.sum(~np.isnan(scores), axis=1).astype(np.float64)
    first, second = np.nansum(centred, axis=1), np.nansum(centred**2, axis=1)
    within = 2 * np.maximum(0.0, m * second - first**2) / (m - 1)

    def total(sums: Floats) -> Floats:
        observed, n, first, second = sums.T
        among_all = 2 * (n * second - first**2)
        some = among_all > 1e-12 * n * n
        return np.where(some, 1 - (n - 1) * observed / np.where(some, among_all, 1), np.nan)

    return np.stack([within, m, first, second], axis=1), total


def _coincidence_parts(scores: Floats, scale: Scale) -> tuple[Floats, Callable[[Floats], Floats]]:
    """Per item: its coincidences of values, flattened [items, values * values]."""
    known = ~np.isnan(scores)
    values, places = np.unique(scores[known], return_inverse=True)
    v = len(values)
    if v > MOST_CATEGORIES:
        raise ValueError(f"{v} different scores are no categories; use the interval scale")
    item = np.nonzero(known)[0]
    counts = np.bincount(item * v + places, minlength=len(scores) * v).reshape(len(scores), v).astype(np.float64)
    m = counts.sum(axis=1)
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(v)
    rows = (pairs / (m - 1)[:, None, None]).reshape(len(scores), v * v)

    def total(sums: Floats) -> Floats:
        observed = sums.reshape(-1, v, v)
        margin = observed.sum(axis=2)
        n = margin.sum(axis=1)
        expected = (margin[:, :, None] * margin[:, None, :] - margin[:, :, None] * np.eye(v)) / (n - 1)[:, None, None]
        if scale == "nominal":
            apart = np.broadcast_to(1 - np.eye(v), observed.shape)
        else:  # values between two of them count whole, the two themselves half
            rank = np.cumsum(margin, axis=1) - margin / 2
            apart = (rank[:, :, None] - rank[:, None, :]) ** 2
        chance = (expected * apart).sum(axis=(1, 2))
        some = chance > 0
        return np.where(some, 1 - (observed * apart).sum(axis=(1, 2)) / np.where(some, chance, 1), np.nan)

    return rows, total


def _centred(column: Floats, groups: Codes) -> Floats:
    count = np.bincount(groups).astype(np.float64)
    mean = np.bincount(groups, weights=column) / np.maximum(count, 1)
    return column - mean[groups]


def _together(x: Floats, y: Floats, groups: Codes | None) -> tuple[Floats, Floats, Codes]:
    """What both have, and its groups; one group where none are given."""
    both = ~(np.isnan(x) | np.isnan(y))
    codes = np.zeros(int(both.sum()), np.int64) if groups is None else groups[both]
    return x[both], y[both], codes


def ranks_within(column: Floats, groups: Codes) -> Floats:
    """Ranks 1 to n within each group, ties at the mean of their places."""
    n = len(column)
    order = np.lexsort((column, groups))
    new_group = np.diff(groups[order], prepend=-1) != 0
    new_value = new_group | (np.diff(column[order], prepend=np.nan) != 0)
    starts = np.nonzero(new_value)[0]
    ends = np.append(starts[1:], n)
    place = np.repeat((starts + ends - 1) / 2, ends - starts)
    begin = np.maximum.accumulate(np.where(new_group, np.arange(n), 0))
    ranks = np.empty(n)
    ranks[order] = place - begin + 1
    return ranks


def correlation(x: Floats, y: Floats, groups: Codes | None = None) -> float:
    """Pearson's correlation within groups; nan where one of them does not vary within any."""
    x, y, codes = _together(x, y, groups)
    if not len(x):
        return math.nan
    x, y = _centred(x, codes), _centred(y, codes)
    below = math.sqrt(float(x @ x) * float(y @ y))
    return float(np.clip((x @ y) / below, -1, 1)) if below > 1e-12 * len(x) else math.nan


def spearman(x: Floats, y: Floats, groups: Codes | None = None) -> float:
    """Spearman's rank correlation within groups: of the ranks that items have in their group."""
    x, y, codes = _together(x, y, groups)
    return correlation(ranks_within(x, codes), ranks_within(y, codes), codes) if len(x) else math.nan


def quadratic_kappa(x: Floats, y: Floats, groups: Codes | None = None) -> float:
    """Cohen's kappa with quadratic weights; within groups, what chance gives is reckoned in each group.

    The squared distances need no table of counts: the expected one is the mean over all pairs of a group. nan where
    both give one and the same level throughout.
    """
    x, y, codes = _together(x, y, groups)
    if not len(x):
        return math.nan
    observed = float(((x - y) ** 2).sum())
    count = np.bincount(codes).astype(np.float64)
    sums = [np.bincount(codes, weights=column) for column in (x, y, x * x + y * y)]
    expected = float((sums[2] - 2 * sums[0] * sums[1] / np.maximum(count, 1)).sum())
    return 1 - observed / expected if expected > 1e-12 * len(x) else math.nan


def by_size(groups: Codes) -> Iterator[Codes]:
    """Indices of the items of all groups of one size: [groups, size], for each size of two and more."""
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    for size in np.unique(sizes[sizes >= 2]):
        places = np.arange(size) if size <= MOST_IN_GROUP else np.linspace(0, size - 1, MOST_IN_GROUP).astype(np.int64)
        yield order[starts[sizes == size][:, None] + places]


def orders(scores: Floats, groups: Codes) -> dict[tuple[int, int], Order]:
    """For each two judges, by their columns: do they order pairs of answers within a group alike?"""
    judges = scores.shape[1]
    tally = {(j, k): np.zeros(3) for j in range(judges) for k in range(j + 1, judges)}
    for members in by_size(groups):
        left, right = np.triu_indices(members.shape[1], 1)
        step = max(1, 2_000_000 // (len(left) * judges))
        for start in range(0, len(members), step):
            block = scores[members[start : start + step]]
            sign = np.sign(np.round(block[:, left] - block[:, right], 9))
            for (j, k), counts in tally.items():
                product = sign[:, :, j] * sign[:, :, k]
                counts += [np.sum(product > 0), np.sum(product < 0), np.sum(product == 0)]
    return {pair: _order(*counts) for pair, counts in tally.items()}


def _order(same: float, other: float, tied: float) -> Order:
    pairs = same + other + tied
    return Order(same / (same + other) if same + other else math.nan, tied / pairs if pairs else math.nan, int(pairs))


def correlations(scores: Floats, groups: Codes) -> Floats:
    """Pearson's within groups for each two judges [judges, judges], 1 on the diagonal; nan where one does not vary."""
    judges = scores.shape[1]
    found = np.eye(judges)
    for j in range(judges):
        for k in range(j + 1, judges):
            found[j, k] = found[k, j] = correlation(scores[:, j], scores[:, k], groups)
    return found


def effective_judges(between: Floats) -> float:
    """Kish's effective number of independent judges, k^2 over the sum of their correlations (Kish 1965), 1 to k.

    Judges who are all right correlate too, so this is a lower bound.
    """
    k = len(between)
    below = float(between.sum())
    return float(np.clip(k * k / below, 1, k)) if below > 0 else float(k)


def reliability(mean_correlation: float, judges: int) -> float:
    """Spearman and Brown: reliability of the mean of so many judges who correlate by that much on average."""
    r = max(0.0, mean_correlation)
    return judges * r / (1 + (judges - 1) * r)


def judges_needed(mean_correlation: float, wanted: float = 0.8) -> int | None:
    """Judges like these whose mean would reach the wanted reliability; None where no number would."""
    if not mean_correlation > 0:
        return None
    r = min(1.0, mean_correlation)
    return max(1, math.ceil(wanted * (1 - r) / ((1 - wanted) * r) - 1e-9))


def ranked_above(scores: Floats, good: NDArray[np.bool_], groups: Codes, bases: Codes, seed: int = 0) -> Estimate:
    """How often a good item scores above another one of its group, ties half (area under the ROC curve, within groups).

    scores, good, groups, bases: [items]; items without a score are left out. n: pairs.
    """
    known = ~np.isnan(scores)
    if not known.any():
        return UNKNOWN
    scores, good = scores[known], good[known]
    groups, bases = (np.unique(codes[known], return_inverse=True)[1] for codes in (groups, bases))
    count = int(groups.max()) + 1
    ranks = ranks_within(scores, groups)
    goods = np.bincount(groups, weights=good, minlength=count)
    others = np.bincount(groups, minlength=count) - goods
    above = np.bincount(groups, weights=ranks * good, minlength=count) - goods * (goods + 1) / 2  # Mann and Whitney
    home = np.zeros(count, np.int64)
    home[groups] = bases
    rows = sums_by(home, np.stack([above, goods * others], axis=1), int(bases.max()) + 1)
    rows = rows[rows[:, 1] > 0]
    if not len(rows):
        return UNKNOWN
    return bootstrapped(rows, lambda sums: sums[:, 0] / sums[:, 1], int(rows[:, 1].sum()), seed)
