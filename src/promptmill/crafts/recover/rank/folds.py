"""Rows held out by cluster: what says nearly the same is in one fold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def cluster_folds(clusters: Sequence[str], folds: int, seed: int) -> NDArray[np.int64]:
    """[n]: the fold of each row, 0 to folds - 1. All rows of a cluster lie in one, folds are as even in clusters as can
    be, and it does not matter in which order the rows stand. With fewer clusters than folds there are as many folds."""
    names = sorted(set(clusters))
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = {names[at]: place % max(1, folds) for place, at in enumerate(order)}
    return np.array([fold_of[name] for name in clusters], dtype=np.int64)


def even_weights(clusters: Sequence[str]) -> NDArray[np.float64]:
    """[n]: weights by which every cluster counts alike; their mean is 1."""
    places = {name: at for at, name in enumerate(dict.fromkeys(clusters))}
    member_n = np.array([places[name] for name in clusters], dtype=np.int64)
    sizes = np.bincount(member_n)
    weights: NDArray[np.float64] = len(member_n) / (len(sizes) * sizes[member_n])
    return weights
