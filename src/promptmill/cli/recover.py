"""`promptmill recover predict` and `submit`."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptmill.cli.config import RecoverRunConfig, resolve
from promptmill.cli.options import Given
from promptmill.cli.screen import bars, err, number, out, plain, show_rows, show_warnings, table
from promptmill.cli.session import Session, in_all, session
from promptmill.crafts.recover.bank import Bank, make_bank
from promptmill.crafts.recover.bench import Bench
from promptmill.crafts.recover.config import CONSTANT
from promptmill.crafts.recover.critic import Critic
from promptmill.crafts.recover.evaluation import counted, evaluated, examples
from promptmill.crafts.recover.finished import FinishedRecoverer, finished_recoverer
from promptmill.crafts.recover.page import recover_page
from promptmill.crafts.recover.predicting import line_of
from promptmill.crafts.recover.rank.known import read_bank
from promptmill.crafts.recover.ranking import Prediction, Ranker
from promptmill.crafts.recover.space import Space, space_of
from promptmill.crafts.recover.traces import Group, Trace, groups_of, read_traces
from promptmill.errors import InputError
from promptmill.model.gate import run_blocking
from promptmill.report.html import render
from promptmill.store.files import write_whole
from promptmill.store.stage import digest
from promptmill.vary.wording import load_wording

PREDICTIONS = "predictions.jsonl"
SHOWN = 8


@dataclass(frozen=True)
class Recovered:
    """What a run has come to. path: of its report."""

    groups: Sequence[Group]
    predicted: Sequence[Prediction]
    report: dict[str, Any]
    path: Path


def predict_command(pairs: Path, given: Given) -> None:
    traces = read_traces(pairs)
    found = _recovered(pairs, traces, given)
    if found is None:
        return
    if given["json_"]:
        print(json.dumps(found.report, ensure_ascii=False))
        return
    _show(found)


def submit_command(pairs: Path, given: Given, to: Path) -> None:
    """A row without text gets the constant prompt, as does one for which no candidate came: a submission with a hole
    counts for nothing."""
    traces = read_traces(pairs, allow_empty=True)
    if not to.parent.is_dir():
        raise InputError(f"--to {to}: there is no folder {to.parent}")
    found = _recovered(pairs, [one for one in traces if one.rewritten], given)
    if found is None:
        return
    prompts = {
        trace.id: one.prompt for group, one in zip(found.groups, found.predicted, strict=True) for trace in group.traces
    }
    rows = [(trace.id, prompts.get(trace.id) or CONSTANT) for trace in traces]
    write_whole(to, lambda part: _write_submission(part, rows))
    holes = sum(not prompts.get(trace.id) for trace in traces)
    if holes:
        show_warnings([f"{holes} of {len(traces)} rows have no candidate of their own and got the constant prompt"])
    if given["json_"]:
        print(json.dumps({"rows": len(rows), "constant": holes, "file": str(to)}))
    else:
        show_rows([("rows", f"{len(rows):,}"), ("submission", to), ("report", found.path)])
        out.print(f"next: look at {found.path.with_suffix('.html')}, then hand in {to}", markup=False, soft_wrap=True)


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
    known = read_bank(config.bank) if config.bank else []
    identity = {
        "step": "predict", "traces": digest([one.id, one.original, one.rewritten, one.prompt, one.group]
                                             for one in traces),
        "recover": config.recover.model_dump(mode="json", exclude={"synthesize", "split", "learn"}),
        "space": space.fingerprint, "bank": digest(repr(one) for one in known),
        "recoverer": str(done.run.resolve()) if done else None,
        "generator": config.generator.model_dump(mode="json") if config.generator else None,
    }  # fmt: skip
    if _forecast(config, groups, given):
        return None
    with session("recover", pairs.stem, identity, config, given) as work, bars() as watch:
        bench = bench_of(work, config, space)
        bench.watch = watch
        ranker = done.ranker(config.recover) if done else Ranker.plain(config.recover.rank)
        critic, bank = done.bank(space) if done else (None, None)
        if known:
            bank = make_bank(known, space, critic)
        predicted, found = run_blocking(_predicted(bench, work, groups, ranker, bank, critic))
        write_whole(work.run.folder / PREDICTIONS, lambda part: _write_lines(part, groups, predicted))
        report = {
            "craft": "recover", "step": "predict", "name": pairs.stem, "model": config.model.name,
            "generator": bench.generator.name if bench.generator else None,
            "settings": config.recover.model_dump(mode="json"), "space": space.name, "counts": counted(predicted),
            "calibrated": ranker.calibration.calibrated, "tests": found, "examples": examples(groups, predicted),
            "warnings": bench.warnings, **in_all(work.store),
        }  # fmt: skip
        path = work.run.finish(report, lambda data: render(recover_page(data)))
    show_warnings(bench.warnings)
    return Recovered(groups, predicted, report, path)


def _config(given: Given, done: FinishedRecoverer | None) -> RecoverRunConfig:
    """A trained recoverer brings its model, its settings and its generator, under what is said here."""
    if done is None:
        return resolve(RecoverRunConfig, given)
    if given["model"]:
        raise InputError("--model and --recoverer both name the recoverer; give one of them")
    more = {"recover": done.config.model_dump(mode="json")}
    config = resolve(RecoverRunConfig, more | given)
    generator = config.generator or done.generator
    return config.model_copy(update={"model": done.model, "generator": generator})


def bench_of(work: Session, config: RecoverRunConfig, space: Space) -> Bench:
    """What a recovery works with. The model itself stands for the generator where none is named."""
    generator = work.another(config.generator, "generator") if config.generator else work.model
    return Bench(work.run, config.recover, load_wording(), space, generator, config.seed)


async def _predicted(
    bench: Bench, work: Session, groups: Sequence[Group], ranker: Ranker, bank: Bank | None, critic: Critic | None
) -> tuple[list[Prediction], list[dict[str, Any]]]:
    """And, where the true prompts are known, what the predictions are worth."""
    predictor = await bench.predictor(work.model, ranker, bank, critic)
    async with predictor.open():
        predicted = await predictor.predict("pairs", groups)
        known = [at for at, group in enumerate(groups) if group.prompt is not None]
        if not known:
            return predicted, []
        some, theirs = [groups[at] for at in known], [predicted[at] for at in known]
        if bank is not None and (leaks := bank.leaks([one.prompt or "" for one in some])):
            total = len({one.prompt for one in some})
            bench.warnings.append(f"{len(leaks)} of {total} true prompts stand in the bank, or nearly: the figures "
                                  f"flatter; such as {leaks[0]}")  # fmt: skip
        return predicted, [await evaluated(predictor, "pairs", some, theirs, bench.seed)]


def _write_lines(path: Path, groups: Sequence[Group], predicted: Sequence[Prediction]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for group, one in zip(groups, predicted, strict=True):
            file.write(json.dumps(line_of(group, one), ensure_ascii=False) + "\n")


def _forecast(config: RecoverRunConfig, groups: Sequence[Group], given: Given) -> bool:
    """Say what is to come; True where no more was asked for."""
    most = forecast(config, groups)
    err.print("forecast: at most " + ", ".join(f"{count:,} {what}" for what, count in most.items()), soft_wrap=True)
    if given["forecast"] and given["json_"]:
        print(json.dumps(most))
    return bool(given["forecast"])


def forecast(config: RecoverRunConfig, groups: Sequence[Group]) -> dict[str, int]:
    """Calls at most, by what they are for."""
    from promptmill.crafts.recover.candidates import per_trace

    one, rank = config.recover.candidates, config.recover.rank
    pooled = [min(len(group.traces), one.pooled) for group in groups]
    answers = sum(per_trace(one.draws, count) * count + (one.together if count > 1 else 0) for count in pooled)
    scored = sum(min(count, rank.scored) for count in pooled)
    found = {"answers": answers}
    if rank.likelihood or rank.posterior:
        found["scores"] = scored * ((one.most + 1) * rank.likelihood + rank.posterior)
    known = sum(group.prompt is not None for group in groups)
    if known and config.recover.behaviour.texts:
        found["texts written again"] = 4 * known * config.recover.behaviour.texts
    return found


def _show(found: Recovered) -> None:
    shown = table()
    for head in ("id", "prompt", "confidence"):
        shown.add_column(head, justify="right" if head == "confidence" else "left")
    for group, one in list(zip(found.groups, found.predicted, strict=True))[:SHOWN]:
        said = plain(one.prompt, 90) if one.prompt and not one.abstained else plain("cannot tell")
        shown.add_row(plain(group.id, 24), said, f"{one.confidence:.2f}")
    out.print(shown)
    if len(found.groups) > SHOWN:
        out.print(f"… and {len(found.groups) - SHOWN:,} more")
    out.print()
    for test in found.report["tests"]:
        show_arms(test)
    path = found.path
    calibrated = "" if found.report["calibrated"] else "not calibrated: it takes a recover train"
    rows = [("predictions", path.with_name(PREDICTIONS)), ("report", path), ("page", path.with_suffix(".html"))]
    calls = ", ".join(f"{count:,} {role}" for role, count in found.report["calls"].items())
    show_rows([*([("confidence", calibrated)] if calibrated else []), ("calls", calls or "0"), *rows])
    out.print(f"next: look at {path.with_suffix('.html')}", markup=False, soft_wrap=True)


def show_arms(test: dict[str, Any]) -> None:
    """What each way of choosing is worth. The page has the intervals of the other figures too."""
    figures = [name for name in test["arms"][0] if name not in ("arm", "n", "unanswered", "clusters")]
    column = f"scs ({test['space']})"
    shown = table(f"{test['name']}: {test['groups']:,} prompts in {test['clusters']:,} clusters")
    for head in ("", *figures, "n"):
        shown.add_column(head, justify="right" if head else "left")
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
