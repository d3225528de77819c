"""promptmill's own searches on a landscape: in process, without the proof, which is the same for every search."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

from benchmarks.landscape.backends import task_backend, task_of, writer_backend
from benchmarks.landscape.record import MARKS, Recorder, result_line
from benchmarks.landscape.world import Landscape
from promptmill.crafts.breed.breeder import Breeder
from promptmill.crafts.breed.config import BreedConfig
from promptmill.crafts.breed.search import SEARCHES
from promptmill.crafts.breed.unit import Unit
from promptmill.errors import BudgetSpent
from promptmill.measure.evaluate import Ask
from promptmill.model.gate import Model, run_blocking
from promptmill.vary.scene import Genome
from promptmill.vary.wording import load_wording


def search(landscape: Landscape, budget: int, **settings: Any) -> dict[str, Any]:
    """One run of so many task calls at most; settings: of BreedConfig. The belief is the search's first in rank."""
    task, backend, writing = task_of(landscape), task_backend(landscape), writer_backend(landscape)
    model = Model(backend)
    writer = Model(writing, role="writer", ledger=model.ledger)
    config = BreedConfig(**{"calls": 2 * budget, **settings})
    recorder = Recorder(lambda: backend.calls)

    def note(row: dict[str, Any]) -> None:
        recorder.note(row["elite"]["instruction"])
        if backend.calls >= budget:
            raise BudgetSpent(f"{budget} task calls")

    breeder = Breeder(task, model, writer, task.prompt, config, load_wording(), Ask(), landscape.seed,
                      task.train, task.dev, task.test, note=note)  # fmt: skip

    async def run() -> None:
        async with model, writer:
            breeder.rng = random.Random(breeder.seed)
            breeder.examples = {example.id: example for example in breeder.train}
            breeder.units = [Unit(0, Genome(breeder.seed_prompt), "seed")]
            with suppress(BudgetSpent):
                await SEARCHES[config.strategy](breeder)

    run_blocking(run())
    curve = recorder.curve(landscape.quality, [mark for mark in MARKS if mark <= budget], landscape.seed_prompt)
    quality = landscape.quality(recorder.at(budget) or landscape.seed_prompt)
    calls = (backend.calls, writing.calls)
    return result_line(f"promptmill {config.strategy}", landscape.seed, landscape.variant, calls, quality, curve)
