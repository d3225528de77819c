"""Children: plans are carried out by operators and the writer, and what is new among the results becomes a unit."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from promptmill.crafts.breed.events import Born
from promptmill.crafts.breed.unit import CHAINS, Unit, Way, ways_of
from promptmill.model.chat import Completion, Failure, Request
from promptmill.model.gate import together
from promptmill.model.script import Filled, Script, fill
from promptmill.prompt import Prompt
from promptmill.vary.scene import Answered, Child, Genome, Scene, Steps

if TYPE_CHECKING:
    from promptmill.crafts.breed.breeder import Breeder


After = Callable[[Genome, random.Random], Genome]
"""What happens to a new genome, whatever operator made it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A child to be made: by which operator, from what. after: what happens to the genome whatever operator made it."""

    operator: str
    parent: Unit
    scene: Scene
    after: After = lambda genome, rng: genome


@dataclass(frozen=True, slots=True)
class Birth:
    """What became of a plan. asked: whether the writer was asked for it."""

    unit: Unit | None
    asked: bool


@dataclass
class Births:
    """Makes units and knows which prompts have been there. rejected: by operator, children that were nothing new."""

    breeder: Breeder
    rejected: Counter[str] = field(default_factory=Counter)
    _plans: int = 0
    _asked_before: Counter[str] = field(default_factory=Counter)
    _known: set[tuple[Any, ...]] = field(default_factory=set)

    def first(self, genome: Genome) -> Unit:
        """The unit of the seed prompt."""
        self._is_known(genome)
        return self._unit(0, genome, "seed")

    def set_apart(self, given: Prompt) -> None:
        """Where the seed was tried in another way than it was given (a chain, a second turn): that is a unit of its
        own, for the gain is held against what was given."""
        seed, rank = self.breeder.units[0], self.breeder.rank()
        if seed.prompt == given:
            return
        tried = replace(seed, id=len(self.breeder.units), operator="chain", parent=0)
        tried.chain = seed.chain
        for unit in self.breeder.units[1:]:
            unit.parent = tried.id if unit.parent == 0 else unit.parent
        self.breeder.units.append(tried)
        seed.ways, seed.chain = {None: Way(given)}, None
        ranked = [tried if unit is seed else unit for unit in rank]
        self.breeder.rank = lambda: ranked

    async def of(self, plans: Sequence[Plan], born: int) -> list[Birth]:
        """What became of each plan.

        All operators take their steps together, so that requests go out side by side; answers are folded in the order
        of the plans, whatever order they arrive in, and each plan has a random generator of its own.
        """
        runs: list[Steps] = []
        rngs = []
        for plan in plans:
            self._plans += 1
            rngs.append(random.Random(f"{self.breeder.seed}/{self._plans}"))
            runs.append(self.breeder.operators[plan.operator](plan.scene, rngs[-1]))
        made: dict[int, Child | None] = {}
        writing: set[int] = set()
        answers: dict[int, Answered] = dict.fromkeys(range(len(plans)))
        while answers:
            asked: dict[int, str | Script] = {}
            for at, answer in answers.items():
                try:
                    asked[at] = runs[at].send(answer)
                except StopIteration as end:
                    made[at] = end.value
            writing |= set(asked)
            self.breeder.spend(sum(len(one.names) if isinstance(one, Script) else 1 for one in asked.values()))
            got = await together([self._ask(request, plans[at].parent) for at, request in asked.items()])
            answers = dict(zip(asked, got, strict=True))
        return [
            Birth(self._born(plan, made[at], born, rngs[at]), at in writing or made[at] is not None)
            for at, plan in enumerate(plans)
        ]

    async def _ask(self, request: str | Script, parent: Unit) -> Answered:
        """What the writer said; None where it failed or was cut off in the middle."""
        drawn = replace(self.breeder.writing, seed=self.breeder.seed)
        if parent.genome.temperature is not None:
            drawn = replace(drawn, temperature=parent.genome.temperature)
        repeat = self._times(repr(request))  # the same words again must bring another answer
        if isinstance(request, Script):
            holes = [replace(hole, sampling=replace(drawn, max_tokens=hole.sampling.max_tokens))
                     for hole in request.holes]  # fmt: skip
            filled = await fill(self.breeder.writer, replace(request, holes=tuple(holes)), {}, repeat=repeat,
                                role="writer")  # fmt: skip
            return filled if isinstance(filled, Filled) else None
        answer = await self.breeder.writer.ask(Request((("user", request),), drawn, repeat=repeat), role="writer")
        return _text(answer)

    def _times(self, text: str) -> int:
        before = self._asked_before[text]
        self._asked_before[text] += 1
        return before

    def _born(self, plan: Plan, made: Child | None, born: int, rng: random.Random) -> Unit | None:
        genome = plan.after(made.genome, rng) if made is not None else None
        if genome is not None and self.breeder.config.chain == "without":  # what is never said makes no difference
            genome = replace(genome, prompt=replace(genome.prompt, prefix=""))
        if made is None or genome is None or self._is_known(genome):
            self.rejected[plan.operator] += 1
            return None
        unit = self._unit(len(self.breeder.units), genome, plan.operator, parent=plan.parent.id, drawn=made.drawn,
                          born=born, shown=made.shown)  # fmt: skip
        unit.chosen_on = set(unit.used)
        self.breeder.units.append(unit)
        self.breeder.tell(Born(unit.id, plan.parent.id, plan.operator, made.drawn, unit.words))
        return unit

    def _unit(self, id: int, genome: Genome, operator: str, **more: Any) -> Unit:
        breeder = self.breeder
        decide = breeder.ask.form is None and breeder.ask.constrain and breeder.task.choices is not None
        ways = ways_of(genome.prompt, CHAINS[breeder.config.chain], breeder.wording, decide)
        used = tuple(breeder.ids[demo.fields] for demo in genome.prompt.demos if demo.fields in breeder.ids)
        return Unit(id, genome, operator, ways, used=used, **more)

    def _is_known(self, genome: Genome) -> bool:
        """Whether a unit with the same demos says the same, case and spacing aside; the new one is noted."""
        texts = [genome.prompt.system, genome.prompt.user, genome.prompt.prefix, genome.prompt.then]
        if self.breeder.config.strategy == "paper":  # there a unit is its task prompts and its mutation prompt
            texts.append(genome.mutation_prompt)
        key = (*(" ".join(text.lower().split()) for text in texts), genome.prompt.demos)
        known = key in self._known
        self._known.add(key)
        return known


def _text(answer: Completion | Failure) -> str | None:
    if isinstance(answer, Failure) or answer.answers[0].finish == "length":
        return None
    return answer.text
