"""Scorers that give parts: words in common, sets of words, and F-beta over a whole set."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from promptmill.errors import InputError
from promptmill.score.choice import read_choice
from promptmill.score.reading import final_segments, normalise, spoken
from promptmill.score.scorer import MeanTotal, Score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PUNCTUATION = str.maketrans("", "", string.punctuation)
OPPOSITES = {"yes": "no", "true": "false", "1": "0", "positive": "negative"}


def squad_tokens(text: str) -> list[str]:
    """Words as SQuAD compares them: lower case, no punctuation, no articles (Rajpurkar et al. 2016)."""
    return re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(PUNCTUATION)).split()


def token_f1(answer: str, gold: str) -> float:
    """F1 of the words in common, 0 to 1. Where either has no words left: 1 if both have none, else 0."""
    ours, theirs = squad_tokens(answer), squad_tokens(gold)
    if not ours or not theirs:
        return float(ours == theirs)
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs))


@dataclass(frozen=True, slots=True)
class TokenF1(MeanTotal):
    """The best token F1 over the golds (SQuAD), of the whole answer or of what it announces as its final one."""

    name: ClassVar[str] = "token_f1"
    binary: ClassVar[bool] = False

    def score(self, answer: str, gold: tuple[str, ...], fields: Mapping[str, str]) -> Score:
        text = spoken(answer)
        if not text:
            return Score(0.0, None)
        best = max((token_f1(part, g), part) for part in (text, *final_segments(text)[-1:]) for g in gold)
        return Score(*best)


@dataclass(frozen=True, slots=True)
class WordSet(MeanTotal):
    """1 where the answer has exactly the words of a gold, in any order (instruction induction's exact set).

    Source: Honovich et al. 2022, "Instruction Induction", appendix on evaluation.
    """

    name: ClassVar[str] = "word_set"
    binary: ClassVar[bool] = True

    def score(self, answer: str, gold: tuple[str, ...], fields: Mapping[str, str]) -> Score:
        text = spoken(answer)
        for part in (*final_segments(text)[-1:], text):
            if any(_words(part) == _words(g) for g in gold):
                return Score(1.0, part)
        return Score(0.0, text or None)


def _words(text: str) -> frozenset[str]:
    words = (normalise(word) for word in re.split(r"[\s,;]+", text))
    return frozenset(word for word in words if word and word not in {"and", "-", "•"})


@dataclass(frozen=True, slots=True)
class FBeta:
    """F-beta of the label `positive` over the whole set; the value of one item is whether its label is right.

    beta:     above 1 favours recall, below 1 precision.
    positive: the label that is sought; `choices` are all labels (default: positive and its plain opposite).
    An unreadable answer counts as "not positive" and has parsed None. Statistics: tp, fp, fn, value.
    No positive in gold or answers: 0, as scikit-learn has it.
    """

    positive: str
    beta: float = 1.0
    choices: tuple[str, ...] = ()
    name: ClassVar[str] = "f_beta"
    binary: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise InputError(f"scorer f_beta: beta must be above 0, not {self.beta}")
        labels = self.choices or tuple(
            pair for a, b in OPPOSITES.items() for pair in (a, b) if normalise(self.positive) in (a, b)
        )
        if normalise(self.positive) not in map(normalise, labels):
            have = ", ".join(labels) or "none"
            raise InputError(
                f"scorer f_beta: positive={self.positive} is not among the choices ({have}); name both labels"
            )
        object.__setattr__(self, "choices", labels)

    def score(self, answer: str, gold: tuple[str, ...], fields: Mapping[str, str]) -> Score:
        wanted, sought = {normalise(g) for g in gold}, normalise(self.positive)
        parsed = read_choice(spoken(answer), self.choices, fields)
        said, is_positive = parsed is not None and normalise(parsed) == sought, sought in wanted
        value = float(parsed is not None and normalise(parsed) in wanted)
        return Score(
            value,
            parsed,
            (float(said and is_positive), float(said and not is_positive), float(is_positive and not said), value),
        )

    def total(self, sums: NDArray[np.float64], n: NDArray[np.float64] | int) -> NDArray[np.float64]:
        import numpy as np

        square = self.beta**2
        hits = (1 + square) * sums[..., 0]
        whole = hits + square * sums[..., 2] + sums[..., 1]
        return np.divide(hits, whole, out=np.zeros_like(hits, dtype=np.float64), where=whole > 0)
