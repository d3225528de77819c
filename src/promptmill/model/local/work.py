"""What the local backend's worker is given and gives back: plain values, no tensors."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from promptmill.model.constraint import JsonSchema, Regex


@dataclass(frozen=True, slots=True)
class Shape:
    """What all generated tokens of a constrained answer spell: `lead` (white space that belongs to the prompt), the
    answer, `suffix` (the beginning of what follows it). Only the answer is given back."""

    constraint: Regex | JsonSchema
    lead: str = ""
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Draws:
    """Draw answers after a prompt, one row of a batch for each seed.

    ids:   the prompt's tokens.
    limit: most new tokens.
    stop:  texts that end an answer; they are looked for behind leading white space where `lstrip`.
    seeds: one number for each sample; a row's answer depends on it and on the prompt, not on its batch.
    top:   None, or how many alternatives to report for each token.
    shape: what a constrained answer must look like.
    """

    ids: tuple[int, ...]
    limit: int
    seeds: tuple[int, ...]
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    lstrip: bool = False
    after: int | None = None  # the token before the answer, where the answer continues a word or a given text
    top: int | None = None
    shape: Shape | None = None

    @property
    def rows(self) -> int:
        return len(self.seeds)

    def part(self, low: int, high: int) -> Draws:
        return replace(self, seeds=self.seeds[low:high])


@dataclass(frozen=True, slots=True)
class Rates:
    """Rate given continuations of a prompt, one row of a batch for each. top: alternatives to report for each token."""

    ids: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]
    top: int = 0

    @property
    def rows(self) -> int:
        return len(self.continuations)

    def part(self, low: int, high: int) -> Rates:
        return Rates(self.ids, self.continuations[low:high], self.top)


Work = Draws | Rates


@dataclass(frozen=True, slots=True)
class Token:
    """A token with its natural log-probability and the most probable ones at its place as (id, logprob), best first."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(slots=True)
class Drawn:
    """One drawn answer. tokens: all that were generated, the end token too; logs: those that spell the text; stop: the
    stop text that ended it; missed: why it does not meet its constraint, if it does not."""

    text: str
    finish: str
    tokens: int
    logs: list[Token] = field(default_factory=list)
    stop: str | None = None
    missed: str = ""


Rated = list[Token]
Result = Drawn | Rated
