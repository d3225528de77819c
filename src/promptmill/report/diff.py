"""Which words of a text were lost and which gained."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

# A word with the space after it. Scripts that set no spaces between words are compared sign by sign.
WORD = re.compile(
    r"(?:[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+|[^\w\s])\s*|\s+"
)
LONG = 2000
"""Words from which difflib may leave out frequent ones, for its time grows with their square."""

Part = tuple[bool, str]
"""(whether it changed, text)"""


def word_diff(before: str, after: str) -> tuple[list[Part], list[Part]]:
    """Both texts cut into parts that stayed and parts that were lost, or gained; the parts of each add up to it."""
    ours, theirs = WORD.findall(before), WORD.findall(after)
    left: list[Part] = []
    right: list[Part] = []
    for same, (a, b), (c, d) in _runs([w.strip() for w in ours], [w.strip() for w in theirs]):
        _put(left, not same, "".join(ours[a:b]))
        _put(right, not same, "".join(theirs[c:d]))
    return left, right


def _runs(a: list[str], b: list[str]) -> list[tuple[bool, tuple[int, int], tuple[int, int]]]:
    matcher = SequenceMatcher(None, a, b, autojunk=max(len(a), len(b)) > LONG)
    return [(tag == "equal", (i, j), (k, m)) for tag, i, j, k, m in matcher.get_opcodes()]


def _put(parts: list[Part], changed: bool, text: str) -> None:
    """Space at the end of a change belongs to what follows, so that no mark runs over it."""
    if not text:
        return
    bare = text.rstrip() if changed else text
    if bare:
        parts.append((changed, bare))
    if space := text[len(bare) :]:
        parts.append((False, space))
