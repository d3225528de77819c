"""A unit of evolution: a genome, where it came from, and what is known of its worth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from promptmill.measure.evaluate import Stats
from promptmill.prompt import Prompt
from promptmill.score.scorer import Scorer, corpus_score
from promptmill.vary.scene import Genome, Member


@dataclass
class Unit:
    """id: order of birth. parent: id of the unit that was changed, None for the seed. drawn: the mutation prompt or
    thinking style used. seen: by train example id, the share of the score earned there. said: the answers given.

    chosen_on: examples by which it won its place; on these it looks better than it is. shown: failures of its parent
    that the writer was shown.
    """

    id: int
    genome: Genome
    operator: str
    parent: int | None = None
    drawn: str = ""
    born: int = 0
    seen: dict[str, Stats] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    chosen_on: set[str] = field(default_factory=set)
    shown: tuple[str, ...] = ()

    @property
    def prompt(self) -> Prompt:
        return self.genome.prompt

    def fitness(self, scorer: Scorer, on: Iterable[str] | None = None) -> float | None:
        """Score on all train examples seen so far, or on those of `on`; None where nothing of that was answered."""
        rows = list(self.seen.values()) if on is None else [self.seen[key] for key in on if key in self.seen]
        return corpus_score(scorer, rows) if rows else None

    def value(self, example: str) -> float:
        """What was earned on one example, 0 to 1."""
        return self.seen[example][-1]

    def member(self, scorer: Scorer) -> Member:
        return Member(self.genome, self.fitness(scorer))


def fitter(a: Unit, b: Unit, batch: Iterable[str], scorer: Scorer) -> tuple[Unit, Unit]:
    """(winner, loser) of a binary tournament on the examples of `batch` that both have answered.

    A draw goes to the better on all that was seen, then to the shorter prompt, then to the elder: never to chance, so
    that a continued run passes the same way.
    """
    both = [key for key in batch if key in a.seen and key in b.seen]

    def rank(unit: Unit) -> tuple[float, float, int, int]:
        here, ever = unit.fitness(scorer, both), unit.fitness(scorer)
        return (here or 0.0, ever or 0.0, -len(unit.prompt.instruction), -unit.id)

    return (a, b) if rank(a) >= rank(b) else (b, a)
