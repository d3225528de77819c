"""What a panel's report comes to: a verdict in words, and the gate that a panel must pass before its word counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from promptmill.settings import Strict

COIN = 0.5


class Gate(Strict, frozen=True):
    """What a panel must show. What could not be measured is no reason against it, unless it is named here."""

    min_alpha: float = Field(0.3, le=1, description="Krippendorff's alpha of the judges' values; must also be above 0")
    min_same_order: float = Field(0.6, ge=0, le=1, description="pairs ordered alike, of those decided; 0.5 is a coin")
    min_planted_auc: float = Field(0.7, ge=0, le=1, description="real answers above planted ones, by the panel's value")
    min_readable: float = Field(0.9, ge=0, le=1, description="share of answers that can be read, of each judge")
    min_bases: int = Field(2, ge=1, description="base prompts; from one nothing follows for others")
    need_planted: bool = Field(False, description="a report without planted answers does not pass")


Report = Mapping[str, Any]


def gate(report: Report, settings: Gate | None = None) -> list[str]:
    """Reasons why the panel of a report must not be believed; none: it passes."""
    settings = settings or Gate()
    reasons = [
        f"{judge['name']}: only {judge['readable']:.1%} of its answers can be read "
        f"(at least {settings.min_readable:.0%})"
        for judge in report["judges"]
        if judge["readable"] < settings.min_readable
    ]
    reasons += _agreement_reasons(report, settings)
    if report["bases"] < settings.min_bases:
        reasons.append(f"only {report['bases']} base prompt: nothing follows from it for others "
                       f"(at least {settings.min_bases})")  # fmt: skip
    planted = report["panel"]["planted"]
    if planted is None:
        if settings.need_planted:
            reasons.append("no planted answers: whether the judges can tell good from bad is unknown")
    elif planted["auc"] < settings.min_planted_auc:
        reasons.append(f"real answers are above planted ones in {planted['auc']:.1%} of pairs only "
                       f"(at least {settings.min_planted_auc:.0%})")  # fmt: skip
    elif planted["lo"] is not None and planted["lo"] <= COIN:
        reasons.append(f"they may tell real answers from planted ones by chance only: {planted['auc']:.1%} of pairs, "
                       f"95 % interval {planted['lo']:.1%} to {planted['hi']:.1%}")  # fmt: skip
    return reasons


def _agreement_reasons(report: Report, settings: Gate) -> list[str]:
    agreement = report["agreement"]
    if agreement["judges"] < 2:
        return ["fewer than two judges could be read: there is no agreement to be seen"]
    alpha, same = agreement["alpha"], agreement["same_order"]
    if alpha["value"] is None:
        return ["all scores are equal: the judges tell nothing apart"]
    reasons = []
    if alpha["value"] < settings.min_alpha:
        reasons.append(f"the judges agree too little: alpha {alpha['value']:.3f}{_interval(alpha)} "
                       f"(at least {settings.min_alpha:g})")  # fmt: skip
    elif alpha["lo"] is not None and alpha["lo"] <= 0:
        reasons.append(f"the judges' agreement may be chance: alpha {alpha['value']:.3f}{_interval(alpha)}")
    if same is not None and same < settings.min_same_order:
        reasons.append(f"they order {same:.1%} of the decided pairs alike; a coin orders 50 % "
                       f"(at least {settings.min_same_order:.0%})")  # fmt: skip
    return reasons


def _interval(estimate: Mapping[str, Any]) -> str:
    return "" if estimate["lo"] is None else f", 95 % interval {estimate['lo']:.3f} to {estimate['hi']:.3f}"


def faults(judge: Mapping[str, Any], alpha: float | None) -> list[str]:
    """What is wrong with one judge, from its entry in the report. alpha: of all judges."""
    found = []
    if judge["read"] == 0:
        return ["not one of its answers can be read"]
    if judge["sd"] == 0:
        return [f"gives every answer the same score ({judge['mean']:.2f})"]
    if (planted := judge["planted"]) is not None and planted["lo"] <= COIN:
        found.append(f"cannot tell planted answers from real ones (AUC {planted['auc']:.3f}, {planted['lo']:.3f} to "
                     f"{planted['hi']:.3f})")  # fmt: skip
    with_others, alone = judge["with_others"], judge["alpha_without"]
    # Where nobody agrees with anybody it is nobody's fault: the others must be better off without it.
    if with_others is not None and with_others < 0.1 and alone is not None and alone > max(0.2, (alpha or 0) + 0.05):
        found.append(f"does not order answers as the others do (Spearman {with_others:.3f})")
    if (judge["ceiling"] or 0) > 0.9:
        found.append(f"puts {judge['ceiling']:.0%} of the answers at the ceiling")
    if (flips := judge["flips"]) is not None and flips["share"] > COIN:
        found.append(f"changes its mind with the order in {flips['share']:.0%} of the comparisons")
    return found


def verdict(report: Report, reasons: list[str]) -> str:
    """One or two sentences on the whole."""
    broken = [judge for judge in report["judges"] if judge["faults"]]
    named = "; ".join(f"{judge['name']} {', and '.join(judge['faults'])}" for judge in broken)
    better = _without(report, broken[0]) if len(broken) == 1 else ""
    if not reasons:
        alpha = report["agreement"]["alpha"]
        sentence = f"The panel may be believed: alpha {alpha['value']:.3f}{_interval(alpha)}"
        if (planted := report["panel"]["planted"]) is not None:
            sentence += f", real answers above planted ones in {planted['auc']:.1%} of pairs"
        if planted is None:
            sentence += "; whether its judges are right is not shown, for there are no planted answers"
        return f"{sentence}." + (f" But {named}{better}." if broken else "")
    return "The panel must not be believed: " + "; ".join(reasons) + "." + (f" {named}{better}." if broken else "")


def _without(report: Report, judge: Mapping[str, Any]) -> str:
    alone, now = judge["alpha_without"], report["agreement"]["alpha"]["value"]
    if alone is None or (now is not None and alone <= now):
        return ""
    return f"; without {judge['name']} the others' alpha is {alone:.3f}"
