"""How sure one may be that the first candidate is right: logistic regression on signs of it, and how well that holds.

A probability is worth believing where of the groups given 0.7 seven in ten are right (`reliability`), and worth having
where leaving out the least sure ones leaves fewer wrong (`risk_coverage`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from promptmill.measure.statistics import wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Signs = Mapping[str, float | None]
"""What tells of a group whether its first candidate is right, by name; None, or no such name: not known."""
SIGNS = ("score", "consensus", "likelihood", "posterior", "candidates")
"""The first candidate's score (its logit is what counts) and some of its parts; how many distinct candidates there are
(the logarithm)."""
FEWEST = 20
"""Groups below which nothing is fitted."""
SHRINK = 1.0
CLOSEST = 1e-6
"""No score counts as nearer to 0 or 1."""


class Bin(NamedTuple):
    """Groups whose confidence lies in one stretch: its mean, the share that is right with Wilson's interval, and how
    many they are."""

    confidence: float
    right: float
    lo: float
    hi: float
    n: int


class Reliability(NamedTuple):
    """ece: expected calibration error, |confidence - share right| of the bins weighed by their size (Naeini et al.
    2015). brier: mean squared error of the confidences; constant_brier: of always saying the share that is right."""

    bins: list[Bin]
    ece: float
    brier: float
    constant_brier: float


class Covered(NamedTuple):
    """What is left where it says "cannot tell" below a confidence: the share that is answered, and right of these."""

    least: float
    coverage: float
    accuracy: float
    n: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """From signs to a probability. names: the signs, f of them. values: weights of (signs - mean) / scale, beside
    `constant`. Where it is not calibrated the score itself is the confidence, and `reason` says why.

    ValueError where they do not fit together (so that what was read from JSON is checked).
    """

    names: tuple[str, ...] = SIGNS
    values: tuple[float, ...] = ()
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    constant: float = 0.0
    calibrated: bool = False
    reason: str = "not fitted"
    groups: int = 0

    def __post_init__(self) -> None:
        for name in ("names", "values", "mean", "scale"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        numbers, width = (self.values, self.mean, self.scale), len(self.names) if self.calibrated else 0
        finite = np.isfinite([self.constant, *(one for several in numbers for one in several)]).all()
        if {len(several) for several in numbers} != {width} or not finite:
            raise ValueError("signs and weights of a calibration do not fit together")

    def confidence(self, signs: Signs) -> float:
        """The probability that a group's first candidate is right. A sign that is not known counts as the mean of what
        was seen; the score must be known (KeyError)."""
        if not self.calibrated:
            return float(signs["score"] or 0.0)
        standard_nf = _standard(_matrix([signs], self.names), np.array(self.mean), np.array(self.scale))
        return float(_sigmoid(standard_nf @ np.array(self.values) + self.constant)[0])


def fit_calibration(
    signs: Sequence[Signs], right: Sequence[bool], names: Sequence[str] = SIGNS, shrink: float = SHRINK
) -> Calibration:
    """Logistic regression with a penalty of shrink / 2 on the squared weights of the standardised signs (not on the
    constant), beside the summed log-loss in nats.

    signs: of each group. right: whether its first candidate is, as many. Where there are fewer than FEWEST groups, or
    all or none are right, what comes back is not calibrated and says why. ValueError where they are not as many.
    """
    signs_nf, right_n = _matrix(signs, names), np.asarray(right, dtype=np.float64)
    count = len(right_n)
    if len(signs_nf) != count:
        raise ValueError(f"signs of {len(signs_nf)} groups, but {count} are right or wrong")
    if reason := _why_not(right_n):
        return Calibration(tuple(names), reason=reason, groups=count)
    known = ~np.isnan(signs_nf)
    seen_f = np.maximum(known.sum(axis=0), 1)
    mean_f = np.where(known, signs_nf, 0.0).sum(axis=0) / seen_f
    spread_f = np.sqrt((np.where(known, signs_nf - mean_f, 0.0) ** 2).sum(axis=0) / seen_f)
    varies_f = spread_f > 1e-9 * np.maximum(1.0, np.abs(mean_f))
    scale_f = np.where(varies_f, spread_f, 1.0)
    values = _logistic(_standard(signs_nf, mean_f, scale_f), right_n, shrink)
    return Calibration(
        tuple(names), tuple(np.where(varies_f, values[:-1], 0.0).tolist()), tuple(mean_f.tolist()),
        tuple(scale_f.tolist()), float(values[-1]), True, f"fitted on {count} groups", count,
    )  # fmt: skip


def cross_fitted(
    signs: Sequence[Signs], right: Sequence[bool], folds: Sequence[int] | NDArray[np.int64],
    names: Sequence[str] = SIGNS, shrink: float = SHRINK,
) -> Floats:  # fmt: skip
    """[n]: the confidence of each group by a calibration that was fitted without its fold: by these one sees how well
    confidences hold (`reliability`) on the groups of the fit. folds: of each group (`rank.folds.cluster_folds`)."""
    if not len(signs) == len(right) == len(folds):
        raise ValueError(f"signs of {len(signs)} groups, {len(right)} right or wrong, {len(folds)} folds")
    found = np.empty(len(right))
    for fold in sorted(set(map(int, folds))):
        others = [at for at, one in enumerate(folds) if one != fold]
        fitted = fit_calibration([signs[at] for at in others], [right[at] for at in others], names, shrink)
        for at, one in enumerate(folds):
            if one == fold:
                found[at] = fitted.confidence(signs[at])
    return found


def reliability(confidences: Sequence[float], right: Sequence[bool], bins: int = 10) -> Reliability:
    """Whether confidences hold, in `bins` stretches of equal width; those without a group are left out.

    ValueError where they are not as many, none, or not between 0 and 1.
    """
    said, true = _said(confidences, right)
    home = np.minimum((said * bins).astype(np.int64), bins - 1)
    rows = []
    for number in np.unique(home):
        here = home == number
        hits, n = int(true[here].sum()), int(here.sum())
        rows.append(Bin(float(said[here].mean()), hits / n, *wilson(hits, n), n))
    ece = sum(abs(one.confidence - one.right) * one.n for one in rows) / len(said)
    share = float(true.mean())
    return Reliability(rows, ece, float(((said - true) ** 2).mean()), share * (1 - share))


def risk_coverage(confidences: Sequence[float], right: Sequence[bool], points: int = 20) -> list[Covered]:
    """Accuracy at falling demands, the most sure first; the last row answers everything. Groups of one confidence come
    in together, so that no row is better than can be had. At most about `points` rows. ValueError as `reliability`."""
    said, true = _said(confidences, right)
    order = np.argsort(-said, kind="stable")
    ends = np.flatnonzero(np.append(said[order][1:] != said[order][:-1], True))
    wanted = np.ceil(np.arange(1, points + 1) * len(said) / points) - 1
    chosen = ends[np.unique(np.searchsorted(ends, wanted))]
    hits = np.cumsum(true[order])
    return [
        Covered(float(said[order[at]]), (at + 1) / len(said), float(hits[at] / (at + 1)), int(at + 1))
        for at in map(int, chosen)
    ]


def _said(confidences: Sequence[float], right: Sequence[bool]) -> tuple[Floats, Floats]:
    said, true = np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if said.shape != true.shape or not len(said) or not ((said >= 0) & (said <= 1)).all():
        raise ValueError(f"{len(said)} confidences for {len(true)} groups; there must be as many, each from 0 to 1")
    return said, true


def _why_not(right_n: Floats) -> str:
    """Why nothing can be fitted; empty where it can."""
    if len(right_n) < FEWEST:
        return f"only {len(right_n)} groups with known prompts; below {FEWEST} a confidence is not calibrated"
    if right_n.min() == right_n.max():
        return f"{'all' if right_n[0] else 'none'} of {len(right_n)} groups are right: there is nothing to tell apart"
    return ""


def _matrix(signs: Sequence[Signs], names: Sequence[str]) -> Floats:
    """[n, f], nan for what is not known."""
    rows = [[_made(name, one.get(name)) for name in names] for one in signs]
    matrix = np.array(rows, dtype=np.float64).reshape(len(rows), len(names))
    if np.isinf(matrix).any():
        raise ValueError("a sign is infinite")
    return matrix


def _made(name: str, value: float | None) -> float:
    if value is None:
        return math.nan
    if name == "score":
        score = min(max(value, CLOSEST), 1 - CLOSEST)
        return math.log(score / (1 - score))
    return math.log(max(value, 1.0)) if name == "candidates" else value


def _standard(signs_nf: Floats, mean_f: Floats, scale_f: Floats) -> Floats:
    standard: Floats = np.where(np.isnan(signs_nf), 0.0, (signs_nf - mean_f) / scale_f)
    return standard


def _sigmoid(logits_n: Floats) -> Floats:
    found: Floats = np.exp(-np.logaddexp(0.0, -logits_n))
    return found


def _logistic(rows_nf: Floats, right_n: Floats, shrink: float) -> Floats:
    """[f + 1]: the weights, the constant last; L-BFGS with the analytic gradient."""
    from scipy.optimize import minimize

    made = np.column_stack([rows_nf, np.ones(len(rows_nf))])
    shrunk = np.append(np.full(rows_nf.shape[1], shrink), 0.0)
    sides = 2 * right_n - 1

    def loss(values: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        margins = sides * (made @ values)
        slope = made.T @ (-sides * _sigmoid(-margins)) + shrunk * values
        return float(np.logaddexp(0.0, -margins).sum() + 0.5 * (shrunk @ values**2)), slope

    start: NDArray[Any] = np.zeros(made.shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"ftol": 1e-14, "gtol": 1e-9})
    return np.asarray(found.x, dtype=np.float64)
