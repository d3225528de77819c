"""What a bake is asked for: the prompt, the questions or the answers that are there, and what that comes to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from promptmill.cli.config import BakeRunConfig, BakeSampleRunConfig, BakeTrainConfig, resolve
from promptmill.cli.options import Given
from promptmill.cli.prompts import prompt_given
from promptmill.cli.screen import err
from promptmill.cli.session import Session, limited
from promptmill.crafts.bake.beforehand import check_trainable
from promptmill.crafts.bake.config import AS_ORIGINAL
from promptmill.crafts.bake.contexts import bakeable, check_prompt, contexts, without_weights
from promptmill.crafts.bake.questions import (
    Question,
    joined,
    questions_of,
    read_questions,
    task_questions,
    written_questions,
)
from promptmill.crafts.bake.ready import Ready, ready_made
from promptmill.crafts.bake.rehearse import other_prompts
from promptmill.crafts.bake.unrelated import Texts, unrelated_items
from promptmill.errors import InputError
from promptmill.model.gate import run_blocking
from promptmill.model.load import open_backend
from promptmill.prompt import Prompt
from promptmill.store.stage import digest
from promptmill.tasks.load import load_task
from promptmill.vary.wording import load_wording

C = TypeVar("C", bound=BakeSampleRunConfig)

NOTHING = Prompt()
WRITTEN_NOW = "?"
"""Stands for a question that is not written yet where it is seen whether the prompt fits."""


@dataclass(frozen=True)
class Asked:
    """questions: None where the model is to write them. source: where they are from, in words. ready: their answers,
    where these are there already."""

    questions: Sequence[Question] | None
    source: str
    ready: Ready | None = None

    def identity(self, config: BakeSampleRunConfig) -> Any:
        if self.ready is not None:
            return {"trajectories": self.ready.digest}
        if self.questions is None:
            return {"about": config.about, "kind": config.about_kind, "count": config.count}
        return digest([[one.text, one.split] for one in self.questions])

    def settled(self, config: C) -> C:
        """The configuration, with the sampling as it was where the answers are there already."""
        if self.ready is None:
            return config
        return config.model_copy(update={"bake": config.bake.model_copy(update={"sample": self.ready.sample})})


def bake_config(kind: type[C], given: Given, **more: Any) -> C:
    original = {f"bake.sample.{name}": value for name, value in AS_ORIGINAL.items()} if given["as_original"] else {}
    return resolve(kind, given, **more, **original)


def asked_for(config: BakeSampleRunConfig) -> Asked:
    """InputError, one line, for questions that are not said, said twice, or cannot be read."""
    held = config.bake.sample.validation
    trajectories = config.trajectories if isinstance(config, BakeRunConfig) else None
    ways = {"--inputs": config.inputs, "--task": config.task, "--about": config.about, "--trajectories": trajectories}
    said = [flag for flag, value in ways.items() if value is not None]
    if len(said) != 1:
        many = f"one of them, not {' and '.join(said)}: " if said else ""
        there = "; or give --trajectories PATH (answers that are there)" if isinstance(config, BakeRunConfig) else ""
        raise InputError(f"say on which questions: {many}--inputs FILE (rows with the key question), --task TASK, "
                         f"or --about TEXT (the model writes them){there}")  # fmt: skip
    if config.validation is not None and config.inputs is None:
        raise InputError("--validation goes with --inputs: it is the file of the questions that are held out")
    if trajectories is not None:
        ready = ready_made(trajectories, bakeable(open_backend(config.model)), config.bake.sample)
        return Asked(ready.questions, ready.source, ready)
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


def prompt_to_bake(given: Given, asked: Asked) -> Prompt:
    """The prompt that is given, or that which has drawn the answers that are there. InputError where there is none, or
    where they are not the same."""
    prompt, theirs = prompt_given(given, NOTHING), asked.ready.prompt if asked.ready else None
    if prompt == NOTHING and theirs is None:
        raise InputError("say which prompt to bake: --prompt TEXT or --prompt-file FILE")
    if theirs is not None and prompt not in (NOTHING, theirs):
        raise InputError(f"the prompt is another than that of {asked.source} ({name_of(theirs)}); leave it out")
    return prompt if theirs is None else theirs


def check_beforehand(config: BakeSampleRunConfig, prompt: Prompt, asked: Asked, texts: Texts | None = None) -> None:
    """What can be known to be wrong before a run is begun."""
    backend = bakeable(open_backend(config.model))
    loaded, questions = without_weights(backend), asked.questions or [Question("", WRITTEN_NOW, "train")]
    if asked.ready is not None:
        check_prompt(prompt, loaded)
    else:
        contexts(loaded, prompt, questions, config.bake.sample)
    if isinstance(config, BakeTrainConfig):
        others = other_prompts(config.rehearse)
        check_trainable(backend, prompt, others, questions, config.bake, config.seed, asked.ready)
    if texts is not None:
        unrelated_items(loaded, texts)


def unrelated_identity(config: BakeTrainConfig, texts: Texts) -> str | None:
    """None for ours: there may be others one day, and a run would go on all the same."""
    return digest(texts.content) if config.unrelated else None


def forecast(config: BakeSampleRunConfig, asked: Asked, given: Given, epochs: int, rounds: int = 1) -> bool:
    """Say what is to come; True where no more was asked for."""
    count = config.count if asked.questions is None else len(asked.questions)
    tokens = 0 if asked.ready else rounds * count * config.bake.sample.sequences * config.bake.sample.max_new_tokens
    written = f"{count} questions to be written, " if asked.questions is None else ""
    sampled = f"{asked.ready.answers:,} answers are there" if asked.ready else f"at most {tokens:,} tokens sampled"
    trained = f", then {epochs} epochs over them" if epochs else ""
    turns = f", in {rounds} rounds" if rounds > 1 else ""
    err.print(f"forecast: {written}{sampled}{trained}{turns}", soft_wrap=True)
    if given["forecast"] and given["json_"]:
        print(json.dumps({"questions": count, "most_tokens": tokens, "epochs": epochs * rounds}))
    return bool(given["forecast"])


def questions_for(work: Session, config: BakeSampleRunConfig, asked: Asked) -> Sequence[Question]:
    """The questions; written by the model where that was asked for (from the record, when the run is continued)."""
    if asked.questions is not None:
        return asked.questions

    async def write() -> list[Question]:
        assert config.about is not None
        async with work.another(config.model) as model:  # its weights go when it has written
            return await written_questions(
                model, load_wording(), config.about, config.count, kind=config.about_kind,
                validation=config.bake.sample.validation,
            )  # fmt: skip

    return run_blocking(write())


def name_of(prompt: Prompt) -> str:
    """A line that a run can be told by."""
    words = " ".join((prompt.system or prompt.user).split())
    return words if len(words) <= 40 else words[:39] + "…"
