"""`promptmill bake sweep`: every prompt of a folder, at every temperature and rank, shared out over workers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import StatisticsError, correlation
from typing import Any

from promptmill.cli.bake import bake_run
from promptmill.cli.bake_asked import bake_config
from promptmill.cli.config import BakeRunConfig
from promptmill.cli.options import Given
from promptmill.cli.screen import err, number, out, show_rows, show_warnings, table
from promptmill.errors import InputError, PromptmillError
from promptmill.store.files import write_json
from promptmill.store.run import difference, read_run

SUFFIXES = (".md", ".txt", ".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Point:
    """One bake of a sweep. temperature, rank: None leaves them to the settings."""

    prompt: Path
    temperature: float | None
    rank: int | None

    @property
    def name(self) -> str:
        """Of its folder."""
        parts = [re.sub(r"[^\w.-]+", "-", self.prompt.stem)]
        parts += [f"t{self.temperature:g}"] if self.temperature is not None else []
        return "-".join([*parts, f"r{self.rank}"] if self.rank is not None else parts)

    @property
    def settings(self) -> list[str]:
        values = {"bake.sample.temperature": self.temperature, "bake.lora.rank": self.rank}
        return [f"{name}={value}" for name, value in values.items() if value is not None]


@dataclass(frozen=True)
class Grid:
    """worker: "i/n", of n workers the i-th, counted from 0."""

    prompts: Path
    temperatures: tuple[float, ...] = ()
    ranks: tuple[int, ...] = ()
    worker: str = "0/1"

    def points(self) -> list[Point]:
        """Of all workers. InputError for a folder without prompts, or with two of the same name."""
        if not self.prompts.is_dir():
            raise InputError(f"--prompts {self.prompts}: is no folder; it holds the prompts, a file each")
        files = sorted(path for path in self.prompts.iterdir() if path.suffix in SUFFIXES)
        if not files:
            raise InputError(f"--prompts {self.prompts}: holds no prompt ({', '.join(SUFFIXES)})")
        found = [Point(*one) for one in product(files, self.temperatures or (None,), self.ranks or (None,))]
        names = [point.name for point in found]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise InputError(f"--prompts {self.prompts}: two bakes would be called {twice}; rename a prompt")
        return found

    def mine(self) -> Iterator[Point]:
        """Of this worker. InputError where `worker` is not i/n."""
        told = re.fullmatch(r"(\d+)/(\d+)", self.worker)
        place, count = map(int, told.groups()) if told else (0, 0)
        if place >= count:
            raise InputError(f"--worker {self.worker}: must be i/n, i from 0 to n - 1, such as 0/2 and 1/2")
        return (point for at, point in enumerate(self.points()) if at % count == place)


def sweep_command(given: Given, grid: Grid) -> None:
    """Bakes each in its own folder under --out; a bake that is there already is not made again. One that cannot be made
    does not keep the others from it, and is told at the end."""
    folder: Path | None = given["out"]
    if folder is None:
        raise InputError("--out FOLDER is needed: each bake of the sweep gets a folder in it")
    if (folder / "run.json").exists():
        raise InputError(f"--out {folder}: is a single bake; name the folder of the sweep")
    _check(given, grid)
    failed, done = [], []
    for point in grid.mine():
        err.print(f"bake {point.name}", markup=False)
        try:
            _bake(given, point, folder)
            done.append(point)
        except PromptmillError as error:
            err.print(f"failed: {error}", markup=False, soft_wrap=True)
            failed.append(point.name)
    if not given["forecast"] and (done or not failed):
        _tell(folder, grid, given, done)
    if failed:
        raise InputError(f"{len(failed)} of the bakes failed, as said above: {', '.join(failed)}")


def _own(given: Given, point: Point, folder: Path) -> Given:
    """What one bake is asked for."""
    return given | {"prompt": None, "prompt_file": point.prompt, "out": folder / point.name, "json_": False,
                    "set_": [*(given["set_"] or []), *point.settings]}  # fmt: skip


def _check(given: Given, grid: Grid) -> None:
    """InputError for settings that no bake can have, before the first of them is made."""
    for point in grid.points():
        bake_config(BakeRunConfig, _own(given, point, Path()))


def _bake(given: Given, point: Point, folder: Path) -> None:
    own = _own(given, point, folder)
    config = bake_config(BakeRunConfig, own)
    report = _report(own["out"])
    if report is not None:
        # A forecast in a folder that is there compares its identity (model, questions, settings, …) and does no more.
        with err.capture():
            bake_run(own | {"forecast": True}, config)
    if report is None or report["settings"] != config.bake.model_dump(mode="json"):  # more epochs: it goes on
        bake_run(own, config)


def _tell(folder: Path, grid: Grid, given: Given, done: Sequence[Point]) -> None:
    """sweep.json, of what all workers have brought so far, and the same on the screen. What another sweep has left in
    the folder is no part of it."""
    met = [(point, report) for point in grid.points() if (report := _report(folder / point.name))]
    told = {point.name: _shared(folder / point.name) for point, _ in met}
    ours = told[done[0].name] if done else next(iter(told.values()), None)
    rows, asked = [], {}
    for point, report in met:
        if change := difference(ours, told[point.name]):
            show_warnings([f"{folder / point.name}: is of another sweep ({change}); left out"])
            continue
        rows.append(_row(report, point))
        asked = {"model": report["model"], "questions": report["questions"]["from"], "seed": report["seed"]}
    goes_with = None
    try:
        kept = [row for row in rows if row["first"] is not None and row["best"] is not None]
        goes_with = correlation([row["first"] for row in kept], [row["best"] for row in kept])
    except StatisticsError:  # fewer than two bakes, or all alike
        pass
    found = {**asked, "bakes": rows, "initial_to_final_kl": goes_with}
    write_json(folder / "sweep.json", found)
    if given["json_"]:
        print(json.dumps(found, ensure_ascii=False))
        return
    shown = table()
    for head in ("bake", "KL before", "after", "gone", "behaviour"):
        shown.add_column(head, justify="left" if head == "bake" else "right")
    for row in rows:
        gone = "-" if row["drop"] is None else f"{row['drop']:.1%}"
        scores = ", ".join(number(score) for score in row["behaviour"].values()) or "-"
        shown.add_row(row["name"], number(row["first"]), number(row["best"]), gone, scores)
    out.print(shown)
    out.print()
    show_rows([("bakes", f"{len(rows)} of {len(grid.points())}"), ("sweep", folder / "sweep.json")])


def _report(run: Path) -> dict[str, Any] | None:
    """None where the bake has not come to its end yet."""
    try:
        report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise InputError(f"{run}/report.json: cannot be read; remove it and run again") from None
    return report


def _shared(run: Path) -> dict[str, Any]:
    """Of a bake's identity what all bakes of a sweep have in common: all but the prompt and what is varied."""
    identity = dict(read_run(run)["identity"])
    identity.pop("prompt", None)
    bake = json.loads(json.dumps(identity.pop("bake", {})))
    bake.get("sample", {}).pop("temperature", None)
    bake.get("lora", {}).pop("rank", None)
    return identity | {"bake": bake}


def _row(report: dict[str, Any], point: Point) -> dict[str, Any]:
    return {
        "name": point.name, "prompt": point.prompt.name,
        "temperature": report["settings"]["sample"]["temperature"], "rank": report["settings"]["lora"]["rank"],
        **{key: report["kl"][key] for key in ("first", "best", "drop")},
        "behaviour": {one["task"]: one["baked"]["score"] for one in report["behaviour"]},
    }  # fmt: skip
