"""The page of an evaluation, from its report and its answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from promptmill.prompt import PARTS
from promptmill.report.blocks import BarPlot, Block, Cell, Examples, Facts, Page, Shown, Text, Verdict
from promptmill.report.spend import spend

SHOWN = 8
"""Answers that did not score, shown at most."""


def eval_page(report: Mapping[str, Any], answers: Iterable[Mapping[str, Any]]) -> Page:
    """answers: rows of the stage "answers"; they are read once and not kept."""
    outcomes, missed = _look(answers)
    prompt = report["prompt"]
    blocks = [_verdict(report), _facts(report)]
    parts = [part for part in PARTS if prompt.get(part)]
    for part in parts:
        title = "The prompt" if part == parts[0] else ""
        blocks.append(Text(prompt[part], verbatim=True, name=part, title=title))
    if outcomes:
        blocks.append(BarPlot(list(outcomes.items()), "answers", title="What came back"))
    if missed:
        blocks.append(Examples({"": missed}, ("", "answer"), title="The first that did not score"))
    blocks += spend({key: value for key, value in report.items() if key != "failures"})
    said = [report["stopped"]] if report.get("stopped") else []
    said += report.get("warnings") or []
    blocks += [Text("\n".join(said), verbatim=True, title="To be known")] if said else []
    subtitle = f"{report['split']} split, {report['model']}"
    return Page(str(report["task"]), subtitle, blocks, craft="eval")


def _verdict(report: Mapping[str, Any]) -> Block:
    score, lo, hi = report["score"], report["lo"], report["hi"]
    if score is None:
        return Verdict("No answer came, so there is no score.", "bad")
    sentence = (
        f"Score {score:.3f} ({report['scorer']}), 95 % interval {lo:.3f} to {hi:.3f}, on {report['answered']:,} answers"
    )
    return Verdict(sentence, "open", score, lo, hi, whole=True)


def _facts(report: Mapping[str, Any]) -> Block:
    rows: list[tuple[str, Cell]] = [(key, report[key]) for key in ("examples", "asked", "answered", "unparsed")]
    return Facts([*rows, *((f"failed: {kind}", count) for kind, count in report["failures"].items())])


def _look(answers: Iterable[Mapping[str, Any]]) -> tuple[dict[str, int], list[Shown]]:
    """Counts of what came back, from best to worst, and the first answers that did not score."""
    counts: Counter[str] = Counter()
    missed: list[Shown] = []
    for row in answers:
        kind = _outcome(row)
        counts[kind] += 1
        if kind != "right" and len(missed) < SHOWN:
            said = row["answer"] if row["failure"] is None else f"[failed: {row['failure']}: {row['detail']}]"
            missed.append(Shown(row["input"], row["gold"], said))
    return {kind: counts[kind] for kind in ("right", "in part", "wrong", "unparsed", "failed") if counts[kind]}, missed


def _outcome(row: Mapping[str, Any]) -> str:
    if row["score"] is None:
        return "failed"
    if row["parsed"] is None:
        return "unparsed"
    return "right" if row["score"] >= 1 else "in part" if row["score"] > 0 else "wrong"
