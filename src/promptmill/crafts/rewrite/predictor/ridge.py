"""Ridge regression of a gain on the vectors of two texts, in closed form, cross-validated over base prompts.

The constant and the texts' lengths are not shrunk: with a large penalty the prediction is the one by length alone.

Shape letters: n rows, d of a text's vector, p columns made of two vectors, k columns of lengths, l penalties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PENALTIES: Floats = np.logspace(-3, 4, 15)
"""Tried penalties, as multiples of the mean eigenvalue of the columns' Gram matrix."""


@dataclass(frozen=True)
class Data:
    """candidates_nd, bases_nd: vectors of both texts. lengths_nk: see `lengths_of`. gains_n: what is predicted.
    groups_n: the number of each row's base prompt."""

    candidates_nd: Floats
    bases_nd: Floats
    lengths_nk: Floats
    gains_n: Floats
    groups_n: NDArray[np.int64]

    def at(self, which_n: NDArray[Any]) -> Data:
        return Data(
            self.candidates_nd[which_n], self.bases_nd[which_n], self.lengths_nk[which_n], self.gains_n[which_n],
            self.groups_n[which_n],
        )  # fmt: skip


def lengths_of(bases: Sequence[str], candidates: Sequence[str]) -> Floats:
    """[n, 2]: the log of a candidate's length in characters, and of its ratio to its base prompt's."""
    base_n, candidate_n = (np.log1p([len(text) for text in texts]) for texts in (bases, candidates))
    return np.stack([candidate_n, candidate_n - base_n], axis=1)


def group_folds(groups_n: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each row: all rows of a group lie in one, and folds are as even in groups as can be."""
    groups = np.unique(groups_n)
    fold_of = np.empty(len(groups), dtype=np.int64)
    fold_of[np.random.default_rng(seed).permutation(len(groups))] = np.arange(len(groups)) % folds
    return fold_of[np.searchsorted(groups, groups_n)]


@dataclass(frozen=True)
class Columns:
    """From two vectors to standardised columns: the candidate's, the base prompt's, their difference, and (product)
    their products. axes_dc: principal components to which vectors are reduced; None where they are short enough."""

    product: bool
    mean_d: Floats
    scale_d: Floats
    axes_dc: Floats | None
    mean_p: Floats
    scale_p: Floats

    @classmethod
    def of(cls, data: Data, components: int, product: bool) -> Columns:
        texts_md = np.unique(np.concatenate([data.candidates_nd, data.bases_nd]), axis=0)
        mean_d, scale_d = texts_md.mean(axis=0), _scale(texts_md)
        axes_dc = None
        if texts_md.shape[1] > components:
            plain_md = (texts_md - mean_d) / scale_d
            _, axes_dd = np.linalg.eigh(plain_md.T @ plain_md)
            axes_dc = np.ascontiguousarray(axes_dd[:, ::-1][:, :components])
        raw = cls(product, mean_d, scale_d, axes_dc, np.zeros(1), np.ones(1))
        made_np = raw.make(data.candidates_nd, data.bases_nd)
        return cls(product, mean_d, scale_d, axes_dc, made_np.mean(axis=0), _scale(made_np))

    def make(self, candidates_nd: Floats, bases_nd: Floats) -> Floats:
        """[n, p]"""
        candidates, bases = ((vectors - self.mean_d) / self.scale_d for vectors in (candidates_nd, bases_nd))
        if self.axes_dc is not None:
            candidates, bases = candidates @ self.axes_dc, bases @ self.axes_dc
        parts = [candidates, bases, candidates - bases, *([candidates * bases] if self.product else [])]
        made: Floats = (np.concatenate(parts, axis=1) - self.mean_p) / self.scale_p
        return made


@dataclass(frozen=True)
class Ridge:
    """A fitted model. free_k: the constant's and the lengths' weights. cross_kp: what of the columns the lengths
    explain. spread_pp, spread_kk: the leverage of a row is the sum of its two quadratic forms."""

    columns: Columns
    weights_p: Floats
    free_k: Floats
    cross_kp: Floats
    spread_pp: Floats
    spread_kk: Floats

    def predict(self, candidates_nd: Floats, bases_nd: Floats, lengths_nk: Floats) -> tuple[Floats, Floats]:
        """Expected gains and leverages, [n] each; by the latter the variance of a row grows as 1 + leverage."""
        made_np, free_nk = self.columns.make(candidates_nd, bases_nd), _with_constant(lengths_nk)
        alone_np = made_np - free_nk @ self.cross_kp
        leverage_n = np.einsum("np,pq,nq->n", alone_np, self.spread_pp, alone_np, optimize=True)
        leverage_n += np.einsum("nk,kj,nj->n", free_nk, self.spread_kk, free_nk)
        return made_np @ self.weights_p + free_nk @ self.free_k, leverage_n


class Solver:
    """One decomposition of the training rows, from which the model of any penalty follows."""

    def __init__(self, data: Data, components: int, product: bool) -> None:
        self.columns = Columns.of(data, components, product)
        made_np, self.free_nk = self.columns.make(data.candidates_nd, data.bases_nd), _with_constant(data.lengths_nk)
        both = np.column_stack([made_np, data.gains_n])
        explained = np.asarray(np.linalg.lstsq(self.free_nk, both, rcond=None)[0], dtype=np.float64)
        alone = both - self.free_nk @ explained
        made_np, gains_n = alone[:, :-1], alone[:, -1]
        self.cross_kp, self.gain_k = explained[:, :-1], explained[:, -1]
        values_p, self.axes_pp = np.linalg.eigh(made_np.T @ made_np)
        self.values_p: Floats = values_p.clip(min=0)
        self.pulled_p = self.axes_pp.T @ (made_np.T @ gains_n)
        self.unit = max(float(self.values_p.sum()) / max(1, min(made_np.shape)), 1e-12)

    def weights(self, penalties_l: Floats) -> tuple[Floats, Floats]:
        """[p, l] of the columns, [k, l] of the constant and the lengths."""
        weights_pl = self.axes_pp @ (self.pulled_p[:, None] / self._shrunk(penalties_l))
        return weights_pl, self.gain_k[:, None] - self.cross_kp @ weights_pl

    def model(self, penalty: float) -> Ridge:
        penalties_l = np.array([penalty])
        weights_pl, free_kl = self.weights(penalties_l)
        spread_pp = (self.axes_pp / self._shrunk(penalties_l)[:, 0]) @ self.axes_pp.T
        spread_kk = np.asarray(np.linalg.pinv(self.free_nk.T @ self.free_nk), dtype=np.float64)
        return Ridge(self.columns, weights_pl[:, 0], free_kl[:, 0], self.cross_kp, spread_pp, spread_kk)

    def _shrunk(self, penalties_l: Floats) -> Floats:
        shrunk_pl: Floats = self.values_p[:, None] + self.unit * penalties_l
        return shrunk_pl


def best_penalty(data: Data, folds: int, seed: int, components: int, product: bool) -> float:
    """The penalty of the least squared error by cross-validation over base prompts; of equals, the largest."""
    folds = min(folds, len(np.unique(data.groups_n)))
    if folds < 2:
        return float(PENALTIES[-1])
    fold_n = group_folds(data.groups_n, folds, seed)
    errors_l = np.zeros(len(PENALTIES))
    for fold in range(folds):
        held, solver = data.at(fold_n == fold), Solver(data.at(fold_n != fold), components, product)
        weights_pl, free_kl = solver.weights(PENALTIES)
        made_np = solver.columns.make(held.candidates_nd, held.bases_nd)
        gains_nl = made_np @ weights_pl + _with_constant(held.lengths_nk) @ free_kl
        errors_l += ((gains_nl - held.gains_n[:, None]) ** 2).sum(axis=0)
    return float(PENALTIES[::-1][int(errors_l[::-1].argmin())])


def fit_ridge(data: Data, penalty: float, components: int, product: bool) -> Ridge:
    return Solver(data, components, product).model(penalty)


def by_length(train: Data, lengths_nk: Floats) -> Floats:
    """[n]: gains expected from the lengths alone (least squares)."""
    weights_k = np.linalg.lstsq(_with_constant(train.lengths_nk), train.gains_n, rcond=None)[0]
    return _with_constant(lengths_nk) @ weights_k


def _with_constant(lengths_nk: Floats) -> Floats:
    return np.column_stack([np.ones(len(lengths_nk)), lengths_nk])


def _scale(values_np: Floats) -> Floats:
    """Standard deviations; 1 for a column that does not vary."""
    spread_p = values_np.std(axis=0)
    return np.where(spread_p > 1e-9 * np.abs(values_np).max(axis=0, initial=1.0), spread_p, 1.0)
