"""PromptBreeder's loop (arXiv 2309.16797, section 3): in binary tournaments a winner's mutant replaces the loser."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from promptmill.crafts.breed.proof import shrunk
from promptmill.crafts.breed.unit import Unit, fitter
from promptmill.vary.operators import PAPER
from promptmill.vary.operators.contexts import crossover, shuffle_contexts

if TYPE_CHECKING:
    from promptmill.crafts.breed.breeder import Breeder, Plan


async def evolve(breeder: Breeder) -> str | None:
    """Generations of tournaments; gives the reason for an early end, or None."""
    from promptmill.crafts.breed.forecast import affords, generation_calls, proof_calls

    breeder.rank = lambda: shrunk(breeder.units, breeder) or breeder.units[:1]
    population = await _first_population(breeder)
    batch = await _measure(breeder, population, 0)
    for generation in range(1, breeder.config.generations + 1):
        if not affords(breeder, generation_calls(breeder) + proof_calls(breeder)):
            return f"the budget leaves room for the proof only, after {generation - 1} generations"
        population = await _next_population(breeder, population, batch, generation)
        batch = await _measure(breeder, population, generation)
    return None


async def _first_population(breeder: Breeder) -> list[Unit]:
    """The seed prompt and mutants of it; each has its own mutation prompt (section 3.1)."""
    seed = breeder.units[0]
    seed.genome = replace(seed.genome, mutation_prompt=breeder.rng.choice(breeder.wording.all_mutation_prompts))
    made = await _children(breeder, [seed] * (breeder.config.population - 1), [seed], 0)
    return [seed, *(child for child in made if child is not None)]


async def _measure(breeder: Breeder, population: Sequence[Unit], generation: int) -> list[str]:
    """Fitness of all on one random batch of train examples (its ids are returned), so that they can be compared;
    what was seen in earlier generations stays counted."""
    from promptmill.model.gate import together

    batch = breeder.rng.sample(list(breeder.train), min(breeder.config.batch, len(breeder.train)))
    await together([breeder.measure(unit, batch) for unit in population])
    ids, scorer = [example.id for example in batch], breeder.task.scorer
    here = [value for unit in population if (value := unit.fitness(scorer, ids)) is not None]
    breeder.keep_history(generation=generation, population=len(population), max=max(here, default=None),
                         mean=sum(here) / len(here) if here else None)  # fmt: skip
    return ids


async def _next_population(breeder: Breeder, population: list[Unit], batch: list[str], generation: int) -> list[Unit]:
    """Pair at random; of each pair the fitter one stays and its mutant takes the other's place."""
    order = breeder.rng.sample(population, len(population))
    pairs = [fitter(a, b, batch, breeder.task.scorer) for a, b in zip(order[::2], order[1::2], strict=False)]
    made = await _children(breeder, [winner for winner, _ in pairs], population, generation)
    survivors = [(winner, child or loser) for (winner, loser), child in zip(pairs, made, strict=True)]
    rest = [order[-1]] if len(order) % 2 else []
    return [unit for pair in survivors for unit in pair] + rest


async def _children(
    breeder: Breeder, parents: Sequence[Unit], population: Sequence[Unit], born: int
) -> list[Unit | None]:
    """A mutant of each parent, by an operator drawn evenly; asked for again where the writer brings none."""
    children: list[Unit | None] = [None] * len(parents)
    elites = [row["elite"]["instruction"] for row in breeder.history]
    for _ in range(breeder.config.attempts):
        missing = [at for at, child in enumerate(children) if child is None]
        plans = [_plan(breeder, parents[at], population, elites) for at in missing]
        for at, child in zip(missing, await breeder.children(plans, born), strict=True):
            children[at] = child
            if child is not None:
                _fifth_class(breeder, child, population)
    return children


def _plan(breeder: Breeder, parent: Unit, population: Sequence[Unit], elites: Sequence[str]) -> Plan:
    """An operator that has what it needs: there is no lineage before there are elites, nor EDA of one."""
    from promptmill.crafts.breed.breeder import Plan

    scene = breeder.scene(parent, population, elites)
    names = [name for name in PAPER if not _lacks(name, len(population), elites, len(scene.workings))]
    return Plan(breeder.rng.choice(names), parent, scene)


def _lacks(name: str, population: int, elites: Sequence[str], workings: int) -> bool:
    if name == "lineage":
        return len(set(elites)) < 2
    return (name in ("eda", "eda_ranked") and population < 2) or (name == "lamarckian" and not workings)


def _fifth_class(breeder: Breeder, child: Unit, population: Sequence[Unit]) -> None:
    """Crossover and context shuffling, each by its chance, after whatever operator; the writer's temperature drifts."""
    rng = random.Random(f"{breeder.seed}/unit {child.id}")
    members = [unit.member(breeder.task.scorer) for unit in population]
    parent = breeder.units[child.parent or 0]
    workings = breeder.scene(parent).workings
    child.genome = shuffle_contexts(crossover(child.genome, members, rng), workings, rng)
    if breeder.config.temperature_drift:
        old = child.genome.temperature
        old = breeder.config.writer_temperature if old is None else old
        drift = breeder.config.temperature_drift
        child.genome = replace(child.genome, temperature=max(0.0, old + rng.uniform(-drift, drift)))
