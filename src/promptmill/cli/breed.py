"""`promptmill breed`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from promptmill.cli.config import BreedRunConfig, resolve
from promptmill.cli.options import Given
from promptmill.cli.prompts import prompt_given
from promptmill.cli.screen import (
    bars,
    err,
    number,
    out,
    plain,
    show_forecast,
    show_rows,
    show_warnings,
    spent,
    table,
)
from promptmill.cli.session import Session, limited, session
from promptmill.crafts.breed.breeder import Breeder, Breeding
from promptmill.crafts.breed.config import AS_PAPER
from promptmill.crafts.breed.forecast import forecast
from promptmill.crafts.breed.page import breed_page
from promptmill.crafts.breed.report import evaluations, report, sunk
from promptmill.measure.evaluate import Ask, requests
from promptmill.model.gate import run_blocking
from promptmill.model.world import spread, warnings_for
from promptmill.report.html import render
from promptmill.score.scorer import scorer_spec
from promptmill.tasks.load import load_task
from promptmill.vary.wording import load_wording

AS_PAPER_OPTIONS = {f"breed.{name}": value for name, value in AS_PAPER.items()}
"""What --as-paper stands for; --set goes over it."""


def breed_command(given: Given, **more: Any) -> None:
    config = resolve(BreedRunConfig, given, **more)
    task = load_task(config.task, scorer=config.scorer)
    prompt = prompt_given(given, task.prompt)
    wording = load_wording(config.wording)
    splits = [limited(task.split(name), config.limit, config.seed) for name in ("train", "dev", "test")]
    prompt.check(splits[0][0].fields)
    ask = Ask(config.sampling.sampling(config.seed), config.repeat, config.constrain)
    identity = {
        "task": task.name, "data": task.fingerprint, "scorer": scorer_spec(task.scorer), "limit": config.limit,
        "repeat": config.repeat, "constrain": config.constrain, "prompt": prompt.to_dict(),
        "sampling": config.sampling.model_dump(), "wording": wording.digest, "breed": config.breed.model_dump(),
    }  # fmt: skip
    with session("breed", task.name, identity, config, given, config.writer) as work, bars() as watch:
        breeder = Breeder(task, work.model, work.writer, prompt, config.breed, wording, ask, config.seed,
                          train=splits[0], dev=splits[1], test=splits[2],
                          sunk=sunk(work.run.last_report(), work.ledger.budget),
                          watch=watch, note=lambda row: work.run.metric(**row))  # fmt: skip
        most = forecast(breeder, list(requests(task, prompt, splits[0][:64], ask)))
        warnings = warnings_for(config.model, requests(task, prompt, spread(splits[0]), Ask()))
        show_warnings(warnings)
        if show_forecast(most, work.ledger, given):
            return
        found = run_blocking(_breed(breeder, work))
        result = report(breeder, found) | {"warnings": warnings}
        path = work.run.finish(result, lambda data: render(breed_page(data)))
    if given["json_"]:
        print(json.dumps(result, ensure_ascii=False))
    else:
        _show(work, found, result, path)
    if found.stopped:
        err.print(
            f"stopped: {found.stopped}; the same command with more goes on from here", markup=False, soft_wrap=True
        )
        raise typer.Exit(3)
    if result["dev"]["seed"] is None:
        raise typer.Exit(1)


async def _breed(breeder: Breeder, work: Session) -> Breeding:
    async with work.model:
        if work.writer is work.model:
            return await breeder.run()
        async with work.writer:
            return await breeder.run()


def _show(work: Session, found: Breeding, result: dict[str, Any], path: Path) -> None:
    met = table()
    for name in ("prompt", "found by", "dev", "test", "instruction"):
        met.add_column(name, overflow="fold", justify="right" if name in ("dev", "test") else "left")
    scores: dict[int, dict[str, float | None]] = {}
    for split, unit, evaluation in evaluations(found):
        scores.setdefault(unit.id, {})[split] = evaluation.score
    for key, row in sorted(scores.items(), key=lambda item: -(item[1].get("dev") or 0.0)):
        unit = found.units[key]
        mark = "best" if unit is found.best else "seed" if key == 0 else ""
        mark = "seed, best" if unit is found.best and key == 0 else mark
        met.add_row(
            mark, unit.operator, number(row.get("dev")), number(row.get("test")), plain(unit.prompt.instruction, 240)
        )
    out.print(met)
    out.print()
    written = [("report", path), ("page", path.with_suffix(".html"))]
    show_rows([("verdict", result["verdict"]), *spent(result, work.ledger), *written])
    out.print(f"next: promptmill ask TEXT --prompt-file {path}", markup=False, soft_wrap=True)
