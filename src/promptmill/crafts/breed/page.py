"""The page of a breed, from its report: the one place that knows which entry is shown how.

Every part is left out where the report has nothing for it, so that older reports, and searches that note less, have a
page too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from promptmill.prompt import PARTS
from promptmill.report.blocks import (
    Block,
    Cell,
    Examples,
    Facts,
    LinePlot,
    Page,
    Series,
    Shown,
    Step,
    Table,
    Text,
    Tone,
    Tree,
    Verdict,
    WordDiff,
)
from promptmill.report.spend import spend

Report = Mapping[str, Any]


def breed_page(report: Report) -> Page:
    parts = (_verdict, _scores, _prompts, _finalists, _history, _lineage, _operators, _mutation_prompts, _examples)
    blocks = chain.from_iterable(part(report) for part in (*parts, spend, _warnings))
    model, writer = report.get("model"), report.get("writer")
    who = f"model {model}" if model else ""
    who += f", prompts written by {writer}" if writer and writer != model else ""
    return Page(str(report.get("task", "")), who, list(blocks), craft="breed")


def _verdict(report: Report) -> list[Block]:
    sentence = str(report.get("verdict", ""))
    if not sentence:
        return []
    test = report.get("test") or {}
    tone: Tone = "good" if sentence.startswith("improved") else "bad" if "is worse" in sentence else "open"
    where = "The gain over the seed prompt on test examples that the search never saw, with its 95 % interval."
    value, lo, hi = (test.get(key) for key in ("gain", "lo", "hi"))
    if lo is None and report.get("closest"):
        value, lo, hi = (report["closest"][key] for key in ("gain", "lo", "hi"))
        where = "What the best other prompt gained over the seed prompt on dev examples, with its 95 % interval."
    note = where if None not in (value, lo, hi) else ""
    return [Verdict(sentence[:1].upper() + sentence[1:], tone, value, lo, hi, note=note)]


def _scores(report: Report) -> list[Block]:
    test, dev = report.get("test") or {}, report.get("dev") or {}
    rows: list[tuple[str, Cell]] = [
        ("test, seed prompt", test.get("seed")),
        ("test, best prompt", test.get("best")),
        ("test examples", test.get("n")),
        ("examples gained, lost", _two(test.get("wins"), test.get("losses"))),
        ("dev, seed prompt", dev.get("seed")),
        ("dev, best prompt", dev.get("best")),
        ("dev examples", dev.get("n")),
        ("p", f"{test['p']:.2g}" if test.get("p") is not None else None),
    ]
    known = [(label, value) for label, value in rows if value is not None]
    return [Facts(known)] if known else []


def _two(a: int | None, b: int | None) -> str | None:
    return None if a is None or b is None else f"{a:,}, {b:,}"


def _prompts(report: Report) -> list[Block]:
    seed, best = report.get("seed_prompt"), report.get("best_prompt")
    if not best:
        return []
    if not seed or seed == best:
        parts = [part for part in PARTS if best.get(part)]
        title = "The prompt, as it was" if seed else "The best prompt"
        shown = [Text(best[part], verbatim=True, name=part, title=title if part == parts[0] else "") for part in parts]
        return [*shown, *_demos(best)]
    blocks: list[Block] = []
    for part in PARTS:
        before, after = seed.get(part, ""), best.get(part, "")
        if before != after:
            title = "" if blocks else "The prompt"
            names = (f"seed prompt, {part}", f"best prompt, {part}")
            blocks.append(WordDiff(before, after, names, title=title))
    return [*blocks, *_demos(best)]


def _demos(prompt: Report) -> list[Block]:
    demos = prompt.get("demos") or []
    if not demos:
        return []
    fields = list(demos[0]["fields"])
    rows = [[*(demo["fields"].get(name) for name in fields), demo["answer"]] for demo in demos]
    return [Table([*fields, "answer"], rows, title="Worked examples in the best prompt")]


def _finalists(report: Report) -> list[Block]:
    met = report.get("finalists") or []
    if len(met) < 2:
        return []
    best = (report.get("lineage") or [{}])[-1].get("id")
    rows = [[row["operator"], row["dev"], row["test"], row.get("tokens"), row["instruction"]] for row in met]
    strong = [at for at, row in enumerate(met) if row["id"] == best]
    return [Table(["found by", "dev", "test", "tokens", "instruction"], rows, strong, title="Finalists",
                  note="The best on dev is proved on test; the others were not asked there.")]  # fmt: skip


def _history(report: Report) -> list[Block]:
    history, tried = report.get("history") or [], report.get("tried") or {}
    known = [row for row in history if (row.get("elite") or {}).get("fitness") is not None]
    if len(known) < 2:
        return []
    series = [Series("the best at that time", [(row["calls"], row["elite"]["fitness"]) for row in known], "steps")]
    mean = [(row["calls"], row["mean"]) for row in history if row.get("mean") is not None]
    if mean:
        series.append(Series("mean of the population", mean))
    dots = [(p["calls"], p["fitness"]) for p in tried.get("points") or [] if p["fitness"] is not None]
    note = "On train examples, by which the search decides; its best is measured on new ones again and again."
    if dots:
        series.append(Series("prompts tried", dots, "dots"))
        note += (
            f" A dot is a prompt that was asked {tried['at_least']:,} examples or more, of {tried['units']:,} prompts."
        )
    return [LinePlot(series, "calls", "score on train examples", (0.0, 1.0), title="The search", note=note)]


def _lineage(report: Report) -> list[Block]:
    line: Sequence[Report] = report.get("lineage") or []
    if len(line) < 2:
        return []
    root: Step | None = None
    for row in reversed(line):
        last = root is None
        values: list[tuple[str, Cell]] = [("train", row.get("fitness"))]
        if row.get("seen") is not None:
            values.append(("examples", row["seen"]))
        label = "seed prompt" if row["operator"] == "seed" else row["operator"]
        if row.get("chain") is not None:
            values.append(("worked chain", "with" if row["chain"] else "without"))
        root = Step(label, row["instruction"], values, strong=last, children=[root] if root else [])
    assert root is not None
    return [Tree(root, title="How the best prompt came about",
                 note="From the seed prompt down; words that a step brought are marked.")]  # fmt: skip


def _operators(report: Report) -> list[Block]:
    table: Mapping[str, Report] = report.get("operators") or {}
    order = sorted(table, key=lambda name: (-table[name].get("better", 0), -table[name].get("measured", 0), name))
    keys = [key for key in ("children", "measured", "better") if any(key in row for row in table.values())]
    if not order or not keys:
        return []
    credit: Mapping[str, Report] = report.get("credit") or {}
    rows: list[list[Cell]] = [[name, *(table[name].get(key) for key in keys)] for name in order]
    names = {"children": "children", "measured": "measured", "better": "better than their parent"}
    heads = ["operator", *(names[key] for key in keys)]
    if any(name in credit for name in order):
        heads.append("credit")
        rows = [[*row, credit.get(str(row[0]), {}).get("credit")] for row in rows]
    note = "Credit: the share of better children that the search expects of an operator by now." if credit else ""
    return [Table(heads, rows, title="Operators", note=note)]


def _mutation_prompts(report: Report) -> list[Block]:
    paid = report.get("mutation_prompts") or []
    if not paid:
        return []
    rows = [[row["text"], row["measured"], row["better"]] for row in paid]
    return [Table(["words given to the writer", "measured", "better than their parent"], rows,
                  title="Mutation prompts that paid")]  # fmt: skip


def _examples(report: Report) -> list[Block]:
    found = report.get("examples") or {}
    test = report.get("test") or {}
    groups = {
        _heading("Gained", found.get("gained"), test.get("wins")): _shown(found.get("gained")),
        _heading("Lost", found.get("lost"), test.get("losses")): _shown(found.get("lost")),
    }
    if not any(groups.values()):
        return []
    return [Examples(groups, ("seed prompt", "best prompt"), title="Test examples gained and lost")]


def _heading(name: str, rows: Sequence[Report] | None, of: int | None) -> str:
    shown = len(rows or ())
    return f"{name}: {shown:,} of {of:,}" if of is not None and of > shown else f"{name}: {shown:,}"


def _shown(rows: Sequence[Report] | None) -> list[Shown]:
    return [Shown(row["input"], row["gold"], row["after"], row["before"]) for row in rows or ()]


def _warnings(report: Report) -> list[Block]:
    said = [report["stopped"]] if report.get("stopped") else []
    said += report.get("warnings") or []
    return [Text("\n".join(said), verbatim=True, title="To be known")] if said else []
