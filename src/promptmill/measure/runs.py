"""Evaluations read back from their run folders, and two of them compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from promptmill.errors import InputError
from promptmill.measure.compare import Comparison, compare_paired
from promptmill.measure.evaluate import Stats, answers_schema
from promptmill.score.scorer import make_scorer
from promptmill.store.run import read_run
from promptmill.store.stage import Stage


def read_stats(folder: Path) -> dict[str, Stats]:
    """Example id → its share of the score, the mean over repeats. InputError for a run without answers."""
    stage = Stage(folder / "stages" / "answers", answers_schema())
    rows: dict[str, list[list[float]]] = {}
    for row in stage.rows():
        if row["stats"] is not None:  # a failed answer is in no score
            rows.setdefault(row["id"], []).append(row["stats"])
    if not rows:
        raise InputError(f"{folder}: this run holds no scored answers")
    return {key: tuple(sum(column) / len(came) for column in zip(*came, strict=True)) for key, came in rows.items()}


def compare(before: Path | str, after: Path | str) -> Comparison:
    """Compare two eval runs of one task, example by example. InputError where they cannot be compared."""
    before, after = Path(before), Path(after)
    identities = [_eval_identity(before), _eval_identity(after)]
    if identities[0]["scorer"] != identities[1]["scorer"]:
        names = [identity["scorer"]["type"] for identity in identities]
        raise InputError(
            f"{before} and {after} were scored differently ({names[0]}, {names[1]}): evaluate one of them again"
        )
    a, b = read_stats(before), read_stats(after)
    if not a.keys() & b.keys():
        raise InputError(f"{before} and {after} have no example in common: are they of the same task and split?")
    return compare_paired(a, b, make_scorer(identities[0]["scorer"]))


def _eval_identity(folder: Path) -> dict[str, Any]:
    run = read_run(folder)
    if run["craft"] != "eval":
        raise InputError(f"{folder}: is a run of '{run['craft']}'; compare takes two runs of eval")
    identity: dict[str, Any] = run["identity"]
    return identity
