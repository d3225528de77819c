"""Hyper-mutation: the mutation prompt itself is changed, and applied at once (section 3.2.3 of the paper).

The child keeps the new mutation prompt: what its own children are worth decides whether it lives on.
"""

from __future__ import annotations

import random

from promptmill.prompt import fill
from promptmill.vary.operators.direct import apply
from promptmill.vary.read import read_instruction
from promptmill.vary.scene import Answered, Scene, Steps, child


def hyper_zero(scene: Scene, rng: random.Random) -> Steps:
    """A new mutation prompt from the task's description, under a random thinking style."""
    style = rng.choice(scene.wording.thinking_styles)
    answer = yield fill(scene.wording.hyper_zero, {"thinking_style": style, "description": scene.description})
    return (yield from _applied(scene, answer))


def hyper_first(scene: Scene, rng: random.Random) -> Steps:
    """The parent's mutation prompt, improved."""
    old = scene.parent.genome.mutation_prompt or rng.choice(scene.wording.all_mutation_prompts)
    answer = yield fill(scene.wording.hyper_first, {"mutation_prompt": old})
    return (yield from _applied(scene, answer))


def _applied(scene: Scene, answer: Answered) -> Steps:
    new = read_instruction(answer) if isinstance(answer, str) else None
    if new is None:
        return None
    answer = yield apply(scene, new)
    return child(scene.parent.genome.rewritten(answer, new), new)
