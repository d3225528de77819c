"""`promptmill panel try`: a panel asked about given answers, and about bad ones planted among them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import typer
from pydantic import Field

from promptmill.cli.config import AskConfig, resolve
from promptmill.cli.options import Given
from promptmill.cli.panel import show_report
from promptmill.cli.screen import bars, err, out, show_forecast, show_rows, show_warnings, spent
from promptmill.cli.session import Session, session
from promptmill.errors import BudgetSpent, InputError
from promptmill.judge.imported import read_scores
from promptmill.judge.judge import Subject
from promptmill.judge.page import panel_page
from promptmill.judge.panel import Panel, PanelConfig, PresetPanelConfig, open_panel
from promptmill.judge.planted import plant
from promptmill.judge.report import panel_report
from promptmill.judge.table import Key, preference_rows, preferences_schema, score_rows, scores_schema
from promptmill.model.gate import Model, run_blocking, together
from promptmill.model.load import ModelConfig, open_backend
from promptmill.model.world import spread, warnings_for
from promptmill.report.html import render
from promptmill.settings import checked, read_mapping
from promptmill.store.stage import digest
from promptmill.tasks.formats import read_table

SIDE_BY_SIDE = 16
"""Subjects under way at once: the judges of each are asked together."""
SHARD = 200


class TryConfig(AskConfig):
    """Settings of `promptmill panel try`."""

    validators: PresetPanelConfig = PresetPanelConfig()
    compare: int = Field(50, ge=0)
    plant: bool = True


Asked = list[tuple[Key, str | None, Subject]]


def try_command(
    given: Given, *, answers: Path, panel_file: Path | None, compare: int | None, plant: bool | None
) -> None:
    more = {} if panel_file is None else {"validators": read_panel(panel_file).model_dump(mode="json")}
    config = resolve(TryConfig, given, compare=compare, plant=plant, **more)
    config = config.model_copy(update={"model": config.validators.judges[0].model})
    real = read_answers(answers)
    asked = subjects_of(real, config)
    pairs = pairs_of(real, config.compare)
    identity = {
        "answers": digest([(key.base_id, key.input_id, subject.output) for key, subject in real]),
        "panel": _looked_at(config.validators).identity, "compare": config.compare, "plant": config.plant,
    }  # fmt: skip
    with session("panel", answers.stem, identity, config, given) as work:
        panel = open_panel(config.validators, lambda kind: _judge_model(work, config, kind))
        warnings = [*config.validators.warnings, *_strange_words(config, panel, asked)]
        show_warnings(warnings)
        most = panel.estimate([subject for _, _, subject in asked[:64]], len(asked), len(pairs))
        if show_forecast(most, work.ledger, given):
            return
        stopped = _ask(work, panel, asked, pairs)
        if stopped is not None:
            err.print(f"stopped: {stopped}; the same command with more goes on from here", markup=False, soft_wrap=True)
            raise typer.Exit(3)
        found = read_scores(work.run.folder)
        report = {"craft": "panel", "name": answers.stem} | panel_report(
            found.scores, criteria_weights=panel.criteria_weights, judge_weights=panel.weights,
            preferences=found.preferences, settings=config.validators.gate, seed=config.seed,
        ) | work.ledger.summary() | {"warnings": warnings}  # fmt: skip
        path = work.run.finish(report, lambda data: render(panel_page(data)))
        if given["json_"]:
            print(json.dumps(report, ensure_ascii=False))
        else:
            show_report(report)
            out.print()
            show_rows([*spent(work.ledger.summary(), work.ledger), ("scores", work.run.folder / "stages" / "scores"),
                       ("report", path), ("page", path.with_suffix(".html"))])  # fmt: skip
    if not any(judge["read"] for judge in report["judges"]):
        raise typer.Exit(1)


def _looked_at(panel: PanelConfig) -> Panel:
    """The panel outside of any run, so that what is wrong with it is said before one begins."""
    return open_panel(panel, lambda kind: Model(open_backend(kind)))


def read_panel(path: Path) -> PanelConfig:
    """A panel's YAML. InputError, one line, for one that cannot be used."""
    return checked(PanelConfig, read_mapping(path, f"--panel {path}"), f"--panel {path}")


def read_answers(path: Path) -> list[tuple[Key, Subject]]:
    """Answers with their keys: base prompts are told apart by base_id, or where there is none by the instruction."""
    found = []
    inputs: dict[str, dict[str, int]] = defaultdict(dict)
    samples: dict[tuple[str, int, int], int] = defaultdict(int)
    bases: dict[str, str] = {}
    for row in read_table(path).rows:
        texts = {}
        for name in ("instruction", "input", "output"):
            value = row.values.get(name, "" if name == "input" else None)
            if not isinstance(value, str) or (name == "instruction" and not value.strip()):
                raise InputError(f"{path}, {row.where}: needs a text {name!r} (wanted: instruction, output, input?)")
            texts[name] = value
        given = row.values.get("base_id")
        base = str(given) if given not in (None, "") else bases.setdefault(texts["instruction"], str(len(bases)))
        try:
            variation = int(row.values.get("variation_id", -1))
        except (TypeError, ValueError):
            raise InputError(f"{path}, {row.where}: variation_id must be a whole number") from None
        at = inputs[base].setdefault(texts["input"], len(inputs[base]))
        key = Key(base, variation, at, samples[base, variation, at])
        samples[base, variation, at] += 1
        found.append((key, Subject(texts["instruction"], texts["input"], texts["output"])))
    return found


def subjects_of(real: Sequence[tuple[Key, Subject]], config: TryConfig) -> Asked:
    asked: Asked = [(key, None, subject) for key, subject in real]
    return asked + list(plant(real, seed=config.seed)) if config.plant else asked


def pairs_of(real: Sequence[tuple[Key, Subject]], most: int) -> list[tuple[tuple[Key, Subject], tuple[Key, Subject]]]:
    """Pairs of different answers to one instruction and input, spread over all there are."""
    groups: dict[tuple[str, int, str], list[tuple[Key, Subject]]] = defaultdict(list)
    for key, subject in real:
        groups[key.base_id, key.input_id, subject.instruction].append((key, subject))
    pairs = [
        (one, other)
        for members in groups.values()
        for one, other in combinations(members[:8], 2)
        if one[1].output != other[1].output
    ]
    return list(spread(pairs, most)) if most else []


def _strange_words(config: TryConfig, panel: Panel, asked: Asked) -> list[str]:
    """What embedded judges do not know the words of, a line for each model."""
    some = spread([subject for _, _, subject in asked])
    first = {judge.model: (one.model, judge) for judge, one in zip(panel.judges, config.validators.judges, strict=True)}
    return [
        said
        for kind, judge in first.values()
        for said in warnings_for(kind, (request for subject in some for request in judge.requests(subject)))
    ]


def _judge_model(work: Session, config: TryConfig, kind: ModelConfig) -> Model:
    """A judge's model in the run's books; the first judge's is the session's own."""
    if kind != config.model:
        return work.another(kind, "judge")
    work.model.role = "judge"
    return work.model


def _ask(work: Session, panel: Panel, asked: Asked, pairs: Sequence[Any]) -> str | None:
    """Scores and preferences into the run's stages, shard by shard; what ended it early, or None."""
    scores, preferences = (
        work.run.stage("scores", scores_schema()),
        work.run.stage("preferences", preferences_schema()),
    )

    async def go() -> None:
        done = 0
        async with panel:
            for shard, some in enumerate(_cut(asked)):
                rows = await _side_by_side(_scored, panel, some)
                scores.write(shard, [row for these in rows for row in these])
                done += len(some)
                watch("answers", done, len(asked))
            for shard, some in enumerate(_cut(pairs)):
                rows = await _side_by_side(_compared, panel, some)
                preferences.write(shard, [row for these in rows for row in these])

    with bars() as watch:
        try:
            run_blocking(go())
        except BudgetSpent as error:
            return str(error)
    return None


async def _scored(panel: Panel, key: Key, planted: str | None, subject: Subject) -> list[dict[str, Any]]:
    return score_rows(key, subject, await panel.score(subject), planted)


async def _compared(panel: Panel, first: tuple[Key, Subject], second: tuple[Key, Subject]) -> list[dict[str, Any]]:
    subject = first[1]
    found = await panel.compare(subject.instruction, subject.input, subject.output, second[1].output)
    return preference_rows(first[0], second[0], found)


async def _side_by_side(work: Callable[..., Any], panel: Panel, items: Sequence[Any]) -> list[list[dict[str, Any]]]:
    """Results in order, so many at a time."""
    results: list[list[dict[str, Any]]] = []
    for start in range(0, len(items), SIDE_BY_SIDE):
        results += await together([work(panel, *one) for one in items[start : start + SIDE_BY_SIDE]])
    return results


def _cut(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + SHARD] for start in range(0, len(items), SHARD))
