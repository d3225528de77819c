"""`promptmill bake report`, `combine` and `export`: what is done with finished bakes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promptmill.cli.prompts import read_prompt
from promptmill.cli.screen import bars, number, out, show_rows, table
from promptmill.crafts.bake.combine import combined
from promptmill.crafts.bake.compare_page import NAMES
from promptmill.crafts.bake.compare_run import compare_bake, page_of, write_comparison
from promptmill.crafts.bake.export import exported
from promptmill.crafts.bake.finished import finished_bake
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


def combine_command(runs: Sequence[Path], to: Path) -> None:
    """Several bakes in one adapter."""
    made = combined(runs, to)
    show_rows([("written", to), *made])
    base = finished_bake(runs[0]).base
    _next(f"ask TEXT --model {base.spelled} --adapter {to}")


def export_command(run: Path, to: Path, strength: float, merge: bool, dtype: str) -> None:
    """An adapter of another strength, or a whole model, out of a bake's run."""
    made = exported(run, to, strength, merge, dtype)
    show_rows([("written", to), *made])
    base = finished_bake(run).base
    adapters = " ".join(f"--adapter {path}" for path in (*base.adapters, to))
    _next(f"ask TEXT --model {to}" if merge else f"ask TEXT --model {base.spelled} {adapters}")


def _next(command: str) -> None:
    out.print(f"next: promptmill {command}", markup=False, soft_wrap=True)
