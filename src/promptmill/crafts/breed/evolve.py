"""PromptBreeder's loop (arXiv 2309.16797, section 3): in binary tournaments a winner's mutant replaces the loser.

Two things are added: the final choice is made on dev examples that no tournament saw, and the gain over the
seed prompt is proved on test examples that nothing saw.

The loop has no state on disk. It follows from the configuration, the seed of the random generator and the answers, and
the answers are in the run's record: a continued run passes the same way again, up to where it was broken off.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from promptmill.crafts.breed.config import BreedConfig
from promptmill.crafts.breed.unit import Unit, fitter
from promptmill.errors import BudgetSpent, InputError
from promptmill.measure.evaluate import Ask, Evaluation, evaluate_async
from promptmill.model.budget import Estimate, Spend
from promptmill.model.chat import Completion, Failure, Request, Sampling
from promptmill.model.gate import Model, together
from promptmill.prompt import Prompt
from promptmill.score.scorer import corpus_score
from promptmill.tasks.task import Example, Task
from promptmill.vary.mutate import Mutation, first_order, read_instruction, zero_order
from promptmill.vary.wording import Wording

Watch = Callable[[str, int, int], None]
"""Called with (phase, done, total) whenever something has been done."""


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
    """One breed. `run` goes from the seed prompt to a Breeding; the steps follow the paper's order.

    sunk: what a session that ended by a smaller budget has spent on its proof. This one goes another way from there, so
    that is not in what it asks for, but it is gone from the budget.
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
    sunk: Spend = field(default_factory=Spend)
    stopped: str | None = None
    _asked_before: Counter[str] = field(default_factory=Counter)
    _done: Counter[str] = field(default_factory=Counter)

    async def run(self) -> Breeding:
        self.rng = random.Random(self.seed)
        self._check_budget()
        self.units = [Unit(0, self.seed_prompt, "seed")]
        try:
            population = await self._first_population()
            batch = await self._measure(population, 0)
            for generation in range(1, self.config.generations + 1):
                if not self._affords(self._generation_calls() + self._proof_calls()):
                    self.stopped = f"the budget leaves room for the proof only, after {generation - 1} generations"
                    break
                population = await self._next_population(population, batch, generation)
                batch = await self._measure(population, generation)
        except BudgetSpent as error:
            self.stopped = str(error)
        before = self.model.ledger.total
        finalists = await self._meet_on_dev()
        best = self._choose(finalists)
        test = await self._prove(best)
        proof = self.model.ledger.total.less(before)
        return Breeding(self.units, finalists, best, test, self.history, proof, self.stopped)

    async def _first_population(self) -> list[Unit]:
        """The seed prompt and mutants of it; each has its own mutation prompt or thinking style (section 3.1)."""
        seed = self.units[0]
        children = await self._children([seed] * (self.config.population - 1), 0)
        return [seed, *(child for child in children if child is not None)]

    async def _measure(self, population: Sequence[Unit], generation: int) -> list[str]:
        """Fitness of all on one random batch of train examples (its ids are returned), so that they can be compared;
        what was seen in earlier generations stays counted."""
        batch = self.rng.sample(list(self.train), min(self.config.batch, len(self.train)))
        await together([self._fitness(unit, batch) for unit in population])
        ids = [example.id for example in batch]
        self._keep_history(generation, population, ids)
        return ids

    async def _next_population(self, population: list[Unit], batch: list[str], generation: int) -> list[Unit]:
        """Pair at random; of each pair the fitter one stays and its mutant takes the other's place."""
        order = self.rng.sample(population, len(population))
        pairs = [fitter(a, b, batch, self.task.scorer) for a, b in zip(order[::2], order[1::2], strict=False)]
        children = await self._children([winner for winner, _ in pairs], generation)
        survivors = [(winner, child or loser) for (winner, loser), child in zip(pairs, children, strict=True)]
        rest = [order[-1]] if len(order) % 2 else []
        return [unit for pair in survivors for unit in pair] + rest

    async def _children(self, parents: Sequence[Unit], generation: int) -> list[Unit | None]:
        """A mutant of each parent unlike any prompt before it, or None where the writer brings none.

        Requests go out together; answers are folded in the order of the parents, whatever order they arrive in.
        """
        children: list[Unit | None] = [None] * len(parents)
        for _ in range(self.config.attempts):
            missing = [i for i, child in enumerate(children) if child is None]
            drawn = [self._draw(parents[i]) for i in missing]
            answers = await together([self.writer.ask(request, role="writer") for _, request in drawn])
            for i, (mutation, _), answer in zip(missing, drawn, answers, strict=True):
                children[i] = self._born(parents[i], mutation, answer, generation)
        return children

    def _born(self, parent: Unit, mutation: Mutation, answer: Completion | Failure, generation: int) -> Unit | None:
        cut = isinstance(answer, Completion) and answer.answers[0].finish == "length"
        text = None if cut or isinstance(answer, Failure) else read_instruction(answer.text)
        prompt = self._rewritten(parent.prompt, text)
        if prompt is None or self._known(prompt):
            self.rejected[mutation.operator] += 1
            return None
        unit = Unit(len(self.units), prompt, mutation.operator, parent.id, mutation.drawn, generation)
        self.units.append(unit)
        return unit

    def _draw(self, parent: Unit) -> tuple[Mutation, Request]:
        if self.rng.random() < self.config.zero_order_share:
            mutation = zero_order(self.task.description, self.wording, self.rng)
        else:
            mutation = first_order(parent.prompt.instruction, self.wording, self.rng)
        sampling = Sampling(self.config.writer_temperature, max_tokens=self.config.writer_max_tokens, seed=self.seed)
        repeat = self._asked_before[mutation.request]  # the same words again must bring another answer
        self._asked_before[mutation.request] += 1
        return mutation, Request((("user", mutation.request),), sampling, repeat=repeat)

    @staticmethod
    def _rewritten(prompt: Prompt, text: str | None) -> Prompt | None:
        if text is None:
            return None
        try:
            return prompt.with_instruction(text)
        except InputError:
            return None  # the rewrite loses a hole: it is no prompt for this task

    def _known(self, prompt: Prompt) -> bool:
        text = " ".join(prompt.instruction.lower().split())
        return any(" ".join(unit.prompt.instruction.lower().split()) == text for unit in self.units)

    async def _fitness(self, unit: Unit, batch: Sequence[Example]) -> None:
        evaluation = await evaluate_async(self.model, self.task, unit.prompt, batch, self.ask, on_answer=self._answered)
        if evaluation.stopped:
            raise BudgetSpent(evaluation.stopped)
        unit.seen.update(evaluation.stats)

    async def _meet_on_dev(self) -> dict[int, Evaluation]:
        """The seed prompt and the fittest others, all on the same dev examples."""
        scorer = self.task.scorer
        tried = [unit for unit in self.units[1:] if unit.seen]
        # A prompt seen on few examples may lead by luck; half a batch of average results is added to everybody's.
        mean = sum(unit.fitness(scorer) or 0.0 for unit in tried) / max(1, len(tried))
        prior = self.config.batch / 2

        def shrunk(unit: Unit) -> float:
            n = len(unit.seen)
            return ((unit.fitness(scorer) or 0.0) * n + mean * prior) / (n + prior)

        fittest = sorted(tried, key=lambda unit: (-shrunk(unit), unit.id))[: self.config.finalists]
        meeting = [self.units[0], *fittest]
        self._done["dev"] = 0
        results = await together([self._on("dev", unit, self.dev, len(meeting)) for unit in meeting])
        return {unit.id: result for unit, result in zip(meeting, results, strict=True)}

    def _choose(self, finalists: dict[int, Evaluation]) -> Unit:
        """The best on dev; the seed prompt unless another is better than it, and of equals the shorter one.

        Each is held against the seed on the examples that both have answered, and one that did not answer nine in ten
        of them is no choice: a prompt must not win by the questions that failed.
        """
        seed = finalists[0]
        best, most = self.units[0], (0.0, 0, 0)
        for key, found in finalists.items():
            both = [id for id in found.stats if id in seed.stats]
            if key == 0 or found.stopped or len(both) < max(1, 0.9 * len(self.dev)):
                continue
            unit = self.units[key]
            gain = self._score(found, both) - self._score(seed, both)
            if gain > 0 and (gain, -len(unit.prompt.instruction), -key) > most:
                best, most = unit, (gain, -len(unit.prompt.instruction), -key)
        return best

    def _score(self, evaluation: Evaluation, on: Sequence[str]) -> float:
        return corpus_score(self.task.scorer, [evaluation.stats[key] for key in on])

    async def _prove(self, best: Unit) -> dict[int, Evaluation]:
        """Seed and best on the test examples, which nothing before has seen."""
        pair = [self.units[0]] if best.id == 0 else [self.units[0], best]
        results = await together([self._on("test", unit, self.test, len(pair)) for unit in pair])
        return {unit.id: result for unit, result in zip(pair, results, strict=True)}

    async def _on(self, split: str, unit: Unit, examples: Sequence[Example], prompts: int) -> Evaluation:
        def answered() -> None:
            self._done[split] += 1
            self.watch(split, self._done[split], prompts * len(examples) * self.ask.repeat)

        return await evaluate_async(self.model, self.task, unit.prompt, examples, self.ask, on_answer=answered)

    def _answered(self) -> None:
        self._done["search"] += 1
        self.watch("search", self._done["search"], (self.config.generations + 1) * self._batch_calls())

    def _keep_history(self, generation: int, population: Sequence[Unit], batch: Sequence[str]) -> None:
        scorer = self.task.scorer
        here = [unit.fitness(scorer, batch) for unit in population]
        known = [value for value in here if value is not None]
        best = max(population, key=lambda unit: (unit.fitness(scorer) or 0.0, -unit.id))
        row = {
            "generation": generation, "calls": self.model.ledger.total.calls, "population": len(population),
            "mean": sum(known) / len(known) if known else None, "max": max(known, default=None),
            "elite": {"id": best.id, "fitness": best.fitness(scorer), "instruction": best.prompt.instruction},
        }  # fmt: skip
        self.history.append(row)
        self.note(row)

    # What the search will still cost, in calls. All decisions rest on what was asked for, not on what was paid in this
    # session, so that a continued run decides as the unbroken one did.

    def _batch_calls(self) -> int:
        return self.config.population * min(self.config.batch, len(self.train)) * self.ask.repeat

    def _first_calls(self) -> int:
        return self._first_writer_calls() + self._batch_calls()

    def _first_writer_calls(self) -> int:
        return (self.config.population - 1) * self.config.attempts

    def _generation_calls(self) -> int:
        return self._generation_writer_calls() + self._batch_calls()

    def _generation_writer_calls(self) -> int:
        return self.config.population // 2 * self.config.attempts

    def _proof_calls(self) -> int:
        return ((1 + self.config.finalists) * len(self.dev) + 2 * len(self.test)) * self.ask.repeat

    def most_calls(self) -> int:
        """Calls of the whole breed at most."""
        return self._first_calls() + self.config.generations * self._generation_calls() + self._proof_calls()

    def most_writer_calls(self) -> int:
        """Those of `most_calls` that go to the writer."""
        return self._first_writer_calls() + self.config.generations * self._generation_writer_calls()

    def forecast(self, sample: Sequence[Request]) -> Estimate:
        """What the whole breed may cost at most; `sample`: requests to the task model like those to come."""
        draft = first_order(self.seed_prompt.instruction, self.wording, random.Random(self.seed))
        asked = Request((("user", draft.request),), Sampling(max_tokens=self.config.writer_max_tokens))
        written = self.most_writer_calls()
        task = self.model.estimate(sample, of=self.most_calls() - written)
        return task.plus(self.writer.estimate([asked], of=written))

    def _affords(self, calls: int) -> bool:
        budget, asked, sunk = self.model.ledger.budget, self.model.ledger.total, self.sunk
        per_call = 1.2 / max(1, asked.calls)  # a fifth more than calls have cost so far
        return (
            (budget.calls is None or sunk.calls + asked.calls + calls <= budget.calls)
            and (budget.tokens is None or sunk.tokens + asked.tokens * (1 + calls * per_call) <= budget.tokens)
            and (budget.cost is None or sunk.cost + asked.cost * (1 + calls * per_call) <= budget.cost)
        )

    def _check_budget(self) -> None:
        calls = self.model.ledger.budget.calls
        least = self.sunk.calls + self._first_calls() + self._generation_calls() + self._proof_calls()
        if calls is not None and calls < least:
            raise InputError(
                f"--budget-calls {calls} is too little to breed: one generation and the proof need {least}; raise it, "
                "or lower population, batch or finalists with --set, or the examples with --limit"
            )
