"""`promptmill eval` and `promptmill compare`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from promptmill.cli.config import EvalConfig, resolve
from promptmill.cli.options import Given
from promptmill.cli.prompts import prompt_given
from promptmill.cli.screen import (
    bars,
    err,
    interval,
    out,
    plain,
    show_forecast,
    show_rows,
    show_warnings,
    spent,
    table,
)
from promptmill.cli.session import Session, limited, session
from promptmill.measure.answer import Ask, requests
from promptmill.measure.evaluate import Evaluation, answers_schema, evaluate_async
from promptmill.measure.page import eval_page
from promptmill.measure.runs import compare
from promptmill.model.gate import run_blocking
from promptmill.model.world import spread, warnings_for
from promptmill.prompt import Prompt
from promptmill.report.html import render
from promptmill.score.scorer import scorer_spec
from promptmill.store.stage import Stage
from promptmill.tasks.load import load_task
from promptmill.tasks.task import Example, Task


def eval_command(given: Given, **more: Any) -> None:
    config = resolve(EvalConfig, given, **more)
    task = load_task(config.task, scorer=config.scorer)
    prompt = prompt_given(given, task.prompt)
    examples = limited(task.split(config.split), config.limit, config.seed)
    prompt.check(examples[0].fields)
    ask = Ask(config.sampling.sampling(config.seed), config.repeat, config.constrain)
    identity = {
        "task": task.name, "data": task.fingerprint, "scorer": scorer_spec(task.scorer), "split": config.split,
        "limit": config.limit, "repeat": config.repeat, "constrain": config.constrain, "prompt": prompt.to_dict(),
        "sampling": config.sampling.model_dump(),
    }  # fmt: skip
    with session("eval", task.name, identity, config, given) as work:
        sample = list(requests(task, prompt, examples[:64], ask))
        most = work.model.estimate(sample, of=len(examples) * ask.repeat)
        warnings = warnings_for(config.model, requests(task, prompt, spread(examples), Ask()))
        show_warnings(warnings)
        if show_forecast(most, work.ledger, given):
            return
        stage = work.run.stage("answers", answers_schema())
        evaluation = _with_bar(work, task, prompt, examples, ask, stage)
        report = _report(work, task, prompt, config, evaluation) | {"warnings": warnings}
        path = work.run.finish(report, lambda data: render(eval_page(data, stage.rows())))
        if given["json_"]:
            print(json.dumps(report, ensure_ascii=False))
        else:
            _show(work, task, config.task, evaluation, stage, path)
    if evaluation.stopped:
        err.print(
            f"stopped: {evaluation.stopped}; the same command with more goes on from here", markup=False, soft_wrap=True
        )
        raise typer.Exit(3)
    if evaluation.score is None:
        raise typer.Exit(1)


def _with_bar(
    work: Session, task: Task, prompt: Prompt, examples: Sequence[Example], ask: Ask, stage: Stage
) -> Evaluation:
    done = 0

    async def go() -> Evaluation:
        async with work.model:
            return await evaluate_async(work.model, task, prompt, examples, ask, stage=stage, on_answer=answered)

    def answered(*_: object) -> None:
        nonlocal done
        done += 1
        watch("answers", done, len(examples) * ask.repeat)

    with bars() as watch:
        return run_blocking(go())


def _report(work: Session, task: Task, prompt: Prompt, config: EvalConfig, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "craft": "eval",
        "task": task.name,
        "split": config.split,
        "scorer": task.scorer.name,
        "model": work.model.name,
        "prompt": prompt.to_dict(),
        **evaluation.to_dict(),
        **work.ledger.summary(),
    }


def _show(work: Session, task: Task, source: str, evaluation: Evaluation, stage: Stage, path: Path) -> None:
    failures = ", ".join(f"{count} {kind}" for kind, count in evaluation.failures.items())
    show_rows([
        (f"score ({task.scorer.name})", interval(evaluation.score, evaluation.lo, evaluation.hi)),
        ("answered", f"{evaluation.answered:,} of {evaluation.asked:,} asked"),
        ("unparsed", f"{evaluation.unparsed:,} (no answer could be read from them; they score 0)"),
        ("failed", (failures or "none") + (" (in no score)" if failures else "")),
        *spent(work.ledger.summary(), work.ledger),
    ])  # fmt: skip
    wrong = _first(stage, 3)
    if wrong:
        out.print()
        shown = table("the first that did not score")
        for name in ("input", "gold", "answer"):
            shown.add_column(name, overflow="fold")
        for row in wrong:
            answer = row["answer"] if row["failure"] is None else f"[failed: {row['failure']}: {row['detail']}]"
            shown.add_row(plain(row["input"], 90), plain(row["gold"], 40), plain(answer, 90))
        out.print(shown)
    out.print(
        f"\nevery answer: {stage.folder}\nreport: {path}\npage: {path.with_suffix('.html')}",
        markup=False,
        soft_wrap=True,
    )
    out.print(f"next: promptmill compare {path.parent} OTHER-RUN, or promptmill breed {source}", markup=False,
              soft_wrap=True)  # fmt: skip


def _first(stage: Stage, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for row in stage.rows():
        if row["score"] is None or row["score"] < 1:
            found.append(row)
            if len(found) == count:
                break
    return found


def compare_command(before: str, after: str, as_json: bool) -> None:
    result = compare(Path(before), Path(after))
    if as_json:
        print(json.dumps(result.to_dict(), ensure_ascii=False))
        return
    sure = f"95 % interval {result.lo:+.3f} to {result.hi:+.3f}, p = {result.p:.2g}, {result.method}"
    shared = f"{result.n:,} in both; {result.wins:,} better, {result.losses:,} worse after"
    if result.only_a or result.only_b:
        shared += f"; left out: {result.only_a:,} only before, {result.only_b:,} only after"
    show_rows([
        ("before", f"{result.score_a:.3f}  {before}"),
        ("after", f"{result.score_b:.3f}  {after}"),
        ("gain", f"{result.gain:+.3f}  ({sure})"),
        ("examples", shared),
        ("verdict", result.verdict),
    ])  # fmt: skip
