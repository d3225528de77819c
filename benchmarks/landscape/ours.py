"""promptmill's own searches on a landscape: in process, without the proof, which is the same for every search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.landscape.backends import task_backend, task_of, writer_backend
from benchmarks.landscape.record import MARKS, Recorder, result_line
from benchmarks.landscape.world import Landscape
from promptmill.crafts.breed.breeder import Breeder
from promptmill.crafts.breed.config import BreedConfig
from promptmill.crafts.breed.events import Ended, Event, Round
from promptmill.measure.answer import Ask
from promptmill.model.gate import Model, run_blocking
from promptmill.tasks.task import Task
from promptmill.vary.wording import load_wording


def search(landscape: Landscape, budget: int, **settings: Any) -> dict[str, Any]:
    """One run of so many task calls at most; settings: of BreedConfig. The belief is the search's first in rank.

    Besides what every driver tells: beliefs, (task calls, true quality) at each change of belief; credit, what the
    search has noted of its operators; ended, why it ended.
    """
    task, backend, writing = task_of(landscape), task_backend(landscape), writer_backend(landscape)
    model = Model(backend)
    writer = Model(writing, role="writer", ledger=model.ledger)
    config = BreedConfig(**{"calls": 2 * budget, **settings})
    recorder = Recorder(lambda: backend.calls)

    breeder = run_search(
        task, model, writer, config, landscape.seed,
        note=lambda breeder: recorder.note(breeder.rank()[0].prompt.instruction),
        halt=lambda: f"{budget} task calls" if backend.calls >= budget else None,
    )  # fmt: skip
    curve = recorder.curve(landscape.quality, [mark for mark in MARKS if mark <= budget], landscape.seed_prompt)
    quality = landscape.quality(recorder.at(budget) or landscape.seed_prompt)
    calls = (backend.calls, writing.calls)
    line = result_line(f"promptmill {config.strategy}", landscape.seed, landscape.variant, calls, quality, curve)
    beliefs = [(made, round(landscape.quality(prompt), 4)) for made, prompt in recorder.rows]
    return line | {"beliefs": beliefs, "credit": dict(breeder.credit()), "ended": breeder.ended}


def run_search(
    task: Task,
    model: Model,
    writer: Model,
    config: BreedConfig,
    seed: int,
    note: Callable[[Breeder], None],
    halt: Callable[[], str | None] = lambda: None,
) -> Breeder:
    """A search from the task's prompt, without choice and proof. note: called after each round or generation and at the
    end. halt: asked between them; a reason ends the search."""

    def listen(event: Event) -> None:
        if isinstance(event, Round | Ended):
            note(breeder)

    breeder = Breeder(task, model, writer, task.prompt, config, load_wording(), Ask(), seed,
                      task.train, task.dev, task.test, on=[listen], halt=halt)  # fmt: skip

    async def run() -> None:
        async with model, writer:
            await breeder.search()

    run_blocking(run())
    return breeder
