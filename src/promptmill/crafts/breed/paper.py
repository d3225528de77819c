"""PromptBreeder's loop (arXiv 2309.16797, section 3): in binary tournaments a winner's mutant replaces the loser."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from promptmill.crafts.breed.births import After, Plan
from promptmill.crafts.breed.proof import shrunk
from promptmill.crafts.breed.sharing import shared
from promptmill.crafts.breed.unit import Unit, fitter
from promptmill.prompt import Prompt
from promptmill.vary.alike import likeness_of
from promptmill.vary.operators import PAPER
from promptmill.vary.operators.contexts import crossover, shuffle_contexts
from promptmill.vary.scene import Genome, Scene

if TYPE_CHECKING:
    from promptmill.crafts.breed.breeder import Breeder


async def evolve(breeder: Breeder) -> str | None:
    """Generations of tournaments; gives the reason for an early end, or None."""
    from promptmill.crafts.breed.forecast import affords, generation_calls, proof_calls

    breeder.rank = lambda: shrunk(breeder.units, breeder) or breeder.units[:1]
    population = await _first_population(breeder)
    batch = await _measure(breeder, population, 0)
    for generation in range(1, breeder.config.generations + 1):
        if not affords(breeder, generation_calls(breeder) + proof_calls(breeder)):
            return f"the budget leaves room for the proof only, after {generation - 1} generations"
        if breeder.halted():
            return None
        population = await _next_population(breeder, population, batch, generation)
        batch = await _measure(breeder, population, generation)
    return None


async def _first_population(breeder: Breeder) -> list[Unit]:
    """The seed prompt and mutants of it; each has its own mutation prompt (section 3.1)."""
    seed = breeder.units[0]
    seed.genome = replace(seed.genome, mutation_prompt=breeder.rng.choice(breeder.wording.all_mutation_prompts))
    # The paper's first task prompts come from the description alone; where the writer has too few, mutants of the seed.
    made = await _children(breeder, [seed] * (breeder.config.population - 1), [seed], 0, first="zero_order")
    return [seed, *(child for child in made if child is not None)]


async def _measure(breeder: Breeder, population: Sequence[Unit], generation: int) -> list[str]:
    """Fitness of all on one random batch of train examples (its ids are returned), so that they can be compared;
    what was seen in earlier generations stays counted."""
    batch = breeder.rng.sample(list(breeder.train), min(breeder.config.batch, len(breeder.train)))
    await breeder.measure_all(population, batch)
    ids, scorer = [example.id for example in batch], breeder.task.scorer
    here = [value for unit in population if (value := unit.fitness(scorer, ids)) is not None]
    breeder.keep_history(generation=generation, population=len(population), max=max(here, default=None),
                         mean=sum(here) / len(here) if here else None)  # fmt: skip
    return ids


async def _next_population(breeder: Breeder, population: list[Unit], batch: list[str], generation: int) -> list[Unit]:
    """Pair at random; of each pair the fitter one stays and its mutant takes the other's place."""
    share = _share(breeder, population, batch) if breeder.config.sharing else {}
    order = breeder.rng.sample(population, len(population))
    pairs = [fitter(a, b, batch, breeder.task.scorer, share) for a, b in zip(order[::2], order[1::2], strict=False)]
    made = await _children(breeder, [winner for winner, _ in pairs], population, generation)
    survivors = [(winner, child or loser) for (winner, loser), child in zip(pairs, made, strict=True)]
    rest = [order[-1]] if len(order) % 2 else []
    return [unit for pair in survivors for unit in pair] + rest


def _share(breeder: Breeder, population: Sequence[Unit], batch: Sequence[str]) -> Mapping[int, float]:
    """By id, the part of its fitness that a unit keeps among those that are like it."""
    texts = [unit.prompt.instruction for unit in population]

    def alike(i: int, j: int) -> float:
        if breeder.vectors is None:
            return likeness_of(texts[i], texts[j])
        first, second = breeder.vectors([texts[i], texts[j]])
        return float(first @ second)

    kept = shared([1.0] * len(texts), alike)
    return {unit.id: factor for unit, factor in zip(population, kept, strict=True)}


async def _children(
    breeder: Breeder, parents: Sequence[Unit], population: Sequence[Unit], born: int, first: str | None = None
) -> list[Unit | None]:
    """A mutant of each parent, by an operator drawn evenly (or at first by a named one); asked for again where the
    writer brings none."""
    children: list[Unit | None] = [None] * len(parents)
    elites = [breeder.units[row["elite"]["id"]].prompt for row in breeder.history]
    for attempt in range(breeder.config.attempts):
        only = first if attempt == 0 else None
        missing = [at for at, child in enumerate(children) if child is None]
        plans = [_plan(breeder, parents[at], population, elites, len(breeder.units) + at, only) for at in missing]
        if first:  # each of the first population has a mutation prompt of its own
            plans = [replace(plan, after=_with_own_mutation_prompt(breeder, plan.after)) for plan in plans]
        for at, birth in zip(missing, await breeder.children(plans, born), strict=True):
            children[at] = birth.unit
    return children


def _plan(
    breeder: Breeder, parent: Unit, population: Sequence[Unit], elites: Sequence[Prompt], turn: int, only: str | None
) -> Plan:
    """An operator that has what it needs: there is no lineage before there are elites, nor EDA of one."""
    scene = breeder.scene(parent, population, elites)
    names = [name for name in PAPER if name in breeder.operators and not _lacks(name, scene)]
    names = [only] if only in names else names
    in_turn = breeder.config.operators == "in_turn"
    return Plan(names[turn % len(names)] if in_turn else breeder.rng.choice(names), parent, scene,
                _fifth_class(breeder, scene))  # fmt: skip


def _with_own_mutation_prompt(breeder: Breeder, after: After) -> After:
    def given(genome: Genome, rng: random.Random) -> Genome:
        drawn = rng.choice(breeder.wording.all_mutation_prompts)
        return after(replace(genome, mutation_prompt=drawn), rng)

    return given


def _lacks(name: str, scene: Scene) -> bool:
    if not scene.parent.instruction:  # a part that is empty yet can only be written from the description
        return name != "zero_order"
    if name == "lineage":
        return len(set(scene.elites)) < 2
    few = len({member.instruction for member in scene.population}) < 2
    return (name in ("eda", "eda_ranked") and few) or (name == "lamarckian" and not scene.workings)


def _fifth_class(breeder: Breeder, scene: Scene) -> After:
    """Crossover and context shuffling, each by its chance, after whatever operator; the writer's temperature drifts."""
    config = breeder.config

    def after(genome: Genome, rng: random.Random) -> Genome:
        genome = shuffle_contexts(crossover(genome, scene.population, rng), scene.workings, rng, config.demos)
        if config.temperature_drift:
            old = breeder.writing.temperature if genome.temperature is None else genome.temperature
            drift = rng.uniform(-config.temperature_drift, config.temperature_drift)
            genome = replace(genome, temperature=max(0.0, old + drift))
        return genome

    return after
