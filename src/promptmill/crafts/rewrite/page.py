"""The page of a rewrite, from its report: the one place that knows which entry is shown how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from promptmill.judge.page import panel_blocks
from promptmill.report.blocks import Block, Cell, Facts, LinePlot, Page, Series, Table, Text, Tone, Verdict, WordDiff
from promptmill.report.spend import spend

Report = Mapping[str, Any]
Named = tuple[Cell, Mapping[str, Any]]
"""What figures are of, and the figures."""
GAIN = "gain, 95\N{NO-BREAK SPACE}% interval"
SHOWN = 5
"""Rewrites of each kind that are shown side by side with their prompts."""


def rewrite_page(report: Report) -> Page:
    parts = (_verdict, _test, _gains, _domains, _continual, _transfer, _tuned, _examples, _rounds, _kept, _learning,
             _predictor, _made, _panel, _test_panel, spend, _warnings)  # fmt: skip
    blocks = chain.from_iterable(part(report) for part in parts)
    about = f"model {report.get('model', '')}, rewriter {report.get('rewriter', '')}"
    return Page(str(report.get("name", "")), about, list(blocks), craft="rewrite")


def _verdict(report: Report) -> list[Block]:
    sentence = str(report.get("verdict", ""))
    if not sentence:
        return []
    tone: Tone = "good" if sentence.startswith("better") else "bad" if sentence.startswith("worse") else "open"
    return [Verdict(sentence[:1].upper() + sentence[1:], tone)]


def _test(report: Report) -> list[Block]:
    if "test" not in report:
        return []
    rows: list[Named] = [(one["round"], one) for one in report["test"]["rounds"]]
    rows.append(("offered", report["test"]["offered"]))
    return _brought("round", rows, "On prompts that it has never seen", (
        "Round 0 is the rewriter before it had learned anything; of each round the first answer that breaks no rule "
        "counts. Offered: the kept rewriter with what decides whether a prompt is left alone. Value: what the test's "
        "judges give the main model's answers, 0 to 1; score: what the task's own scorer gives them, where the task is "
        "known. All prompts count, those left alone among them."
    ), (
        "Win rate: of the prompts that were rewritten, asked in both orders. Broken rules: of the rewriter's first "
        "answers; what breaks a rule is never offered."
    ))  # fmt: skip


def _brought(first: str, rows: Sequence[Named], title: str, note: str = "", below: str = "") -> list[Block]:
    """What was gained, and in a table below what was done with the prompts: side by side they are wider than a page.
    first: the head of the names."""
    done = [
        [name, one["wins"]["rate"], one["wins"]["controlled"], _percent(one["left_alone"]),
         _percent(one["good_left_alone"]), _percent(one["violations"])]
        for name, one in rows
    ]  # fmt: skip
    heads = [first, "win rate", "at equal length", "left alone", "good ones left alone", "broken rules"]
    return [_gained(first, rows, title, note), Table(heads, done, note=below)]


def _gained(first: str, rows: Sequence[Named], title: str, note: str = "") -> Table:
    """Without columns for true scores where none of the tasks is known."""
    kinds = ["value", *(["score"] if any(one["score"]["n"] for _, one in rows) else [])]
    figures = [
        [name, *(cell for kind in kinds for cell in (one[kind]["before"], one[kind]["after"], _gain(one[kind])))]
        for name, one in rows
    ]
    heads = [head for kind in kinds for head in (f"{kind} before", "after", GAIN)]
    return Table([first, *heads], figures, title=title, note=note)


def _gains(report: Report) -> list[Block]:
    rounds = report["test"]["rounds"] if "test" in report else []
    series = [
        Series(name, [(one["round"], one[key]["after"]) for one in rounds if one[key]["after"] is not None])
        for name, key in (("value", "value"), ("first answer, whatever it is", "raw"), ("score", "score"))
    ]
    shown = [one for one in series if len(one.points) > 1]
    return [LinePlot(shown, "round", "of answers to the rewrites", title="Round after round")] if shown else []


def _domains(report: Report) -> list[Block]:
    rows = report["test"]["domains"] if "test" in report else []
    if len({one["domain"] for one in rows}) < 2:
        return []
    last = max(one["round"] for one in rows)
    shown = [(f"{one['domain']} ({one['value']['n']})", one) for one in rows if one["round"] == last]
    return [_gained("intent (prompts)", shown, "By intent", f"The first answers of round {last}.")]


def _continual(report: Report) -> list[Block]:
    found = report["test"].get("continual") if "test" in report else None
    if not found:
        return []
    names = {"acc": "gain on all intents at the end (ACC)", "bwt": "backward transfer (BWT)",
             "forgetting": "forgetting", "fwt": "forward transfer (FWT)"}  # fmt: skip
    rows: list[tuple[str, Cell]] = [(name, found[key]) for key, name in names.items() if found[key] is not None]
    return [Facts(rows, title="One intent after another",
                  note="Of gains in value. BWT: what later rounds changed of what an intent had gained.")]  # fmt: skip


def _transfer(report: Report) -> list[Block]:
    if "transfer" not in report:
        return []
    found = report["transfer"]
    return _brought("model", [(found["model"], found["rounds"][-1])],
                    "With another main model than the one it was trained for")  # fmt: skip


def _tuned(report: Report) -> list[Block]:
    found = report.get("tuned")
    if not found:
        return []
    rows: list[list[Cell]] = [
        [one["rewriter"], one["model"], one["value"]["after"], _gain(one["value"]), one["score"]["after"],
         _gain(one["score"])]
        for one in found
    ]  # fmt: skip
    heads = ["rewriter", "main model", "value", GAIN, "score", GAIN]
    made = report["tuning"]
    return [Table(heads, rows, title="Rewriter and main model, before and after training", note=(
        "Gains are over the prompts as they are, answered by the main model as it was. None: the prompts as they are. "
        f"The tuned model has learned its own best answers: {made['answers']} in {made['steps']} steps."
    ))]  # fmt: skip


def _examples(report: Report) -> list[Block]:
    rows = [row for row in report["test"]["rows"] if row["rewrite"]] if "test" in report else []
    rows = [row for row in rows if row["base_value"] is not None and row["rewrite_value"] is not None]
    rows.sort(key=lambda row: row["base_value"] - row["rewrite_value"])
    picked = {"What helped most": rows[:SHOWN], "What helped least": rows[SHOWN:][-SHOWN:]}
    blocks: list[Block] = []
    for title, several in picked.items():
        for at, row in enumerate(several):
            names = (f"prompt, {row['base_value']:.2f}", f"rewrite, {row['rewrite_value']:.2f}")
            blocks.append(WordDiff(row["prompt"], row["rewrite"], names, title=title if at == 0 else ""))
    return blocks


def _rounds(report: Report) -> list[Block]:
    rounds = report.get("rounds") or []
    kinds = sorted({kind for one in rounds for kind in one["pairs"]})
    intents = list(dict.fromkeys(", ".join(one["domains"]) for one in rounds))
    differ = len(intents) > 1
    rows: list[list[Cell]] = [
        [one["round"], *([", ".join(one["domains"])] if differ else []), one["bases"],
         *(one["pairs"].get(kind, 0) for kind in kinds), one["replayed"], one["steps"], one.get("kl_old")]
        for one in rounds
    ]  # fmt: skip
    named = [kind.replace("_", " over ") for kind in kinds]
    heads = ["round", *(["intents"] if differ else []), "base prompts", *named, "replayed", "steps",
             "KL on earlier prompts"]  # fmt: skip
    note = "Pairs of prompts of which one is better. KL: nats per token from the rewriter before the round to the " \
           "one after it, on rewrites chosen in earlier rounds."  # fmt: skip
    every = "" if differ else f" Of each round: {''.join(intents)}."
    return [Table(heads, rows, title="What was learned", note=note + every)] if rows else []


def _kept(report: Report) -> list[Block]:
    """Of later rounds; reports of earlier versions have nothing of it, and kept every round."""
    rows: list[list[Cell]] = []
    for one in report.get("rounds") or []:
        kept, found = one.get("kept", True), one.get("dev")
        if found or not kept:
            told = [found[name] for name in ("before", "after", "se")] if found else [None] * 3
            rows.append([one["round"], *told, _percent(found and found["broken"]), "yes" if kept else "no"])
    note = "The panel's value of first answers to dev prompts, by the rewriter before the round and after it. A " \
           "round that gains no more than its error, or breaks more rules, is not kept, and none follows; nor is one " \
           "that has learned nothing which held on the pairs of dev prompts (without figures)."  # fmt: skip
    heads = ["round", "before", "after", "error of the gain", "broken rules after", "kept"]
    return [Table(heads, rows, title="Whether a round was worth it", note=note)] if rows else []


def _learning(report: Report) -> list[Block]:
    series, before = [], 0
    for one in report.get("rounds") or []:
        points = [(before + row["step"], row["loss"]) for row in one["rows"] if "loss" in row]
        series.append(Series(f"round {one['round']}", points))
        before += one["steps"]
    shown = [one for one in series if len(one.points) > 1]
    return [LinePlot(shown, "steps", "loss", title="Training")] if shown else []


def _predictor(report: Report) -> list[Block]:
    found = report.get("predictor")
    if not found:
        return []
    rows: list[tuple[str, Cell]] = [("used", "yes" if found["kept"] else f"no: {found['reason']}")]
    if "margin" not in found:  # there was nothing to fit one on
        return [Facts(rows, title="The gain foretold")]
    figures = {"R2 on held-out prompts": found["r2"], "rank correlation within prompts": found["spearman"],
               "leave alone below": found["margin"]["margin"],
               "of prompts that nothing improves, changed": _percent(found["margin"]["changed"]),
               "of the gain of always changing, kept": _percent(found["margin"]["kept_share"])}  # fmt: skip
    rows += [(name, value) for name, value in figures.items() if value is not None]
    note = "From prompt and rewrite alone; used where it beats the mean and the length on prompts it has not seen."
    return [Facts(rows, title="The gain foretold", note=note)]


def _made(report: Report) -> list[Block]:
    made = report["synthesize"]
    rows: list[tuple[str, Cell]] = [
        ("base prompts", made["dedup"]["kept"]), ("written", made["dedup"]["texts"]),
        *((f"for {name}", count) for name, count in made["splits"].items()),
        ("clusters", made["clusters"]["count"]), ("variations", made["variations"]), ("inputs", made["inputs"]),
    ]  # fmt: skip
    return [Facts(rows, title="The data that was made")]


def _panel(report: Report) -> list[Block]:
    if not report.get("panel"):
        return []
    verdict, *others = panel_blocks(report["panel"])
    return [replace(verdict, title="Whether the judges may be believed"), *others]


def _test_panel(report: Report) -> list[Block]:
    if not report.get("test_panel"):
        return []
    verdict, figures, *_ = panel_blocks(report["test_panel"])
    note = "On the test's own answers. All that is known of these judges is in test_panel.json."
    return [replace(verdict, title="Whether the judges of the test may be believed"),
            replace(figures, title="", note=note)]  # fmt: skip


def _warnings(report: Report) -> list[Block]:
    said = report.get("warnings") or []
    return [Text("\n".join(said), verbatim=True, title="To be known")] if said else []


def _gain(found: Mapping[str, Any]) -> str | None:
    """An interval is never broken into two lines."""
    if found["gain"] is None:
        return None
    return f"{found['gain']:+.3f} [{found['lo']:+.3f},\N{NO-BREAK SPACE}{found['hi']:+.3f}]"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"
