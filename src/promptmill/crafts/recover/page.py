"""The page of a recovery, from its report: the one place that knows which entry is shown how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from promptmill.report.blocks import Block, Cell, Facts, LinePlot, Page, Series, Table, Text, Tone, Verdict
from promptmill.report.spend import spend

Report = Mapping[str, Any]
NOT_FIGURES = ("arm", "n", "unanswered", "clusters")
NAMES = {"gain": "likelihood gain", "rouge_l": "ROUGE-L", "same": "the same text"}


def recover_page(report: Report) -> Page:
    parts = (
        _verdict,
        _uncalibrated,
        _tests,
        _stages,
        _learning,
        _ranker,
        _sizes,
        _synthesized,
        _missing,
        _examples,
        spend,
        _warnings,
    )
    blocks = chain.from_iterable(part(report) for part in parts)
    generator = f", generator {report['generator']}" if report.get("generator") else ""
    about = f"model {report.get('model', '')}{generator}"
    return Page(str(report.get("name", "")), about, list(blocks), craft="recover")


def _verdict(report: Report) -> list[Block]:
    tests = report.get("tests") or []
    if not tests:
        counts = report.get("counts")
        if not counts:
            return []
        line = f"{counts['told']:,} of {counts['groups']:,} prompts recovered; whether they are right is not known here"
        return [Verdict(line, "open")]
    first = tests[0]
    if first["right"] is None:
        return [Verdict(f"no candidate came for any of {first['groups']:,} prompts ({first['name']})", "bad")]
    share, lo, hi = first["right"]
    floor = next(row for row in first["arms"] if row["arm"] == "constant")[f"scs ({first['space']})"]
    ours = next((row for row in first["arms"] if row["arm"] == "all"), None)
    tone: Tone = "open"
    if ours and ours[f"scs ({first['space']})"]:
        tone = "good" if ours[f"scs ({first['space']})"][1] > floor[2] else "open"
    line = f"{share:.0%} of {first['told']:,} first candidates come near the true prompt ({first['name']})"
    if first["told"] < first["groups"]:
        line += f"; none came for {first['groups'] - first['told']:,} prompts"
    return [Verdict(line, tone, share, lo, hi, whole=True)]


def _uncalibrated(report: Report) -> list[Block]:
    if report.get("calibrated") is not False:
        return []
    return [Text(f"The confidence is not calibrated: {report.get('calibration', '')}.")]


def _tests(report: Report) -> list[Block]:
    blocks: list[Block] = []
    for test in report.get("tests") or []:
        blocks += [_arms(test), *_behaviour(test), *_confidence(test)]
    return blocks


def _arms(test: Report) -> Table:
    figures = [name for name in test["arms"][0] if name not in NOT_FIGURES]
    rows: list[list[Cell]] = [
        [row["arm"], *(_interval(row[name]) for name in figures), row["n"]] for row in test["arms"]
    ]
    strong = [at for at, row in enumerate(test["arms"]) if row["arm"] == "all"]
    return Table(["chosen by", *figures, "answers"], rows, strong=strong, title=f"Test: {test['name']}", note=(
        f"{test['groups']:,} prompts of {test['traces']:,} texts, in {test['clusters']:,} clusters of prompts that "
        "say nearly the same; 95 % intervals by bootstrap over clusters. The first three rows need no recovering: one "
        "prompt for everything, the prompt of another, and the truth. zero-shot: the recoverer's greedy answer; mbr: "
        f"what its answers agree on; all: every part, weighed. scs: the sharpened cosine by {test['space']}; figures "
        "of other embedders must not stand beside it."
    ))  # fmt: skip


def _behaviour(test: Report) -> list[Block]:
    rows: list[list[Cell]] = [
        [row["prompt"], row["gain"], row["rouge_l"], _percent(row["same"]), row["groups"], row["failed"]]
        for row in test["behaviour"]
    ]
    heads = ["prompt", *NAMES.values(), "prompts", "failed"]
    note = ("What the generator does under a prompt: by how many nats a token it finds the texts likelier than under "
            "the constant one, and how much what it writes is like them.")  # fmt: skip
    return [Table(heads, rows, title="Does it do what the true prompt did?", note=note)] if rows else []


def _confidence(test: Report) -> list[Block]:
    found = test["reliability"]
    if found is None:
        return []
    bins = [(one["confidence"], one["right"]) for one in found["bins"]]
    cover = [(one["coverage"], one["accuracy"]) for one in test["coverage"]]
    return [
        LinePlot([Series("as it should be", [(0.0, 0.0), (1.0, 1.0)]), Series("measured", bins, "dots")],
                 "confidence", "share that is right", bounds=(0.0, 1.0), title="May one believe the confidence?",
                 note=f"Expected calibration error {found['ece']:.3f}; Brier score {found['brier']:.3f} "
                      f"(always saying the share that is right: {found['constant_brier']:.3f})."),
        LinePlot([Series("right of those told", cover)], "share that is told", "share that is right",
                 bounds=(0.0, 1.0), title="What does it bring to say \"cannot tell\"?",
                 note="The surest ones first; at the right end every prompt is told."),
    ]  # fmt: skip


def _stages(report: Report) -> list[Block]:
    blocks: list[Block] = []
    for test in report.get("stages") or []:
        figures = [name for name in test["arms"][0] if name not in NOT_FIGURES]
        rows: list[list[Cell]] = [
            [row["arm"], *(_interval(row[name]) for name in figures), row["n"]] for row in test["arms"]
        ]
        note = f"Greedy answers to single texts ({test['name']}). Kept, by dev: {report['kept']}."
        title = "" if blocks else "What each stage of learning brought"
        blocks.append(Table(["learned", *figures, "answers"], rows, title=title, note=note))
    return blocks


def _learning(report: Report) -> list[Block]:
    blocks: list[Block] = []
    for one in report.get("learned") or []:
        series = [
            Series(name, [(row["step"], row[key]) for row in one.get("rows", []) if row.get(key) is not None])
            for key, name in (("loss", "train"), ("validation", "dev"))
        ]
        shown = [each for each in series if len(each.points) > 1]
        if shown:
            blocks.append(LinePlot(shown, "step", "loss", title=f"Learning: {one['stage']}"))
    return blocks


def _ranker(report: Report) -> list[Block]:
    found = report.get("ranker")
    if not found:
        return []
    rows: list[tuple[str, Cell]] = [(name, value) for name, value in found["weights"].items()]
    critic = report.get("critic") or {}
    rows += [("critic", critic.get("reason"))] if critic.get("reason") else []
    note = f"Log-odds for each unit of a part; {found['reason']}. Confidence: {found['calibration']}."
    return [Facts(rows, title="How candidates are weighed", note=note)]


def _sizes(report: Report) -> list[Block]:
    sizes = report.get("sizes")
    return [Facts([(name, count) for name, count in sizes.items()], title="Texts",
                  note="known: other texts of prompts that were learned from.")] if sizes else []  # fmt: skip


def _synthesized(report: Report) -> list[Block]:
    made = report.get("made")
    if not made:
        return []
    traces, prompts, texts = made["traces"], made["prompts"], made["originals"]
    facts: list[tuple[str, Cell]] = [
        ("prompts", prompts["count"]), ("of these variations", prompts["variations"]), ("texts", texts["count"]),
        ("rewritten texts", traces["asked"]), ("kept as pairs", traces["kept"]),
        *((f"left out: {kind}", count) for kind, count in traces["dropped"].items()),
        ("result that another prompt gives too", _percent(traces["ambiguous"])),
        ("clusters of prompts", made["clusters"]["count"]), ("the largest one, prompts", made["clusters"]["largest"]),
        (f"highest likeness over the splits ({made['space']})", made["nearest"]), ("leaks", made["leaks"]),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [name, counts["train"], counts["dev"], counts["test"]] for name, counts in made["categories"].items()
    ]
    return [
        Facts(facts, title="Pairs"),
        Table(["intent", "train", "dev", "test"], rows, title="Where they lie",
              note="Prompts that say nearly the same are in one cluster, and a cluster is in one split."),
    ]  # fmt: skip


def _missing(report: Report) -> list[Block]:
    sets = [(None, report["missing"])] if report.get("missing") else []
    sets += [(test["name"], test["missing"]) for test in report.get("tests") or [] if test.get("missing")]
    rows: list[list[Cell]] = []
    for name, one in sets:
        why = [("no answer", one["no_answer"]), ("no prompt", one["no_prompt"]), ("no score", one["unscored"])]
        rows += [
            [*([name] if name else []), f"{what}: {kind}", count, one["such_as"][kind]]
            for what, kinds in why
            for kind, count in kinds.items()
        ]
    if not rows:
        return []
    asked = ", ".join(f"{f'{name}: ' if name else ''}{one['asked']:,}" for name, one in sets)
    note = (f"Answers asked for: {asked}. no answer: calls that failed; no prompt: answers that are none; no score: "
            "prompts for some of whose texts a part could not be told.")  # fmt: skip
    heads = [*(["tested on"] if sets[0][0] else []), "what", "how many", "such as"]
    return [Table(heads, rows, title="What did not come", note=note)]


def _examples(report: Report) -> list[Block]:
    found: Sequence[Report] = report.get("examples") or next(
        (test["examples"] for test in report.get("tests") or [] if test.get("examples")), []
    )
    blocks: list[Block] = []
    for at, one in enumerate(found):
        told = one["candidates"][0]["prompt"] if one["candidates"] and not one["abstained"] else "cannot tell"
        facts: list[tuple[str, Cell]] = [
            ("recovered", told), ("confidence", one["confidence"]),
            *((f"candidate {number}", each["prompt"]) for number, each in enumerate(one["candidates"][1:], 2)),
        ]  # fmt: skip
        if one["prompt"] is not None:
            facts.insert(1, ("true prompt", one["prompt"]))
        blocks.append(Facts(facts, title="Examples" if not at else ""))
        texts = (("original", one["original"]), ("rewritten", one["rewritten"]))
        blocks += [Text(text, verbatim=True, name=name) for name, text in texts if text is not None]
    return blocks


def _warnings(report: Report) -> list[Block]:
    return [Text(line, title="Warnings" if not at else "") for at, line in enumerate(report.get("warnings") or [])]


def _interval(value: Sequence[float] | None) -> Cell:
    """On one line or two: a bracket is not broken, and short enough for five of them side by side."""
    return None if value is None else f"{value[0]:.3f} [{value[1]:.2f},\N{NO-BREAK SPACE}{value[2]:.2f}]"


def _percent(value: float | None) -> Cell:
    return None if value is None else f"{value:.0%}"
