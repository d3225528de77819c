"""What every search of this craft stands on: the units, the writer's children, measuring, the budget, the proof.

A search (race.py, paper.py) decides who is a parent, who meets whom and who stays. Here is what it does it with. The
final choice is made on dev examples that no search saw, and the gain over the seed prompt is proved on test examples
that nothing saw.

Nothing has a state on disk. A breed follows from the configuration, the seed of the random generator and the answers,
and the answers are in the run's record: a continued run passes the same way again, up to where it was broken off.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from promptmill.crafts.breed.config import BreedConfig
from promptmill.crafts.breed.proof import choose, finalists
from promptmill.crafts.breed.unit import Unit
from promptmill.errors import BudgetSpent
from promptmill.measure.evaluate import Ask, Evaluation, evaluate_async
from promptmill.model.budget import Spend
from promptmill.model.chat import Completion, Failure, Request, Sampling
from promptmill.model.gate import Model, together
from promptmill.prompt import Demo, Prompt
from promptmill.score.scorer import Score
from promptmill.tasks.task import Example, Task
from promptmill.vary.operators import OPERATORS
from promptmill.vary.scene import Child, Genome, Scene, Steps, Working
from promptmill.vary.wording import Wording

Watch = Callable[[str, int, int], None]
"""Called with (phase, done, total) whenever something has been done."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A child to be made: by which operator, from what."""

    operator: str
    parent: Unit
    scene: Scene


@dataclass
class Breeding:
    """Everything a breed has found.

    units: all prompts ever alive, by id; unit 0 is the seed prompt. proof: what dev and test have cost.
    """

    units: list[Unit]
    finalists: dict[int, Evaluation]
    best: Unit
    test: dict[int, Evaluation]
    history: list[dict[str, Any]]
    proof: Spend
    stopped: str | None


@dataclass
class Breeder:
    """One breed. `run` goes from the seed prompt to a Breeding.

    sunk: what a session that ended by a smaller budget has spent on its proof. This one goes another way from there, so
    that is not in what it asks for, but it is gone from the budget. rank: the units by worth, best first, as the search
    sees them. credit: what the search has noted of each operator. stopped: why the budget ended it; ended: why the
    search itself did.
    """

    task: Task
    model: Model
    writer: Model
    seed_prompt: Prompt
    config: BreedConfig
    wording: Wording
    ask: Ask
    seed: int
    train: Sequence[Example]
    dev: Sequence[Example]
    test: Sequence[Example]
    watch: Watch = lambda phase, done, total: None
    note: Callable[[dict[str, Any]], None] = lambda row: None
    units: list[Unit] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    rank: Callable[[], list[Unit]] = list
    credit: Callable[[], Mapping[str, Any]] = dict
    sunk: Spend = field(default_factory=Spend)
    stopped: str | None = None
    ended: str | None = None
    _asked_before: Counter[str] = field(default_factory=Counter)
    _plans: int = 0
    _texts: set[tuple[str, tuple[Demo, ...]]] = field(default_factory=set)
    _done: Counter[str] = field(default_factory=Counter)

    async def run(self) -> Breeding:
        from promptmill.crafts.breed.forecast import check_budget
        from promptmill.crafts.breed.search import SEARCHES

        self.rng = random.Random(self.seed)
        self.examples = {example.id: example for example in self.train}
        check_budget(self)
        self.units = [Unit(0, Genome(self.seed_prompt), "seed")]
        self._known(self.units[0].genome)
        try:
            self.stopped = await SEARCHES[self.config.strategy](self)
        except BudgetSpent as error:
            self.stopped = str(error)
        before = self.model.ledger.total
        met = await self._meet_on_dev()
        best = choose(self, met)
        test = await self._prove(best)
        proof = self.model.ledger.total.less(before)
        return Breeding(self.units, met, best, test, self.history, proof, self.stopped)

    # For the searches.

    async def measure(self, unit: Unit, examples: Sequence[Example]) -> None:
        """Put those of the train examples to the model that the unit has not answered yet. Raises BudgetSpent."""
        new = [example for example in examples if example.id not in unit.seen]
        if not new:
            return
        worst: dict[str, tuple[float, str]] = {}

        def answered(example: Example, result: Completion | Failure, score: Score | None) -> None:
            self._done["search"] += 1
            self.watch("search", self._done["search"], 0)
            if score is not None and isinstance(result, Completion):  # of several repeats the worst, whichever is first
                worst[example.id] = min(worst.get(example.id, (2.0, "")), (score.value, result.text))

        evaluation = await evaluate_async(self.model, self.task, unit.prompt, new, self.ask, on_answer=answered)
        if evaluation.stopped:
            raise BudgetSpent(evaluation.stopped)
        unit.seen.update(evaluation.stats)
        unit.said.update((key, text) for key, (_, text) in worst.items())

    async def children(self, plans: Sequence[Plan], born: int) -> list[Unit | None]:
        """The child of each plan, or None where the writer brings none that is new.

        All operators take their steps together, so that requests go out side by side; answers are folded in the order
        of the plans, whatever order they arrive in, and each plan has a random generator of its own.
        """
        runs: list[Steps] = []
        for plan in plans:
            self._plans += 1
            runs.append(OPERATORS[plan.operator](plan.scene, random.Random(f"{self.seed}/{self._plans}")))
        made: dict[int, Child | None] = {}
        answers: dict[int, str | None] = dict.fromkeys(range(len(plans)))
        while answers:
            asked = {}
            for at, answer in answers.items():
                try:
                    asked[at] = self._request(runs[at].send(answer), plans[at].parent)
                except StopIteration as end:
                    made[at] = end.value
            got = await together([self.writer.ask(request, role="writer") for request in asked.values()])
            answers = {at: _text(answer) for at, answer in zip(asked, got, strict=True)}
        return [self._born(plan, made[at], born) for at, plan in enumerate(plans)]

    def scene(self, parent: Unit, population: Sequence[Unit] = (), elites: Sequence[str] = ()) -> Scene:
        """What an operator is shown of the state of things."""
        scorer = self.task.scorer
        members = tuple(unit.member(scorer) for unit in population)
        wrong = [key for key in parent.said if parent.value(key) < 1]
        right = [key for key in parent.said if parent.value(key) == 1]
        return Scene(
            self.task.description, self.wording, parent.member(scorer), members, tuple(elites),
            tuple(self.working(parent, key) for key in sorted(wrong)),
            tuple(self.working(parent, key) for key in sorted(right)), self.config.demos,
        )  # fmt: skip

    def working(self, unit: Unit, key: str) -> Working:
        example = self.examples[key]
        shown = unit.prompt.render(example.fields)[-1][1]
        return Working(key, tuple(example.fields.items()), shown, unit.said[key], example.gold[0])

    def keep_history(self, **row: Any) -> None:
        """A line of the history; `elite` is the best unit as the search sees it."""
        elite = self.rank()[0]
        fitness = elite.fitness(self.task.scorer)
        full = {"calls": self.model.ledger.total.calls, **row,
                "elite": {"id": elite.id, "fitness": fitness, "instruction": elite.prompt.instruction}}  # fmt: skip
        self.history.append(full)
        self.note(full)

    def _request(self, text: str, parent: Unit) -> Request:
        temperature = parent.genome.temperature
        sampling = Sampling(self.config.writer_temperature if temperature is None else temperature,
                            max_tokens=self.config.writer_max_tokens, seed=self.seed)  # fmt: skip
        repeat = self._asked_before[text]  # the same words again must bring another answer
        self._asked_before[text] += 1
        return Request((("user", text),), sampling, repeat=repeat)

    def _born(self, plan: Plan, made: Child | None, born: int) -> Unit | None:
        if made is None or self._known(made.genome):
            self.rejected[plan.operator] += 1
            return None
        unit = Unit(len(self.units), made.genome, plan.operator, plan.parent.id, made.drawn, born,
                    shown=made.shown)  # fmt: skip
        self.units.append(unit)
        return unit

    def _known(self, genome: Genome) -> bool:
        """Whether a unit with the same demos says the same, case and spacing aside; the new one is noted."""
        key = (" ".join(genome.prompt.instruction.lower().split()), genome.prompt.demos)
        known = key in self._texts
        self._texts.add(key)
        return known

    # The proof.

    async def _meet_on_dev(self) -> dict[int, Evaluation]:
        """The seed prompt and the best others, all on the same dev examples."""
        meeting = [self.units[0], *finalists(self)]
        self._done["dev"] = 0
        results = await together([self._on("dev", unit, self.dev, len(meeting)) for unit in meeting])
        return {unit.id: result for unit, result in zip(meeting, results, strict=True)}

    async def _prove(self, best: Unit) -> dict[int, Evaluation]:
        proved = [self.units[0], *([best] if best.id else [])]
        self._done["test"] = 0
        results = await together([self._on("test", unit, self.test, len(proved)) for unit in proved])
        return {unit.id: result for unit, result in zip(proved, results, strict=True)}

    async def _on(self, split: str, unit: Unit, examples: Sequence[Example], prompts: int) -> Evaluation:
        def answered(*_: object) -> None:
            self._done[split] += 1
            self.watch(split, self._done[split], prompts * len(examples) * self.ask.repeat)

        return await evaluate_async(self.model, self.task, unit.prompt, examples, self.ask, on_answer=answered)


def _text(answer: Completion | Failure) -> str | None:
    """What a writer said; None where it failed or was cut off in the middle."""
    if isinstance(answer, Failure) or answer.answers[0].finish == "length":
        return None
    return answer.text
