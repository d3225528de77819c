"""`promptmill bake report`, `combine` and `export`: what is done with finished bakes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from promptmill.cli.prompts import read_prompt
from promptmill.cli.screen import bars, number, out, show_rows, table
from promptmill.crafts.bake.combine import combined, common_base
from promptmill.crafts.bake.compare_page import NAMES
from promptmill.crafts.bake.compare_run import compare_bake, page_of, write_comparison
from promptmill.crafts.bake.export import exported
from promptmill.crafts.bake.finished import Base, finished_bake
from promptmill.crafts.bake.questions import read_questions
from promptmill.crafts.bake.strengths import measured_strengths, write_strengths
from promptmill.crafts.bake.worth import WAYS
from promptmill.errors import InputError
from promptmill.store.files import write_text
from promptmill.tasks.load import load_task


def report_command(run: Path, against: Path | None, questions: Path | None, json_: bool) -> None:
    """The four ways on the same answers, under another prompt too if one is named; compare.json, and the page anew."""
    bake = finished_bake(run)
    other = read_prompt(against, bake.prompt) if against else None
    asked = read_questions(questions, 0, "validation") if questions else None
    with bars() as watch:
        found = compare_bake(bake, other, asked, watch)
    path = write_comparison(run, found, bake.report)
    if json_:
        print(json.dumps(found, ensure_ascii=False))
        return
    _show_kl(found, f"KL per token, row to column, on {found['of']}")
    if found["against"]:
        out.print()
        _show_kl(found["against"], f"the same with {against} as the prompt")
    out.print()
    show_rows([("report", path), ("page", run / "report.html")])


def strengths_command(
    run: Path, behaviour: Sequence[str], forgetting: Sequence[str], at: str, limit: int, json_: bool
) -> None:
    """KL and scores at each strength; strengths.json, and the page anew."""
    try:
        strengths = [float(part) for part in at.split(",")]
        if not all(map(isfinite, strengths)):
            raise ValueError
    except ValueError:
        raise InputError(f"--at {at}: must be numbers with commas between, such as 0,0.5,1") from None
    bake = finished_bake(run)
    tasks = [load_task(name) for name in behaviour], [load_task(name) for name in forgetting]
    found = measured_strengths(bake, *tasks, strengths, limit)
    path = write_strengths(run, found)
    write_text(run / "report.html", page_of(run, bake.report))
    if json_:
        print(json.dumps(found, ensure_ascii=False))
        return
    shown = table()
    for head in ("strength", "KL", *found["behaviour"], *found["forgetting"]):
        shown.add_column(head, justify="right")
    for one in found["points"]:
        shown.add_row(f"{one['strength']:g}", *(number(value) for value in (one["kl"], *one["scores"])))
    out.print(shown)
    show_rows([("strengths", path), ("page", run / "report.html")])
    _next(f"bake export {run} --strength 0.5 --to half")


def _show_kl(found: dict[str, Any], title: str) -> None:
    shown = table(title)
    shown.add_column("")
    for way in WAYS:
        shown.add_column(NAMES[way], justify="right")
    for one in WAYS:
        row = [number(found["kl"][one][other]["per_token"]) if one != other else "" for other in WAYS]
        shown.add_row(NAMES[one], *row)
    out.print(shown)


def combine_command(runs: Sequence[Path], to: Path, json_: bool = False) -> None:
    """Several bakes in one adapter."""
    made = combined(runs, to)
    base = common_base([finished_bake(run) for run in runs])
    _show_made(to, made, "the sum", json_, asked_with(base, to))


def export_command(run: Path, to: Path, strength: float, merge: bool, dtype: str | None, json_: bool = False) -> None:
    """An adapter of another strength, or a whole model, out of a bake's run."""
    made = exported(run, to, strength, merge, dtype)
    with_it = f"--model {to}" if merge else asked_with(finished_bake(run).base, to)
    _show_made(to, made, "the adapter", json_, with_it)


def asked_with(base: Base, adapter: Path) -> str:
    """The options under which an adapter of that base is asked."""
    return " ".join([f"--model {base.spelled}", *(f"--adapter {path}" for path in (*base.adapters, adapter))])


def _show_made(to: Path, made: dict[str, Any], beside: str, json_: bool, with_it: str) -> None:
    """made: see `exported` and `combined`; beside: what its differences are to."""
    if json_:
        print(json.dumps({"written": str(to), **made}, ensure_ascii=False))
        return
    names = {"largest": f"largest difference of a logit to {beside}", "kl": f"KL per token to {beside}"}
    rows = [(names.get(key, key), f"{value:.2g}" if key in names else f"{value}") for key, value in made.items()]
    show_rows([("written", to), *rows])
    _next(f"ask TEXT {with_it}")


def _next(command: str) -> None:
    out.print(f"next: promptmill {command}", markup=False, soft_wrap=True)
