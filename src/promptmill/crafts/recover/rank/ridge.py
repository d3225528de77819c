"""Ridge regression of a prompt's vector on the vectors of the texts before and after it, in closed form.

Shape letters: n rows, d of a vector, k of a reduced one (`reduced`), p columns made of the texts' vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

F = TypeVar("F", np.float32, np.float64)

PENALTIES: Floats = np.logspace(-2, 3, 11)
"""Tried penalties, as multiples of the mean eigenvalue of the columns' Gram matrix."""
WIDEST = 1024
COMPONENTS = 256
"""Vectors that are wider are reduced to so many principal components, those of texts and those of prompts."""
MORE = 10
"""Directions beyond those wanted that the range finder looks in."""


@dataclass(frozen=True)
class Data:
    """rewritten_nk, originals_nk: vectors of the texts. absent_n: whether there is no original (its vector is then not
    looked at). prompts_nd: vectors of the true prompts. weights_n: how much each row counts."""

    rewritten_nk: Floats
    originals_nk: Floats
    absent_n: NDArray[np.bool_]
    prompts_nd: Floats
    weights_n: Floats

    def at(self, which_n: NDArray[Any]) -> Data:
        return Data(*(getattr(self, field.name)[which_n] for field in fields(self)))


@dataclass(frozen=True)
class Columns:
    """From texts' vectors to columns: the rewritten text's, the original's, their difference (rewritten less original),
    and whether there is no original: the two others are then what they are in the mean, which says nothing.
    original_k, difference_k: these means."""

    original_k: Floats
    difference_k: Floats

    @classmethod
    def of(cls, data: Data) -> Columns:
        there = ~data.absent_n
        rewritten, originals = data.rewritten_nk[there], data.originals_nk[there]
        if not there.any():
            return cls(np.zeros(originals.shape[1]), np.zeros(originals.shape[1]))
        return cls(originals.mean(axis=0), (rewritten - originals).mean(axis=0))

    def make(self, rewritten_nk: Floats, originals_nk: Floats, absent_n: NDArray[np.bool_]) -> Floats:
        """[n, p]"""
        absent = absent_n[:, None]
        original = np.where(absent, self.original_k, originals_nk)
        difference = np.where(absent, self.difference_k, rewritten_nk - originals_nk)
        return np.concatenate([rewritten_nk, original, difference, absent], axis=1)


@dataclass(frozen=True)
class Ridge:
    """A fitted model. mean_p, mean_d: of the columns and of the prompts' vectors. weights_pk: from columns to the
    principal components of prompts, axes_dk ([0, 0]: to their vectors themselves)."""

    columns: Columns
    mean_p: Floats
    mean_d: Floats
    weights_pk: Floats
    axes_dk: Floats

    def expected(self, rewritten_nk: Floats, originals_nk: Floats, absent_n: NDArray[np.bool_]) -> Floats:
        """[n, d] unit vectors."""
        made_np = self.columns.make(rewritten_nk, originals_nk, absent_n)
        return _expected(self.mean_d, (made_np - self.mean_p) @ self.weights_pk, self.axes_dk)


class Solver:
    """One eigendecomposition of the weighted rows, on the side on which it is smaller, from which the model of any
    penalty follows: weights = left · diag(1 / (eigenvalues + penalty)) · right."""

    def __init__(self, data: Data) -> None:
        self.columns = Columns.of(data)
        made_np = self.columns.make(data.rewritten_nk, data.originals_nk, data.absent_n)
        share_n = data.weights_n / data.weights_n.sum()
        self.mean_p, self.mean_d = share_n @ made_np, share_n @ data.prompts_nd
        self.axes_dk = axes_of(data.prompts_nd - self.mean_d)
        root_n1 = np.sqrt(share_n)[:, None]
        rows_np = root_n1 * (made_np - self.mean_p)
        wanted_nk = root_n1 * reduced(data.prompts_nd - self.mean_d, self.axes_dk)
        if len(rows_np) <= rows_np.shape[1]:
            values, axes = np.linalg.eigh(rows_np @ rows_np.T)
            self.left, self.right = rows_np.T @ axes, axes.T @ wanted_nk
        else:
            values, axes = np.linalg.eigh(rows_np.T @ rows_np)
            self.left, self.right = axes, axes.T @ (rows_np.T @ wanted_nk)
        self.values: Floats = values.clip(min=0)
        self.scale = max(float(self.values.mean()), 1e-12)

    def expected(self, data: Data, penalties: Sequence[float]) -> Iterator[Floats]:
        """[n, d] unit vectors for each penalty, without making its model."""
        made_np = self.columns.make(data.rewritten_nk, data.originals_nk, data.absent_n)
        turned = (made_np - self.mean_p) @ self.left
        for penalty in penalties:
            pulled_nk = (turned / (self.values + self.scale * penalty)) @ self.right
            yield _expected(self.mean_d, pulled_nk, self.axes_dk)

    def model(self, penalty: float) -> Ridge:
        shrunk = self.values + self.scale * penalty
        return Ridge(self.columns, self.mean_p, self.mean_d, self.left @ (self.right / shrunk[:, None]), self.axes_dk)


def _expected(mean_d: Floats, pulled_nk: Floats, axes_dk: Floats) -> Floats:
    return unit(mean_d + (pulled_nk @ axes_dk.T if axes_dk.size else pulled_nk))


def unit(vectors_nd: NDArray[F]) -> NDArray[F]:
    """At length 1; a vector of zeros stays one."""
    lengths = np.linalg.norm(vectors_nd, axis=-1, keepdims=True)
    scaled: NDArray[F] = (vectors_nd / np.maximum(lengths, 1e-12)).astype(vectors_nd.dtype, copy=False)
    return scaled


def reduced(vectors_nd: NDArray[Any], axes_dk: Floats) -> Floats:
    """[n, k]: along the axes; as they are where there are none."""
    along: NDArray[Any] = vectors_nd @ axes_dk.astype(vectors_nd.dtype) if axes_dk.size else vectors_nd
    return along.astype(np.float64)


def axes_of(vectors_nd: NDArray[Any], widest: int = WIDEST, most: int = COMPONENTS) -> Floats:
    """[d, k]: the first principal components (not centred), by a randomised range finder with a fixed seed and one
    power iteration (Halko, Martinsson & Tropp, arXiv 0909.4061). [0, 0] where d is `widest` or less."""
    vectors = vectors_nd.astype(np.float32, copy=False)
    rows, size = vectors.shape
    if size <= widest:
        return np.empty((0, 0))
    looked = np.random.default_rng(0).standard_normal((size, min(rows, most + MORE)), dtype=np.float32)
    basis = np.linalg.qr(vectors @ looked)[0]
    basis = np.linalg.qr(vectors @ np.linalg.qr(vectors.T @ basis)[0])[0]
    axes = np.linalg.svd(basis.T @ vectors, full_matrices=False)[2]
    return np.ascontiguousarray(axes[:most].T, dtype=np.float64)
