"""`promptmill breed`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from promptmill.cli.config import BreedRunConfig, resolve
from promptmill.cli.day_care import DayCareFiles, day_care_of
from promptmill.cli.options import Given
from promptmill.cli.prompts import prompt_given
from promptmill.cli.screen import Bars, bars, err, number, out, plain, show_forecast, show_rows, show_warnings, spent
from promptmill.cli.screen import table as plain_table
from promptmill.cli.session import Session, limited, session
from promptmill.crafts.breed.breeder import INTERRUPTED, Breeder, Breeding, vectors_of
from promptmill.crafts.breed.config import AS_PAPER
from promptmill.crafts.breed.daycare.files import read_texts
from promptmill.crafts.breed.events import Born, Event, Progress, Raced, Round
from promptmill.crafts.breed.forecast import forecast, proposals_bought
from promptmill.crafts.breed.page import breed_page
from promptmill.crafts.breed.report import evaluations, report, sunk
from promptmill.errors import InputError
from promptmill.measure.answer import Ask, requests
from promptmill.model.chat import Sampling
from promptmill.model.gate import run_blocking
from promptmill.model.world import spread, warnings_for
from promptmill.prompt import Prompt
from promptmill.report.html import render
from promptmill.score.scorer import scorer_spec
from promptmill.store.wandb import WandbSink, open_wandb
from promptmill.tasks.load import load_task
from promptmill.tasks.task import Task
from promptmill.vary.operators import OPERATORS
from promptmill.vary.scene import Operator
from promptmill.vary.wording import Wording, load_wording

AS_PAPER_OPTIONS = {f"breed.{name}": value for name, value in AS_PAPER.items()}
"""What --as-paper stands for; --set goes over it."""


@dataclass(frozen=True)
class Setting:
    """What is bred: from a task, or from a day care."""

    task: Task
    prompt: Prompt
    wording: Wording
    ask: Ask
    operators: dict[str, Operator]
    parts: tuple[str, ...]
    writing: Sampling | None
    writer_calls: int
    identity: dict[str, Any]
    warnings: tuple[str, ...] = ()


def breed_command(given: Given, *, files: DayCareFiles, verbose: bool, **more: Any) -> None:
    config = resolve(BreedRunConfig, given, **more)
    setting = _from_day_care(config, given, files) if files.folder else _from_task(config, given)
    task, splits = setting.task, [limited(setting.task.split(name), config.limit, config.seed)
                                  for name in ("train", "dev", "test")]  # fmt: skip
    if setting.ask.form is None:
        setting.prompt.check(splits[0][0].fields)
    vectors = vectors_of(config.breed)
    identity = {
        "task": task.name, "data": task.fingerprint, "scorer": scorer_spec(task.scorer), "limit": config.limit,
        "repeat": setting.ask.repeat, "constrain": config.constrain, "prompt": setting.prompt.to_dict(),
        "sampling": config.sampling.model_dump(), "wording": setting.wording.digest,
        "breed": config.breed.model_dump(), **setting.identity,
    }  # fmt: skip
    show_warnings(setting.warnings)
    with session("breed", task.name, identity, config, given, config.writer) as work, bars() as watch:
        breeder = Breeder(
            task, work.model, work.writer, setting.prompt, config.breed, setting.wording, setting.ask, config.seed,
            train=splits[0], dev=splits[1], test=splits[2], operators=setting.operators, parts=setting.parts,
            writer_sampling=setting.writing, writer_calls=setting.writer_calls, vectors=vectors,
            sunk=sunk(work.run.last_report(), work.ledger.budget), halt=halting(config.minutes, work.run.folder),
        )  # fmt: skip
        most = forecast(breeder, list(requests(task, breeder.seed_prompt, splits[0][:64], setting.ask)))
        warnings = [*setting.warnings, *warnings_for(config.model, requests(
            task, breeder.seed_prompt, spread(splits[0]), Ask(form=setting.ask.form)))]  # fmt: skip
        show_warnings(warnings[len(setting.warnings) :])
        if show_forecast(most, work.ledger, given, bought(breeder)):
            return
        with work.closing(_wandb(config, identity, work)) as sink:
            breeder.on = listeners(work, watch, verbose, sink)
            found = run_blocking(_breed(breeder, work))
            result = report(breeder, found) | {"warnings": warnings}
            path = work.run.finish(result, lambda data: render(breed_page(data)))
            if sink:
                sink.finish(result)
    if given["json_"]:
        print(json.dumps(result, ensure_ascii=False))
    else:
        _show(work, found, result, path)
    _exit(found, result)


def _from_task(config: BreedRunConfig, given: Given) -> Setting:
    if config.task is None:
        raise InputError("say what to breed for: a task (promptmill tasks lists the built-in ones), or --day-care DIR")
    task = load_task(config.task, scorer=config.scorer)
    ask = Ask(config.sampling.sampling(config.seed), config.repeat, config.constrain)
    lists = [read_texts(path) if path else () for path in (config.mutation_prompts, config.thinking_styles)]
    wording = load_wording(config.wording).with_lists(*lists)
    return Setting(task, prompt_given(given, task.prompt), wording, ask, OPERATORS, ("instruction",), None, 2, {})


def _from_day_care(config: BreedRunConfig, given: Given, files: DayCareFiles) -> Setting:
    found = day_care_of(config, given, files)
    ask = Ask(found.sampling, max(found.repeat, config.repeat), form=found.form)
    # The queries of a folder write all parts of a prompt at once; ours write one.
    parts = ("user",) if found.operators else found.parts
    if config.breed.chain == "without":
        parts = tuple(part for part in parts if part != "prefix")
    operators = OPERATORS | (found.operators or {})
    calls = 4 if found.operators else 2  # a new mutation prompt, and its application: a call for each of three parts
    return Setting(found.task, found.prompt, found.wording, ask, operators, parts, found.writer_sampling, calls,
                   {"day_care": found.digest}, found.warnings)  # fmt: skip


def _wandb(config: BreedRunConfig, identity: dict[str, Any], work: Session) -> WandbSink | None:
    if not config.wandb:
        return None
    sink = open_wandb(config.wandb, f"breed {identity['task']}", identity, work.run.id, work.run.folder)
    if sink.url:
        err.print(f"wandb: {sink.url}", markup=False, soft_wrap=True)
    return sink


def bought(breeder: Breeder) -> str:
    """What the calls of the search are good for, in words."""
    fewest, most = proposals_bought(breeder)
    said = f"{fewest:,} {'child' if fewest == 1 else 'children'}"
    return f"enough for {said}" + ("" if fewest == most else f" if each races to the end, {most:,} if none does")


def halting(minutes: float | None, folder: Path) -> Callable[[], str | None]:
    """A reason to end the search: the time is up, or somebody has put a file named "stop" into the run's folder."""
    until = None if minutes is None else time.monotonic() + 60 * minutes

    def halt() -> str | None:
        if (folder / "stop").exists():
            return f"stop file: {folder / 'stop'} (remove it to go on)"
        if until is not None and time.monotonic() > until:
            return f"time: {minutes:g} minutes"
        return None

    return halt


def listeners(work: Session, watch: Bars, verbose: bool, sink: WandbSink | None) -> Sequence[Callable[[Event], None]]:
    def listen(event: Event) -> None:
        match event:
            case Progress(phase, done, total):
                watch(phase, done, total)
            case Round(row):
                work.run.metric(**row)
                if sink:
                    sink.metric(row)
            case Born(id, parent, operator, _, instruction) if verbose:
                _say(f"{id}: {operator} of {parent}: {' '.join(instruction.split())}")
            case Raced(challenger, incumbent, probability, won) if verbose:
                _say(f"{challenger} {'beats' if won else 'does not beat'} {incumbent}: p(better) = {probability:.2f}")

    return [listen]


def _say(line: str) -> None:
    err.print(plain(line, 400), soft_wrap=True)


async def _breed(breeder: Breeder, work: Session) -> Breeding:
    async with work.model:
        if work.writer is work.model:
            return await breeder.run()
        async with work.writer:
            return await breeder.run()


def _show(work: Session, found: Breeding, result: dict[str, Any], path: Path) -> None:
    met = plain_table()
    for name in ("prompt", "found by", "dev", "test", "instruction"):
        met.add_column(name, overflow="fold", justify="right" if name in ("dev", "test") else "left")
    scores: dict[int, dict[str, float | None]] = {}
    for split, unit, evaluation in evaluations(found):
        scores.setdefault(unit.id, {})[split] = evaluation.score
    for key, row in sorted(scores.items(), key=lambda item: -(item[1].get("dev") or 0.0)):
        unit = found.units[key]
        mark = "best" if unit is found.best else "seed" if key == 0 else ""
        mark = "seed, best" if unit is found.best and key == 0 else mark
        met.add_row(mark, unit.operator, number(row.get("dev")), number(row.get("test")), plain(unit.words, 240))
    if not scores:
        met.add_row("best so far", found.best.operator, "-", "-", plain(found.best.words, 240))
    out.print(met)
    out.print()
    ended = [("ended", result["ended"])] if result["ended"] else []
    written = [("report", path), ("page", path.with_suffix(".html"))]
    show_rows([("verdict", result["verdict"]), *ended, *spent(result, work.ledger), *written])
    out.print(f"next: promptmill ask TEXT --prompt-file {path}", markup=False, soft_wrap=True)


def _exit(found: Breeding, result: dict[str, Any]) -> None:
    if found.stopped == INTERRUPTED:
        err.print("stopped; what was answered is kept, the same command goes on from there", markup=False)
        raise typer.Exit(130)
    if found.stopped:
        err.print(
            f"stopped: {found.stopped}; the same command with more goes on from here", markup=False, soft_wrap=True
        )
        raise typer.Exit(3)
    if result["dev"]["seed"] is None:
        raise typer.Exit(1)
