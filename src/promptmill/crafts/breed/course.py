"""How a breed went, for its report: fitness by calls, who met on dev, which words paid, examples gained and lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from promptmill.crafts.breed.breeder import Breeder, Breeding
from promptmill.crafts.breed.unit import Unit
from promptmill.measure.examples import Tried, changed

PAID = 10
"""Mutation prompts that are told at most."""


def course(breeder: Breeder, found: Breeding, line: Sequence[Unit]) -> dict[str, Any]:
    """Parts of report.json. line: the units from the seed prompt to the best one."""
    return {
        "history": [_brief(row) for row in found.history],
        "tried": _tried(breeder, found, line),
        "finalists": _finalists(found),
        "mutation_prompts": _paid(breeder, found.units),
        "examples": _examples(breeder, found),
    }


def better(breeder: Breeder, unit: Unit) -> bool | None:
    """Whether the search found a unit better than its parent; where it has not said, whether it is fitter on the
    examples that both have seen; None where there are none."""
    if unit.better is not None or unit.parent is None:
        return unit.better
    parent, scorer = breeder.units[unit.parent], breeder.task.scorer
    both = [key for key in unit.seen if key in parent.seen]
    if not both:
        return None
    return (unit.fitness(scorer, both) or 0.0) > (parent.fitness(scorer, both) or 0.0)


def _brief(row: dict[str, Any]) -> dict[str, Any]:
    """A line of the history without its texts, which stand in the lineage."""
    return row | {"elite": {key: value for key, value in row["elite"].items() if key != "instruction"}}


def _tried(breeder: Breeder, found: Breeding, line: Sequence[Unit]) -> dict[str, Any]:
    """Fitness of the units that are known well enough to be shown beside the winner's line: by half as many examples.

    calls: spent when the round in which a unit was born had ended.
    """
    after = {row.get("round", row.get("generation")): row["calls"] for row in found.history}
    least = max(1, min((len(unit.seen) for unit in line if unit.seen), default=0) // 2)
    known = [unit for unit in found.units if len(unit.seen) >= least and unit.born in after]
    points = [
        {"id": unit.id, "calls": after[unit.born], "fitness": unit.fair_fitness(breeder.task.scorer)} for unit in known
    ]
    return {"at_least": least, "units": len(found.units), "points": points}


def _finalists(found: Breeding) -> list[dict[str, Any]]:
    rows = []
    for key, evaluation in found.finalists.items():
        unit, test = found.units[key], found.test.get(key)
        rows.append({"id": key, "operator": unit.operator, "dev": evaluation.score, "tokens": round(unit.tokens),
                     "test": test.score if test else None, "instruction": unit.words})  # fmt: skip
    return sorted(rows, key=lambda row: -(row["dev"] or 0.0))


def _paid(breeder: Breeder, units: Sequence[Unit]) -> list[dict[str, Any]]:
    """By the words that were drawn (a mutation prompt, a thinking style): children measured, and better than their
    parent; those that brought any."""
    table: dict[str, dict[str, Any]] = {}
    for unit in units:
        won = better(breeder, unit) if unit.drawn else None
        if won is not None:
            row = table.setdefault(unit.drawn, {"text": unit.drawn, "measured": 0, "better": 0})
            row["measured"] += 1
            row["better"] += won
    paid = [row for row in table.values() if row["better"]]
    return sorted(paid, key=lambda row: (-row["better"], row["measured"]))[:PAID]


def _examples(breeder: Breeder, found: Breeding) -> dict[str, Any] | None:
    """Of the test examples; None where the best prompt is the seed, or nothing was proved."""
    if found.best.id == 0 or not found.test:
        return None
    seed, best = (Tried(found.test[key], found.said[key]) for key in (0, found.best.id))
    return changed(breeder.test, seed, best)
