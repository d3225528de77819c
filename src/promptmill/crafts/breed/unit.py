"""A unit of evolution: a genome, where it came from, and what is known of its worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from promptmill.measure.evaluate import Stats
from promptmill.prompt import HOLE, Prompt
from promptmill.score.scorer import Scorer, corpus_score
from promptmill.vary.scene import LABEL_WORDS, Genome, Member
from promptmill.vary.wording import Wording

CHAINS: Mapping[str, tuple[bool | None, ...]] = {
    "as_is": (None,), "with": (True,), "without": (False,), "both": (False, True),
}  # fmt: skip
"""Ways in which a prompt is tried, by setting: with a worked chain or without, or (None) as it is."""


@dataclass
class Way:
    """A prompt as it is put to the model, and what came of it. seen: by train example id, the share of the score earned
    there. said: the answers given."""

    prompt: Prompt
    seen: dict[str, Stats] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)


def ways_of(prompt: Prompt, chains: Iterable[bool | None], wording: Wording, decide: bool) -> dict[bool | None, Way]:
    """The prompt with a worked chain (it opens the answer; `decide`: a second turn asks for the choice) and without."""
    ways = {}
    for chain in chains:
        shaped = prompt
        if chain is False:
            shaped = replace(prompt, prefix="")
        elif chain:
            then = prompt.then or (wording.decide if decide else "")
            shaped = replace(prompt, prefix=prompt.prefix or wording.opener, then=then)
        ways[chain] = Way(shaped)
    return ways


@dataclass(eq=False)
class Unit:
    """id: order of birth. parent: id of the unit that was changed, None for the seed. drawn: the mutation prompt or
    thinking style used.

    ways: the prompt with and without a worked chain, or as it is. chain: which of them serves it best so far.
    chosen_on: examples by which it won its place; on these it looks better than it is. shown: failures of its parent
    that the writer was shown. used: train examples that stand in its prompt as demos, on which it must not be judged.
    better: whether the search found it better than its parent; None where it is not known.
    """

    id: int
    genome: Genome
    operator: str
    ways: dict[bool | None, Way]
    parent: int | None = None
    drawn: str = ""
    born: int = 0
    chosen_on: set[str] = field(default_factory=set)
    shown: tuple[str, ...] = ()
    used: tuple[str, ...] = ()
    better: bool | None = None
    chain: bool | None = None

    def __post_init__(self) -> None:
        self.chain = next(iter(self.ways))

    @property
    def prompt(self) -> Prompt:
        return self.ways[self.chain].prompt

    @property
    def seen(self) -> dict[str, Stats]:
        return self.ways[self.chain].seen

    @property
    def said(self) -> dict[str, str]:
        return self.ways[self.chain].said

    @property
    def words(self) -> str:
        """What its prompt says, for people: all parts but a user turn that merely shows the fields."""
        prompt = self.prompt
        user = "" if prompt.system and len(HOLE.sub("", prompt.user).split()) <= LABEL_WORDS else prompt.user
        return "\n".join(filter(None, (prompt.system, user, prompt.prefix, prompt.then)))

    @property
    def tokens(self) -> float:
        """Of its prompt without the example's fields, by the usual four characters each."""
        prompt = self.prompt
        demos = sum(len(demo.answer) + sum(len(value) for _, value in demo.fields) for demo in prompt.demos)
        return (len(prompt.system) + len(prompt.user) + len(prompt.prefix) + len(prompt.then) + demos) / 4

    def settle(self, scorer: Scorer) -> None:
        """Take the way that serves it best on the examples that were tried in all ways; of equals the first."""
        both = set.intersection(*(set(way.seen) for way in self.ways.values()))
        if len(self.ways) > 1 and both:
            worth = {chain: corpus_score(scorer, [way.seen[key] for key in sorted(both)])
                     for chain, way in self.ways.items()}  # fmt: skip
            self.chain = max(worth, key=lambda chain: worth[chain])

    def fitness(self, scorer: Scorer, on: Iterable[str] | None = None) -> float | None:
        """Score on all train examples seen so far, or on those of `on`; None where nothing of that was answered."""
        rows = list(self.seen.values()) if on is None else [self.seen[key] for key in on if key in self.seen]
        return corpus_score(scorer, rows) if rows else None

    def fair_fitness(self, scorer: Scorer) -> float | None:
        """Score on the examples by which it was not chosen, or on all where there are no others."""
        fair = [key for key in self.seen if key not in self.chosen_on]
        return self.fitness(scorer, fair or None)

    def value(self, example: str) -> float:
        """What was earned on one example, 0 to 1."""
        return self.seen[example][-1]

    def member(self, scorer: Scorer, part: str) -> Member:
        right = frozenset(key for key in self.seen if self.value(key) == 1)
        return Member(replace(self.genome, part=part), self.fair_fitness(scorer), right)


def fitter(
    a: Unit, b: Unit, batch: Iterable[str], scorer: Scorer, share: Mapping[int, float] | None = None
) -> tuple[Unit, Unit]:
    """(winner, loser) of a binary tournament on the examples of `batch` that both have answered.

    share: by id, the factor of fitness sharing. A draw goes to the better on all that was seen, then to the shorter
    prompt, then to the elder: never to chance, so that a continued run passes the same way.
    """
    both = [key for key in batch if key in a.seen and key in b.seen]
    factors = share or {}

    def rank(unit: Unit) -> tuple[float, float, int, int]:
        here, ever = unit.fitness(scorer, both), unit.fitness(scorer)
        factor = factors.get(unit.id, 1.0)
        return ((here or 0.0) * factor, (ever or 0.0) * factor, -len(unit.prompt.instruction), -unit.id)

    return (a, b) if rank(a) >= rank(b) else (b, a)
