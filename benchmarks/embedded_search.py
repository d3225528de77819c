"""promptmill's own searches on tasks of the embedded model: what they believe by calls, and what that is worth.

The search asks the embedded model for answers and for prompts, as `promptmill breed TASK` does by default. Each prompt
that it holds to be its best is scored on all test examples, which no search sees, by a model with books of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import promptmill
from benchmarks.landscape.ours import run_search
from benchmarks.search_rows import CLOSE
from promptmill.crafts.breed.breeder import Breeder
from promptmill.crafts.breed.config import AS_PAPER, BreedConfig
from promptmill.model.budget import Ledger
from promptmill.model.embedded import embedded_backend
from promptmill.model.gate import Model
from promptmill.prompt import Prompt
from promptmill.tasks.task import Task

TASKS = ("arithmetic", "acronym", "uppercase")
"""Those whose own prompt leaves most to be found."""
WRITES = 0.15
"""Share of the budget that is left for the writer when the paper's batch is fitted: it has taken 900 to 1,200 calls."""
REACHED = "the goal was reached on test"
"""Why a search with a goal ended there."""
LEAST = 20
"""Calls without which there is no search (BreedConfig.calls)."""


@dataclass
class Bench:
    """One task. model: answers and writes for the search. judge: answers the test examples, outside its books."""

    task: Task
    model: Model
    judge: Model
    _worth: dict[Prompt, float] = field(default_factory=dict)

    def worth(self, prompt: Prompt) -> float:
        """The score of a prompt on all test examples; each prompt is asked once."""
        if prompt not in self._worth:
            found = promptmill.evaluate(self.judge, self.task, prompt)
            if found.score is None or found.answered < found.asked:
                raise RuntimeError(f"{self.task.name}: {found.answered} of {found.asked} test examples were answered")
            self._worth[prompt] = found.score
        return self._worth[prompt]


def benches() -> list[Bench]:
    """The tasks, all on the same two models."""
    model, judge = Model(embedded_backend()), Model(embedded_backend())
    return [Bench(promptmill.load_task(name), model, judge) for name in TASKS]


def search(bench: Bench, seed: int, budget: int, goal: float | None = None, **settings: Any) -> dict[str, Any]:
    """One run of so many calls at most, task and writer together; settings: of BreedConfig. goal: it may end where its
    best is worth this on test, since what comes after does not matter.

    beliefs: (calls, score on test) at each change of what is first in the search's rank. start: the score of the
    prompt that it begins with. ended: why the search ended before the calls were spent, or None.
    """
    books = Ledger()
    bench.model.start_books(books)
    held: list[tuple[int, Prompt]] = []

    def note(breeder: Breeder) -> None:
        best = breeder.rank()[0].prompt
        if not held or held[-1][1] != best:
            held.append((books.total.calls, best))

    def halt() -> str | None:
        return REACHED if goal is not None and bench.worth(held[-1][1]) >= goal - CLOSE else None

    config = BreedConfig(**{"calls": budget, **settings})
    breeder = run_search(bench.task, bench.model, bench.model, config, seed, note, halt)
    return {
        "task_calls": books.role("task").calls, "writer_calls": books.role("writer").calls, "ended": breeder.ended,
        "start": bench.worth(bench.task.prompt), "beliefs": [(calls, bench.worth(prompt)) for calls, prompt in held],
    }  # fmt: skip


def fitted(budget: int) -> dict[str, Any]:
    """The paper's settings with the batch by which its generations fit a budget that the writer shares."""
    rounds = AS_PAPER["population"] * (AS_PAPER["generations"] + 1)
    return AS_PAPER | {"batch": max(1, int(budget * (1 - WRITES)) // rounds)}
