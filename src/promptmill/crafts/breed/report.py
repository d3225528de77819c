"""What a breed reports: the best prompt, the proof, and how it was found."""

from __future__ import annotations

from typing import Any

from promptmill.crafts.breed.evolve import Breeder, Breeding
from promptmill.crafts.breed.unit import Unit
from promptmill.measure.compare import Comparison, compare_paired
from promptmill.measure.evaluate import Evaluation


def proof(breeder: Breeder, found: Breeding) -> Comparison | None:
    """Best against seed on the test examples; None where the best is the seed itself."""
    if found.best.id == 0 or not all(evaluation.stats for evaluation in found.test.values()):
        return None
    return compare_paired(found.test[0].stats, found.test[found.best.id].stats, breeder.task.scorer)


def verdict(found: Breeding, compared: Comparison | None) -> str:
    """One sentence; a gain is claimed only where the test shows it."""
    if any(evaluation.stopped for evaluation in [*found.finalists.values(), *found.test.values()]):
        return "not proved: the budget ended before all dev and test examples were answered"
    if found.best.id == 0:
        return "no improvement: no prompt was better than the seed on dev"
    if compared is None:
        return "not proved: too few test examples were answered"
    gain = f"{compared.gain:+.3f}, 95 % interval {compared.lo:+.3f} to {compared.hi:+.3f}, p = {compared.p:.2g}"
    if compared.verdict == "better":
        return f"improved: {gain} on {compared.n} test examples"
    if compared.verdict == "worse":
        return f"no improvement: what was best on dev is worse on {compared.n} test examples: {gain}"
    return f"no improvement shown on {compared.n} test examples: {gain}"


def report(breeder: Breeder, found: Breeding) -> dict[str, Any]:
    """report.json."""
    compared = proof(breeder, found)
    ledger = breeder.model.ledger
    seed_dev, best_dev = found.finalists[0], found.finalists.get(found.best.id)
    return {
        "craft": "breed",
        "task": breeder.task.name,
        "model": breeder.model.name,
        "writer": breeder.writer.name,
        "seed_prompt": breeder.seed_prompt.to_dict(),
        "best_prompt": found.best.prompt.to_dict(),
        "verdict": verdict(found, compared),
        "dev": {"seed": seed_dev.score, "best": best_dev.score if best_dev else None, "n": len(breeder.dev)},
        "test": _test(found, compared),
        "stopped": found.stopped,
        "operators": operators(breeder),
        "lineage": [_brief(unit, breeder) for unit in lineage(found.best, found.units)],
        **ledger.summary(),
        "failures": dict(sorted(ledger.failures.items())),
    }


def _test(found: Breeding, compared: Comparison | None) -> dict[str, Any]:
    seed, best = found.test[0], found.test[found.best.id]
    row: dict[str, Any] = {"seed": seed.score, "best": best.score, "n": best.examples}
    if compared is None:
        same = found.best.id == 0
        return row | {"gain": 0.0 if same else None, "lo": None, "hi": None, "p": 1.0 if same else None}
    return row | {"n": compared.n, "seed": compared.score_a, "best": compared.score_b, "gain": compared.gain,
                  "lo": compared.lo, "hi": compared.hi, "p": compared.p, "wins": compared.wins,
                  "losses": compared.losses}  # fmt: skip


def lineage(unit: Unit, units: list[Unit]) -> list[Unit]:
    """From the seed prompt down to `unit`."""
    line = [unit]
    while line[-1].parent is not None:
        line.append(units[line[-1].parent])
    return line[::-1]


def operators(breeder: Breeder) -> dict[str, dict[str, int]]:
    """By operator: children asked for, measured, and fitter than their parent on the examples that both have seen."""
    table: dict[str, dict[str, int]] = {}
    scorer = breeder.task.scorer
    for unit in breeder.units[1:]:
        row = table.setdefault(unit.operator, {"children": 0, "measured": 0, "better": 0})
        row["children"] += 1
        if unit.seen and unit.parent is not None:
            parent = breeder.units[unit.parent]
            both = [key for key in unit.seen if key in parent.seen]
            if both:
                row["measured"] += 1
                row["better"] += (unit.fitness(scorer, both) or 0.0) > (parent.fitness(scorer, both) or 0.0)
    return dict(sorted(table.items()))


def _brief(unit: Unit, breeder: Breeder) -> dict[str, Any]:
    return {"id": unit.id, "operator": unit.operator, "drawn": unit.drawn, "born": unit.born,
            "fitness": unit.fitness(breeder.task.scorer), "instruction": unit.prompt.instruction}  # fmt: skip


def evaluations(found: Breeding) -> list[tuple[str, Unit, Evaluation]]:
    """(split, unit, evaluation) of all that met on dev and test, for the table at the end."""
    rows = [("dev", found.units[key], value) for key, value in found.finalists.items()]
    return rows + [("test", found.units[key], value) for key, value in found.test.items()]
