"""Reflection: the writer sees what the parent got wrong (as in GEPA, arXiv 2507.19457, and ProTeGi, 2305.03495)."""

from __future__ import annotations

import random

from promptmill.prompt import fill
from promptmill.vary.copied import copies
from promptmill.vary.scene import Scene, Steps, child

SHOWN = 3


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
    return None if made is None or copies(made.genome.instruction, scene.parent.instruction, shown) else made


def merge(scene: Scene, rng: random.Random) -> Steps:
    """The parent's instruction and one that gets right what the parent does not, into one."""
    parent = scene.parent
    others = [member for member in scene.population if member.instruction != parent.instruction]
    if not others:
        return None
    met = rng.sample(others, min(2, len(others)))
    other = max(met, key=lambda one: (len(one.right - parent.right), one.fitness or 0.0, one.instruction))
    pair = [scene.parent.instruction, other.instruction]
    rng.shuffle(pair)
    answer = yield fill(scene.wording.merge, {"first": pair[0], "second": pair[1]})
    return child(scene.parent.genome.rewritten(answer))
