"""Who meets on dev, who is chosen there, and the proof on test: rules that know about noise."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from promptmill.crafts.breed.unit import Unit
from promptmill.measure.evaluate import Evaluation
from promptmill.model.gate import together
from promptmill.score.scorer import corpus_score

if TYPE_CHECKING:
    from promptmill.crafts.breed.breeder import Breeder


async def meet_on_dev(breeder: Breeder) -> dict[int, Evaluation]:
    """The seed prompt and the best others, all on the same dev examples."""
    meeting = [breeder.units[0], *finalists(breeder)]
    found = await together([breeder.on_split("dev", unit, breeder.dev, len(meeting)) for unit in meeting])
    return {unit.id: evaluation for unit, (evaluation, _) in zip(meeting, found, strict=True)}


async def prove(breeder: Breeder, best: Unit) -> tuple[dict[int, Evaluation], dict[int, dict[str, str]]]:
    """The seed prompt and the best on test, and what they answered there."""
    proved = [breeder.units[0], *([best] if best.id else [])]
    found = await together([breeder.on_split("test", unit, breeder.test, len(proved)) for unit in proved])
    evaluations = {unit.id: evaluation for unit, (evaluation, _) in zip(proved, found, strict=True)}
    return evaluations, {unit.id: said for unit, (_, said) in zip(proved, found, strict=True)}


def finalists(breeder: Breeder) -> list[Unit]:
    """The search's best besides the seed. Where it holds nothing else for good, the child that came furthest: then the
    verdict that nothing was gained has an interval."""
    tried = [unit for unit in breeder.rank() if unit.id and unit.seen]
    furthest = sorted((unit for unit in breeder.units[1:] if unit.seen), key=lambda unit: (-len(unit.seen), unit.id))
    return tried[: breeder.config.finalists] or furthest[:1]


def shrunk(units: Sequence[Unit], breeder: Breeder) -> list[Unit]:
    """Units by fitness, best first, each drawn towards the mean of all.

    A prompt seen on few examples may lead by luck; half a batch of average results is added to everybody's.
    """
    scorer, prior = breeder.task.scorer, breeder.config.batch / 2
    seen = [unit for unit in units if unit.seen]
    mean = sum(unit.fitness(scorer) or 0.0 for unit in seen) / max(1, len(seen))

    def worth(unit: Unit) -> float:
        n = len(unit.seen)
        return ((unit.fitness(scorer) or 0.0) * n + mean * prior) / (n + prior)

    return sorted(seen, key=lambda unit: (-worth(unit), unit.id))


def choose(breeder: Breeder, met: dict[int, Evaluation]) -> Unit:
    """The best on dev; the seed prompt unless another is better than it. Of those that are within one standard error of
    the best (paired), the one that the search held for best: it knows them by other examples, and dev alone would pick
    whoever was lucky there. A longer prompt must be better by the weight that its length has in the configuration, too.

    Each is held against the seed on the examples that both have answered, and one that did not answer nine in ten
    of them is no choice: a prompt must not win by the questions that failed.
    """
    scorer, seed = breeder.task.scorer, met[0]
    gains: dict[int, float] = {}
    for key, found in met.items():
        both = [id for id in found.stats if id in seed.stats]
        if key == 0 or found.stopped or len(both) < max(1, 0.9 * len(breeder.dev)):
            continue
        mine, its = (corpus_score(scorer, [side.stats[key] for key in both]) for side in (found, seed))
        gain = mine - its - length_cost(breeder, breeder.units[key], breeder.units[0])
        if mine >= its and gain > 0:
            gains[key] = gain
    if not gains:
        return breeder.units[0]
    best = max(gains, key=lambda key: (gains[key], -breeder.units[key].tokens, -key))
    near = [key for key in met if key in gains and gains[best] - gains[key] <= _error(met[best], met[key])]
    return breeder.units[near[0]]  # they met in the order of the search


def _error(a: Evaluation, b: Evaluation) -> float:
    """The standard error of the mean difference of two prompts on the examples that both answered."""
    differences = [a.stats[key][-1] - b.stats[key][-1] for key in a.stats if key in b.stats]
    return statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else 0.0


def length_cost(breeder: Breeder, unit: Unit, other: Unit) -> float:
    """The score that a unit must be better by than another one, for its length; negative where it is shorter."""
    return breeder.config.length_weight * (unit.tokens - other.tokens) / 100
