"""`promptmill bake`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptmill.cli.config import BakeRunConfig, resolve
from promptmill.cli.options import Given
from promptmill.cli.prompts import prompt_given
from promptmill.cli.screen import bars, err, number, out, show_rows, table
from promptmill.cli.session import Session, limited, session
from promptmill.crafts.bake.baker import Baked, Baker
from promptmill.crafts.bake.contexts import bakeable
from promptmill.crafts.bake.export import exported
from promptmill.crafts.bake.page import bake_page
from promptmill.crafts.bake.questions import Question, read_questions, task_questions
from promptmill.crafts.bake.rehearse import other_prompts
from promptmill.crafts.bake.summary import bake_report
from promptmill.crafts.bake.worth import behaviour, forgetting
from promptmill.errors import InputError
from promptmill.measure.answer import Ask
from promptmill.model.chat import Sampling
from promptmill.model.gate import run_blocking
from promptmill.model.load import open_backend
from promptmill.prompt import Prompt
from promptmill.report.html import render
from promptmill.store.stage import digest
from promptmill.tasks.load import load_task
from promptmill.tasks.task import Example, Task

NOTHING = Prompt()


@dataclass(frozen=True)
class Tried:
    """Tasks on which the baked model is tried: for the prompt's own behaviour, and for what it must not forget."""

    behaviour: tuple[Task, ...]
    forgetting: tuple[Task, ...]


def bake_command(given: Given, **more: Any) -> None:
    config = resolve(BakeRunConfig, given, **more)
    prompt = prompt_given(given, NOTHING)
    if prompt == NOTHING:
        raise InputError("say which prompt to bake: --prompt TEXT or --prompt-file FILE")
    questions = _questions(config)
    others = other_prompts(config.rehearse)
    tried = Tried(tuple(map(load_task, config.behaviour)), tuple(map(load_task, config.forgetting)))
    bakeable(open_backend(config.model))
    identity = {
        "prompt": prompt.to_dict(), "questions": digest([[one.text, one.split] for one in questions]),
        "others": digest(list(others)), "bake": config.bake.model_dump(mode="json"), "limit": config.limit,
        "behaviour": [task.fingerprint for task in tried.behaviour],
        "forgetting": [task.fingerprint for task in tried.forgetting],
    }  # fmt: skip
    name = _name_of(prompt)
    with session("bake", name, identity, config, given) as work, bars() as watch:
        backend = bakeable(work.model.backend)
        tokens = len(questions) * config.bake.sample.sequences * config.bake.sample.max_new_tokens
        err.print(f"forecast: at most {tokens:,} tokens sampled, then {config.bake.train.epochs} epochs over them")
        if given["forecast"]:
            return
        baker = Baker(backend, prompt, questions, others, config.bake, work.run, config.seed, watch)
        baked = baker.bake()
        rows = run_blocking(_try(work, config, baked, prompt, tried))
        result = bake_report(baker, baked, *rows) | work.ledger.summary() | {"name": name}
        path = work.run.finish(result, lambda data: render(bake_page(data)))
    if given["json_"]:
        print(json.dumps(result, ensure_ascii=False))
    else:
        _show(result, baked, path, config)


def _questions(config: BakeRunConfig) -> list[Question]:
    held = config.bake.sample.validation
    if (config.inputs is None) == (config.task is None):
        raise InputError("say on which questions: --inputs FILE (rows with the key question), or --task TASK")
    if config.inputs is not None:
        questions = read_questions(config.inputs, held)
        return list(limited(questions, config.limit, config.seed))
    assert config.task is not None
    return task_questions(load_task(config.task), held, config.limit)


async def _try(
    work: Session, config: BakeRunConfig, baked: Baked, prompt: Prompt, tried: Tried
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Scores of the baked model beside those of the model as it was."""
    ask = Ask(Sampling(max_tokens=config.bake.sample.max_new_tokens))
    base = work.model
    kind = config.model.model_copy(update={"adapters": [*config.model.adapters, str(baked.adapter)]})
    model = work.another(kind)

    def examples(task: Task) -> list[Example]:
        return list(limited(task.split("test"), config.limit, config.seed))

    async with base, model:
        own = [(await behaviour(base, model, task, prompt, examples(task), ask)).to_dict() for task in tried.behaviour]
        rest = [(await forgetting(base, model, task, examples(task), ask)).to_dict() for task in tried.forgetting]
    return own, rest


def _name_of(prompt: Prompt) -> str:
    words = " ".join((prompt.system or prompt.user).split())
    return words if len(words) <= 40 else words[:39] + "…"


def _show(result: dict[str, Any], baked: Baked, path: Path, config: BakeRunConfig) -> None:
    if result["behaviour"]:
        met = table()
        for head in ("task", "unprompted", "prompted", "baked", "baked, prompted"):
            met.add_column(head, justify="left" if head == "task" else "right")
        for one in result["behaviour"]:
            scores = [number(one[way]["score"]) for way in ("unprompted", "prompted", "baked", "baked_prompted")]
            met.add_row(one["task"], *scores)
        out.print(met)
        out.print()
    kept = [
        (f"kept: {one['task']}", f"{number(one['base']['score'])} before, {number(one['baked']['score'])} baked")
        for one in result["forgetting"]
    ]
    written = [("adapter", baked.adapter), ("report", path), ("page", path.with_suffix(".html"))]
    show_rows([("verdict", result["verdict"]), *kept, *written])
    out.print(f"next: promptmill ask TEXT --model {config.model.name} --adapter {baked.adapter}", markup=False,
              soft_wrap=True)  # fmt: skip


def export_command(run: Path, to: Path, strength: float, merge: bool, dtype: str) -> None:
    """An adapter of another strength, or a whole model, out of a bake's run."""
    if to.exists() and any(to.iterdir()):
        raise InputError(f"--to {to}: the folder is not empty; name a new one")
    made = exported(run, to, strength, merge, dtype)
    show_rows([("written", to), *made])
    if not merge:
        out.print(f"next: promptmill ask TEXT --model MODEL --adapter {to}", markup=False, soft_wrap=True)
    else:
        out.print(f"next: promptmill ask TEXT --model {to}", markup=False, soft_wrap=True)
