"""`promptmill panel report`, and how a panel's report is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptmill.cli.screen import number, out, plain, show_rows, show_warnings, table
from promptmill.errors import InputError
from promptmill.judge.imported import read_scores
from promptmill.judge.page import (
    BESIDE_COLUMNS,
    CRITERION_COLUMNS,
    JUDGE_COLUMNS,
    PAIR_COLUMNS,
    beside_rows,
    criterion_rows,
    figures,
    judge_rows,
    pair_rows,
    panel_page,
)
from promptmill.judge.report import panel_report
from promptmill.judge.verdict import Gate
from promptmill.report.html import render
from promptmill.settings import checked
from promptmill.store.files import write_json, write_text


def report_command(
    path: Path, validators: str | None, folder: Path | None, json_: bool, least: Mapping[str, float | None]
) -> None:
    names = [name.strip() for name in validators.split(",")] if validators is not None else []
    if validators is not None and (not all(names) or len(set(names)) < len(names)):
        raise InputError(f"--validators {validators}: must be different names with commas between, such as a,b,c")
    given = {key: value for key, value in least.items() if value is not None}
    found = read_scores(path, names)
    settings = checked(Gate, {**found.limits, **given}, "gate")
    report = {"craft": "panel", "name": path.resolve().name} | panel_report(
        found.scores, criteria_weights=found.weights, judge_weights=found.judge_weights,
        preferences=found.preferences, settings=settings,
    )  # fmt: skip
    report["problems"] = list(found.problems)
    if folder is not None:
        write_json(folder / "panel.json", report)
        write_text(folder / "report.html", render(panel_page(report)))
    if json_:
        print(json.dumps(report, ensure_ascii=False))
        return
    show_warnings(found.problems)
    show_report(report)
    if folder is not None:
        out.print()
        show_rows([("report", folder / "panel.json"), ("page", folder / "report.html")])


def show_report(report: Mapping[str, Any]) -> None:
    show_rows([(name, _cell(value)) for name, value in figures(report) if value is not None])
    _table("the judges", JUDGE_COLUMNS, judge_rows(report))
    _table("each beside the others", BESIDE_COLUMNS, beside_rows(report))
    _table("the criteria", CRITERION_COLUMNS, criterion_rows(report))
    _table("two by two", PAIR_COLUMNS, pair_rows(report))
    out.print()
    for note in report["notes"]:
        out.print(plain(f"note: {note}"), soft_wrap=True)
    out.print(plain(report["verdict"]), soft_wrap=True)
    out.print(f"gate: {'passed' if report['gate']['passes'] else 'not passed'}", soft_wrap=True)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table without the columns in which nothing is known."""
    known = [at for at in range(len(columns)) if any(row[at] is not None for row in rows)]
    if not rows:
        return
    out.print()
    shown = table(title)
    for at in known:
        shown.add_column(columns[at], justify="left" if at == 0 else "right", overflow="fold", no_wrap=at == 0)
    for row in rows:
        shown.add_row(*(plain(_cell(row[at])) for at in known))
    out.print(shown)


def _cell(value: Any) -> str:
    if value is None or isinstance(value, float):
        return number(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
