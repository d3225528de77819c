"""The rules as a run holds rewrites against them: by its settings, with likeness of meaning where that is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from promptmill.crafts.rewrite.config import PairsConfig
from promptmill.crafts.rewrite.guard.rules import LONGEST, Violation, violations
from promptmill.errors import InputError
from promptmill.model.embedder import Embedder


class Likeness(Protocol):
    def similarity(self, a: str, b: str) -> float:
        """Of two texts' meanings, -1 to 1."""
        ...


@dataclass(frozen=True)
class Guard:
    """longest: times the prompt's words. similar: least likeness of meaning by `embedder`; without one nobody asks."""

    longest: float = LONGEST
    similar: float = 0.0
    embedder: Likeness | None = None

    @classmethod
    def of(cls, config: PairsConfig) -> Guard:
        """InputError where likeness is asked for and the extra `embed` is not installed."""
        if not config.similar:
            return cls(config.longest)
        try:
            return cls(config.longest, config.similar, Embedder())
        except InputError as error:
            raise InputError(f"pairs.similar={config.similar:g}: {error}, or set it to 0") from None

    def __call__(self, prompt: str, rewrite: str, answer: str | None = None) -> tuple[Violation, ...]:
        """The rules that `rewrite` breaks. answer: the main model's own to the prompt, where it is known."""
        alike = None
        if self.embedder is not None and rewrite.strip():
            alike = self.embedder.similarity(prompt, rewrite)
        return violations(
            prompt, rewrite, longest=self.longest, answer=answer, similarity=alike, least_similarity=self.similar
        )
