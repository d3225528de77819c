"""Variations of prompts by an operator: first order, by a mutation prompt of the wording."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from promptmill.prompt import Prompt
from promptmill.vary.operators.direct import first_order
from promptmill.vary.read import read_instruction
from promptmill.vary.scene import Child, Genome, Member, Scene
from promptmill.vary.wording import Wording
from promptmill.vary.writing import UNREADABLE, Said, Writer, carried_out

ORIGIN = "first_order"
HOLES = "holes: the rewrite changes the holes of the prompt"


@dataclass(frozen=True, slots=True)
class Varied:
    """A prompt that is varied. key: its name, by which mutation prompts are drawn for it alone. description: what it is
    for. literal: braces in it are plain text, no holes."""

    key: str
    text: str
    description: str = ""
    literal: bool = False


async def variations(
    writer: Writer, wording: Wording, prompts: Sequence[Varied], count: int, seed: int
) -> list[list[Said]]:
    """`count` variations of each prompt. One that did not come, or says what the prompt or another one of it says, has
    no text, and the reason. Raises what `Model.ask` raises."""
    plans = [(one, *drawn) for one in prompts for drawn in _drawn(one, wording, count, seed)]
    said: list[Said] = [Said(None)] * len(plans)

    async def ask(at: int, request: str) -> str | None:
        said[at] = await writer.answer(request, plans[at][2])
        return said[at].text

    runs = [first_order(_scene(one, mutation, wording), random.Random(0)) for one, mutation, _ in plans]
    made = await carried_out(runs, ask)
    texts = [_made(child, one) for child, one in zip(made, said, strict=True)]
    return [_distinct(one.text, texts[at * count : (at + 1) * count]) for at, one in enumerate(prompts)]


def _drawn(prompt: Varied, wording: Wording, count: int, seed: int) -> list[tuple[str, int]]:
    """Mutation prompts for a prompt, by a generator of its own: no other prompt changes them. All differ as far as
    there are so many; then they come again with another repeat index."""
    rng = random.Random(f"{seed}/{prompt.key}")
    mutations = list(dict.fromkeys(wording.all_mutation_prompts))
    drawn: list[tuple[str, int]] = []
    while len(drawn) < count:
        repeat = len(drawn) // len(mutations)
        drawn += [(one, repeat) for one in rng.sample(mutations, len(mutations))]
    return drawn[:count]


def _scene(prompt: Varied, mutation: str, wording: Wording) -> Scene:
    genome = Genome(Prompt(system=prompt.text), mutation, literal=prompt.literal)
    return Scene(prompt.description, wording, Member(genome))


def _made(child: Child | None, said: Said) -> Said:
    if child is not None:
        return Said(child.genome.instruction)
    if said.text is None:
        return said
    return Said(None, HOLES if read_instruction(said.text) else UNREADABLE)


def _distinct(before: str, several: Sequence[Said]) -> list[Said]:
    seen = {" ".join(before.split()): "the base prompt"}
    found = []
    for at, one in enumerate(several):
        same = " ".join((one.text or "").split())
        if one.text is not None and same in seen:
            one = Said(None, f"repeats: {seen[same]}")
        elif one.text is not None:
            seen[same] = f"variation {at}"
        found.append(one)
    return found
