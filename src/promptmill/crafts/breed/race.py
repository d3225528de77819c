"""The search by challenge: one incumbent, children made from its failures, races that end when they are decided.

A child must first mend one of the failures that it was shown or that its parent is known by: most children fail here,
at the price of a few calls. Then it meets the incumbent on the incumbent's sample (duel.py). A new incumbent gets a
fresh sample, none of it the examples by which it won: on those it looks better than it is.

Related: racing as in F-race and irace; reflection and the Pareto front as in GEPA (arXiv 2507.19457).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from promptmill.crafts.breed.bandit import Bandit
from promptmill.crafts.breed.births import Plan
from promptmill.crafts.breed.duel import better
from promptmill.crafts.breed.events import Raced
from promptmill.crafts.breed.unit import Unit
from promptmill.vary.scene import Scene

if TYPE_CHECKING:
    from promptmill.crafts.breed.breeder import Breeder

TRUSTED = 10
"""So many times the usual sample must be as good as the target before the search ends there."""
IDLE = 10
"""The search ends after so many rounds in which nothing was learnt: no new child, or none that got an answer."""
POOL = 4
"""Units that are kept beside the incumbent, for merging and as parents."""


@dataclass
class Race:
    """The state of a search by challenge.

    sample: ids of the examples that the incumbent is known by. pool: other units that have something to give, for
    merging. lost: children in a row that did not win. idle: rounds in a row in which nothing was learnt.
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
    from promptmill.crafts.breed.breeder import SearchSpent
    from promptmill.crafts.breed.forecast import affords, proof_calls, round_calls

    race = Race(breeder, Bandit.start(breeder.config), breeder.units[0], won=[breeder.units[0]])
    breeder.rank = lambda: _rank(race)
    breeder.credit = race.bandit.table
    await _know(race, breeder.config.sample)
    _note(race)
    while True:
        if not affords(breeder, round_calls(breeder, len(race.sample)) + proof_calls(breeder)):
            return f"the budget leaves room for the proof only, after {race.rounds} rounds"
        breeder.ended = await _reason_to_end(race)
        if breeder.ended:
            return None
        race.rounds += 1
        before = breeder.answered
        try:
            await _round(race)
        except SearchSpent:
            _note(race)
            return None
        race.idle = 0 if breeder.answered > before else race.idle + 1
        _note(race)


def _note(race: Race) -> None:
    race.breeder.keep_history(race.sample, round=race.rounds, sample=len(race.sample), lost=race.lost)


async def _reason_to_end(race: Race) -> str | None:
    """Why the search ends before its calls are spent, in words; None where it goes on."""
    config, breeder = race.breeder.config, race.breeder
    if breeder.halted():
        return breeder.ended
    if race.idle == IDLE:
        return f"nothing new in {IDLE} rounds: the writer repeats itself, or no call is answered"
    if config.plateau and race.lost >= config.plateau:
        return f"plateau: {race.lost} children in a row did not win"
    if await _reached(race):
        return f"target: {config.target:.3f} reached on {len(race.sample)} train examples"
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
    births = await breeder.children(plans, race.rounds)
    patience = 3 * len(plans)
    grow = False
    for plan, birth in zip(plans, births, strict=True):
        won = birth.unit is not None and await _challenge(race, birth.unit)
        if birth.asked:  # an operator that had nothing to work with has not failed
            race.bandit.note(plan.operator, won)
        race.lost = 0 if won else race.lost + 1
        grow = not won and (grow or race.lost % patience == 0)
    if grow:
        await _know(race, len(race.sample) + breeder.config.sample // 2)  # what is left to find is smaller


async def _challenge(race: Race, child: Unit) -> bool:
    """Whether the child takes the incumbent's place."""
    breeder, incumbent = race.breeder, race.incumbent
    probability = await better(breeder, incumbent, child, race.sample)
    child.better = won = probability >= breeder.config.accept
    breeder.tell(Raced(child.id, incumbent.id, probability, won))
    if not won:
        if probability > 0.5:
            race.pool = [*race.pool, child][-POOL:]
        return False
    child.chosen_on |= set(child.seen)
    race.pool = [*race.pool, incumbent][-POOL:]
    race.incumbent = child
    race.won.append(child)
    race.sample = []
    await _know(race, breeder.config.sample)
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


def _plan(race: Race) -> Plan:
    """A child of the incumbent, or of another of the Pareto front, by an operator that has what it needs."""
    breeder = race.breeder
    parent = race.incumbent
    if breeder.config.parents == "pareto":
        front = pareto_front([race.incumbent, *race.pool])
        parent = breeder.rng.choices(list(front), list(front.values()))[0]
    scene = breeder.scene(parent, [race.incumbent, *race.pool], [unit.prompt for unit in race.won])
    name = race.bandit.draw(breeder.rng, lacking(race, scene, parent))
    return Plan(name, parent, scene)


def lacking(race: Race, scene: Scene, parent: Unit) -> set[str]:
    """The operators that have not what they need."""
    config = race.breeder.config
    others = [member for member in scene.population if member.instruction != scene.parent.instruction]
    lacks = {
        "first_order": not parent.genome.mutation_prompt,  # without one of its own it would be `mutate`
        "reflect": not scene.failures, "lamarckian": not scene.workings, "merge": not others,
        "eda": not others, "eda_ranked": not others, "lineage": len(set(scene.elites)) < 2,
        "add_demos": not config.demos or not scene.workings,
    }  # fmt: skip
    if not scene.parent.instruction:  # a part that is empty yet can only be written from the description
        return set(race.bandit.tried) - {"zero_order"}
    return {name for name, lacks_it in lacks.items() if lacks_it}


def pareto_front(units: Sequence[Unit]) -> dict[Unit, int]:
    """Units that nobody beats on some example, with the number of such examples; those that earn nothing are left out
    unless nobody earns anything."""
    count: dict[int, int] = {}
    for key in {key for unit in units for key in unit.seen}:
        met = [unit for unit in units if key in unit.seen]
        best = max(unit.value(key) for unit in met)
        for unit in met:
            if best > 0 and unit.value(key) == best:
                count[unit.id] = count.get(unit.id, 0) + 1
    return {unit: count[unit.id] for unit in units if unit.id in count} or {units[0]: 1}


def _rank(race: Race) -> list[Unit]:
    """The incumbent, those before it from the last to the first, the pool."""
    line = [race.incumbent, *reversed(race.won)]
    rest = [unit for unit in race.pool if unit not in line]
    return list({unit.id: unit for unit in (*line, *rest)}.values())
