"""How the parts of a candidate's score are weighed: a conditional logit, fitted where the truth is known.

The candidates of a group compete with each other, so only differences within a group count: log p(candidate) =
weights · (parts - their mean in the group) + constant (McFadden 1974). What is to be learned is not one right answer
but how near each comes, as in listwise ranking (Cao et al. 2007).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Parts = Mapping[str, float | None]
"""What is known of a candidate, by name; None, or no such name: not known."""
DEFAULTS: dict[str, float] = {
    "likelihood": 10.0, "posterior": 1.0, "consensus": 10.0, "votes": 2.0, "critic": 5.0, "retrieved": 2.0,
}  # fmt: skip
"""Log-odds for each unit of a part (nats a token, nats, a cosine, a share), where there is too little to fit them."""
NAMES = tuple(DEFAULTS)
"""The parts, as the columns of `tables.PartRow` are called."""
FEWEST = 20
"""Groups whose candidates differ in how near they come, below which nothing is fitted."""
SHRINK = 0.01
TEMPERATURE = 0.1
"""A candidate that is nearer to the truth by so much in sharpened cosine should be e times as probable."""


@dataclass(frozen=True, slots=True)
class Weights:
    """names: the parts, f of them. values: their weights, where each part is divided by its scale (the spread within
    groups that it was seen to have). groups: on how many they were fitted. reason: why they are the defaults, where
    they are. loss, even_loss: the mean cross-entropy with the targets in nats, of these weights and of an even guess.

    ValueError where they do not fit together (so that what was read from JSON is checked).
    """

    names: tuple[str, ...]
    values: tuple[float, ...]
    scale: tuple[float, ...]
    groups: int = 0
    fitted: bool = False
    reason: str = "not fitted"
    loss: float | None = None
    even_loss: float | None = None

    def __post_init__(self) -> None:
        for name in ("names", "values", "scale"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        several = {len(self.names), len(self.values), len(self.scale)}
        if len(several) > 1 or not np.isfinite([*self.values, *self.scale]).all() or min(self.scale, default=1) <= 0:
            raise ValueError("names, values and scales of weights do not fit together")

    def scores(self, candidates: Sequence[Parts]) -> Floats:
        """[n]: the probability of each candidate of one group; they add up to 1. A part that is not known counts as
        the mean of those of the group that are."""
        if not candidates:
            return np.empty(0)
        centred_nf = _centred(_matrix(candidates, self.names))
        return np.exp(_log_softmax((centred_nf / np.array(self.scale)) @ np.array(self.values)))

    @property
    def each(self) -> dict[str, float]:
        """Log-odds for each unit of a part."""
        return {name: value / scale for name, value, scale in zip(self.names, self.values, self.scale, strict=True)}


def default_weights(names: Sequence[str] = NAMES, reason: str = "not fitted", groups: int = 0) -> Weights:
    """Those of DEFAULTS; a part that is not named there counts for nothing."""
    values = tuple(DEFAULTS.get(name, 0.0) for name in names)
    return Weights(tuple(names), values, (1.0,) * len(values), groups, False, reason)


def fit_weights(
    groups: Sequence[Sequence[Parts]], nearness: Sequence[Sequence[float] | NDArray[Any]],
    names: Sequence[str] = NAMES, temperature: float = TEMPERATURE, shrink: float = SHRINK,
) -> Weights:  # fmt: skip
    """Weights by which the candidates nearest to the truth become the most probable.

    groups: the candidates of each, n of them. nearness: of each group [n], the sharpened cosine of each candidate with
    the truth; the target is softmax(nearness / temperature). shrink: the penalty on the squared weights of the scaled
    parts, beside the mean cross-entropy in nats. A part that never differs within a group gets 0.

    Groups with fewer than two candidates, or whose candidates are all as near, teach nothing. Where fewer than FEWEST
    others are left the defaults come back, with the reason. ValueError where there are not as many numbers as
    candidates, or one is not finite.
    """
    taught = [
        (_centred(_matrix(candidates, names)), near_n)
        for candidates, near_n in _paired(groups, nearness)
        if len(near_n) > 1 and np.ptp(near_n) > 0
    ]
    if len(taught) < FEWEST:
        reason = (
            f"only {len(taught)} groups with candidates that differ in how near they come; below {FEWEST} weights are "
            "not fitted"
        )
        return default_weights(names, reason, len(taught))
    rows_nf = np.concatenate([parts for parts, _ in taught])
    spread_f = np.sqrt((rows_nf**2).mean(axis=0))
    scale_f = np.where(spread_f > 1e-9, spread_f, 1.0)
    sizes = np.array([len(near_n) for _, near_n in taught])
    target_n = np.concatenate([np.exp(_log_softmax(near_n / temperature)) for _, near_n in taught])
    loss = _Loss(rows_nf / scale_f, target_n, np.repeat(np.arange(len(sizes)), sizes), len(sizes), shrink)
    values_f = np.where(spread_f > 1e-9, loss.least(), 0.0)
    return Weights(
        tuple(names), tuple(values_f.tolist()), tuple(scale_f.tolist()), len(sizes), True,
        f"fitted on {len(sizes)} groups", loss.entropy(values_f), float(np.log(sizes).mean()),
    )  # fmt: skip


def held_out_scores(
    groups: Sequence[Sequence[Parts]], nearness: Sequence[Sequence[float] | NDArray[Any]],
    folds: Sequence[int] | NDArray[np.int64], names: Sequence[str] = NAMES, temperature: float = TEMPERATURE,
    shrink: float = SHRINK,
) -> list[Floats]:  # fmt: skip
    """The scores of each group by weights that were fitted without its fold: what a confidence is to be fitted on, for
    groups that a fit has seen look surer than others will. folds: of each group (`rank.folds.cluster_folds`)."""
    if len(folds) != len(groups):
        raise ValueError(f"{len(groups)} groups need as many folds, not {len(folds)}")
    found: list[Floats] = [np.empty(0)] * len(groups)
    for fold in sorted(set(map(int, folds))):
        others = [at for at, one in enumerate(folds) if one != fold]
        kept = [groups[at] for at in others], [nearness[at] for at in others]
        weights = fit_weights(*kept, names, temperature, shrink)
        for at, one in enumerate(folds):
            if one == fold:
                found[at] = weights.scores(groups[at])
    return found


def better_weights(
    groups: Sequence[Sequence[Parts]], nearness: Sequence[Sequence[float] | NDArray[Any]],
    folds: Sequence[int] | NDArray[np.int64], names: Sequence[str] = NAMES,
) -> tuple[Weights, list[Floats]]:  # fmt: skip
    """The fitted weights where, fitted without a group's fold, they choose on average a candidate nearer to the truth
    than the defaults do; else the defaults, with the reason. And the scores of each group, by weights that have not
    seen it."""
    plain, fitted = default_weights(names), fit_weights(groups, nearness, names)
    by_default = [plain.scores(one) for one in groups]
    if not fitted.fitted:
        return fitted, by_default
    held = held_out_scores(groups, nearness, folds, names)
    ours, theirs = (
        float(np.mean([near[int(scores.argmax())] for near, scores in zip(nearness, several, strict=True)]))
        for several in (held, by_default)
    )
    if ours > theirs:
        return fitted, held
    reason = f"weights fitted on {fitted.groups} groups choose no better on others ({ours:.3f}, defaults {theirs:.3f})"
    return default_weights(names, reason, fitted.groups), by_default


class _Loss:
    """Mean cross-entropy over groups, with its gradient. rows_nf: centred and scaled; home_n: each row's group."""

    def __init__(self, rows_nf: Floats, target_n: Floats, home_n: NDArray[np.int64], groups: int, shrink: float):
        self.rows_nf, self.target_n, self.home_n, self.groups, self.shrink = rows_nf, target_n, home_n, groups, shrink

    def __call__(self, values_f: Floats) -> tuple[float, Floats]:
        logs_n = self._logs(values_f)
        entropy = -float(self.target_n @ logs_n) / self.groups
        slope_f = self.rows_nf.T @ (np.exp(logs_n) - self.target_n) / self.groups
        return entropy + self.shrink * float(values_f @ values_f), slope_f + 2 * self.shrink * values_f

    def entropy(self, values_f: Floats) -> float:
        return -float(self.target_n @ self._logs(values_f)) / self.groups

    def least(self) -> Floats:
        from scipy.optimize import minimize

        start = np.zeros(self.rows_nf.shape[1])
        found: Any = minimize(self, start, jac=True, method="L-BFGS-B", options={"ftol": 1e-14, "gtol": 1e-9})
        return np.asarray(found.x, dtype=np.float64)

    def _logs(self, values_f: Floats) -> Floats:
        """log p of every row within its group."""
        logits_n = self.rows_nf @ values_f
        top_g = np.full(self.groups, -np.inf)
        np.maximum.at(top_g, self.home_n, logits_n)
        logits_n = logits_n - top_g[self.home_n]
        logs: Floats = logits_n - np.log(np.bincount(self.home_n, np.exp(logits_n)))[self.home_n]
        return logs


def _paired(
    groups: Sequence[Sequence[Parts]], nearness: Sequence[Sequence[float] | NDArray[Any]]
) -> list[tuple[Sequence[Parts], Floats]]:
    if len(groups) != len(nearness):
        raise ValueError(f"{len(groups)} groups of candidates, but {len(nearness)} of numbers")
    pairs = [
        (candidates, np.asarray(near, dtype=np.float64)) for candidates, near in zip(groups, nearness, strict=True)
    ]
    for at, (candidates, near_n) in enumerate(pairs):
        if near_n.shape != (len(candidates),) or not np.isfinite(near_n).all():
            raise ValueError(f"group {at}: {len(candidates)} candidates need as many finite numbers")
    return pairs


def _matrix(candidates: Sequence[Parts], names: Sequence[str]) -> Floats:
    """[n, f], nan for what is not known."""
    rows = [[one.get(name) for name in names] for one in candidates]
    matrix = np.array(rows, dtype=np.float64).reshape(len(rows), len(names))
    if np.isinf(matrix).any():
        raise ValueError("a part of a candidate is infinite")
    return matrix


def _centred(parts_nf: Floats) -> Floats:
    """Less the mean of what is known in the group; 0 for what is not."""
    known = ~np.isnan(parts_nf)
    plain = np.where(known, parts_nf, 0.0)
    mean_f = plain.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    centred: Floats = np.where(known, plain - mean_f, 0.0)
    return centred


def _log_softmax(logits_n: Floats) -> Floats:
    shifted = logits_n - logits_n.max()
    logs: Floats = shifted - np.log(np.exp(shifted).sum())
    return logs
