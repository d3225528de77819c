"""Scorers that compare texts: exact, contains, regex."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from promptmill.errors import InputError
from promptmill.score.reading import final_segments, normalise, spoken
from promptmill.score.scorer import MeanTotal, Score


@dataclass(frozen=True, slots=True)
class Exact(MeanTotal):
    """1 where the answer is a gold after `reading.normalise`, or announces one ("The answer is …").

    case_sensitive: keep case, for tasks where case is the answer.
    """

    case_sensitive: bool = False
    name: ClassVar[str] = "exact"
    binary: ClassVar[bool] = True

    def score(self, answer: str, gold: tuple[str, ...], fields: Mapping[str, str]) -> Score:
        text = spoken(answer)
        if not text:
            return Score(0.0, None)
        golds = {normalise(g, self.case_sensitive) for g in gold}
        candidates = [text]
        for final in final_segments(text)[-1:]:
            candidates = [final, re.split(r"(?<=[^\s.])[.;]\s", final)[0], text]
        for candidate in candidates:
            if normalise(candidate, self.case_sensitive) in golds:
                return Score(1.0, candidate)
        return Score(0.0, candidates[0])


@dataclass(frozen=True, slots=True)
class Contains(MeanTotal):
    """1 where a gold stands somewhere in the answer as whole words (after `reading.normalise`)."""

    case_sensitive: bool = False
    name: ClassVar[str] = "contains"
    binary: ClassVar[bool] = True

    def score(self, answer: str, gold: tuple[str, ...], fields: Mapping[str, str]) -> Score:
        text = spoken(answer)
        if not text:
            return Score(0.0, None)
        inside = normalise(text, self.case_sensitive)
        for g in gold:
            wanted = normalise(g, self.case_sensitive)
            if wanted and re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", inside):
                return Score(1.0, g)
        return Score(0.0, text)


@dataclass(frozen=True, slots=True)
class Regex(MeanTotal):
    """Reads the answer with `pattern` (its group 1, or all of it; the last match) and compares as `exact` does."""

    pattern: str
    case_sensitive: bool = False
    name: ClassVar[str] = "regex"
    binary: ClassVar[bool] = True

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise InputError(f"scorer regex: the pattern {self.pattern!r} is no regular expression: {error}") from None

    def score(self, answer: str, gold: tuple[str, ...], fields: Mapping[str, str]) -> Score:
        matches = list(re.finditer(self.pattern, spoken(answer), re.MULTILINE))
        read = (matches[-1][1] if matches[-1].re.groups else matches[-1][0]) if matches else None
        if read is None:
            return Score(0.0, None)
        hit = normalise(read, self.case_sensitive) in {normalise(g, self.case_sensitive) for g in gold}
        return Score(float(hit), read)
