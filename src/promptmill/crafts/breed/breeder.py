"""What every search of this craft stands on: the units, measuring, the calls of the search, and the way to the proof.

A search (race.py, paper.py) decides who is a parent, who meets whom and who stays. Here is what it does it with. The
final choice is made on dev examples that no search saw, and the gain over the seed prompt is proved on test examples
that nothing saw.

Nothing has a state on disk. A breed follows from the configuration, the seed of the random generator and the answers,
and the answers are in the run's record: a continued run passes the same way again, up to where it was broken off.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from promptmill.crafts.breed.births import Birth, Births, Plan
from promptmill.crafts.breed.config import BreedConfig
from promptmill.crafts.breed.events import Ended, Event, Listener, Progress, Round
from promptmill.crafts.breed.unit import Unit, Way
from promptmill.errors import BudgetSpent
from promptmill.measure.answer import Ask, Reply
from promptmill.measure.evaluate import Evaluation, evaluate_async
from promptmill.model.budget import Spend
from promptmill.model.chat import Completion, Sampling
from promptmill.model.embedder import Embedder
from promptmill.model.gate import Model, together
from promptmill.prompt import Prompt
from promptmill.score.scorer import Score
from promptmill.tasks.task import Example, Task
from promptmill.vary.alike import Vectors
from promptmill.vary.operators import OPERATORS
from promptmill.vary.scene import Genome, Operator, Scene, Working
from promptmill.vary.wording import Wording

INTERRUPTED = "stopped by hand"


def vectors_of(config: BreedConfig) -> Vectors | None:
    """The sentence embeddings of the configuration. InputError where they cannot be had."""
    return Embedder(config.embedder).vectors if config.embedder else None


class SearchSpent(Exception):
    """The calls of the search are spent: the next step would pass them."""


@dataclass
class Breeding:
    """Everything a breed has found.

    units: all prompts ever alive, by id; unit 0 is the seed prompt. finalists: by id, on dev. test: by id; said: by id,
    what was answered there. proof: what dev and test have cost. stopped: why it ended before the proof was whole.
    """

    units: list[Unit]
    finalists: dict[int, Evaluation]
    best: Unit
    test: dict[int, Evaluation]
    said: dict[int, dict[str, str]]
    history: list[dict[str, Any]]
    proof: Spend
    stopped: str | None


@dataclass
class Breeder:
    """One breed. `run` goes from the seed prompt to a Breeding.

    operators: by the names that plans use. parts: of the prompt that are written anew, one in each child.
    writer_calls: requests to the writer for one child at most. on: who is
    told what happens. halt: asked between rounds; a reason ends the search. sunk: what a session that ended by a
    smaller budget has spent on its proof. This one goes another way from there, so that is not in what it asks for, but
    it is gone from the budget.

    asked: calls of the search, task and writer together, counted by what it asks for and not by what was paid, so that
    a search goes the same way with a full cache. answered: task calls that brought a score. rank: the units by worth,
    best first, as the search sees them. credit: what the search has noted of each operator. stopped: why the budget
    ended it; ended: why the search itself did; halted_by: that it was told to, which another session is not.
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
    operators: Mapping[str, Operator] = field(default_factory=lambda: OPERATORS)
    parts: Sequence[str] = ("instruction",)
    writer_sampling: Sampling | None = None
    writer_calls: int = 2
    vectors: Vectors | None = None
    on: Sequence[Listener] = ()
    halt: Callable[[], str | None] = lambda: None
    sunk: Spend = field(default_factory=Spend)
    units: list[Unit] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    rank: Callable[[], list[Unit]] = list
    credit: Callable[[], Mapping[str, Any]] = dict
    asked: int = 0
    answered: int = 0
    stopped: str | None = None
    ended: str | None = None
    halted_by: str | None = None
    done: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.given = self.seed_prompt
        if self.config.prompts == 2 and not self.seed_prompt.then:
            self.seed_prompt = replace(self.seed_prompt, then=self.wording.decide)
        if self.config.prompts == 2 and "then" not in self.parts:
            self.parts = (*self.parts, "then")
        self.examples = {example.id: example for example in self.train}
        self.ids = {tuple(example.fields.items()): example.id for example in self.train}
        self.start()

    def start(self) -> None:
        """Everything as before the first call."""
        self.rng = random.Random(self.seed)
        self.births = Births(self)
        self.units[:] = [self.births.first(Genome(self.seed_prompt, literal=self.ask.form is not None))]

    async def run(self) -> Breeding:
        from promptmill.crafts.breed.forecast import check_budget
        from promptmill.crafts.breed.proof import choose, meet_on_dev, prove

        check_budget(self)
        try:
            await self.search()
        except asyncio.CancelledError:  # what is known is worth a report; whoever interrupted gets no proof
            return self._unproved(Spend())
        before = self.model.ledger.total
        met, best = {}, self.units[0]
        self.births.set_apart(self.given)
        try:
            met = await meet_on_dev(self)
            best = choose(self, met)
            test, said = await prove(self, best)
        except asyncio.CancelledError:
            return self._unproved(self.model.ledger.total.less(before))
        proof = self.model.ledger.total.less(before)
        return Breeding(self.units, met, best, test, said, self.history, proof, self.stopped)

    async def search(self) -> None:
        """The search alone: `rank` gives what it holds for best."""
        from promptmill.crafts.breed.search import SEARCHES

        try:
            self.stopped = await SEARCHES[self.config.strategy](self)
        except SearchSpent:
            self.stopped = None
        except BudgetSpent as error:
            self.stopped = str(error)
        self.tell(Ended(self.stopped or self.ended or ""))

    def _unproved(self, proof: Spend) -> Breeding:
        best = (self.rank() or self.units)[0]
        return Breeding(self.units, {}, best, {}, {}, self.history, proof, INTERRUPTED)

    @property
    def writing(self) -> Sampling:
        """How the writer is asked."""
        most = self.config.writer_max_tokens
        return self.writer_sampling or Sampling(self.config.writer_temperature, max_tokens=most)

    # For the searches.

    def halted(self) -> bool:
        """Whether somebody wants the search to end; `ended` then tells why."""
        self.ended = self.halted_by = self.halt()
        return self.ended is not None

    def tell(self, event: Event) -> None:
        for listener in self.on:
            listener(event)

    def spend(self, calls: int) -> None:
        """Count calls of the search before they are asked. SearchSpent where they would be too many."""
        most = self.config.most_calls
        if most is not None and self.asked + calls > most:
            raise SearchSpent
        self.asked += calls

    async def measure(self, unit: Unit, examples: Sequence[Example]) -> None:
        """Put those of the train examples to the model that the unit has not answered yet, in each of its ways. Raises
        SearchSpent and BudgetSpent."""
        await self.measure_all([unit], examples)

    async def measure_all(self, units: Sequence[Unit], examples: Sequence[Example]) -> None:
        """`measure` for several units side by side. The calls of all are counted before the first is sent, so that
        where they would be too many nothing is asked."""
        new = [(way, [example for example in examples if example.id not in way.seen and example.id not in unit.used])
               for unit in units for way in unit.ways.values()]  # fmt: skip
        self.spend(sum(len(left) * self.ask.calls(way.prompt) for way, left in new))
        await together([self._measure(way, left) for way, left in new if left])
        for unit in units:
            unit.settle(self.task.scorer)

    async def _measure(self, way: Way, new: Sequence[Example]) -> None:
        worst: dict[str, tuple[float, str]] = {}

        def answered(example: Example, came: Reply, score: Score | None) -> None:
            self.progress("search", 0)
            if score is not None:  # of several repeats the worst, whichever is first
                self.answered += 1
                worst[example.id] = min(worst.get(example.id, (2.0, "")), (score.value, came.said))

        evaluation = await evaluate_async(self.model, self.task, way.prompt, new, self.ask, on_answer=answered)
        if evaluation.stopped:
            raise BudgetSpent(evaluation.stopped)
        way.seen.update(evaluation.stats)
        way.said.update((key, text) for key, (_, text) in worst.items())

    async def children(self, plans: Sequence[Plan], born: int) -> list[Birth]:
        return await self.births.of(plans, born)

    def scene(self, parent: Unit, population: Sequence[Unit] = (), elites: Sequence[Prompt] = ()) -> Scene:
        """What an operator is shown of the state of things. One of the parts is to be changed, drawn evenly."""
        scorer, config = self.task.scorer, self.config
        part = self.rng.choice(self.parts) if len(self.parts) > 1 else self.parts[0]
        members = tuple(unit.member(scorer, part) for unit in population)
        wrong, right = self._wrong_and_right(parent)
        return Scene(
            self.wording.described(self.task.description, part), self.wording, parent.member(scorer, part), members,
            tuple(prompt.part(part) for prompt in elites),
            tuple(self.working(parent, key) for key in sorted(wrong)),
            tuple(self.working(parent, key) for key in sorted(right)),
            config.demos, config.eda_shown, config.lamarckian_shown, self.vectors,
        )  # fmt: skip

    def _wrong_and_right(self, unit: Unit) -> tuple[list[str], list[str]]:
        """What a writer may be shown as failures and as workings out. Where scores are by degree: of what is not
        perfect the worse half, and the best quarter."""
        if self.task.scorer.binary:
            return [key for key in unit.said if unit.value(key) < 1], [key for key in unit.said if unit.value(key) == 1]
        order = sorted(unit.said, key=lambda key: (unit.value(key), key))
        half, most = order[: (len(order) + 1) // 2], order[-((len(order) + 3) // 4) :]
        return [key for key in half if unit.value(key) < 1], [key for key in most if unit.value(key) > 0]

    def working(self, unit: Unit, key: str) -> Working:
        example = self.examples[key]
        return Working(key, tuple(example.fields.items()), example.shown, unit.said[key], example.gold[0])

    def keep_history(self, on: Iterable[str] | None = None, **row: Any) -> None:
        """A line of the history; `elite` is the best unit as the search sees it, with its fitness on the examples `on`
        where they are given, else on all by which it was not chosen."""
        elite, scorer = self.rank()[0], self.task.scorer
        fitness = elite.fair_fitness(scorer) if on is None else elite.fitness(scorer, on)
        full = {"calls": self.asked, **row,
                "elite": {"id": elite.id, "fitness": fitness, "instruction": elite.words}}  # fmt: skip
        self.history.append(full)
        self.tell(Round(full))

    def progress(self, phase: str, total: int) -> None:
        self.done[phase] += 1
        self.tell(Progress(phase, self.done[phase], total))

    async def on_split(
        self, split: str, unit: Unit, examples: Sequence[Example], prompts: int
    ) -> tuple[Evaluation, dict[str, str]]:
        """A unit on dev or test, with what was answered. prompts: how many answer there in all."""
        said: dict[str, str] = {}

        def answered(example: Example, came: Reply, _: Score | None) -> None:
            if isinstance(came.result, Completion):
                said.setdefault(example.id, came.said)
            self.progress(split, prompts * len(examples) * self.ask.repeat)

        found = await evaluate_async(self.model, self.task, unit.prompt, examples, self.ask, on_answer=answered)
        return found, said
