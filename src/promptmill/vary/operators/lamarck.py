"""Lamarckian mutation: from correct workings out back to an instruction (section 3.2.4 of the paper)."""

from __future__ import annotations

import random

from promptmill.prompt import fill
from promptmill.vary.copied import copies
from promptmill.vary.scene import Scene, Steps, child


def lamarckian(scene: Scene, rng: random.Random) -> Steps:
    """What instruction could have led to these correct answers of the parent?"""
    if not scene.workings:
        return None
    shown = rng.sample(scene.workings, min(scene.lamarckian_shown, len(scene.workings)))
    examples = [fill(scene.wording.example, {"input": one.shown, "output": one.output}) for one in shown]
    answer = yield fill(scene.wording.induce, {"examples": "\n\n".join(examples)})
    made = child(scene.parent.genome.rewritten(answer))
    return None if made is None or copies(made.genome.instruction, scene.parent.instruction, shown) else made
