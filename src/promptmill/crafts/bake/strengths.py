"""`bake strengths`: a finished bake at several strengths of its adapter, on held-out answers and on tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promptmill.crafts.bake.baker import item_of
from promptmill.crafts.bake.finished import FinishedBake, weights_digest
from promptmill.crafts.bake.sweep import Trial, is_monotone, swept
from promptmill.crafts.bake.trajectories import read_trajectories
from promptmill.crafts.bake.worth import bare_of
from promptmill.errors import InputError
from promptmill.model.local import LocalBackend
from promptmill.report.blocks import Block, LinePlot, Series
from promptmill.store.files import write_json
from promptmill.tasks.task import Example, Task

FILE = "strengths.json"


def measured_strengths(
    bake: FinishedBake, behaviour: Sequence[Task], forgetting: Sequence[Task], strengths: Sequence[float], limit: int
) -> dict[str, Any]:
    """strengths.json: at each strength the KL per token to the prompted model on held-out answers, the score of each
    task of `behaviour` without the prompt (in the form under which it was trained), and that of each task of
    `forgetting` under its own; on at most `limit` test examples. InputError where nothing was held out."""
    from promptmill.crafts.bake.export import with_adapter

    base, most = bake.base, bake.config.sample.max_new_tokens
    bake.check()
    items = [item_of(one) for one in read_trajectories(_stage(bake), "validation") if len(one.answer_ids)]
    if not items:
        raise InputError(f"{bake.run}: no question was held out, so there is nothing to measure the strengths on")
    backend = LocalBackend(str(base.folder), dtype=base.dtype, load_in_4bit=base.four_bit, device=bake.device)
    model = with_adapter(base, bake.adapter, base.dtype, backend.device)
    bare = bake.config.sample.unprompted
    trials = [Trial(task, bare_of(task, bare), _some(task, limit), most) for task in behaviour]
    trials += [Trial(task, task.prompt, _some(task, limit), most) for task in forgetting]
    points = swept(model, backend.loaded(), items, trials, strengths)
    scorers = [trial.task.scorer for trial in trials]
    rows = [{"strength": one.strength, "kl": one.kl, "scores": one.scores(scorers)} for one in points]
    upto = [one for one in points if one.strength <= 1]
    return {
        "adapter": weights_digest(bake.adapter),
        "behaviour": [task.name for task in behaviour],
        "forgetting": [task.name for task in forgetting],
        "points": rows,
        "monotone": is_monotone([-one.kl for one in upto]),
    }


def write_strengths(run: Path, found: dict[str, Any]) -> Path:
    write_json(run / FILE, found)
    return run / FILE


def strength_blocks(found: dict[str, Any]) -> list[Block]:
    """Two plots for the page: the KL by strength, and the scores."""
    points = found["points"]
    kl = Series("to the prompted model", [(one["strength"], one["kl"]) for one in points])
    blocks: list[Block] = [LinePlot([kl], "strength", "nats per token", title="Strengths")]
    names = [*(f"{name}, no prompt" for name in found["behaviour"]), *(f"{name}, kept" for name in found["forgetting"])]
    scores = [Series(name, [(one["strength"], one["scores"][at]) for one in points]) for at, name in enumerate(names)]
    note = "0 is the model as it was, 1 the baked one; export --strength writes one of them."
    return [*blocks, LinePlot(scores, "strength", "score", (0.0, 1.0), note=note)] if scores else blocks


def _stage(bake: FinishedBake) -> Path:
    if bake.trajectories is None:
        raise InputError(f"{bake.run}: its trajectories were removed, so there is nothing to measure the strengths on")
    return bake.trajectories


def _some(task: Task, limit: int) -> Sequence[Example]:
    return task.split("test")[:limit]
