"""`promptmill recover train`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promptmill.cli.config import RecoverTrainConfig, resolve
from promptmill.cli.options import Given
from promptmill.cli.recover import bench_of, fingerprint_of, show_arms
from promptmill.cli.recover_forecast import calls_to_train, show_forecast
from promptmill.cli.screen import bars, number, out, plain, show_rows, show_warnings, table
from promptmill.cli.session import in_all, session
from promptmill.crafts.recover.config import OFFLINE
from promptmill.crafts.recover.finished import placed
from promptmill.crafts.recover.page import recover_page
from promptmill.crafts.recover.sets import sets_of
from promptmill.crafts.recover.space import keep_vectors, space_of
from promptmill.crafts.recover.traces import Trace, read_traces
from promptmill.crafts.recover.training import Training
from promptmill.errors import InputError
from promptmill.model.gate import run_blocking
from promptmill.report.html import render
from promptmill.store.stage import digest
from promptmill.train.answers import trainable

TRACES = "traces.jsonl"
"""File of a run of recover synthesize."""


def train_command(pairs: Path, given: Given, other: Sequence[Path], offline: bool) -> None:
    config = resolve(RecoverTrainConfig, given | {"other": list(other)}, {"recover": OFFLINE} if offline else None)
    traces = read_traces(_file(pairs), need_prompt=True)
    others = {path.stem: read_traces(_file(path), need_prompt=True) for path in config.other}
    if len(others) < len(config.other):
        raise InputError("--test-also: two files have one name; rename one of them")
    if config.recover.learn.until != "base":
        trainable(config.model, config.recover.learn.lora, "recover train")
    space = space_of(config.recover.rank.embedder)
    identity = {
        "step": "train", "traces": _digest(traces), "others": {name: _digest(some) for name, some in others.items()},
        "recover": config.recover.model_dump(mode="json"), "space": space.fingerprint,
        "generator": fingerprint_of(config.generator, config),
    }  # fmt: skip
    sets = sets_of(traces, others, config.recover, space, config.seed)
    if show_forecast(calls_to_train(config.recover, sets), given):
        return
    with session("recover", pairs.stem, identity, config, given) as work, bars() as watch:
        keep_vectors(space, work.run.folder)
        bench = bench_of(work, config, space)
        bench.watch = watch
        found = run_blocking(Training(bench, config.model, work.another).run(sets))
        run = work.run.folder
        result = {
            "craft": "recover", "step": "train", "name": pairs.stem, "model": config.model.name,
            "recoverer": placed(config.model).model_dump(mode="json"),
            "generator": placed(config.generator or config.model).model_dump(mode="json"),
            "settings": config.recover.model_dump(mode="json"), "space": space.name, **found,
            "adapters": [_within(Path(path), run) for path in found["adapters"]], **in_all(work.store),
        }  # fmt: skip
        path = work.run.finish(result, lambda data: render(recover_page(_for_page(data))))
    show_warnings(found["warnings"])
    if given["json_"]:
        print(json.dumps(result, ensure_ascii=False))
    else:
        _show(result, path)


def _file(path: Path) -> Path:
    """A file of pairs, or that of a run of recover synthesize."""
    if (path / "run.json").exists():
        if not (path / TRACES).exists():
            raise InputError(f"{path}: has no {TRACES}; name a run of recover synthesize that has come to its end")
        return path / TRACES
    return path


def _digest(traces: Sequence[Trace]) -> str:
    return digest(repr(one) for one in traces)


def _within(path: Path, run: Path) -> str:
    """Relative to the run where it lies in it, so that the run may be moved."""
    whole = path.resolve()
    return str(whole.relative_to(run.resolve())) if whole.is_relative_to(run.resolve()) else str(whole)


def _for_page(report: dict[str, Any]) -> dict[str, Any]:
    return report | {"generator": report["generator"]["name"]}


def _show(result: dict[str, Any], path: Path) -> None:
    if result["stages"]:
        _show_stages(result)
    for test in result["tests"]:
        show_arms(test)
    kept = ", ".join(f"{stage} {number(score)}" for stage, score in result["dev"].items())
    calls = ", ".join(f"{count:,} {role}" for role, count in result["calls"].items())
    show_rows([*([("kept", f"{result['kept']} (dev: {kept})")] if kept else []),
               ("confidence", result["ranker"]["calibration"]), ("calls", calls or "0"), ("report", path),
               ("page", path.with_suffix(".html"))])  # fmt: skip
    out.print(f"next: promptmill recover predict PAIRS --recoverer {path.parent}", markup=False, soft_wrap=True)


def _show_stages(result: dict[str, Any]) -> None:
    shown = table("greedy answers to single texts, by what was learned")
    column = f"scs ({result['space']})"
    for head in ("tested on", "learned", column, "exact", "n"):
        shown.add_column(plain(head), justify="left" if head in ("tested on", "learned") else "right")
    for test in result["stages"]:
        for row in test["arms"]:
            figures = ["-" if row[name] is None else number(row[name][0]) for name in (column, "exact")]
            shown.add_row(plain(test["name"]), row["arm"], *figures, f"{row['n']:,}")
    out.print(shown)
    out.print()
