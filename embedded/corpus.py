"""The corpus: examples of every skill in a fixed mixture, drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from embedded import requests, skills
from embedded.layouts import Example

Mixture = dict[str, tuple[float, Callable[[Random], Example]]]

MIXTURE: Mixture = {
    "transform": (40, skills.transform_example),
    "arithmetic": (13, skills.arithmetic_example),
    "style": (4, skills.chat_example),
    "chat": (2, lambda rng: skills.chat_example(rng, style=None)),
    "fact": (4, skills.fact_example),
    "text": (1, skills.text_example),
    "rewrite": (5, lambda rng: requests.mutation_example(rng, "rewrite")),
    "improve": (5, lambda rng: requests.mutation_example(rng, "improve")),
    "stricter": (3, lambda rng: requests.mutation_example(rng, "stricter")),
    "shorter": (2.5, lambda rng: requests.mutation_example(rng, "shorter")),
    "method": (3, lambda rng: requests.mutation_example(rng, "method")),
    "mutation": (1, requests.hyper_mutation_example),
    "zero_order": (4, requests.zero_order_example),
    "judge": (6, requests.judge_example),
    "recover": (7, requests.recover_example),
}
"""How often each skill is drawn. From rewrite on they are requests in the package's own wording."""

FINISH: Mixture = MIXTURE | {
    "transform": (28, skills.transform_example),
    "hard_transform": (8, lambda rng: skills.transform_example(rng, rng.choice(("sort", "replace")))),
    "arithmetic": (6, skills.arithmetic_example),
    "fact": (7, skills.fact_example),
    "stricter": (4, lambda rng: requests.mutation_example(rng, "stricter", forget=0.04)),
    "judge": (16, lambda rng: requests.judge_example(rng, coarse=0.6)),
}
"""The mixture at the end of the training: more of what is learned late."""


def draw_example(rng: Random, mixture: Mixture = MIXTURE) -> Example:
    """One example of the corpus."""
    weights = [weight for weight, _ in mixture.values()]
    _, skill = rng.choices(list(mixture.values()), weights)[0]
    return skill(rng)


def corpus(seed: int | str, count: int, mixture: Mixture = MIXTURE) -> Iterator[Example]:
    """`count` examples, the same for the same seed."""
    rng = Random(str(seed))
    for _ in range(count):
        yield draw_example(rng, mixture)
