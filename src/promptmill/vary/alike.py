"""Whether two instructions say nearly the same: by character n-grams, so that nothing has to be installed, or by the
vectors of a sentence-embedding model where one is given."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

Vectors = Callable[[Sequence[str]], "NDArray[Any]"]
"""Texts to unit vectors, [n, d], such as `Embedder.vectors`."""

N = 3
TOO_ALIKE = 0.95


@lru_cache(4096)
def grams(text: str) -> frozenset[str]:
    """The character n-grams of a text, case and spacing aside."""
    plain = f" {' '.join(text.lower().split())} "
    return frozenset(plain[at : at + N] for at in range(max(1, len(plain) - N + 1)))


def likeness(a: frozenset[str], b: frozenset[str]) -> float:
    """Dice's coefficient of two sets of n-grams, 0 to 1."""
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0


def likeness_of(a: str, b: str) -> float:
    """How alike two texts are, 0 to 1."""
    return likeness(grams(a), grams(b))


@dataclass
class Diversity:
    """Texts of which none is too much like another (0.95 is the paper's bound, there on sentence embeddings).

    vectors: unit vectors of texts, [n, d], such as `Embedder.vectors`; likeness is then their cosine. It is asked for
    the kept texts again with each new one, so it should remember them.
    """

    bound: float = TOO_ALIKE
    texts: list[str] = field(default_factory=list)
    vectors: Vectors | None = field(default=None, kw_only=True)

    def takes(self, text: str) -> bool:
        if self.vectors is None:
            return all(likeness_of(text, old) <= self.bound for old in self.texts)
        if not self.texts:
            return True
        new, *kept = self.vectors([text, *self.texts])
        return all(min(1.0, float(new @ old)) <= self.bound for old in kept)

    def add(self, text: str) -> bool:
        """Keep the text unless it is too much like one that is kept; whether it was."""
        if not self.takes(text):
            return False
        self.texts.append(text)
        return True


def unlike(texts: Sequence[str], rng: random.Random, count: int, vectors: Vectors | None = None) -> list[str]:
    """At most `count` of the texts in random order, none too much like another (PromptBreeder's filter before its
    estimation of distribution)."""
    kept = Diversity(vectors=vectors)
    for text in rng.sample(texts, len(texts)):
        if len(kept.texts) == count:
            break
        kept.add(text)
    return kept.texts
