"""Whether two instructions say nearly the same: by character n-grams, so that nothing has to be installed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

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
    """Texts of which none is too much like another (0.95 is the paper's bound, there on sentence embeddings)."""

    bound: float = TOO_ALIKE
    texts: list[str] = field(default_factory=list)
    _grams: list[frozenset[str]] = field(default_factory=list)

    def takes(self, text: str) -> bool:
        new = grams(text)
        return all(likeness(new, old) <= self.bound for old in self._grams)

    def add(self, text: str) -> bool:
        """Keep the text unless it is too much like one that is kept; whether it was."""
        if not self.takes(text):
            return False
        self.texts.append(text)
        self._grams.append(grams(text))
        return True
