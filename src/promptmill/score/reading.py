"""Finding the final answer in what a model wrote: thinking cut off, "the answer is …", boxes, normalisation."""

from __future__ import annotations

import re
import unicodedata

# What announces a final answer. The segment that follows ends with the line.
MARKER = re.compile(
    r"####"
    r"|\b(?:answer|solution)\b[*_]*(?:\s+to\b[^.:\n]{0,60}?)?[*_]*\s*"
    r"(?:\bis\b|\bwould be\b|\bmust be\b|[:=])[*_\s]*[:=]?"
    r"|^[*_#\s]*(?:output|result|label|option|choice)[*_]*\s*:",
    re.IGNORECASE | re.MULTILINE,
)
BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
QUOTES = "\"'`´“”‘’«»„‚*_"
CLOSERS = ".,;:!?。、"


def spoken(answer: str) -> str:
    """The answer without a reasoning model's <think> block. A block that never ends leaves nothing: no answer came."""
    if "</think>" in answer:
        return answer.rpartition("</think>")[2].strip()
    return "" if answer.lstrip().startswith("<think>") else answer.strip()


def box_contents(text: str) -> list[tuple[int, str]]:
    r"""(position, content) of each \boxed{…}, braces balanced."""
    found: list[tuple[int, str]] = []
    if "\\" not in text:
        return found
    for match in BOX.finditer(text):
        depth, end = 1, match.end()
        while end < len(text) and depth and end - match.end() < 1000:
            depth += (text[end] == "{") - (text[end] == "}")
            end += 1
        found.append((match.start(), text[match.end() : end - (depth == 0)]))
    return found


LOOK_AT = 8000
"""Characters from the end in which an answer is announced: what runs on for longer must not hold up a whole run."""


def final_segments(text: str) -> list[str]:
    """What follows each announcement of an answer, in order: the rest of its line (the next where that is empty)."""
    text = text[-LOOK_AT:]
    found = box_contents(text)
    for match in MARKER.finditer(text):
        rest = text[match.end() : match.end() + 1000].lstrip(" \t*_:\n")
        line = rest.partition("\n")[0].strip()
        if line and not BOX.search(line):  # a box speaks for itself
            found.append((match.start(), line))
    return [segment for _, segment in sorted(found)]


def normalise(text: str, case_sensitive: bool = False) -> str:
    """Unicode NFKC, one space for any white space, no surrounding quotes, emphasis or closing punctuation, lower case.

    A text of nothing but such signs is kept: there the signs are the answer.
    """
    plain = " ".join(unicodedata.normalize("NFKC", text).split())
    bare, before = plain, None
    while bare != before:
        before = bare
        bare = bare.strip().strip(QUOTES).rstrip(CLOSERS)
    kept = bare or plain
    return kept if case_sensitive else kept.casefold()
