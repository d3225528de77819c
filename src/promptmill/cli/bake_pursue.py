"""`promptmill bake pursue`: a prompt is baked, put before the baked model again, and baked again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promptmill.cli.bake import ask_as, next_ask, tried_on, with_adapters
from promptmill.cli.bake_asked import (
    asked_for,
    bake_config,
    check_beforehand,
    forecast,
    name_of,
    prompt_to_bake,
    questions_for,
    unrelated_identity,
)
from promptmill.cli.config import BakePursueConfig
from promptmill.cli.options import Given
from promptmill.cli.screen import bars, number, out, show_rows, table
from promptmill.cli.session import Session, session
from promptmill.crafts.bake.clock import times_of
from promptmill.crafts.bake.contexts import bakeable
from promptmill.crafts.bake.page import pursuit_page
from promptmill.crafts.bake.pursued import Reached, kl_to_start, pursuit_report
from promptmill.crafts.bake.pursuit import Pursuit, Round, stackable
from promptmill.crafts.bake.rehearse import other_prompts
from promptmill.crafts.bake.unrelated import unrelated_texts
from promptmill.crafts.bake.worth import Behaviour, behaviour
from promptmill.model.gate import Model, run_blocking
from promptmill.model.load import open_backend
from promptmill.prompt import Prompt
from promptmill.report.html import render
from promptmill.store.stage import digest
from promptmill.tasks.load import load_task
from promptmill.tasks.task import Task


def pursue_command(given: Given, **more: Any) -> None:
    """All rounds, each a bake in a folder of its own inside the run's; what was begun before goes on."""
    config = bake_config(BakePursueConfig, given, **more)
    asked = asked_for(config)
    prompt, others = prompt_to_bake(given, asked), other_prompts(config.rehearse)
    tasks = tuple(map(load_task, config.behaviour))
    texts = unrelated_texts(config.unrelated)
    check_beforehand(config, prompt, asked, texts)
    stackable(bakeable(open_backend(config.model)), config.bake)
    # Not the count of the rounds: a pursuit may be given more of them.
    identity = {
        "prompt": prompt.to_dict(), "questions": asked.identity(config), "others": digest(list(others)),
        "bake": config.bake.model_dump(mode="json"), "limit": config.limit,
        "behaviour": [task.fingerprint for task in tasks], "unrelated": unrelated_identity(config, texts),
    }  # fmt: skip
    name = name_of(prompt)
    with session("bake-pursuit", name, identity, config, given) as work, bars() as watch:
        if forecast(config, asked, given, config.bake.train.epochs, config.rounds):
            return
        questions = questions_for(work, config, asked)
        backend = bakeable(work.model.backend)
        pursuit = Pursuit(
            backend, prompt, questions, others, config.bake, work.run.folder, config.seed, watch, texts
        )  # fmt: skip
        reached: list[Reached] = []
        for turn in pursuit.rounds(config.rounds):
            first = reached[0].round if reached else turn
            reached.append(_reached(work, config, pursuit, first, turn, tasks))
        result = pursuit_report(pursuit, reached) | work.ledger.summary()
        result |= {"name": name, "questions": {"from": asked.source}}
        times: Counter[str] = Counter()
        for one in reached:
            times.update(times_of(work.run.folder / f"round-{one.round.number}"))
        path = work.run.finish(result, lambda data: render(pursuit_page(data | {"times": times})))
    if given["json_"]:
        print(json.dumps(result, ensure_ascii=False))
    else:
        _show(result, path, config, reached[-1].round.adapters)


def _reached(
    work: Session, config: BakePursueConfig, pursuit: Pursuit, first: Round, turn: Round, tasks: Sequence[Task]
) -> Reached:
    """A round that is done, its model tried beside the model as it was before any."""
    model = with_adapters(work, config, turn.adapters)
    kl = kl_to_start(pursuit, first, bakeable(model.backend).loaded())
    found = run_blocking(_tried(work.model, model, config, pursuit.prompt, tasks))
    return Reached(turn, kl, tuple(found))


async def _tried(
    base: Model, model: Model, config: BakePursueConfig, prompt: Prompt, tasks: Sequence[Task]
) -> list[Behaviour]:
    async with base, model:
        return [
            await behaviour(base, model, task, prompt, tried_on(config, task), ask_as(config),
                            config.bake.sample.unprompted)
            for task in tasks
        ]  # fmt: skip


def _show(result: dict[str, Any], path: Path, config: BakePursueConfig, adapters: Sequence[Path]) -> None:
    shown = table()
    tasks = [one["task"] for one in result["start"]["behaviour"]]
    for head in ("round", "KL before", "after", "to the start",
                 *(part for task in tasks for part in (task, "prompted"))):  # fmt: skip
        shown.add_column(head, justify="right")
    for one in (result["start"], *result["rounds"]):
        scores = [number(met[way]) for met in one["behaviour"] for way in ("bare", "prompted")]
        shown.add_row(str(one["number"]), *(number(one[key]) for key in ("first", "best", "kl_to_start")), *scores)
    out.print(shown)
    out.print()
    written = [("adapters", " ".join(map(str, adapters))), ("report", path), ("page", path.with_suffix(".html"))]
    show_rows([("verdict", result["verdict"]), *written])
    next_ask(config, adapters)
