"""`promptmill recover predict` and `submit`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import typer

from promptmill.cli.config import RecoverRunConfig, resolve
from promptmill.cli.options import Given
from promptmill.cli.recover_forecast import calls_of, show_forecast
from promptmill.cli.screen import bars, number, out, plain, show_rows, show_warnings, table
from promptmill.cli.session import Session, in_all, session
from promptmill.crafts.recover.bank import Bank, make_bank
from promptmill.crafts.recover.bench import Bench
from promptmill.crafts.recover.critic import Critic
from promptmill.crafts.recover.evaluation import counted, evaluated, examples
from promptmill.crafts.recover.finished import FinishedRecoverer, finished_recoverer
from promptmill.crafts.recover.missing import warnings_of
from promptmill.crafts.recover.page import recover_page
from promptmill.crafts.recover.predicting import line_of
from promptmill.crafts.recover.rank.known import Known, read_bank
from promptmill.crafts.recover.ranking import Prediction, Ranker
from promptmill.crafts.recover.space import Space, keep_vectors, space_of
from promptmill.crafts.recover.traces import Group, Trace, check_place, groups_of, read_traces
from promptmill.errors import InputError
from promptmill.model.budget import price_of
from promptmill.model.gate import run_blocking
from promptmill.model.load import ModelConfig, open_backend
from promptmill.report.html import render
from promptmill.store.files import write_whole
from promptmill.store.stage import digest
from promptmill.vary.wording import load_wording

PREDICTIONS = "predictions.jsonl"
NAME = "pairs"
"""Of the groups, in the names of tables."""
SHOWN = 8
WHICH = ("name", "base_url", "api", "adapters")
"""What says which model it is."""


@dataclass(frozen=True)
class Recovered:
    """What a run has come to. path: of its report."""

    groups: Sequence[Group]
    predicted: Sequence[Prediction]
    report: dict[str, Any]
    path: Path

    @property
    def each(self) -> Iterator[tuple[Group, Prediction]]:
        return zip(self.groups, self.predicted, strict=True)


def predict_command(pairs: Path, given: Given) -> None:
    found = _recovered(pairs, read_traces(pairs), given)
    if found is None:
        return
    if given["json_"]:
        print(json.dumps(found.report, ensure_ascii=False))
    else:
        _show(found)
    _end(found)


def submit_command(pairs: Path, given: Given, to: Path) -> None:
    """A row without text gets the constant prompt (or its group's), as does one for which no candidate came: a
    submission with a hole counts for nothing."""
    traces = read_traces(pairs, allow_empty=True)
    check_place(to, [pairs, given["bank"]])
    found = _recovered(pairs, [one for one in traces if one.rewritten], given)
    if found is None:
        return
    own = {one.id: predicted.prompt for group, predicted in found.each for one in group.traces}
    grouped = {group.traces[0].group: predicted.prompt for group, predicted in found.each}
    prompts = [own.get(one.id) or (grouped.get(one.group) if one.group else None) for one in traces]
    constant = found.report["settings"]["rank"]["generic"]
    rows = [(trace.id, prompt or constant) for trace, prompt in zip(traces, prompts, strict=True)]
    write_whole(to, lambda part: _write_submission(part, rows))
    holes = prompts.count(None)
    if holes:
        show_warnings([f"{holes} of {len(traces)} rows have no candidate of their own and got the constant prompt"])
    if given["json_"]:
        print(json.dumps({"rows": len(rows), "constant": holes, "file": str(to)}))
    else:
        show_rows([("rows", f"{len(rows):,}"), ("submission", to), ("report", found.path)])
        out.print(f"next: look at {found.path.with_suffix('.html')}, then hand in {to}", markup=False, soft_wrap=True)
    _end(found)


def _end(found: Recovered) -> None:
    """No answer came: the exit code says so."""
    if found.report["counts"]["no_candidate"] == found.report["counts"]["groups"]:
        raise typer.Exit(1)


def _write_submission(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "rewrite_prompt"))
        writer.writerows(rows)


def _recovered(pairs: Path, traces: Sequence[Trace], given: Given) -> Recovered | None:
    """None where only a forecast was asked for."""
    done = finished_recoverer(given["recoverer"]) if given["recoverer"] else None
    config = _config(given, done)
    if not traces:
        raise InputError(f"{pairs}: no row has a rewritten_text; there is nothing to recover a prompt from")
    groups, space = groups_of(traces), space_of(config.recover.rank.embedder)
    known = read_bank(config.bank) if config.bank else done.known if done else []
    _check_sources(config, known)
    identity = {
        "step": "predict", "traces": digest(repr(one) for one in traces),
        "recover": config.recover.model_dump(mode="json", exclude={"synthesize", "split", "learn"}),
        "space": space.fingerprint, "bank": digest(repr(one) for one in known),
        "recoverer": done.fingerprint(space) if done else None, "generator": fingerprint_of(config.generator, config),
    }  # fmt: skip
    if show_forecast(calls_of(config.recover, groups), given):
        return None
    with session("recover", pairs.stem, identity, config, given) as work, bars() as watch:
        keep_vectors(space, work.run.folder, [done.run] if done else [])
        bench = bench_of(work, config, space)
        bench.watch = watch
        ranker = done.ranker(config.recover) if done else Ranker.plain(config.recover.rank)
        critic = done.critic(space) if done else None
        bank = make_bank(known, space, critic) if known else None
        if bank is not None and bank.refused:
            total = bank.refused + len(bank)
            bench.warnings.append(f"{bank.refused} of {total} prompts of the bank are no prompts, and are left out")
        predicted, found = run_blocking(_predicted(bench, work, groups, ranker, bank, critic))
        write_whole(work.run.folder / PREDICTIONS, lambda part: _write_lines(part, groups, predicted))
        report = {
            "craft": "recover", "step": "predict", "name": pairs.stem, "model": config.model.name,
            "generator": bench.generator.name if bench.generator else None,
            "settings": config.recover.model_dump(mode="json"), "space": space.name, "counts": counted(predicted),
            "calibrated": ranker.calibration.calibrated,
            "calibration": ranker.calibration.reason if done else "it takes a recover train",
            "examples": examples(groups, predicted), **found,
            "warnings": bench.warnings, **in_all(work.store),
        }  # fmt: skip
        path = work.run.finish(report, lambda data: render(recover_page(data)))
    show_warnings(bench.warnings)
    return Recovered(groups, predicted, report, path)


def _config(given: Given, done: FinishedRecoverer | None) -> RecoverRunConfig:
    """A trained recoverer brings its model, its settings and its generator, under what is said here."""
    if done is None:
        return resolve(RecoverRunConfig, given)
    config = resolve(RecoverRunConfig, given, under={"recover": done.config.model_dump(mode="json")})
    said = {name: getattr(config.model, name) for name in config.model.model_fields_set}
    if named := next((name for name in WHICH if name in said), None):
        raise InputError(f"--recoverer brings the model that is asked: leave out model.{named}")
    model = done.model.model_copy(update=said)
    return config.model_copy(update={"model": model, "generator": config.generator or done.generator})


def _check_sources(config: RecoverRunConfig, known: Sequence[Known]) -> None:
    """That there is something to choose among."""
    one = config.recover.candidates
    if not one.draws and not (known and one.bank):
        raise InputError("candidates.draws is 0 and there is no bank to take prompts from: give a --bank, or draws")


def fingerprint_of(kind: ModelConfig | None, config: RecoverRunConfig) -> str | None:
    """By what a second model's answers are known, found out before a run is begun. InputError or ModelError for one
    that cannot be used, and for a budget in money where its price is unknown."""
    if kind is None:
        return None
    backend = open_backend(kind)
    price_of(backend.name, config.budget.price_table(), config.budget.budget())
    return backend.fingerprint


def bench_of(work: Session, config: RecoverRunConfig, space: Space) -> Bench:
    """What a recovery works with. The model itself stands for the generator where none is named."""
    kind = config.generator
    generator = work.model if kind is None or kind == config.model else work.another(kind, "generator")
    return Bench(work.run, config.recover, load_wording(), space, generator, config.seed)


async def _predicted(
    bench: Bench, work: Session, groups: Sequence[Group], ranker: Ranker, bank: Bank | None, critic: Critic | None
) -> tuple[list[Prediction], dict[str, Any]]:
    """And the report of them: what did not come and, where the true prompts are known, what they are worth."""
    async with work.model, bench.generator or work.model:  # the answer to what a predictor asks counts as one
        predictor = await bench.predictor(work.model, ranker, bank, critic)
        predicted = await predictor.predict(NAME, groups)
        missing = await predictor.missing(NAME, groups)
        bench.warnings += warnings_of(missing)
        known = [at for at, group in enumerate(groups) if group.prompt is not None]
        if not known:
            return predicted, {"missing": missing, "tests": []}
        some, theirs = [groups[at] for at in known], [predicted[at] for at in known]
        if bank is not None and (leaks := bank.leaks([one.prompt or "" for one in some])):
            total = len({one.prompt for one in some})
            bench.warnings.append(f"{len(leaks)} of {total} true prompts stand in the bank, or nearly: the figures "
                                  f"flatter; such as {leaks[0]}")  # fmt: skip
        return predicted, {"missing": missing, "tests": [await evaluated(predictor, NAME, some, theirs, bench.seed)]}


def _write_lines(path: Path, groups: Sequence[Group], predicted: Sequence[Prediction]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for group, one in zip(groups, predicted, strict=True):
            file.write(json.dumps(line_of(group, one), ensure_ascii=False) + "\n")


def _show(found: Recovered) -> None:
    shown = table()
    for head in ("id", "prompt", "confidence"):
        shown.add_column(head, justify="right" if head == "confidence" else "left")
    for group, one in islice(found.each, SHOWN):
        said = plain(one.prompt, 90) if one.prompt and not one.abstained else plain("cannot tell")
        shown.add_row(plain(group.id, 24), said, f"{one.confidence:.2f}")
    out.print(shown)
    if len(found.groups) > SHOWN:
        out.print(f"… and {len(found.groups) - SHOWN:,} more")
    out.print()
    for test in found.report["tests"]:
        show_arms(test)
    path = found.path
    calibrated = "" if found.report["calibrated"] else f"not calibrated: {found.report['calibration']}"
    rows = [("predictions", path.with_name(PREDICTIONS)), ("report", path), ("page", path.with_suffix(".html"))]
    calls = ", ".join(f"{count:,} {role}" for role, count in found.report["calls"].items())
    show_rows([*([("confidence", calibrated)] if calibrated else []), ("calls", calls or "0"), *rows])
    out.print(f"next: look at {path.with_suffix('.html')}", markup=False, soft_wrap=True)


def show_arms(test: dict[str, Any]) -> None:
    """What each way of choosing is worth. The page has the intervals of the other figures too."""
    figures = [name for name in test["arms"][0] if name not in ("arm", "n", "unanswered", "clusters")]
    column = f"scs ({test['space']})"
    shown = table()
    shown.title = plain(f"{test['name']}: {test['groups']:,} prompts in {test['clusters']:,} clusters")
    for head in ("", *figures, "n"):
        shown.add_column(plain(head), justify="right" if head else "left")
    for row in test["arms"]:
        cells = [
            "-" if row[name] is None else _with_interval(row[name]) if name == column else number(row[name][0])
            for name in figures
        ]
        shown.add_row(row["arm"], *cells, f"{row['n']:,}")
    out.print(shown)
    out.print()


def _with_interval(value: Sequence[float]) -> str:
    return f"{number(value[0])} [{number(value[1])}, {number(value[2])}]"
