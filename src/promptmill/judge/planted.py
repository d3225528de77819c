"""Planted answers: spoilt on purpose, so that a judge who cannot tell them from the real ones is known for it.

They are the only check of validity that needs no people: judges may agree with each other and all be wrong.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal

from promptmill.judge.judge import Subject
from promptmill.judge.table import Key

Kind = Literal["truncated", "shuffled", "off_topic", "empty"]
KINDS: tuple[Kind, ...] = ("truncated", "shuffled", "off_topic", "empty")


def plant(
    answers: Sequence[tuple[Key, Subject]], kinds: Sequence[Kind] = KINDS, seed: int = 0
) -> Iterator[tuple[Key, Kind, Subject]]:
    """Planted answers from real ones, each under the key of the real one. The same for the same answers and seed.

    truncated: the first half of the words (of the characters, where there is one word). shuffled: the words in another
    order. off_topic: an answer to another base prompt. empty: nothing. A kind that would give back what is a real
    answer to that base prompt and input (two equal words in another order) is left out for it.
    """
    real: dict[tuple[str, int], set[str]] = defaultdict(set)
    outputs: dict[str, list[str]] = defaultdict(list)
    for key, subject in answers:
        real[key.base_id, key.input_id].add(subject.output.strip())
        outputs[key.base_id].append(subject.output)
    bases = sorted(outputs)
    place = {base: at for at, base in enumerate(bases)}
    for key, subject in answers:
        rng = random.Random(f"{seed}/{key.base_id}/{key.variation_id}/{key.input_id}/{key.sample_id}")
        made = {
            "truncated": _truncated(subject.output),
            "shuffled": _shuffled(subject.output, rng),
            "off_topic": _off_topic(place[key.base_id], bases, outputs, rng),
            "empty": "",
        }
        for kind in kinds:
            text = made[kind]
            if text is not None and text.strip() not in real[key.base_id, key.input_id]:
                yield key, kind, Subject(subject.instruction, subject.input, text)


def _truncated(text: str) -> str | None:
    words = text.split()
    half = " ".join(words[: len(words) // 2]) if len(words) > 1 else text.strip()[: len(text.strip()) // 2]
    return half or None


def _shuffled(text: str, rng: random.Random) -> str | None:
    """The words drawn in another order; None where they have only one."""
    words = text.split()
    if len(set(words)) < 2:
        return None
    mixed = list(words)
    while mixed == words:
        rng.shuffle(mixed)
    return " ".join(mixed)


def _off_topic(own: int, bases: Sequence[str], outputs: dict[str, list[str]], rng: random.Random) -> str | None:
    if len(bases) < 2:
        return None
    other = bases[(own + rng.randrange(1, len(bases))) % len(bases)]
    return rng.choice(outputs[other])
