"""The corpus: examples of every skill in a fixed mixture, drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from embedded import judging, skills, talk, writer
from embedded.layouts import Example
from embedded.texts import TextKind

Mixture = dict[str, tuple[float, Callable[[Random], Example]]]
LONG = TextKind(least=10, long=1.0)
STRANGE = TextKind(long=0.3, unknown=0.7)
MOVING = ("reverse", "acronym", "repeat")
LATE = ("reverse", "sort", "acronym", "repeat", "count", "replace", "replace")

MIXTURE: Mixture = {
    "transform": (28, skills.transform_example),
    "conversation": (7, skills.conversation_example),
    "shots": (5, skills.shots_example),
    "arithmetic": (8, skills.arithmetic_example),
    "sums": (3, skills.sums_example),
    "style": (3, talk.chat_example),
    "chat": (2, lambda rng: talk.chat_example(rng, style=None)),
    "fact": (6, talk.fact_example),
    "persona": (1.5, lambda rng: talk.persona_example(rng, told=rng.random() < 0.8)),
    "newcomer": (1.5, talk.newcomer_example),
    "rewrite": (4, lambda rng: writer.mutation_example(rng, "rewrite")),
    "improve": (4, lambda rng: writer.mutation_example(rng, "improve")),
    "stricter": (2, lambda rng: writer.mutation_example(rng, "stricter")),
    "shorter": (2, lambda rng: writer.mutation_example(rng, "shorter")),
    "method": (2, lambda rng: writer.mutation_example(rng, "method")),
    "refine": (3, writer.refine_example),
    "list": (2.5, writer.list_example),
    "merge": (1, writer.merge_example),
    "mutation": (1, writer.hyper_mutation_example),
    "zero_order": (3, writer.zero_order_example),
    "propose": (1.5, writer.propose_example),
    "topic": (0.7, writer.topic_example),
    "reflect": (2.5, judging.reflect_example),
    "induce": (3, judging.induce_example),
    "recover": (5, judging.recover_example),
    "recover_text": (1, judging.recover_text_example),
    "judge": (8, judging.judge_example),
    "rate": (4, judging.rate_example),
    "compare": (3, judging.compare_example),
    "text": (0.8, judging.text_example),
    "input": (1, judging.input_example),
}
"""How often each skill is drawn. From rewrite on they are requests in the package's own wording."""

FINISH: Mixture = MIXTURE | {
    "transform": (18, skills.transform_example),
    "hard_transform": (
        6,
        lambda rng: skills.transform_example(rng, rng.choice(("sort", "replace", "count", "reverse"))),
    ),
    "long_transform": (6, lambda rng: skills.transform_example(rng, kind=LONG)),
    "fact": (8, talk.fact_example),
    "stricter": (2, lambda rng: writer.mutation_example(rng, "stricter", forget=0.04)),
    "judge": (16, lambda rng: judging.judge_example(rng, coarse=0.5)),
    "rate": (6, judging.rate_example),
}
"""The mixture at the end of a training: more of what is learned late."""

HARD: Mixture = MIXTURE | {
    "transform": (14, skills.transform_example),
    "hard_transform": (14, lambda rng: skills.transform_example(rng, rng.choice(LATE), kind=STRANGE)),
    "long_transform": (6, lambda rng: skills.transform_example(rng, kind=LONG)),
    "conversation": (5, skills.conversation_example),
    "arithmetic": (6, skills.arithmetic_example),
    "stricter": (2, lambda rng: writer.mutation_example(rng, "stricter", forget=0.04)),
    "judge": (16, lambda rng: judging.judge_example(rng, coarse=0.5)),
    "rate": (7, judging.rate_example),
    "compare": (4, judging.compare_example),
}
"""Another one, with more unknown words under the transforms that move words about, for a larger model."""

_HALF = ("rewrite", "improve", "stricter", "shorter", "method", "list", "merge", "mutation", "zero_order", "propose",
         "topic", "text", "input", "style", "chat", "persona", "newcomer")  # fmt: skip
LAST: Mixture = (
    HARD
    | {name: (MIXTURE[name][0] / 2, MIXTURE[name][1]) for name in _HALF}
    | {
        "transform": (10, skills.transform_example),
        "conversation": (3, skills.conversation_example),
        "sort": (6, lambda rng: skills.transform_example(rng, "sort")),
        "replace": (7, lambda rng: skills.transform_example(rng, "replace")),
        "moved": (14, lambda rng: skills.transform_example(rng, rng.choice(MOVING), kind=STRANGE)),
        "count": (3, lambda rng: skills.transform_example(rng, "count", kind=LONG)),
        "judge": (26, lambda rng: judging.judge_example(rng, coarse=0.5)),
        "rate": (8, judging.rate_example),
    }
)
"""What is left at the end: sorting, replacing, moving unknown words about, judging."""

MIXTURES = {"main": MIXTURE, "finish": FINISH, "hard": HARD, "late": LAST}


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
