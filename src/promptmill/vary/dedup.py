"""Which of many texts say the same, and which nearly so, in time and memory that grow with their number.

Likeness is Dice's coefficient of character n-grams, as in `vary.alike`, and the cosine of sentence vectors where they
are given. Sketches name candidates; a candidate is then compared exactly, so that no likeness is claimed that is not
there. One that is just at the bound is missed in two of a hundred cases (in more where thousands of texts are all
nearly alike).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from promptmill.vary.alike import Vectors
from promptmill.vary.sketches import (
    PERMUTATIONS,
    PLANES,
    Buckets,
    Sketches,
    band_width,
    dice,
    minhash_keys,
    packed,
    plane_keys,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEVIATIONS = 4.0
"""A candidate whose sketch is so many standard deviations below the bound is not looked at."""
CHECKED = 16
"""Candidates of a text that are compared exactly at most, those with the most similar sketches."""
ROUNDING = 1e-6

Why = Literal["exact", "near", "embedding"]


@dataclass(frozen=True, slots=True)
class Copy:
    """A text that falls away. at: its place; of: the place of the kept text that it is like."""

    at: int
    of: int
    why: Why
    likeness: float


def exactly(text: str) -> str:
    """What counts of a text when it is compared word for word: not case, not spacing."""
    return " ".join(text.casefold().split())


@dataclass
class Neighbours:
    """The texts before a text that are alike it, by one kind of likeness at one bound."""

    sketches: Sketches
    bound: float
    by: Why
    _buckets: Buckets = field(init=False)

    def __post_init__(self) -> None:
        if self.by == "near":
            self.jaccard = self.bound / (2 - self.bound)
            width = band_width(self.jaccard, PERMUTATIONS)
            self._buckets = Buckets(minhash_keys(self.sketches.minhash, width))
            # The lowest byte of each hash is enough to tell how many are equal, and a quarter of the reading.
            self._brief = self.sketches.minhash.astype(np.uint8)
            spread = math.sqrt(self.jaccard * (1 - self.jaccard) / PERMUTATIONS)
            self._least = (self.jaccard - DEVIATIONS * spread) * PERMUTATIONS
        else:
            assert self.sketches.unit is not None
            width = band_width(1 - math.acos(self.bound) / math.pi, PLANES)
            self._buckets = Buckets(plane_keys(self.sketches.unit, width))

    def candidates(self, at: int) -> NDArray[np.int32]:
        return self._buckets.before(at)

    def likely(self, at: int, candidates: NDArray[np.int32]) -> NDArray[np.int32]:
        """Those of the candidates whose sketches do not rule them out, the most alike first."""
        if self.by == "embedding":
            cosines = self._cosines(at, candidates)
            fit = np.flatnonzero(cosines >= self.bound - ROUNDING)
            return candidates[fit[np.argsort(-cosines[fit], kind="stable")]]
        sizes = self.sketches.sizes
        # Dice's coefficient is at most 2 min(a, b) / (a + b).
        possible = 2 * np.minimum(sizes[candidates], sizes[at]) >= self.bound * (sizes[candidates] + sizes[at])
        candidates = candidates[possible]
        same = np.count_nonzero(self._brief[candidates] == self._brief[at], axis=1)
        fit = np.flatnonzero(same >= self._least)
        return candidates[fit[np.argsort(-same[fit], kind="stable")]]

    def likeness(self, a: int, b: int) -> float:
        if self.by == "embedding":
            return min(1.0, float(self._cosines(a, np.array([b]))[0]))
        return dice(packed(self.sketches.texts[a]), packed(self.sketches.texts[b]))

    def alike(self, likeness: float) -> bool:
        return likeness >= self.bound - (ROUNDING if self.by == "embedding" else 0)

    def _cosines(self, at: int, others: NDArray[Any]) -> NDArray[np.float32]:
        assert self.sketches.unit is not None
        cosines: NDArray[np.float32] = self.sketches.unit[others] @ self.sketches.unit[at]
        return cosines


def copies(
    texts: Sequence[str], bound: float, vectors: Vectors | None = None
) -> tuple[list[int], list[Copy], Sketches]:
    """The first of all texts that say the same.

    bound: likeness (0 to 1) from which a text counts as a copy. vectors: sentence vectors, by which it may be one too.
    Returns the places of the kept texts in order, the copies, and the sketches of the kept ones.
    """
    first: dict[str, int] = {}
    places, exact = [], []
    for at, text in enumerate(texts):
        before = first.setdefault(exactly(text), at)
        if before == at:
            places.append(at)
        else:
            exact.append(Copy(at, before, "exact", 1.0))
    sketches = Sketches([texts[at] for at in places], vectors)
    near = _near(sketches, bound)
    keeper = {copy.at: copy.of for copy in near}
    kept = [at for at in range(len(places)) if at not in keeper]
    dropped = [Copy(places[one.at], places[one.of], one.why, one.likeness) for one in near]
    gone = {one.at: one.of for one in dropped}
    dropped += [Copy(one.at, gone.get(one.of, one.of), one.why, one.likeness) for one in exact]
    return [places[at] for at in kept], sorted(dropped, key=lambda one: one.at), sketches.some(kept)


def _near(sketches: Sketches, bound: float) -> list[Copy]:
    neighbours = _kinds(sketches, bound)
    keeper = np.arange(len(sketches.texts), dtype=np.int32)
    found = []
    for at in range(len(sketches.texts)):
        for kind in neighbours:
            copy = _copy_of(at, kind, keeper)
            if copy:
                keeper[at] = copy.of
                found.append(copy)
                break
    return found


def _copy_of(at: int, kind: Neighbours, keeper: NDArray[np.int32]) -> Copy | None:
    met = kind.candidates(at)
    for other in kind.likely(at, np.unique(keeper[met]))[:CHECKED]:
        likeness = kind.likeness(at, int(other))
        if kind.alike(likeness):
            return Copy(at, int(other), kind.by, likeness)
    return None


def clusters(sketches: Sketches, bound: float, same: Sequence[Hashable | None] = ()) -> list[int]:
    """For each text the place of the first one of its cluster: texts alike from `bound` on are in one, and so are those
    alike a third. same: for each text a mark, or None; texts of one mark are in one cluster."""
    forest = Forest(len(sketches.texts))
    first: dict[Hashable, int] = {}
    for at, mark in enumerate(same):
        if mark is not None:
            forest.join(first.setdefault(mark, at), at)
    for kind in _kinds(sketches, bound):
        for at in range(len(sketches.texts)):
            met = kind.candidates(at)
            apart = (other for other in map(int, kind.likely(at, met)) if forest.root(at) != forest.root(other))
            for other in islice(apart, CHECKED):
                if kind.alike(kind.likeness(at, other)):
                    forest.join(at, other)
    return [forest.root(at) for at in range(len(sketches.texts))]


def _kinds(sketches: Sketches, bound: float) -> list[Neighbours]:
    kinds: list[Why] = ["near"] if sketches.unit is None else ["near", "embedding"]
    return [Neighbours(sketches, bound, kind) for kind in kinds] if sketches.texts else []


class Forest:
    """Union-find over places; the root of a tree is its first place."""

    def __init__(self, size: int):
        self._parent = list(range(size))

    def root(self, at: int) -> int:
        while self._parent[at] != at:
            self._parent[at] = self._parent[self._parent[at]]
            at = self._parent[at]
        return at

    def join(self, a: int, b: int) -> None:
        a, b = self.root(a), self.root(b)
        self._parent[max(a, b)] = min(a, b)
