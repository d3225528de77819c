"""What a prompt search brings for its calls: ours by default, ours as the paper has it, and those of others.

    python benchmarks/search.py [--parts a b c] [--seeds 20 21 22 23 24] [--budget 10000] [--out FILE]
                                [--peers-python /path/to/the/peers/bin/python]

a  tasks of the embedded model. PromptBreeder's own loop ends, within the budget of calls (task and writer together; its
   batch is fitted to that), at some score on test: after how many calls does our default search hold a prompt that is
   as good there? A seed that does not come so far counts with the whole budget, and is told.
b  the landscape (benchmarks/landscape), where the true quality q of every prompt is known; here task calls are counted.
   The same question, and q after 1,000, 3,000 and 10,000 calls, on plain, rugged and blind ground, beside random search
   and, with --peers-python, the searches of others. Those are asked anew for each budget, since some plan by it.
c  which operators bring children that win, drawn adaptively and evenly.

--out keeps every single run as a line of JSON: what is there is not run again, unless it is ours and our code has
changed. The last line is one JSON object, with null for what was not run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from statistics import mean
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import embedded_search  # noqa: E402
from benchmarks.landscape import ours  # noqa: E402
from benchmarks.landscape.peers import PEERS  # noqa: E402
from benchmarks.landscape.record import MARKS  # noqa: E402
from benchmarks.landscape.run import fitted, peer, random_search  # noqa: E402
from benchmarks.landscape.world import START, Landscape  # noqa: E402
from benchmarks.search_rows import Row, Rows, at, reached, spread  # noqa: E402
from promptmill.errors import InputError  # noqa: E402

SEEDS = (20, 21, 22, 23, 24)
GROUNDS = ("plain", "rugged", "blind")
PATIENCE = 900.0
"""Seconds after which a peer is broken off."""
PAPER, RACE, EVEN, RANDOM = "as paper", "race", "race, operators even", "random"
FIGURES = (
    "calls_ratio_embedded", "calls_ratio_vs_paper", "q_1000", "q_3000", "q_10000", "gepa_q_1000", "gepa_q_3000",
    "gepa_q_10000", "rugged_q_10000", "gepa_rugged_q_10000",
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """budget: calls of one run at most. peers_python: the interpreter of an environment that has the peers."""

    seeds: tuple[int, ...] = SEEDS
    budget: int = MARKS[-1]
    peers_python: str | None = None
    rows: Rows = field(default_factory=Rows)

    @property
    def marks(self) -> list[int]:
        """The budgets at which searches are compared."""
        return [mark for mark in MARKS if mark <= self.budget] or [self.budget]

    def paper_on_task(self, bench: embedded_search.Bench) -> list[Row]:
        settings = embedded_search.fitted(self.budget)
        return [
            self.rows.get((PAPER, bench.task.name, self.budget, seed),
                          partial(embedded_search.search, bench, seed, self.budget, **settings))
            for seed in self.seeds
        ]  # fmt: skip

    def race_on_task(self, bench: embedded_search.Bench, goal: float) -> list[Row]:
        """Our search until it is worth the goal. A run that ended at a lower one of other seeds is run again."""

        def enough(row: Row) -> bool:
            return row["ended"] != embedded_search.REACHED or reached(row, goal) is not None

        return [
            self.rows.get((RACE, bench.task.name, self.budget, seed),
                          partial(embedded_search.search, bench, seed, self.budget, goal), enough=enough)
            for seed in self.seeds
        ]  # fmt: skip

    def on_ground(self, name: str, ground: str, budget: int | None = None) -> list[Row]:
        """A search on a landscape, without the runs that were broken off."""
        budget = budget or self.budget
        rows = [
            self.rows.get((name, ground, budget, seed),
                          partial(self._run, name, landscape_of(seed, ground), budget), name not in (*PEERS, RANDOM))
            for seed in self.seeds
        ]  # fmt: skip
        return [row for row in rows if "stopped" not in row]

    def _run(self, name: str, landscape: Landscape, budget: int) -> Row:
        if name == RANDOM:
            return told(random_search(landscape, budget))
        if name in PEERS:
            assert self.peers_python is not None
            found = asyncio.run(peer(name, landscape, budget, self.peers_python, PATIENCE))
            return {"stopped": f"not done after {PATIENCE:.0f} s"} if found is None else told(found)
        settings: dict[str, Any] = {PAPER: fitted(budget), RACE: {}, EVEN: {"operators": "uniform"}}[name]
        return told(ours.search(landscape, budget, **settings))


def told(line: Row) -> Row:
    """What a driver has told, without what the row says already."""
    return {name: value for name, value in line.items() if name not in ("optimizer", "seed", "variant")}


@cache
def landscape_of(seed: int, ground: str) -> Landscape:
    return Landscape(seed, rugged=ground == "rugged", blind=ground == "blind")


def embedded(setting: Setting, benches: list[embedded_search.Bench]) -> dict[str, float]:
    """Part a."""
    table = new_table("Embedded model: calls (task and writer) until our search is on test where the paper's loop ends",
                      "task", "test", "seed prompt", "paper ends at", "its calls", "race: calls to there", "missed",
                      "ratio")  # fmt: skip
    ratios = []
    for bench in benches:
        paper = setting.paper_on_task(bench)
        ends = [row["beliefs"][-1][1] for row in paper]
        goal, spent = mean(ends), mean(row["task_calls"] + row["writer_calls"] for row in paper)
        calls, missed = calls_to(setting.race_on_task(bench, goal), [goal] * len(paper), setting.budget)
        ratios.append(mean(calls) / spent)
        table.add_row(bench.task.name, str(len(bench.task.test)), f"{paper[0]['start']:.3f}", spread(ends),
                      f"{spent:,.0f}", counts(calls), str(missed), f"{ratios[-1]:.3f}")  # fmt: skip
    batch = embedded_search.fitted(setting.budget)["batch"]
    show(table, f"Paper: population 50, 20 generations, and a batch of {batch} (its own is 100) for the budget's sake.")
    return {"calls_ratio_embedded": round(mean(ratios), 4)}


def landscapes(setting: Setting) -> dict[str, float]:
    """Part b."""
    found = against_paper(setting)
    marks = setting.marks
    table = new_table("Landscape: true quality by task calls, mean (least–most)", "ground", "search",
                      *(f"{mark:,}" for mark in marks))  # fmt: skip
    notes = [] if setting.peers_python else ["Searches of others were left out: give --peers-python."]
    for ground in GROUNDS:
        for name in [RACE, *([PAPER] if ground == "plain" else []), *(PEERS if setting.peers_python else []), RANDOM]:
            values = qualities(setting, name, ground)
            table.add_row(ground, name, *(spread(values.get(mark, [])) for mark in marks))
            short = {mark: len(setting.seeds) - len(q) for mark, q in values.items()}
            notes += [f"{name}, {ground}, {mark:,}: {count} broken off." for mark, count in short.items() if count]
            if name in (RACE, "gepa") and ground != "blind":
                prefix = ("gepa_" if name == "gepa" else "") + ("rugged_" if ground == "rugged" else "")
                found |= {f"{prefix}q_{mark}": round(mean(q), 4) for mark, q in values.items() if q}
    show(table, *notes)
    return found


def against_paper(setting: Setting) -> dict[str, float]:
    """Task calls of our search until its belief is truly worth what the paper's loop ends with on the same ground."""
    paper, race = setting.on_ground(PAPER, "plain"), setting.on_ground(RACE, "plain")
    calls, missed = calls_to(race, [row["quality"] for row in paper], setting.budget)
    ratio = mean(calls) / setting.budget
    table = new_table("Landscape, plain: task calls until our search is where the paper's loop ends", "paper ends at",
                      "its task calls", "race: task calls to there", "missed", "ratio to the budget")  # fmt: skip
    table.add_row(spread([row["quality"] for row in paper]), f"{mean(row['task_calls'] for row in paper):,.0f}",
                  counts(calls), str(missed), f"{ratio:.3f}")  # fmt: skip
    show(table, f"Paper: population 50, 20 generations, and a batch of {fitted(setting.budget)['batch']}.")
    return {"calls_ratio_vs_paper": round(ratio, 4)}


def qualities(setting: Setting, name: str, ground: str) -> dict[int, list[float]]:
    """True quality for each seed, by mark. Off plain ground, peers other than GEPA are asked for the last mark only."""
    if name not in PEERS:
        rows = setting.on_ground(name, ground)
        return {mark: [at(row, mark, START) for row in rows] for mark in setting.marks}
    asked = setting.marks if ground == "plain" or name == "gepa" else setting.marks[-1:]
    return {mark: [at(row, mark, START) for row in setting.on_ground(name, ground, mark)] for mark in asked}


def operators(setting: Setting) -> None:
    """Part c."""
    ways = {"adaptive": setting.on_ground(RACE, "plain"), "even": setting.on_ground(EVEN, "plain")}
    table = new_table("Landscape, plain: children that beat the incumbent, by operator", "operator",
                      *(f"{way}: {what}" for way in ways for what in ("tried", "better", "share")))  # fmt: skip
    names = list(dict.fromkeys(name for rows in ways.values() for row in rows for name in row["credit"]))
    for name in [*names, "all"]:
        cells: list[str] = []
        for rows in ways.values():
            noted = [row["credit"][one] for row in rows for one in row["credit"] if name in (one, "all")]
            tried, better = (sum(entry[what] for entry in noted) for what in ("tried", "better"))
            cells += [f"{tried:,}", f"{better:,}", f"{better / tried:.3f}" if tried else "–"]
        table.add_row(name, *cells)
    reach = [(way, mark, spread([at(row, mark, START) for row in rows])) for way, rows in ways.items()
             for mark in setting.marks]  # fmt: skip
    show(table, "The better the incumbent, the fewer beat it: shares of two searches are to be read beside their q.",
         *(f"{way}, q after {mark:,} task calls: {worth}" for way, mark, worth in reach))  # fmt: skip


def calls_to(rows: list[Row], goals: list[float], budget: int) -> tuple[list[int], int]:
    """Calls of each run until it is worth its goal, the budget where it never is, and how many never are."""
    found = [reached(row, goal) for row, goal in zip(rows, goals, strict=True)]
    return [budget if calls is None else calls for calls in found], found.count(None)


def counts(calls: list[int]) -> str:
    return f"{mean(calls):,.0f} ({', '.join(f'{one:,}' for one in calls)})"


def new_table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def show(table: Table, *notes: str) -> None:
    console = Console(width=160, highlight=False)
    console.print(table)
    for note in notes:
        console.print(note)


def read_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=["a", "b", "c"], default=["a", "b", "c"])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--budget", type=int, default=MARKS[-1], help="calls of one run at most")
    parser.add_argument("--peers-python", metavar="PATH", help="the interpreter of an environment that has the peers")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON lines of all runs, to go on from")
    given = parser.parse_args(argv)
    if given.peers_python and not Path(given.peers_python).is_file():
        raise InputError(f"--peers-python {given.peers_python}: no such file; give the peers' environment's python")
    if given.out and not given.out.parent.is_dir():
        raise InputError(f"--out {given.out}: there is no folder {given.out.parent}; make it first")
    if given.budget < embedded_search.LEAST:
        raise InputError(f"--budget {given.budget}: too little for a search; give {embedded_search.LEAST} or more")
    return given


def main(argv: list[str] | None = None) -> None:
    given = read_arguments(argv)
    setting = Setting(tuple(given.seeds), given.budget, given.peers_python, Rows(given.out))
    found: dict[str, float | None] = dict.fromkeys(FIGURES)
    if "a" in given.parts:
        found |= embedded(setting, embedded_search.benches())
    if "b" in given.parts:
        found |= {name: value for name, value in landscapes(setting).items() if name in FIGURES}
    if "c" in given.parts:
        operators(setting)
    print(json.dumps(found))


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
