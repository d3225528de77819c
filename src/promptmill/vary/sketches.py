"""Sketches of texts, by which those that may be alike are found without looking at all pairs.

MinHash of character n-grams (Broder 1997) and, for sentence vectors, the sides of random hyperplanes on which they lie
(Charikar 2002), cut into bands: texts that agree in a whole band share a bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from promptmill.vary.alike import Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

PERMUTATIONS = 128
PLANES = 1024
RECALL = 0.98
"""Least chance that two texts whose likeness is the bound meet in a bucket."""
WINDOW = 256
"""So many texts of a bucket, the last ones before a text, are looked at: thousands that are just not alike must not be
compared each with each."""
EMBEDDED = 1024
"""Texts that are given to the vectors' model at once."""
_EVEN = np.uint64(0x9E3779B97F4A7C15)


class Sketches:
    """What is kept of texts to find those alike: 512 bytes each, and their vectors (float32) where `vectors` is given.

    [n] texts; minhash [n, 128] uint32, equal for all whose letters are equal; sizes [n]: how many n-grams each has.
    """

    def __init__(self, texts: Sequence[str], vectors: Vectors | None = None):
        self.texts = list(texts)
        self.minhash = np.empty((len(self.texts), PERMUTATIONS), dtype=np.uint32)
        self.sizes = np.empty(len(self.texts), dtype=np.int64)
        for at, text in enumerate(self.texts):
            grams = packed(text)
            self.sizes[at] = len(grams)
            self.minhash[at] = _minhash(grams)
        self.unit = _embedded(self.texts, vectors)

    def some(self, places: Sequence[int]) -> Sketches:
        """The sketches of some of the texts."""
        part = object.__new__(Sketches)
        part.texts = [self.texts[at] for at in places]
        chosen = np.asarray(places, dtype=np.int64)
        part.minhash, part.sizes = self.minhash[chosen], self.sizes[chosen]
        part.unit = None if self.unit is None else self.unit[chosen]
        return part


class Buckets:
    """Texts by the keys of their bands, [n, b] uint64: those of one key in one band are in one bucket."""

    def __init__(self, keys: NDArray[np.uint64]):
        count, bands = keys.shape
        self._order = np.empty((bands, count), dtype=np.int32)
        self._rank = np.empty((count, bands), dtype=np.int32)
        self._back = np.empty((count, bands), dtype=np.int16)
        places = np.arange(count, dtype=np.int32)
        for band in range(bands):
            order = np.argsort(keys[:, band], kind="stable").astype(np.int32)
            ordered = keys[order, band]
            begins = np.concatenate([[True], ordered[1:] != ordered[:-1]])
            start = np.maximum.accumulate(np.where(begins, places, 0))
            self._order[band] = order
            self._rank[order, band] = places
            self._back[order, band] = np.minimum(places - start, WINDOW)

    def before(self, at: int) -> NDArray[np.int32]:
        """Places before `at` that share a bucket with it, each once, in order."""
        back, rank = self._back[at], self._rank[at]
        slices = [self._order[band, rank[band] - back[band] : rank[band]] for band in np.flatnonzero(back)]
        return np.unique(np.concatenate(slices)) if slices else np.empty(0, dtype=np.int32)


def packed(text: str) -> NDArray[np.uint64]:
    """The 3-grams of `vary.alike.grams`, each as one number (three code points of 21 bits), sorted."""
    plain = f" {' '.join(text.lower().split())} "
    codes = np.frombuffer(plain.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    if len(codes) < 3:
        codes = np.pad(codes, (0, 3 - len(codes)))
    return np.unique(codes[:-2] << np.uint64(42) | codes[1:-1] << np.uint64(21) | codes[2:])


def dice(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> float:
    """Dice's coefficient of two sets, each sorted and without repeats."""
    return 2 * len(np.intersect1d(a, b, assume_unique=True)) / (len(a) + len(b))


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of the result hangs on every bit given."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


_STREAM = _mixed(np.arange(1, 2 * PERMUTATIONS + 1, dtype=np.uint64) * _EVEN)
_FACTORS, _ADDENDS = _STREAM[:PERMUTATIONS] | np.uint64(1), _STREAM[PERMUTATIONS:]


def _minhash(grams: NDArray[np.uint64]) -> NDArray[np.uint32]:
    least = np.full(PERMUTATIONS, np.iinfo(np.uint64).max, dtype=np.uint64)
    mixed = _mixed(grams)
    for at in range(0, len(mixed), 4096):  # a text of a million letters must not become a gigabyte
        hashed = mixed[at : at + 4096, None] * _FACTORS + _ADDENDS
        least = np.minimum(least, hashed.min(axis=0))
    return (least >> np.uint64(32)).astype(np.uint32)


def band_width(chance: float, hashes: int) -> int:
    """Hashes in a band: as many as leave two texts at the bound a chance of RECALL to meet. chance: of one hash to be
    equal for them."""
    fits = [width for width in range(1, 17) if 1 - (1 - chance**width) ** (hashes // width) >= RECALL]
    return max(fits, default=1)


def minhash_keys(minhash: NDArray[np.uint32], width: int) -> NDArray[np.uint64]:
    bands = PERMUTATIONS // width
    keys = np.empty((len(minhash), bands), dtype=np.uint64)
    for band in range(bands):
        key = np.zeros(len(minhash), dtype=np.uint64)
        for column in range(band * width, (band + 1) * width):
            key = _mixed(key * _EVEN + minhash[:, column] + np.uint64(1))
        keys[:, band] = key
    return keys


def plane_keys(unit: NDArray[np.float32], width: int) -> NDArray[np.uint64]:
    bands = PLANES // width
    planes = np.random.default_rng(0).standard_normal((unit.shape[1], bands * width)).astype(np.float32)
    powers = np.uint64(1) << np.arange(width, dtype=np.uint64)
    keys = np.empty((len(unit), bands), dtype=np.uint64)
    for at in range(0, len(unit), EMBEDDED):
        sides = (unit[at : at + EMBEDDED] @ planes > 0).reshape(-1, bands, width)
        keys[at : at + EMBEDDED] = (sides * powers).sum(axis=2, dtype=np.uint64)
    return keys


def _embedded(texts: Sequence[str], vectors: Vectors | None) -> NDArray[np.float32] | None:
    if vectors is None:
        return None
    parts = [vectors(texts[at : at + EMBEDDED]) for at in range(0, len(texts), EMBEDDED)]
    return np.concatenate(parts).astype(np.float32, copy=False) if parts else np.empty((0, 1), dtype=np.float32)
