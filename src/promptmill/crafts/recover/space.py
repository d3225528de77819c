"""The space in which texts are near each other: sentence embeddings, or character n-grams where there are none.

Figures of different spaces must never stand in one column: of the same answers a constant prompt scores 0.60 on the one
embedder and 0.04 on the other. So a space has a name, and every score says in which it was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from promptmill.errors import InputError
from promptmill.model.embedder import DEFAULT, Embedder, installed
from promptmill.vary.sketches import packed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

GRAMS = "n-grams"
WIDTH = 4096
EXPONENT = 3
"""Of the sharpened cosine similarity, as the competition has it."""
_EVEN = np.uint64(0x9E3779B97F4A7C15)


class Space(Protocol):
    """name: for people; fingerprint: changes with the vectors. vectors: unit vectors, [n, d]."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


class Grams:
    """Texts by their character 3-grams, case and spacing aside, each thrown into one of 4,096 places (Weinberger et
    al., arXiv 0902.2206): no meaning, but nothing has to be installed."""

    name, fingerprint = GRAMS, "n-grams-1"

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        found = np.zeros((len(texts), WIDTH), dtype=np.float32)
        for at, text in enumerate(texts):
            mixed = (packed(text) * _EVEN) >> np.uint64(40)
            np.add.at(found[at], (mixed % np.uint64(WIDTH)).astype(np.int64), 1.0)
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        unit: NDArray[np.float32] = found / np.maximum(lengths, 1e-12)
        return unit


def space_of(name: str, device: str = "auto") -> Space:
    """name: "auto" (minilm where it is installed), "none" (n-grams), or what Embedder takes. InputError for an
    embedder that cannot be used."""
    if name == "none" or (name == "auto" and not installed()):
        return Grams()
    # One text at a time: what is embedded beside a text moves its vector's last digits, and a run that was killed must
    # go on to the same figures. Long texts are no slower so, for nothing is padded.
    return Embedder(DEFAULT if name == "auto" else name, device=device, batch_size=1)


VECTORS = "vectors.sqlite"
"""File of a run: the vectors of its texts."""


def keep_vectors(space: Space, run: Path, also: Sequence[Path] = ()) -> None:
    """The space's vectors are kept in a run's folder, and looked for in those of other runs too; n-grams are not."""
    if isinstance(space, Embedder):
        space.keep_in(run / VECTORS, [one / VECTORS for one in also])


def sharpened(cosines: NDArray[np.floating]) -> Floats:
    """Sharpened cosine similarity (the competition's metric): the cosine's cube, its sign kept, -1 to 1."""
    cosines_64 = np.clip(np.asarray(cosines, dtype=np.float64), -1.0, 1.0)
    sharp: Floats = np.sign(cosines_64) * np.abs(cosines_64) ** EXPONENT
    return sharp


def scs(space: Space, guesses: Sequence[str], truths: Sequence[str]) -> Floats:
    """[n]: the sharpened cosine of each guess with its truth. InputError where they are not as many."""
    if len(guesses) != len(truths):
        raise InputError(f"{len(guesses)} guesses for {len(truths)} truths")
    if not guesses:
        return np.empty(0)
    ours, theirs = space.vectors(guesses), space.vectors(truths)
    return sharpened(np.einsum("nd,nd->n", ours, theirs))
