"""ROUGE-L: how much of a text stands in another in the same order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from promptmill.score.reading import spoken
from promptmill.score.scorer import MeanTotal, Score

TOKEN = re.compile(r"[a-z0-9]+")


def rouge_tokens(text: str) -> list[str]:
    """Tokens as the package rouge-score cuts them, without its stemmer: lower case, runs of a-z and 0-9."""
    return TOKEN.findall(text.lower())


def lcs_length(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    Bit-parallel, a row of the usual table being one integer, so that an answer that never ends costs little.
    Source: Hyyrö 2004, "Bit-parallel LCS-length computation revisited".
    """
    places: dict[str, int] = {}
    for at, token in enumerate(a):
        places[token] = places.get(token, 0) | 1 << at
    full = (1 << len(a)) - 1
    row = full
    for token in b:
        hits = row & places.get(token, 0)
        row = (row + hits | row - hits) & full
    return len(a) - row.bit_count()


def rouge_l(answer: str, gold: str) -> float:
    """F1 of the longest common subsequence of tokens (Lin 2004). 0 where either has no tokens."""
    ours, theirs = rouge_tokens(answer), rouge_tokens(gold)
    if not ours or not theirs:
        return 0.0
    return 2 * lcs_length(theirs, ours) / (len(ours) + len(theirs))


@dataclass(frozen=True, slots=True)
class RougeL(MeanTotal):
    """The best ROUGE-L over the golds, of the whole answer. Only Latin letters and digits count."""

    name: ClassVar[str] = "rouge-l"
    binary: ClassVar[bool] = False

    def score(self, answer: str, gold: tuple[str, ...], fields: Mapping[str, str]) -> Score:
        text = spoken(answer)
        if not text:
            return Score(0.0, None)
        return Score(max(rouge_l(text, g) for g in gold), text)
