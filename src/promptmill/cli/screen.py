"""What a person sees: forecasts and progress on standard error, results on standard output."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from promptmill.cli.options import Given
from promptmill.model.budget import Budget, Estimate, Ledger

# What a model writes must not steer the terminal (colours, titles, cursor): control codes are shown, not sent.
CONTROL = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}
CONTROL |= dict.fromkeys(range(128, 160), 0x2426)  # a second set, which some terminals obey too

out = Console(soft_wrap=False, highlight=False)
err = Console(stderr=True, highlight=False)


class Bars:
    """Progress bars by phase; called with (phase, done, total). A phase without a total shows its count."""

    def __init__(self, progress: Progress):
        self.progress = progress
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase not in self.tasks:
            self.tasks[phase] = self.progress.add_task(phase, total=total or None)
        self.progress.update(self.tasks[phase], completed=done, total=total or None)


@contextmanager
def bars() -> Iterator[Bars]:
    columns = (
        TextColumn("{task.description:>12}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # Where standard error is no terminal (a Slurm log, a pipe) a bar would be redrawn as a thousand lines.
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=False) as progress:
        yield Bars(progress)


def show_warnings(warnings: Sequence[str]) -> None:
    """On standard error, a line each: results on standard output stay as they are."""
    for warning in warnings:
        err.print(plain(f"warning: {warning}"), soft_wrap=True)


def show_forecast(most: Estimate, ledger: Ledger, given: Given, bought: str = "") -> bool:
    """Say what is to come and what it is good for; True where no more was asked for (--forecast)."""
    err.print(forecast_line(most, ledger) + (f"; {bought}" if bought else ""), soft_wrap=True)
    if given["forecast"] and given["json_"]:
        print(json.dumps(asdict(most)))
    return bool(given["forecast"])


def forecast_line(most: Estimate, ledger: Ledger) -> str:
    """What is to come at most, before it is paid for."""
    parts = [
        f"at most {most.calls:,} calls",
        f"about {most.prompt_tokens:,} prompt tokens",
        f"at most {most.completion_tokens:,} completion tokens",
    ]
    if most.cost is not None:
        parts.append(f"at most ${most.cost:.4f}")
    line = "forecast: " + ", ".join(parts)
    if ledger.paid.calls:
        line += f"; {ledger.paid.calls:,} calls are answered already"
    return line + _limit(most, ledger.budget)


def _limit(most: Estimate, budget: Budget) -> str:
    over = []
    if budget.calls is not None and most.calls > budget.calls:
        over.append(f"{budget.calls:,} calls")
    if budget.tokens is not None and most.tokens > budget.tokens:
        over.append(f"{budget.tokens:,} tokens")
    if budget.cost is not None and most.cost is not None and most.cost > budget.cost:
        over.append(f"${budget.cost:.4f}")
    return f"; the budget may end it at {' or '.join(over)}" if over else ""


def table(title: str = "") -> Table:
    return Table(
        title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold", show_edge=False
    )


def plain(text: str, limit: int = 0) -> Text:
    """A model's or user's text, never read as markup or as commands to the terminal; with `limit` on one line, cut."""
    text = text.translate(CONTROL)
    if limit:
        text = " ".join(text.split())
        text = text if len(text) <= limit else text[: limit - 1] + "…"
    return Text(text)


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def interval(score: float | None, lo: float | None, hi: float | None) -> str:
    return "no answers" if score is None else f"{score:.3f}  (95 % interval {number(lo)} to {number(hi)})"


def spent(summary: Mapping[str, Any], ledger: Ledger) -> list[tuple[str, str]]:
    """Rows (what, how much) on the cost of a run."""
    calls = ", ".join(f"{count:,} {role}" for role, count in summary["calls"].items()) or "0"
    known = bool(ledger.total.cost) or ledger.total.calls == 0
    rows = [
        (
            "calls",
            calls
            + (f" ({ledger.cached + ledger.joined:,} more from the cache)" if ledger.cached + ledger.joined else ""),
        ),
        ("tokens", f"{summary['tokens']['prompt']:,} prompt, {summary['tokens']['completion']:,} completion"),
    ]
    return [*rows, ("cost", f"${summary['cost']:.4f}")] if known and ledger.total.calls else rows


def show_rows(rows: list[tuple[str, Any]]) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, value if isinstance(value, Text) else Text(str(value)))
    out.print(grid)
