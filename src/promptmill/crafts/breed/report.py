"""What a breed reports: the best prompt, the proof, and how it was found."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from promptmill.crafts.breed.breeder import Breeder, Breeding
from promptmill.crafts.breed.course import better, course
from promptmill.crafts.breed.unit import Unit
from promptmill.measure.compare import Comparison, compare_paired
from promptmill.measure.evaluate import Evaluation
from promptmill.model.budget import Budget, Spend
from promptmill.prompt import Prompt
from promptmill.score.scorer import corpus_score


def proof(breeder: Breeder, found: Breeding) -> Comparison | None:
    """Best against seed on the test examples that both answered; None where the best is the seed, or nothing was."""
    if found.best.id == 0 or not found.test:
        return None
    compared = compare_paired(found.test[0].stats, found.test[found.best.id].stats, breeder.task.scorer)
    return compared if compared.n else None


def closest(breeder: Breeder, found: Breeding) -> Comparison | None:
    """Where the seed was kept: of the other prompts the one that came closest to it on dev, or beat it by nothing that
    counts; None where there was none."""
    if found.best.id or not found.finalists:
        return None
    seed = found.finalists[0].stats
    others = [compare_paired(seed, one.stats, breeder.task.scorer) for id, one in found.finalists.items() if id]
    return max((one for one in others if one.n), key=lambda one: one.gain, default=None)


def verdict(found: Breeding, compared: Comparison | None, close: Comparison | None) -> str:
    """One sentence; a gain is claimed only where the test shows it."""
    if not found.test:
        return f"not proved: {found.stopped} before dev and test examples were answered"
    if any(evaluation.stopped for evaluation in [*found.finalists.values(), *found.test.values()]):
        return "not proved: the budget ended before all dev and test examples were answered"
    if not found.finalists[0].stats:
        return "not proved: the seed prompt got no answer on dev"
    if found.best.id == 0:
        said = "no improvement: no prompt was better than the seed on dev"
        if close is None:
            return f"{said}; no other came so far"
        return f"{said}; the best other: {_gain(close)} on {close.n} dev examples"
    if compared is None:
        return "not proved: no test example was answered under both prompts"
    gain = _gain(compared)
    if compared.verdict == "better":
        return f"improved: {gain} on {compared.n} test examples"
    if compared.verdict == "worse":
        return f"no improvement: what was best on dev is worse on {compared.n} test examples: {gain}"
    return f"no improvement shown on {compared.n} test examples: {gain}"


def _gain(compared: Comparison) -> str:
    return f"{compared.gain:+.3f}, 95 % interval {compared.lo:+.3f} to {compared.hi:+.3f}, p = {compared.p:.2g}"


def report(breeder: Breeder, found: Breeding) -> dict[str, Any]:
    """report.json. best_prompt is what was best on dev, or the seed prompt where test shows that to be worse."""
    compared, close = proof(breeder, found), closest(breeder, found)
    ledger = breeder.model.ledger
    worse = compared is not None and compared.verdict == "worse"
    best = found.units[0].prompt if worse else found.best.prompt
    line = lineage(found.best, found.units)
    return {
        "craft": "breed",
        "task": breeder.task.name,
        "model": breeder.model.name,
        "writer": breeder.writer.name,
        "seed_prompt": _in_turns(breeder, found.units[0].prompt).to_dict(),
        "best_prompt": _in_turns(breeder, best).to_dict(),
        "verdict": verdict(found, compared, close),
        "dev": _dev(breeder, found),
        "closest": {key: getattr(close, key) for key in ("gain", "lo", "hi", "p", "n")} if close else None,
        "test": _test(found, compared),
        "stopped": found.stopped,
        "ended": breeder.ended,
        "halted": breeder.halted_by is not None,
        "asked": breeder.asked,
        "credit": dict(breeder.credit()),
        "operators": operators(breeder),
        "lineage": [_brief(unit, breeder) for unit in line],
        **course(breeder, found, line),
        **ledger.summary(),
        "failures": dict(sorted(ledger.failures.items())),
        "budget": {"limits": asdict(ledger.budget), "proof": asdict(found.proof), "sunk": asdict(breeder.sunk)},
    }


def sunk(before: dict[str, Any] | None, budget: Budget) -> Spend:
    """What earlier sessions spent on a proof, if stopped by another budget or told to end (see `Breeder`)."""
    if not before or not (before.get("stopped") or before.get("halted")):
        return Spend()
    books = before["budget"]
    gone = Spend(**books["sunk"])
    same = books["limits"] == asdict(budget) and not before.get("halted")
    return gone if same else gone.plus(Spend(**books["proof"]))


def _in_turns(breeder: Breeder, prompt: Prompt) -> Prompt:
    """The prompt as `ask` and `eval` take it."""
    return prompt if breeder.ask.form is None else breeder.ask.form.as_prompt(prompt)


def _dev(breeder: Breeder, found: Breeding) -> dict[str, Any]:
    """Scores of seed and best on the dev examples that both answered."""
    if not found.finalists:
        return {"seed": None, "best": None, "n": 0, "examples": len(breeder.dev)}
    seed, best = found.finalists[0].stats, found.finalists[found.best.id].stats
    both = [key for key in seed if key in best]
    scores = [corpus_score(breeder.task.scorer, [side[key] for key in both]) if both else None for side in (seed, best)]
    return {"seed": scores[0], "best": scores[1], "n": len(both), "examples": len(breeder.dev)}


def _test(found: Breeding, compared: Comparison | None) -> dict[str, Any]:
    if not found.test:
        return dict.fromkeys(("seed", "best", "gain", "lo", "hi", "p")) | {"n": 0, "examples": None}
    seed, best = found.test[0], found.test[found.best.id]
    if compared is None:
        same = found.best.id == 0 and seed.score is not None
        row: dict[str, Any] = {"seed": seed.score, "best": best.score, "gain": 0.0 if same else None, "lo": None,
                               "hi": None, "p": 1.0 if same else None, "n": best.answered}  # fmt: skip
        return row | {"examples": best.examples}
    return {"seed": compared.score_a, "best": compared.score_b, "gain": compared.gain, "lo": compared.lo,
            "hi": compared.hi, "p": compared.p, "n": compared.n, "examples": best.examples, "wins": compared.wins,
            "losses": compared.losses, "only_seed": compared.only_a, "only_best": compared.only_b}  # fmt: skip


def lineage(unit: Unit, units: list[Unit]) -> list[Unit]:
    """From the seed prompt down to `unit`."""
    line = [unit]
    while line[-1].parent is not None:
        line.append(units[line[-1].parent])
    return line[::-1]


def operators(breeder: Breeder) -> dict[str, dict[str, int]]:
    """By operator: children asked for, measured, and fitter than their parent on the examples that both have seen."""
    table: dict[str, dict[str, int]] = {}
    for unit in breeder.units[1:]:
        row = table.setdefault(unit.operator, {"children": 0, "measured": 0, "better": 0})
        row["children"] += 1
        won = better(breeder, unit)
        if won is not None:
            row["measured"] += 1
            row["better"] += won
    return dict(sorted(table.items()))


def _brief(unit: Unit, breeder: Breeder) -> dict[str, Any]:
    return {"id": unit.id, "operator": unit.operator, "drawn": unit.drawn, "born": unit.born,
            "fitness": unit.fair_fitness(breeder.task.scorer), "chain": unit.chain, "seen": len(unit.seen),
            "instruction": unit.words}  # fmt: skip


def evaluations(found: Breeding) -> list[tuple[str, Unit, Evaluation]]:
    """(split, unit, evaluation) of all that met on dev and test, for the table at the end."""
    rows = [("dev", found.units[key], value) for key, value in found.finalists.items()]
    return rows + [("test", found.units[key], value) for key, value in found.test.items()]
