"""Find the best prompt for a task and a model, with proof (PromptBreeder, arXiv 2309.16797)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from promptmill.crafts.breed.events import Listener
    from promptmill.model.gate import Model
    from promptmill.prompt import Prompt
    from promptmill.tasks.task import Task


def breed(
    task: Task,
    model: Model,
    *,
    writer: Model | None = None,
    prompt: Prompt | None = None,
    seed: int = 0,
    on: Sequence[Listener] = (),
    **settings: Any,
) -> dict[str, Any]:
    """Breed a prompt from Python and return the report (the dictionary that the command writes to report.json).

    writer: the model that writes prompts, `model` itself by default. prompt: where to begin, the task's own by default.
    on: called with each event (crafts/breed/events.py) as it happens. settings: fields of BreedConfig (calls, sample,
    demos, …).
    """
    from promptmill.crafts.breed.breeder import Breeder, vectors_of
    from promptmill.crafts.breed.config import BreedConfig
    from promptmill.crafts.breed.report import report
    from promptmill.measure.answer import Ask
    from promptmill.model.budget import Ledger
    from promptmill.model.gate import run_blocking
    from promptmill.settings import checked
    from promptmill.vary.wording import load_wording

    books = Ledger(model.ledger.budget)  # this breed's own, whatever the models were asked before
    for one in {id(model): model, id(writer): writer}.values():
        if one is not None:
            one.start_books(books)
    config = checked(BreedConfig, settings, "breed")
    breeder = Breeder(
        task, model, writer or model, prompt or task.prompt, config, load_wording(), Ask(), seed,
        task.split("train"), task.split("dev"), task.split("test"), vectors=vectors_of(config), on=on,
    )  # fmt: skip

    async def work() -> dict[str, Any]:
        async with model:
            if writer is None or writer is model:
                return report(breeder, await breeder.run())
            async with writer:
                return report(breeder, await breeder.run())

    return run_blocking(work())
