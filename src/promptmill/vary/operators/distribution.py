"""Estimation of distribution: a new instruction from several of the population (section 3.2.2 of the paper).

The paper tells the writer that its ascending list is in descending order, so that it does not merely go on in the same
way; instruction-tuned writers take the order as said, so ours says the truth.
"""

from __future__ import annotations

import random

from promptmill.prompt import fill
from promptmill.vary.alike import unlike
from promptmill.vary.scene import Scene, Steps, child
from promptmill.vary.wording import numbered


def eda(scene: Scene, rng: random.Random) -> Steps:
    """From instructions unlike each other, in random order, no fitness told."""
    shown = _sample(scene, rng)
    if len(shown) < 2:
        return None
    answer = yield fill(scene.wording.eda, {"instructions": numbered(shown)})
    return child(scene.parent.genome.rewritten(answer))


def eda_ranked(scene: Scene, rng: random.Random) -> Steps:
    """From instructions unlike each other, the worst first."""
    fitness = {member.instruction: member.fitness or 0.0 for member in scene.population}
    shown = sorted(_sample(scene, rng), key=lambda text: (fitness[text], text))
    if len(shown) < 2:
        return None
    answer = yield fill(scene.wording.eda_ranked, {"instructions": numbered(shown)})
    return child(scene.parent.genome.rewritten(answer))


def lineage(scene: Scene, rng: random.Random) -> Steps:
    """From the best of each generation so far, in the order in which they were found."""
    shown = list(dict.fromkeys(scene.elites))[-scene.eda_shown :]
    if len(shown) < 2:
        return None
    answer = yield fill(scene.wording.lineage, {"instructions": numbered(shown)})
    return child(scene.parent.genome.rewritten(answer))


def _sample(scene: Scene, rng: random.Random) -> list[str]:
    return unlike([member.instruction for member in scene.population], rng, scene.eda_shown, scene.vectors)
