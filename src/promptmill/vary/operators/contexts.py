"""What is changed without a writer: crossover of prompts, and the few-shot contexts (section 3.2.5 of the paper)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from promptmill.prompt import Demo
from promptmill.vary.scene import Child, Genome, Member, Scene, Steps, Working

CHANCE = 0.1


def crossover(genome: Genome, population: Sequence[Member], rng: random.Random, chance: float = CHANCE) -> Genome:
    """By that chance the instruction of another member, drawn by fitness; never its mutation prompt."""
    others = [member for member in population if member.genome.prompt.holes == genome.prompt.holes and member.fitness]
    if rng.random() >= chance or not others:
        return genome
    drawn = rng.choices(others, [member.fitness or 0.0 for member in others])[0]
    return replace(genome, prompt=genome.prompt.with_instruction(drawn.instruction))


def shuffle_contexts(genome: Genome, workings: Sequence[Working], rng: random.Random, chance: float = CHANCE) -> Genome:
    """A full list of contexts gets one new correct working out; by that chance the list is drawn anew."""
    demos = list(genome.prompt.demos)
    if not demos or not workings:
        return genome
    if rng.random() < chance:
        return replace(genome, prompt=replace(genome.prompt, demos=_demos(workings, rng, len(demos))))
    demos[rng.randrange(len(demos))] = demo(rng.choice(workings))
    return replace(genome, prompt=replace(genome.prompt, demos=tuple(dict.fromkeys(demos))))


def demo(working: Working) -> Demo:
    return Demo(working.fields, working.output)


def _demos(workings: Sequence[Working], rng: random.Random, count: int) -> tuple[Demo, ...]:
    return tuple(demo(one) for one in rng.sample(list(workings), min(count, len(workings))))


def add_demos(scene: Scene, rng: random.Random) -> Steps:
    """One more correct working out as a demo, or another list where there are enough; no writer is asked."""
    yield from ()
    if not scene.workings or not scene.most_demos:
        return None
    prompt = scene.parent.genome.prompt
    more = len(prompt.demos) < scene.most_demos
    count = len(prompt.demos) + 1 if more else rng.randint(1, scene.most_demos)
    return Child(replace(scene.parent.genome, prompt=replace(prompt, demos=_demos(scene.workings, rng, count))))
