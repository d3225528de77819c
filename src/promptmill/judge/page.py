"""The page of a panel report: the one place that knows which entry is shown how."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from promptmill.report.blocks import BarPlot, Block, Cell, Facts, Page, Table, Text, Verdict
from promptmill.report.spend import spend

Report = Mapping[str, Any]


def panel_page(report: Report) -> Page:
    """Of `panel_report`, with a name in "name" where there is one, and what it has cost where that is told."""
    names = ", ".join(judge["name"] for judge in report["judges"])
    return Page(str(report.get("name", "a panel")), f"judges {names}", [*panel_blocks(report), *spend(report)],
                craft="panel")  # fmt: skip


def panel_blocks(report: Report) -> list[Block]:
    """The report without a page around it, for crafts that show it among other things."""
    parts = (_verdict, _agreement, _judges, _criteria, _pairs, _planted, _notes)
    return list(chain.from_iterable(part(report) for part in parts))


def _verdict(report: Report) -> list[Block]:
    alpha = report["agreement"]["alpha"]
    tone = "good" if report["gate"]["passes"] else "bad"
    return [Verdict(report["verdict"], tone, alpha["value"], alpha["lo"], alpha["hi"])]  # type: ignore[arg-type]


def interval(estimate: Mapping[str, Any] | None, name: str = "value") -> str | None:
    """A figure with its interval, as "0.512 (0.430 to 0.590)"; None where it is not known."""
    if estimate is None or estimate[name] is None:
        return None
    ends = "" if estimate["lo"] is None else f" ({estimate['lo']:.3f} to {estimate['hi']:.3f})"
    return f"{estimate[name]:.3f}{ends}"


def percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"


def figures(report: Report) -> list[tuple[str, Cell]]:
    """The panel's figures, for the page and for the terminal."""
    found, panel = report["agreement"], report["panel"]
    best = report["best"]
    needed = found["needed"] if found["needed"] is not None else "no number would do"
    return [
        ("answers", f"{report['answers']:,} of {report['bases']:,} base prompts, {sum(report['planted'].values()):,} "
                    "planted ones"),
        ("Krippendorff's alpha", interval(found["alpha"])),
        ("pairs ordered alike", percent(found["same_order"])),
        ("pairs tied", percent(found["ties"])),
        ("correlation of two judges", found["correlation"]),
        ("independent judges", found["effective"]),
        ("reliability of their mean", found["reliability"]),
        (f"judges needed for {found['wanted']:g}", needed if found["reliability"] is not None else None),
        ("real above planted, panel", interval(panel["planted"], "auc")),
        ("best single judge, planted", best["by_planted"]),
        ("best single judge, agreement", best["by_agreement"]),
        ("correlation with length", panel["length"]),
    ]  # fmt: skip


def _agreement(report: Report) -> list[Block]:
    note = "Order, ties and correlations are within base prompts. Intervals by bootstrap over base prompts."
    return [Facts(figures(report), title="The panel", note=note)]


JUDGE_COLUMNS = ("judge", "readable", "mean", "spread", "at the ceiling", "repeats alike", "flips", "length")
BESIDE_COLUMNS = ("judge", "real above planted", "with the others", "alpha without it")


def judge_rows(report: Report) -> list[list[Cell]]:
    return [
        [
            judge["name"], percent(judge["readable"]), judge["mean"], judge["sd"], percent(judge["ceiling"]),
            percent((judge["repeats"] or {}).get("same_level")), percent((judge["flips"] or {}).get("share")),
            judge["length"],
        ]
        for judge in report["judges"]
    ]  # fmt: skip


def beside_rows(report: Report) -> list[list[Cell]]:
    """Each judge beside the others."""
    return [
        [judge["name"], interval(judge["planted"], "auc"), judge["with_others"], judge["alpha_without"]]
        for judge in report["judges"]
    ]


def _judges(report: Report) -> list[Block]:
    note = ("Mean and spread of the value on the scale of 1 to 5. Flips: comparisons whose winner changed with the "
            "order. Length: rank correlation with it.")  # fmt: skip
    beside = "With the others: rank correlation with their mean. Alpha without it: of the others alone."
    blocks: list[Block] = [
        Table(JUDGE_COLUMNS, judge_rows(report), title="The judges", note=note),
        Table(BESIDE_COLUMNS, beside_rows(report), note=beside),
    ]
    said = [f"{judge['name']}: {', and '.join(judge['faults'])}" for judge in report["judges"] if judge["faults"]]
    unread = [
        f"{judge['name']}: {count:,} without a score, {kind}"
        for judge in report["judges"]
        for kind, count in judge["errors"].items()
    ]
    return blocks + ([Text("\n".join([*said, *unread]), verbatim=True)] if said or unread else [])


CRITERION_COLUMNS = ("criterion", "alpha, interval", "alpha, ordinal", "alpha, nominal")
SPREAD_COLUMNS = ("criterion", "judge", "mean", "spread", "at the ceiling")


def criterion_rows(report: Report) -> list[list[Cell]]:
    return [
        [name, *(interval(alphas[scale]) for scale in ("interval", "ordinal", "nominal"))]
        for name, alphas in report["agreement"]["criteria"].items()
    ]


def _criteria(report: Report) -> list[Block]:
    spread: list[list[Cell]] = [
        [name, judge["name"], one["mean"], one["sd"], percent(one["ceiling"])]
        for name in report["criteria"]
        for judge in report["judges"]
        if (one := judge["criteria"].get(name)) is not None
    ]
    note = "Interval: on the expectations; ordinal and nominal: on the most probable levels."
    return [
        Table(CRITERION_COLUMNS, criterion_rows(report), title="The criteria", note=note),
        *([Table(SPREAD_COLUMNS, spread)] if spread else []),
    ]


PAIR_COLUMNS = ("two judges", "ordered alike", "tied", "pairs", "Spearman", "kappa", "kappa within")


def pair_rows(report: Report) -> list[list[Cell]]:
    return [
        [f"{pair['a']}, {pair['b']}", percent(pair["same_order"]), percent(pair["ties"]), pair["compared"],
         pair["spearman"], pair["kappa"], pair["kappa_within"]]
        for pair in report["agreement"]["pairs"]
    ]  # fmt: skip


def _pairs(report: Report) -> list[Block]:
    rows = pair_rows(report)
    note = "Kappa with quadratic weights, over all answers and within base prompts; the rest is within base prompts."
    return [Table(PAIR_COLUMNS, rows, title="Two by two", note=note)] if rows else []


def _planted(report: Report) -> list[Block]:
    panel = report["panel"]["planted"]
    if panel is None:
        return []
    bars = [(judge["name"], judge["planted"]["auc"]) for judge in report["judges"] if judge["planted"]]
    kinds = list(panel["kinds"])
    rows: list[list[Cell]] = [
        [name, *(found["kinds"].get(kind) for kind in kinds)]
        for name, found in [
            *((judge["name"], judge["planted"]) for judge in report["judges"] if judge["planted"]),
            ("the panel", panel),
        ]
    ]
    return [
        BarPlot([*bars, ("the panel", panel["auc"])], "share of pairs", title="Real answers above planted ones",
                note="A judge who cannot tell them apart is at 0.5."),
        Table(["judge", *(kind.replace("_", " ") for kind in kinds)], rows),
    ]  # fmt: skip


def _notes(report: Report) -> list[Block]:
    said = [*report["notes"], *(report.get("problems") or []), *(report.get("warnings") or [])]
    return [Text("\n".join(said), verbatim=True, title="To be known")] if said else []
