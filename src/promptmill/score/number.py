"""The scorer for answers that are numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from promptmill.errors import InputError
from promptmill.score.reading import final_segments, spoken
from promptmill.score.scorer import MeanTotal, Score

PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
# A minus is a sign unless something stands right before it (3-4, x-4); digits glued to a letter before (H2) are none.
NUMBER = re.compile(
    rf"(?<![^\W_])(?<!\d[.,])(?<!\))(?P<sign>-)?(?<![^\W_])"
    rf"(?:(?P<whole>\d+)\s+(?=\d+\s*/\s*\d))?(?P<number>{PLAIN})(?P<exponent>[eE][+-]?\d+\b)?"
    rf"(?:\s*/\s*(?P<under>{PLAIN})(?!\s*/))?"
)
LATEX = (
    (re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r" \1/\2 "),
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf|operatorname)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\{,\}|\\[,!;]"), lambda m: "," if m[0] == "{,}" else ""),
    (re.compile(r"[−–—‐‑]"), "-"),
    (re.compile(r"(?<=\d)[\u202f\u00a0\u2009'’](?=\d{3}(?!\d))"), ","),  # 1 234 with a narrow space, 1'234
    (re.compile(r"\\?[$€£¥₹]-"), "-"),
    (re.compile(r"-\\?[$€£¥₹]"), "-"),
    (re.compile(r"\\?[$€£¥₹]|\\[()\[\]]"), " "),
)
SPECIAL = re.compile(r"[^\x00-\x7f]|[\\{$']")
"""Without one of these signs nothing in LATEX can match: most texts need no second look."""


class Read(NamedTuple):
    """A number in a text: its value and the decimals that it was written with."""

    value: float
    decimals: int


def read_numbers(text: str) -> list[Read]:
    """All numbers of `text`: 1,234.5  -$3  3/4  1 1/2  50%  6.0e3 ; a fraction over zero is two numbers."""
    if SPECIAL.search(text):
        for pattern, plain in LATEX:
            text = pattern.sub(plain, text)
    found = []
    for match in NUMBER.finditer(text):
        value = float(match["number"].replace(",", "") + (match["exponent"] or ""))
        decimals = len(match["number"].partition(".")[2])
        if match["under"]:
            under = float(match["under"].replace(",", ""))
            if under:
                value, decimals = value / under, 15
            else:
                found.append(Read(value, decimals))
                value = under
        value += float(match["whole"] or 0)
        found.append(Read(-value if match["sign"] else value, decimals))
    return found


def read_answer(answer: str) -> Read | None:
    """The number that an answer gives: the one announced last ("#### 12", a box, "answer: …"), else its last one."""
    text = spoken(answer)
    for segment in reversed(final_segments(text)):
        _, equals, right = segment.rpartition("=")
        if found := read_numbers(right):
            return found[-1] if equals and len(found) == 1 else found[0]
        if found := read_numbers(segment):
            return found[0]
    return found[-1] if (found := read_numbers(text)) else None


@dataclass(frozen=True, slots=True)
class Number(MeanTotal):
    """1 where the number of the answer equals a gold's within `tolerance` (relative above 1, absolute below).

    An answer with two decimals or more also counts where it is the gold rounded to as many (0.67 for 2/3).
    A percent sign, a unit or a currency is not looked at: 50% reads as 50.
    """

    tolerance: float = 1e-6
    name: ClassVar[str] = "number"
    binary: ClassVar[bool] = True

    def score(self, answer: str, gold: tuple[str, ...], fields: Mapping[str, str]) -> Score:
        read = read_answer(answer)
        if read is None:
            return Score(0.0, None)
        return Score(float(any(self._same(read, g) for g in gold)), f"{read.value:.15g}")

    def _same(self, read: Read, gold: str) -> bool:
        wanted = read_numbers(gold)
        if not wanted:
            raise InputError(f"scorer number: the gold {gold!r} holds no number; take the scorer exact for this task")
        target = wanted[-1]
        gap = abs(read.value - target.value)
        if gap <= self.tolerance * max(1.0, abs(target.value)):
            return True
        # Half a unit in the last place; the small surplus is for binary fractions (0.125 written as 0.13).
        return 2 <= read.decimals < target.decimals and gap <= 0.5 * 10.0**-read.decimals * (1 + 1e-9)
