"""What a predictor of gains is worth on base prompts that it has not seen, and from which expected gain on it is to be
followed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from promptmill.crafts.rewrite.predictor.ridge import Data, best_penalty, by_length, fit_ridge, group_folds
from promptmill.measure.statistics import LEVEL, bootstrap_totals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Takes = Literal["first", "best"]
"""The rewriter's first answer, or the one of which most is expected: the latter may be the one of which most is wrongly
expected."""
FEWEST = 10
"""Base prompts below which nothing is believed."""


@dataclass(frozen=True)
class HeldOut:
    """What was expected of each row by models that had not seen its base prompt, [n] each: by the predictor, by the
    mean gain, by length alone; nan where there is one base prompt only. noise: the standard error of a gain around the
    first, at leverage 0. folds_n: each row's."""

    gains_n: Floats
    constant_n: Floats
    length_n: Floats
    noise: float
    folds_n: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Margin:
    """margin: a prompt is changed where the best expected gain is at least this.

    Measured on held-out base prompts, with a margin that was chosen without them: hopeless, the base prompts that no
    candidate improves; changed, the share of these that were changed all the same; mean_gain, per base prompt;
    kept_share, of the gain that comes of always taking the best expected candidate (None where that is no gain);
    of_best, of the gain of always knowing the best. takes: which of a rewriter's answers is taken, where one is.
    """

    margin: float
    hopeless: int
    changed: float | None
    mean_gain: float | None
    kept_share: float | None
    of_best: float | None
    takes: Takes = "best"


@dataclass(frozen=True, slots=True)
class Report:
    """r2: against the constant. spearman: within base prompts, the mean. over_constant, over_length: how much smaller
    the mean squared error is than theirs, [mean, lo, hi], the interval by bootstrap over base prompts. All on held-out
    base prompts; None where there are too few."""

    rows: int
    bases: int
    penalty: float
    kept: bool
    reason: str
    r2: float | None
    spearman: float | None
    rmse: float | None
    rmse_constant: float | None
    rmse_length: float | None
    over_constant: list[float] | None
    over_length: list[float] | None
    margin: Margin


def held_out(data: Data, folds: int, seed: int, components: int, product: bool) -> HeldOut:
    """The penalty is chosen anew within each training part, so that nothing of the held-out prompts is used."""
    folds = min(folds, len(np.unique(data.groups_n)))
    fold_n = group_folds(data.groups_n, folds, seed)
    found = np.full((4, len(data.gains_n)), np.nan)
    for fold in range(folds if folds > 1 else 0):
        train, here = data.at(fold_n != fold), fold_n == fold
        penalty = best_penalty(train, folds, seed + 1, components, product)
        model, held = fit_ridge(train, penalty, components, product), data.at(here)
        gains, leverages = model.predict(held.candidates_nd, held.bases_nd, held.lengths_nk)
        found[:, here] = gains, np.full(len(gains), train.gains_n.mean()), by_length(train, held.lengths_nk), leverages
    gains_n, constant_n, length_n, leverage_n = found
    known = np.mean((gains_n - data.gains_n) ** 2 / (1 + leverage_n)) if folds > 1 else data.gains_n.var()
    noise = float(np.sqrt(known))
    return HeldOut(gains_n, constant_n, length_n, noise, fold_n)


def report_on(data: Data, held: HeldOut, penalty: float, margin: Margin, seed: int) -> Report:
    rows, bases = len(data.gains_n), len(np.unique(data.groups_n))
    if bases < FEWEST:
        reason = f"only {bases} base prompts have measured rewrites; below {FEWEST} nothing can be told"
        return Report(rows, bases, penalty, False, reason, None, None, None, None, None, None, None, margin)
    own, constant, length = ((guess - data.gains_n) ** 2 for guess in (held.gains_n, held.constant_n, held.length_n))
    over_constant, over_length = _lower(data, constant - own, seed), _lower(data, length - own, seed)
    beaten = {"the constant": over_constant[1] > 0, "length alone": over_length[1] > 0}
    worse = [name for name, beats in beaten.items() if not beats]
    reason = (
        f"not clearly better than {' nor than '.join(worse)} on held-out base prompts"
        if worse
        else "better than the constant and than length alone on held-out base prompts"
    )
    r2 = 1 - float(own.sum() / constant.sum()) if constant.sum() > 0 else None
    rmse, rmse_constant, rmse_length = (math.sqrt(error.mean()) for error in (own, constant, length))
    return Report(
        rows, bases, penalty, not worse, reason, r2, _spearman(data, held.gains_n), rmse, rmse_constant, rmse_length,
        over_constant, over_length, margin,
    )  # fmt: skip


def _lower(data: Data, less_n: Floats, seed: int) -> list[float]:
    """[mean, lo, hi] of a difference in squared error by rows; base prompts are resampled."""
    sums = np.stack([np.bincount(data.groups_n, less_n), np.bincount(data.groups_n)], axis=1).astype(np.float64)
    (drawn,) = bootstrap_totals(sums, [(slice(None), lambda total, _: total[:, 0] / total[:, 1])], seed)
    lo, hi = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(less_n.mean()), float(lo), float(hi)]


def _spearman(data: Data, guess_n: Floats) -> float | None:
    """The mean rank correlation within base prompts whose gains differ; a constant guess ranks nothing: 0 there."""
    from scipy.stats import rankdata

    found = []
    for group in np.unique(data.groups_n):
        here = data.groups_n == group
        gains, guess = (rankdata(values[here]) for values in (data.gains_n, guess_n))
        if gains.std() > 0:
            found.append(float(np.corrcoef(gains, guess)[0, 1]) if guess.std() > 0 else 0.0)
    return float(np.mean(found)) if found else None


def choose_margin(
    data: Data, held: HeldOut, wrong: float, improves: float, places_n: NDArray[np.int64] | None = None
) -> Margin:
    """Which of a rewriter's answers is to be taken, and the least margin at which no more than `wrong` of the base
    prompts that nothing improves are changed.

    places_n: of each row among the answers of the rewriter as it is offered, 0 for its first; negative for prompts that
    came otherwise, by which nothing is chosen. None: all rows are answers, none of them is the first.

    The margin is chosen on all base prompts by their held-out predictions; what is told of it was measured fold by fold
    with the margin that the other folds give, and by that the better of the two ways is taken.
    """
    if not np.isfinite(held.gains_n).all():
        return Margin(0.0, 0, None, None, None, None)
    places = np.ones(len(data.gains_n), dtype=np.int64) if places_n is None else places_n
    offered = [
        here[places[here] >= 0] for here in (np.flatnonzero(data.groups_n == one) for one in np.unique(data.groups_n))
    ]
    ways: dict[Takes, list[NDArray[np.int64]]] = {
        "best": offered,
        "first": [here[places[here] == 0] for here in offered],
    }
    found = [
        _margin_of(takes, [rows for rows in ways[takes] if len(rows)], offered, data, held, wrong, improves)
        for takes in ("best", "first")
        if any(map(len, ways[takes]))
    ]
    return max(found, key=lambda one: one.mean_gain or 0.0) if found else Margin(0.0, 0, None, None, None, None)


def _margin_of(
    takes: Takes, rows: Sequence[NDArray[np.int64]], offered: Sequence[NDArray[np.int64]], data: Data, held: HeldOut,
    wrong: float, improves: float,
) -> Margin:  # fmt: skip
    """rows: of each base prompt those of which one is taken. offered: of each all that could be."""
    chosen = np.array([here[held.gains_n[here].argmax()] for here in rows])
    expected, real = held.gains_n[chosen], data.gains_n[chosen]
    most = {int(data.groups_n[here[0]]): float(data.gains_n[here].max()) for here in offered if len(here)}
    best = np.array([most[int(data.groups_n[one])] for one in chosen])
    hopeless, folds = best <= improves, held.folds_n[chosen]
    changed = np.zeros(len(chosen), dtype=bool)
    for fold in np.unique(folds):
        here = folds == fold
        changed[here] = expected[here] >= _threshold(expected[~here & hopeless], wrong)
    always, known = float(real.mean()), float(best.clip(min=0).mean())
    gain = float(np.where(changed, real, 0.0).mean())
    return Margin(
        _threshold(expected[hopeless], wrong), int(hopeless.sum()),
        float(changed[hopeless].mean()) if hopeless.any() else None, gain,
        gain / always if always > 0 else None, gain / known if known > 0 else None, takes,
    )  # fmt: skip


def _threshold(hopeless: Floats, wrong: float) -> float:
    """At least 0; just above the expected gain of the first that may not be changed."""
    allowed = int(wrong * len(hopeless) + 1e-9)
    if allowed >= len(hopeless):
        return 0.0
    return max(0.0, float(np.nextafter(np.sort(hopeless)[::-1][allowed], np.inf)))
