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
    others = [member for member in population if member.genome.holes == genome.holes and member.fitness]
    if rng.random() >= chance or not others:
        return genome
    drawn = rng.choices(others, [member.fitness or 0.0 for member in others])[0]
    return replace(genome, prompt=genome.prompt.put_part(genome.part, drawn.instruction))


def shuffle_contexts(
    genome: Genome, workings: Sequence[Working], rng: random.Random, most: int = 0, chance: float = CHANCE
) -> Genome:
    """The list of contexts gets one new correct working out, in the place of another where it has `most` already; by
    that chance the list is drawn anew. A prompt that has none and may have none stays as it is."""
    demos = list(genome.prompt.demos)
    if not workings or not max(most, len(demos)):
        return genome
    if demos and rng.random() < chance:
        return replace(genome, prompt=replace(genome.prompt, demos=_demos(workings, rng, len(demos))))
    new = demo(rng.choice(workings))
    if len(demos) < most:
        demos.append(new)
    else:
        demos[rng.randrange(len(demos))] = new
    return replace(genome, prompt=replace(genome.prompt, demos=tuple(dict.fromkeys(demos))))


def demo(working: Working) -> Demo:
    return Demo(working.fields, working.output)


def _demos(workings: Sequence[Working], rng: random.Random, count: int) -> tuple[Demo, ...]:
    return tuple(demo(one) for one in rng.sample(list(workings), min(count, len(workings))))


def add_demos(scene: Scene, rng: random.Random) -> Steps:
    """One more correct working out as a demo; in a full list it takes the place of one. No writer is asked."""
    yield from ()
    prompt = scene.parent.genome.prompt
    new = [one for one in scene.workings if demo(one) not in prompt.demos]
    if not new or not scene.most_demos:
        return None
    added, demos = rng.choice(new), list(prompt.demos)
    if len(demos) < scene.most_demos:
        demos.append(demo(added))
    else:
        demos[rng.randrange(len(demos))] = demo(added)
    return Child(replace(scene.parent.genome, prompt=replace(prompt, demos=tuple(demos))), used=(added.id,))
