"""The search by challenge: one incumbent, children made from its failures, races that end when they are decided.

A child must first mend one of the failures that it was shown or that its parent is known by: most children fail here,
at the price of a few calls. Then it meets the incumbent on the incumbent's sample, the failures first, for only these
can be won; then what the incumbent had right, for only this can be lost; the race ends as soon as it is decided. A new
incumbent gets a fresh sample, none of it the examples by which it won: on those it looks better than it is.

Related: racing as in F-race and irace; reflection as in GEPA (arXiv 2507.19457).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scipy.stats import beta

from promptmill.crafts.breed.bandit import Bandit
from promptmill.crafts.breed.unit import Unit

if TYPE_CHECKING:
    from promptmill.crafts.breed.breeder import Breeder, Plan
    from promptmill.tasks.task import Example

GATE = 4
"""Failures on which a child is tried first."""
BLOCK = 6
"""Examples asked at once in a race."""
TRUSTED = 3
"""So many times the usual sample must be as good as the target before the search ends there."""
IDLE = 5
"""The search ends after so many rounds in which no call was answered."""
HOPELESS = 0.2
"""A challenger goes when it is better with less than this probability."""


@dataclass
class Race:
    """The state of a search by challenge.

    sample: ids of the examples that the incumbent is known by. pool: other units that have something to give, for
    merging. lost: children in a row that did not win. idle: rounds in a row in which no call was answered.
    """

    breeder: Breeder
    bandit: Bandit
    incumbent: Unit
    sample: list[str] = field(default_factory=list)
    pool: list[Unit] = field(default_factory=list)
    won: list[Unit] = field(default_factory=list)
    lost: int = 0
    rounds: int = 0
    idle: int = 0


async def evolve(breeder: Breeder) -> str | None:
    """Rounds of children and races until the calls are spent; gives the reason for an early end, or None."""
    from promptmill.crafts.breed.forecast import affords, proof_calls, round_calls

    config = breeder.config
    race = Race(breeder, Bandit.start(config), breeder.units[0], won=[breeder.units[0]])
    breeder.rank = lambda: _rank(race)
    breeder.credit = race.bandit.table
    begun = breeder.model.ledger.total.calls
    await _know(race, config.sample)
    while breeder.model.ledger.total.calls - begun < config.calls:
        if not affords(breeder, round_calls(breeder, len(race.sample)) + proof_calls(breeder)):
            return f"the budget leaves room for the proof only, after {race.rounds} rounds"
        if config.plateau and race.lost >= config.plateau:
            breeder.ended = f"plateau: {race.lost} children in a row did not win"
            return None
        if await _reached(race):
            breeder.ended = f"target: {config.target:.3f} reached on {len(race.sample)} train examples"
            return None
        race.rounds += 1
        before = breeder.model.ledger.total.calls
        await _round(race)
        race.idle = 0 if breeder.model.ledger.total.calls > before else race.idle + 1
        if race.idle == IDLE:
            breeder.ended = f"no call was answered in {IDLE} rounds"
            return None
        breeder.keep_history(round=race.rounds, sample=len(race.sample), lost=race.lost)
    return None


async def _reached(race: Race) -> bool:
    """Whether the incumbent is as good as asked for, on a sample large enough to believe it."""
    config, breeder = race.breeder.config, race.breeder
    while True:
        fitness, size = race.incumbent.fitness(breeder.task.scorer, race.sample), len(race.sample)
        if fitness is None or fitness < config.target:
            return False
        if size >= min(TRUSTED * config.sample, len(breeder.train)):
            return True
        await _know(race, 2 * size)
        if len(race.sample) == size:  # the rest gets no answer
            return True


async def _round(race: Race) -> None:
    """Some children of the incumbent; each that mends something races, in the order of the plans."""
    breeder = race.breeder
    plans = [_plan(race) for _ in range(breeder.config.proposals)]
    children = await breeder.children(plans, race.rounds)
    patience = 3 * len(plans)
    grow = False
    for plan, child in zip(plans, children, strict=True):
        better = child is not None and await _challenge(race, child)
        race.bandit.note(plan.operator, better)
        race.lost = 0 if better else race.lost + 1
        grow = not better and (grow or race.lost % patience == 0)
    if grow:
        await _know(race, len(race.sample) + breeder.config.sample // 2)  # what is left to find is smaller


async def _challenge(race: Race, child: Unit) -> bool:
    """Whether the child takes the incumbent's place."""
    probability = await _better(race, child)
    if probability < race.breeder.config.accept:
        if probability > 0.5:
            race.pool = [*race.pool, child][-4:]
        return False
    child.chosen_on = set(child.seen)
    race.pool = [*race.pool, race.incumbent][-4:]
    race.incumbent = child
    race.won.append(child)
    race.sample = []
    await _know(race, race.breeder.config.sample)
    return True


async def _know(race: Race, size: int) -> None:
    """See to it that the incumbent is known by a sample of that size, fresh examples first."""
    breeder, unit = race.breeder, race.incumbent
    size = min(size, len(breeder.train))
    order = breeder.rng.sample(list(breeder.train), len(breeder.train))
    order.sort(key=lambda example: example.id in unit.chosen_on)
    have = set(race.sample)
    more = [example for example in order if example.id not in have][: max(0, size - len(have))]
    await breeder.measure(unit, more)
    race.sample += [example.id for example in more if example.id in unit.seen]


async def _better(race: Race, child: Unit) -> float:
    """The probability that the child is better than the incumbent; low as soon as there is no hope."""
    breeder, incumbent = race.breeder, race.incumbent
    order = breeder.rng.sample(race.sample, len(race.sample))
    wrong = [key for key in order if incumbent.value(key) < 1]
    right = [key for key in order if incumbent.value(key) == 1]
    await breeder.measure(incumbent, _examples(breeder, child.shown))  # it may be a newer one than the child's parent
    gate = [key for key in child.shown if incumbent.seen.get(key, (1.0,))[-1] < 1] or wrong[:GATE]
    await breeder.measure(child, _examples(breeder, gate))
    if _won(child, incumbent, gate) <= 0 and gate:
        return 0.0
    await breeder.measure(child, _examples(breeder, wrong))
    won, lost, met = _won(child, incumbent, wrong), _lost(child, incumbent, wrong), 0
    if won <= lost and wrong:
        return 0.0
    if not _answered(child, wrong):
        return 0.0
    while met < len(right):
        block = right[met : met + BLOCK]
        await breeder.measure(child, _examples(breeder, block))
        met += len(block)
        if not _answered(child, right[:met]):
            return 0.0
        lost += _lost(child, incumbent, block)
        expected = lost * (len(right) / met) if met else 0.0
        probability = float(beta.sf(0.5, won + 0.5, max(lost, expected) + 0.5))
        if probability < HOPELESS:
            return probability
    return float(beta.sf(0.5, won + 0.5, lost + 0.5))


def _answered(child: Unit, keys: Sequence[str]) -> bool:
    """Whether it answered nine in ten: a prompt must not win by the questions that failed."""
    return sum(key in child.seen for key in keys) >= 0.9 * len(keys)


def _won(child: Unit, incumbent: Unit, keys: Sequence[str]) -> float:
    return sum(max(0.0, child.value(key) - incumbent.value(key)) for key in keys if key in child.seen)


def _lost(child: Unit, incumbent: Unit, keys: Sequence[str]) -> float:
    return sum(max(0.0, incumbent.value(key) - child.value(key)) for key in keys if key in child.seen)


def _examples(breeder: Breeder, keys: Sequence[str]) -> list[Example]:
    return [breeder.examples[key] for key in keys]


def _plan(race: Race) -> Plan:
    """A child of the incumbent by an operator that has what it needs."""
    from promptmill.crafts.breed.breeder import Plan

    breeder, incumbent = race.breeder, race.incumbent
    scene = breeder.scene(incumbent, [incumbent, *race.pool], [unit.prompt.instruction for unit in race.won])
    lacking = {
        "reflect": not scene.failures, "lamarckian": not scene.workings, "merge": not race.pool,
        "eda_ranked": not race.pool, "lineage": len(race.won) < 2,
        "add_demos": not breeder.config.demos or not scene.workings,
    }  # fmt: skip
    name = race.bandit.draw(breeder.rng, {name for name, lacks in lacking.items() if lacks})
    return Plan(name, incumbent, scene)


def _rank(race: Race) -> list[Unit]:
    """The incumbent, those before it from the last to the first, the pool."""
    line = [race.incumbent, *reversed(race.won)]
    rest = [unit for unit in race.pool if unit not in line]
    return list({unit.id: unit for unit in (*line, *rest)}.values())
