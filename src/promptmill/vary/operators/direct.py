"""Direct mutation: a new instruction from the task's description, or from the parent's instruction.

PromptBreeder (arXiv 2309.16797), section 3.2.1.
"""

from __future__ import annotations

import random

from promptmill.prompt import fill
from promptmill.vary.scene import Scene, Steps, child


def zero_order(scene: Scene, rng: random.Random) -> Steps:
    """From the description alone, under a random thinking style."""
    style = rng.choice(scene.wording.thinking_styles)
    answer = yield fill(scene.wording.zero_order, {"thinking_style": style, "description": scene.description})
    return child(scene.parent.genome.rewritten(answer), style)


def first_order(scene: Scene, rng: random.Random) -> Steps:
    """The parent's own mutation prompt applied to its instruction; a random one where it has none."""
    drawn = scene.parent.genome.mutation_prompt or rng.choice(scene.wording.all_mutation_prompts)
    answer = yield apply(scene, drawn)
    return child(scene.parent.genome.rewritten(answer), drawn)


def mutate(scene: Scene, rng: random.Random) -> Steps:
    """A random mutation prompt applied to the parent's instruction, which the child then has as its own."""
    drawn = rng.choice(scene.wording.all_mutation_prompts)
    answer = yield apply(scene, drawn)
    return child(scene.parent.genome.rewritten(answer, drawn), drawn)


def apply(scene: Scene, mutation_prompt: str) -> str:
    """The request that applies a mutation prompt to the parent's instruction."""
    fields = {"mutation_prompt": mutation_prompt, "instruction": scene.parent.instruction}
    return fill(scene.wording.first_order, fields)
