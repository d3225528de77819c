"""Reflection: the writer sees what the parent got wrong (as in GEPA, arXiv 2507.19457, and ProTeGi, 2305.03495)."""

from __future__ import annotations

import random

from promptmill.prompt import fill
from promptmill.vary.scene import Child, Scene, Steps, Working, child

SHOWN = 3
LONGEST_COPY = 40
"""Characters of a train example that may stand in a new instruction: more is a copy, not a lesson."""


def reflect(scene: Scene, rng: random.Random) -> Steps:
    """A better instruction, given some of the parent's failures with their golds."""
    if not scene.failures:
        return None
    shown = rng.sample(scene.failures, min(SHOWN, len(scene.failures)))
    filled = [
        fill(scene.wording.failure, {"input": one.shown, "output": one.output, "wanted": one.gold}) for one in shown
    ]
    fields = {"instruction": scene.parent.instruction, "failures": "\n\n".join(filled)}
    answer = yield fill(scene.wording.reflect, fields)
    made = child(scene.parent.genome.rewritten(answer), shown=tuple(one.id for one in shown))
    return None if made is None or copies(made, scene.parent.instruction, shown) else made


def copies(made: Child, before: str, shown: list[Working]) -> bool:
    """Whether the new instruction repeats a long piece of a shown example that the old one did not have."""
    text = made.genome.prompt.instruction
    for one in shown:
        for at in range(0, max(1, len(one.shown) - LONGEST_COPY)):
            piece = one.shown[at : at + LONGEST_COPY]
            if len(piece) == LONGEST_COPY and piece in text and piece not in before:
                return True
    return False


def merge(scene: Scene, rng: random.Random) -> Steps:
    """The parent's instruction and another good one into one."""
    others = [member for member in scene.population if member.instruction != scene.parent.instruction]
    if not others:
        return None
    other = max(rng.sample(others, min(2, len(others))), key=lambda member: (member.fitness or 0.0, member.instruction))
    pair = [scene.parent.instruction, other.instruction]
    rng.shuffle(pair)
    answer = yield fill(scene.wording.merge, {"first": pair[0], "second": pair[1]})
    return child(scene.parent.genome.rewritten(answer))
