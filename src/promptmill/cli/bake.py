"""`promptmill bake run` and `promptmill bake sample`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from promptmill.cli.config import BakeRunConfig, BakeSampleRunConfig, BakeTrainConfig
from promptmill.cli.options import Given
from promptmill.cli.screen import bars, number, out, show_rows, show_warnings, table
from promptmill.cli.session import Session, limited, session
from promptmill.crafts.bake.baker import Baked, Baker
from promptmill.crafts.bake.card import adapter_card, whole_card
from promptmill.crafts.bake.clock import times_of
from promptmill.crafts.bake.compare_run import page_of
from promptmill.crafts.bake.contexts import bakeable
from promptmill.crafts.bake.original import write_split
from promptmill.crafts.bake.page import sample_page
from promptmill.crafts.bake.questions import Question
from promptmill.crafts.bake.rehearse import other_prompts
from promptmill.crafts.bake.summary import bake_report, sample_report
from promptmill.crafts.bake.unrelated import unrelated_texts
from promptmill.crafts.bake.words import change, gains, score, unrelated_line
from promptmill.crafts.bake.worth import WAYS, behaviour, forgetting, sampled_among
from promptmill.measure.answer import Ask
from promptmill.model.chat import Sampling
from promptmill.model.gate import Model, run_blocking
from promptmill.prompt import Prompt
from promptmill.report.html import render
from promptmill.store.files import write_text
from promptmill.store.stage import digest
from promptmill.tasks.load import load_task
from promptmill.tasks.task import Example, Task
from promptmill.train.settings import MAY_CHANGE


@dataclass(frozen=True)
class Tried:
    """Tasks on which the baked model is tried: for the prompt's own behaviour, and for what it must not forget."""

    behaviour: tuple[Task, ...]
    forgetting: tuple[Task, ...]


def bake_command(given: Given, **more: Any) -> None:
    config = bake_config(BakeRunConfig, given, **more)
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
    asked = asked_for(config)
    config, prompt = asked.settled(config), prompt_to_bake(given, asked)
    others = other_prompts(config.rehearse)
    tried = Tried(tuple(map(load_task, config.behaviour)), tuple(map(load_task, config.forgetting)))
    texts = unrelated_texts(config.unrelated)
    check_beforehand(config, prompt, asked, texts)
    strange = asked.ready.warnings(prompt) if asked.ready else []
    show_warnings(strange)
    identity = {
        "prompt": prompt.to_dict(), "questions": asked.identity(config), "others": digest(list(others)),
        # What may change from session to session is for the training to accept: a bake may be given more epochs.
        "bake": config.bake.model_dump(mode="json", exclude={"train": set(MAY_CHANGE)}), "limit": config.limit,
        "behaviour": [task.fingerprint for task in tried.behaviour],
        "forgetting": [task.fingerprint for task in tried.forgetting],
        "unrelated": unrelated_identity(config, texts),
    }  # fmt: skip
    name = name_of(prompt)
    with session("bake", name, identity, config, given) as work, bars() as watch:
        if forecast(config, asked, given, config.bake.train.epochs):
            return None
        questions = questions_for(work, config, asked)
        backend = bakeable(work.model.backend)
        baker = Baker(
            backend, prompt, questions, others, config.bake, work.run, config.seed, watch, asked.ready, texts
        )  # fmt: skip
        baked = baker.bake()
        rows = run_blocking(_try(work, config, baked, prompt, tried, questions))
        result = bake_report(baker, baked, *rows) | work.ledger.summary()
        result |= {"name": name, "questions": {"from": asked.source}, "warnings": [*result["warnings"], *strange]}
        result["unrelated"] = baked.unrelated and baked.unrelated | {"from": texts.source}
        write_text(baked.adapter / "README.md", (whole_card if config.bake.full else adapter_card)(result))
        times = times_of(work.run.folder)
        path = work.run.finish(result, lambda data: page_of(work.run.folder, data | {"times": times}))
    return result, baked, path


def sample_command(given: Given, original: Path | None) -> None:
    """The first stage alone."""
    config = bake_config(BakeSampleRunConfig, given)
    asked = asked_for(config)
    prompt = prompt_to_bake(given, asked)
    check_beforehand(config, prompt, asked)
    identity = {"prompt": prompt.to_dict(), "questions": asked.identity(config), "limit": config.limit,
                "sample": config.bake.sample.model_dump(mode="json")}  # fmt: skip
    name = name_of(prompt)
    with session("bake-sample", name, identity, config, given) as work, bars() as watch:
        if forecast(config, asked, given, 0):
            return
        questions = questions_for(work, config, asked)
        backend = bakeable(work.model.backend)
        baker = Baker(backend, prompt, questions, (), config.bake, work.run, config.seed, watch)
        stage, sampling, difficulty = baker.sample()
        result = sample_report(baker, sampling, difficulty) | work.ledger.summary()
        result |= {"name": name, "questions": {"from": asked.source}}
        written = write_split(original, stage, backend.chat.tokenizer.decode) if original else {}
        times = times_of(work.run.folder)
        path = work.run.finish(result, lambda data: render(sample_page(data | {"times": times})))
    if given["json_"]:
        print(json.dumps(result, ensure_ascii=False))
        return
    far = result["difficulty"]
    counts = [(f"{split} answers", f"{count:,}") for split, count in result["sampling"]["answers"].items() if count]
    files = [("original's form", f"{file}, {lines:,} lines") for file, lines in written.items()]
    moved = f"{far['kl_per_token']:.3f} nats per token, {far['first_token']:.3f} at the first"
    show_rows([*counts, ("the prompt moves it", moved), ("trajectories", stage.folder), *files, ("report", path),
               ("page", path.with_suffix(".html"))])  # fmt: skip


async def _try(
    work: Session, config: BakeRunConfig, baked: Baked, prompt: Prompt, tried: Tried, questions: Sequence[Question]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Scores of the baked model beside those of the model as it was."""
    if not (tried.behaviour or tried.forgetting):  # then neither is loaded
        return [], []
    ask, base, bare = ask_as(config), work.model, config.bake.sample.unprompted
    model = with_adapters(work, config, [baked.adapter])
    async with base, model:
        own = []
        for task in tried.behaviour:
            examples = tried_on(config, task)
            found = (await behaviour(base, model, task, prompt, examples, ask, bare)).to_dict()
            own.append(found | {"sampled_among": sampled_among(task, examples, questions)})
        rest = [
            (await forgetting(base, model, task, tried_on(config, task), ask)).to_dict() for task in tried.forgetting
        ]
    return own, rest


def ask_as(config: BakeTrainConfig) -> Ask:
    """How the baked model is tried: answers as long as those that it learned."""
    return Ask(Sampling(max_tokens=config.bake.sample.max_new_tokens))


def tried_on(config: BakeTrainConfig, task: Task) -> list[Example]:
    return list(limited(task.split("test"), config.limit, config.seed))


def with_adapters(work: Session, config: BakeTrainConfig, adapters: Sequence[Path]) -> Model:
    """The run's model with further adapters on it; where all weights were trained, the model that this has given."""
    changes: dict[str, Any] = {"adapters": [*config.model.adapters, *map(str, adapters)]}
    if config.bake.full:
        changes = {"name": str(adapters[-1]), "adapters": []}
    return work.another(config.model.model_copy(update=changes))


def next_ask(config: BakeTrainConfig, adapters: Sequence[Path]) -> None:
    """What to do next, in the form under which it was trained. A bake on top of others holds its own change only, and
    goes with them."""
    names = [f"--adapter {shlex.quote(str(folder))}" for folder in (*config.model.adapters, *adapters)]
    name = config.model.name
    if config.bake.full:
        names, name = [], str(adapters[-1])
    model = " ".join(["--model", shlex.quote(name), *names])
    bare = config.bake.sample.unprompted
    said = f"ask TEXT {model}" if bare == "none" else f"ask TEXT {model} --prompt {shlex.quote(bare)}"
    if bare == "empty":
        said = f"serve {model.replace('--adapter ', '--adapter baked=')}"
        if len(names) > 1:  # a server puts one adapter to work at a time
            said = f"bake export {shlex.quote(str(adapters[-1].parent))} --merge --to whole, then serve --model whole"
        said += " (and send an empty system turn before each question: so it was trained)"
    out.print(f"next: promptmill {said}", markup=False, soft_wrap=True)


def _show(result: dict[str, Any], baked: Baked, path: Path, config: BakeRunConfig) -> None:
    if result["behaviour"]:
        _show_behaviour(result["behaviour"])
    kept = [
        (f"kept: {one['task']}", f"{number(one['base']['score'])} before, {number(one['baked']['score'])} baked, "
                                 + change(one["change"]))
        for one in result["forgetting"]
    ]  # fmt: skip
    far = result["unrelated"]
    plain = [("on unrelated texts", unrelated_line(far))] if far else []
    took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in times_of(path.parent).items())
    written = [("model" if config.bake.full else "adapter", baked.adapter), ("report", path),
               ("page", path.with_suffix(".html"))]  # fmt: skip
    show_rows([("verdict", result["verdict"]), *kept, *plain, ("time", took), *written])
    next_ask(config, [baked.adapter])


def _show_behaviour(rows: Sequence[dict[str, Any]]) -> None:
    met = table()
    for head in ("task", "unprompted", "prompted", "baked", "baked, prompted"):
        met.add_column(head, justify="left" if head == "task" else "right")
    for one in rows:
        met.add_row(one["task"], *(score(one[way]) for way in WAYS))
    out.print(met)
    out.print()
    show_rows([(one["task"], gains(one)) for one in rows])
    out.print()
