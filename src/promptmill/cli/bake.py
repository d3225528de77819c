"""`promptmill bake run` and `promptmill bake sample`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptmill.cli.config import BakeRunConfig, BakeSampleRunConfig, resolve
from promptmill.cli.options import Given
from promptmill.cli.prompts import prompt_given
from promptmill.cli.screen import bars, err, number, out, show_rows, table
from promptmill.cli.session import Session, limited, session
from promptmill.crafts.bake.baker import Baked, Baker
from promptmill.crafts.bake.card import adapter_card
from promptmill.crafts.bake.compare_run import page_of
from promptmill.crafts.bake.config import AS_ORIGINAL
from promptmill.crafts.bake.contexts import bakeable, contexts, without_weights
from promptmill.crafts.bake.original import write_split
from promptmill.crafts.bake.page import sample_page
from promptmill.crafts.bake.questions import (
    Question,
    joined,
    questions_of,
    read_questions,
    task_questions,
    written_questions,
)
from promptmill.crafts.bake.rehearse import other_prompts
from promptmill.crafts.bake.summary import bake_report, sample_report
from promptmill.crafts.bake.worth import behaviour, forgetting
from promptmill.errors import InputError
from promptmill.measure.answer import Ask
from promptmill.model.chat import Sampling
from promptmill.model.gate import run_blocking
from promptmill.model.load import open_backend
from promptmill.prompt import Prompt
from promptmill.report.html import render
from promptmill.store.files import write_text
from promptmill.store.stage import digest
from promptmill.tasks.load import load_task
from promptmill.tasks.task import Example, Task
from promptmill.train.settings import MAY_CHANGE
from promptmill.vary.wording import load_wording

NOTHING = Prompt()
WRITTEN_NOW = "?"
"""Stands for a question that is not written yet where it is seen whether the prompt fits."""


@dataclass(frozen=True)
class Tried:
    """Tasks on which the baked model is tried: for the prompt's own behaviour, and for what it must not forget."""

    behaviour: tuple[Task, ...]
    forgetting: tuple[Task, ...]


@dataclass(frozen=True)
class Asked:
    """questions: None where the model is to write them. source: where they are from, in words."""

    questions: list[Question] | None
    source: str

    def identity(self, config: BakeSampleRunConfig) -> Any:
        if self.questions is None:
            return {"about": config.about, "kind": config.about_kind, "count": config.count}
        return digest([[one.text, one.split] for one in self.questions])


def bake_command(given: Given, as_original: bool, **more: Any) -> None:
    config = resolve(BakeRunConfig, given, **more, **_as_original(as_original))
    done = bake_run(given, config)
    if done is None:
        return
    result, baked, path = done
    if given["json_"]:
        print(json.dumps(result, ensure_ascii=False))
    else:
        _show(result, baked, path, config)


def bake_run(given: Given, config: BakeRunConfig) -> tuple[dict[str, Any], Baked, Path] | None:
    """A whole bake in a folder of its own: its report, the adapter, where the report lies. None after a forecast."""
    prompt, asked = _prompt(given), _asked(config)
    others = other_prompts(config.rehearse)
    tried = Tried(tuple(map(load_task, config.behaviour)), tuple(map(load_task, config.forgetting)))
    _check_beforehand(config, prompt, asked)
    identity = {
        "prompt": prompt.to_dict(), "questions": asked.identity(config), "others": digest(list(others)),
        # What may change from session to session is for the training to accept: a bake may be given more epochs.
        "bake": config.bake.model_dump(mode="json", exclude={"train": set(MAY_CHANGE)}), "limit": config.limit,
        "behaviour": [task.fingerprint for task in tried.behaviour],
        "forgetting": [task.fingerprint for task in tried.forgetting],
    }  # fmt: skip
    name = _name_of(prompt)
    with session("bake", name, identity, config, given) as work, bars() as watch:
        if _forecast(config, asked, given, config.bake.train.epochs):
            return None
        questions = _written(work, config, asked)
        backend = bakeable(work.model.backend)
        baker = Baker(backend, prompt, questions, others, config.bake, work.run, config.seed, watch)
        baked = baker.bake()
        rows = run_blocking(_try(work, config, baked, prompt, tried))
        result = bake_report(baker, baked, *rows) | work.ledger.summary()
        result |= {"name": name, "questions": {"from": asked.source}}
        write_text(baked.adapter / "README.md", adapter_card(result))
        path = work.run.finish(result, lambda data: page_of(work.run.folder, data))
    return result, baked, path


def sample_command(given: Given, as_original: bool, original: Path | None, **more: Any) -> None:
    """The first stage alone."""
    config = resolve(BakeSampleRunConfig, given, **more, **_as_original(as_original))
    prompt, asked = _prompt(given), _asked(config)
    _check_beforehand(config, prompt, asked)
    identity = {"prompt": prompt.to_dict(), "questions": asked.identity(config), "limit": config.limit,
                "sample": config.bake.sample.model_dump(mode="json")}  # fmt: skip
    name = _name_of(prompt)
    with session("bake-sample", name, identity, config, given) as work, bars() as watch:
        if _forecast(config, asked, given, 0):
            return
        questions = _written(work, config, asked)
        backend = bakeable(work.model.backend)
        baker = Baker(backend, prompt, questions, (), config.bake, work.run, config.seed, watch)
        stage, sampling, difficulty = baker.sample()
        result = sample_report(baker, sampling, difficulty) | work.ledger.summary()
        result |= {"name": name, "questions": {"from": asked.source}}
        written = write_split(original, stage, backend.chat.tokenizer.decode) if original else {}
        path = work.run.finish(result, lambda data: render(sample_page(data)))
    if given["json_"]:
        print(json.dumps(result, ensure_ascii=False))
        return
    far = result["difficulty"]
    counts = [(f"{split} answers", f"{count:,}") for split, count in result["sampling"]["answers"].items() if count]
    files = [("original's form", f"{file}, {lines:,} lines") for file, lines in written.items()]
    moved = f"{far['kl_per_token']:.3f} nats per token, {far['first_token']:.3f} at the first"
    show_rows([*counts, ("the prompt moves it", moved), ("trajectories", stage.folder), *files, ("report", path),
               ("page", path.with_suffix(".html"))])  # fmt: skip


def _as_original(wanted: bool) -> dict[str, Any]:
    return {f"bake.sample.{name}": value for name, value in AS_ORIGINAL.items()} if wanted else {}


def _prompt(given: Given) -> Prompt:
    prompt = prompt_given(given, NOTHING)
    if prompt == NOTHING:
        raise InputError("say which prompt to bake: --prompt TEXT or --prompt-file FILE")
    return prompt


def _asked(config: BakeSampleRunConfig) -> Asked:
    held = config.bake.sample.validation
    ways = {"--inputs": config.inputs, "--task": config.task, "--about": config.about}
    said = [flag for flag, value in ways.items() if value is not None]
    if len(said) != 1:
        many = f"one of them, not {' and '.join(said)}: " if said else ""
        raise InputError(f"say on which questions: {many}--inputs FILE (rows with the key question), --task TASK, "
                         "or --about TEXT (the model writes them)")  # fmt: skip
    if config.validation is not None and config.inputs is None:
        raise InputError("--validation goes with --inputs: it is the file of the questions that are held out")
    if config.about is not None:
        return Asked(None, f"written by the model, about: {config.about}")
    if config.task is not None:
        return Asked(task_questions(load_task(config.task), held, config.limit), f"task {config.task}")
    assert config.inputs is not None
    if config.validation is None:
        found = list(limited(read_questions(config.inputs, held), config.limit, config.seed))
        # Drawn, all may be of one split.
        return Asked(questions_of((one.text for one in found), held), f"file {config.inputs.name}")
    train = limited(read_questions(config.inputs, 0, "train"), config.limit, config.seed)
    apart = limited(read_questions(config.validation, 0, "validation"), config.limit, config.seed)
    return Asked(joined(train, apart), f"files {config.inputs.name} and, held out, {config.validation.name}")


def _check_beforehand(config: BakeSampleRunConfig, prompt: Prompt, asked: Asked) -> None:
    """What can be known to be wrong before a run is begun."""
    questions = asked.questions or [Question("", WRITTEN_NOW, "train")]
    contexts(without_weights(bakeable(open_backend(config.model))), prompt, questions, config.bake.sample)


def _forecast(config: BakeSampleRunConfig, asked: Asked, given: Given, epochs: int) -> bool:
    """Say what is to come; True where no more was asked for."""
    count = config.count if asked.questions is None else len(asked.questions)
    tokens = count * config.bake.sample.sequences * config.bake.sample.max_new_tokens
    written = f"{count} questions to be written, " if asked.questions is None else ""
    trained = f", then {epochs} epochs over them" if epochs else ""
    err.print(f"forecast: {written}at most {tokens:,} tokens sampled{trained}", soft_wrap=True)
    if given["forecast"] and given["json_"]:
        print(json.dumps({"questions": count, "most_tokens": tokens, "epochs": epochs}))
    return bool(given["forecast"])


def _written(work: Session, config: BakeSampleRunConfig, asked: Asked) -> Sequence[Question]:
    """The questions; written by the model where that was asked for (from the record, when the run is continued)."""
    if asked.questions is not None:
        return asked.questions

    async def write() -> list[Question]:
        assert config.about is not None
        async with work.model as model:
            return await written_questions(
                model, load_wording(), config.about, config.count, kind=config.about_kind,
                validation=config.bake.sample.validation,
            )  # fmt: skip

    return run_blocking(write())


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
    # A bake on top of others holds its own change only, and goes with them.
    adapters = " ".join(f"--adapter {folder}" for folder in (*config.model.adapters, baked.adapter))
    out.print(f"next: promptmill ask TEXT --model {config.model.name} {adapters}", markup=False, soft_wrap=True)
