"""The panel report: what a table of scores shows of its judges, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from promptmill.judge import agreement
from promptmill.judge.agreement import Estimate, Floats
from promptmill.judge.cube import Cube, cube_of, rows_by_judge
from promptmill.judge.rubric import HIGHEST
from promptmill.judge.verdict import Gate, faults, gate, verdict

if TYPE_CHECKING:
    import pyarrow as pa

WANTED = 0.8
CEILING = 0.99
"""An expectation within so much of the highest level (of the way from the lowest) is at the ceiling."""
LITTLE = 20
"""Fewer base prompts than this make intervals that are too narrow to be trusted."""


def panel_report(
    scores: pa.Table,
    *,
    criteria_weights: Mapping[str, float] | None = None,
    judge_weights: Mapping[str, float] | None = None,
    preferences: pa.Table | None = None,
    settings: Gate | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The report of a table with `scores_schema` (and one with `preferences_schema`).

    Weights that are not given are 1. What is not known (no planted answers, one judge, no spread) is None. InputError
    for a table without rows.
    """
    settings = settings or Gate()
    cube = cube_of(scores, criteria_weights)
    weights = np.array([(judge_weights or {}).get(name, 1.0) for name in cube.judges])
    report: dict[str, Any] = {
        "rows": scores.num_rows,
        "answers": int(cube.real.sum()),
        "bases": len(cube.bases),
        "planted": {kind: int((cube.planted == at).sum()) for at, kind in enumerate(cube.kinds)},
        "criteria": cube.criteria,
        "agreement": _agreement(cube, seed),
        "judges": _judges(cube, rows_by_judge(scores, cube.judges), _flips(preferences), seed),
    }
    panel = _panel_value(cube.value, weights)
    report["panel"] = _one_judge(cube, panel, seed)
    report["weights"] = {
        "judges": dict(zip(cube.judges, weights.tolist(), strict=True)),
        "criteria": {name: (criteria_weights or {}).get(name, 1.0) for name in cube.criteria},
    }
    report["best"] = _best(report["judges"])
    for judge in report["judges"]:
        judge["faults"] = faults(judge, report["agreement"]["alpha"]["value"])
    report["notes"] = _notes(report)
    reasons = gate(report, settings)
    report["gate"] = {"passes": not reasons, "reasons": reasons, "settings": settings.model_dump()}
    report["verdict"] = verdict(report, reasons)
    return report


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _estimate(found: Estimate) -> dict[str, Any]:
    return {"value": _known(found.value), "lo": _known(found.lo), "hi": _known(found.hi), "n": found.n}


def _agreement(cube: Cube, seed: int) -> dict[str, Any]:
    """Of the judges on real answers."""
    real = cube.real
    value, base, group = cube.value[real], cube.base[real], cube.group[real]
    judges = [at for at in range(len(cube.judges)) if not np.isnan(value[:, at]).all()]
    vary = [at for at in judges if np.nanstd(value[:, at]) > 1e-9]
    between = np.nan_to_num(agreement.correlations(value[:, vary], group), nan=0.0)
    apart = between[np.triu_indices(len(vary), 1)]
    # A judge who always says the same correlates with nobody: it belongs to the panel's mean all the same.
    pairs = len(judges) * (len(judges) - 1) // 2
    mean = float(apart.sum()) / pairs if pairs else math.nan
    found = _pairs(cube, judges)
    return {
        "judges": len(judges),
        "alpha": _estimate(agreement.krippendorff_alpha(value, base, seed=seed)),
        "criteria": {name: _criterion(cube, at, seed) for at, name in enumerate(cube.criteria)},
        "pairs": found,
        "same_order": _mean([pair["same_order"] for pair in found]),
        "ties": _mean([pair["ties"] for pair in found]),
        "compared": sum(pair["compared"] for pair in found),
        "correlation": _known(mean),
        "effective": agreement.effective_judges(between) if vary else None,
        "reliability": agreement.reliability(mean, len(judges)) if pairs else None,
        "wanted": WANTED,
        "needed": agreement.judges_needed(mean, WANTED) if pairs else None,
    }


def _criterion(cube: Cube, at: int, seed: int) -> dict[str, Any]:
    real = cube.real
    base = cube.base[real]
    expected = agreement.krippendorff_alpha(cube.expected[real, :, at], base, seed=seed)
    levels = np.round(cube.level[real, :, at])
    return {
        "interval": _estimate(expected),
        "ordinal": _estimate(agreement.krippendorff_alpha(levels, base, "ordinal", seed)),
        "nominal": _estimate(agreement.krippendorff_alpha(levels, base, "nominal", seed)),
    }


def _pairs(cube: Cube, judges: list[int]) -> list[dict[str, Any]]:
    """Each two judges: kappa on their levels, rank correlation and order of their values, within base prompts."""
    real = cube.real
    value, group = cube.value[real], cube.group[real]
    order = agreement.orders(value, group)
    found = []
    for at, j in enumerate(judges):
        for k in judges[at + 1 :]:
            both = np.nonzero(cube.asked[j] & cube.asked[k])[0]
            x, y = (np.round(cube.level[real][:, judge, both]).T.reshape(-1) for judge in (j, k))
            stacked = np.concatenate([group[:0], *(group + c * (int(group.max()) + 1) for c in range(len(both)))])
            same, ties, pairs = order[j, k]
            found.append({
                "a": cube.judges[j], "b": cube.judges[k],
                "kappa": _known(agreement.quadratic_kappa(x, y)),
                "kappa_within": _known(agreement.quadratic_kappa(x, y, stacked)),
                "spearman": _known(agreement.spearman(value[:, j], value[:, k], group)),
                "same_order": _known(same), "ties": _known(ties), "compared": pairs,
            })  # fmt: skip
    return found


def _judges(
    cube: Cube, told: list[dict[str, Any]], flips: Mapping[str, dict[str, Any]], seed: int
) -> list[dict[str, Any]]:
    real = cube.real
    value, base, group = cube.value[real], cube.base[real], cube.group[real]
    found = []
    for at, name in enumerate(cube.judges):
        others = np.delete(value, at, axis=1)
        one = _one_judge(cube, cube.value[:, at], seed)
        alone = agreement.krippendorff_alpha(others, base, seed=seed) if others.shape[1] > 1 else agreement.UNKNOWN
        found.append({
            "name": name, **told[at], **one,
            "criteria": {cube.criteria[c]: _spread(cube.expected[real, at, c]) for c in np.nonzero(cube.asked[at])[0]},
            "with_others": _known(agreement.spearman(value[:, at], _row_mean(others), group)),
            "alpha_without": _known(alone.value),
            "repeats": _repeats(cube.repeated.get(name), seed),
            "flips": flips.get(name),
        })  # fmt: skip
    return found


def _one_judge(cube: Cube, value: Floats, seed: int) -> dict[str, Any]:
    """What can be said of one value per answer, a judge's or the panel's."""
    real = cube.real
    length = agreement.spearman(value[real], cube.length[real], cube.group[real])
    spread = _spread(1 + 4 * value[real])
    return spread | {"length": _known(length), "planted": _planted(cube, value, seed)}


def _spread(expected: Floats) -> dict[str, Any]:
    known = expected[~np.isnan(expected)]
    if not len(known):
        return {"mean": None, "sd": None, "ceiling": None}
    sd = float(known.std())
    top = known >= HIGHEST - (1 - CEILING) * 4
    return {"mean": float(known.mean()), "sd": sd if sd > 1e-9 else 0.0, "ceiling": float(top.mean())}


def _planted(cube: Cube, value: Floats, seed: int) -> dict[str, Any] | None:
    """How often a real answer is above a planted one of its base prompt, in all and by kind. None without any."""
    if not cube.kinds:
        return None
    whole = agreement.ranked_above(value, cube.real, cube.group, cube.base, seed)
    if math.isnan(whole.value):
        return None
    kinds: dict[str, float | None] = {}
    for at, kind in enumerate(cube.kinds):
        chosen = cube.real | (cube.planted == at)
        one = agreement.ranked_above(value[chosen], cube.real[chosen], cube.group[chosen], cube.base[chosen], seed)
        kinds[kind] = _known(one.value)
    lo, hi = (_known(end) for end in (whole.lo, whole.hi))
    # From one base prompt no interval follows: it is as wide as can be.
    return {"auc": whole.value, "lo": 0.0 if lo is None else lo, "hi": 1.0 if hi is None else hi, "pairs": whole.n,
            "kinds": kinds}  # fmt: skip


def _repeats(table: Floats | None, seed: int) -> dict[str, Any] | None:
    """The same judge asked the same again: alpha between its own answers, and how often they name one level."""
    if table is None:
        return None
    again = ~np.isnan(table[:, :2]).any(axis=1)
    alike = np.round(table[again, 0]) == np.round(table[again, 1])
    alpha = agreement.krippendorff_alpha(table, seed=seed)
    return {"alpha": _known(alpha.value), "same_level": float(alike.mean()), "questions": int(again.sum())}


def _flips(preferences: pa.Table | None) -> dict[str, dict[str, Any]]:
    """By judge: the share of pairs whose winner changed with the order, of those that could be read."""
    if preferences is None or not preferences.num_rows:
        return {}
    found: dict[str, list[bool]] = {}
    for row in preferences.select(["validator", "flipped"]).to_pylist():
        if row["flipped"] is not None:
            found.setdefault(row["validator"], []).append(row["flipped"])
    return {name: {"share": sum(these) / len(these), "compared": len(these)} for name, these in found.items()}


def _panel_value(value: Floats, weights: Floats) -> Floats:
    """The weighted mean over the judges who could be read, [items]; NaN where none was."""
    read = ~np.isnan(value)
    total = (read * weights).sum(axis=1)
    sums = (np.nan_to_num(value) * weights).sum(axis=1)
    return np.where(total > 0, sums / np.where(total > 0, total, 1), np.nan)


def _row_mean(values: Floats) -> Floats:
    return _panel_value(values, np.ones(values.shape[1]))


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _best(judges: list[dict[str, Any]]) -> dict[str, str | None]:
    """The best single judge, beside which a panel must stand: by planted answers, and by what the others say."""
    by_planted = [(judge["planted"]["auc"], judge["name"]) for judge in judges if judge["planted"]]
    by_others = [(judge["with_others"], judge["name"]) for judge in judges if judge["with_others"] is not None]
    return {"by_planted": max(by_planted)[1] if by_planted else None,
            "by_agreement": max(by_others)[1] if by_others else None}  # fmt: skip


def _notes(report: Mapping[str, Any]) -> list[str]:
    """What limits these figures."""
    notes = []
    if report["bases"] == 1:
        notes.append("there is one base prompt: no interval can be given, and nothing follows for others")
    elif report["bases"] < LITTLE:
        notes.append(f"there are {report['bases']} base prompts: with so few the intervals are too narrow")
    if len(report["judges"]) < 3:
        notes.append("with fewer than three judges nobody can be outvoted")
    if not report["planted"]:
        notes.append("there are no planted answers: judges may agree and all be wrong")
    if not report["agreement"]["compared"]:
        notes.append("no base prompt has two answers that two judges have scored: their order cannot be compared")
    best, panel = report["best"]["by_planted"], report["panel"]["planted"]
    if best is not None and panel is not None:
        alone = next(judge["planted"]["auc"] for judge in report["judges"] if judge["name"] == best)
        if alone > panel["auc"]:
            notes.append(f"{best} alone tells planted answers from real ones better than the panel "
                         f"(AUC {alone:.3f} against {panel['auc']:.3f})")  # fmt: skip
    return notes
