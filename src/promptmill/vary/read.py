"""The instruction in a writer's answer."""

from __future__ import annotations

import re

from promptmill.score.reading import spoken

LONGEST_INSTRUCTION = 4000  # characters; a writer that rambles must not fill the context of the task model


# What writers say before the instruction: a first line that ends in a colon, "Here is the new instruction: …", "Sure!".
_PREAMBLES = (
    re.compile(r"^(?:sure|certainly|of course|absolutely|okay|ok|here(?:'s| is| are))\b[^\n]{0,100}:[ \t]*\n+", re.I),
    re.compile(
        r"^(?:(?:sure|certainly|of course|okay|ok)\b[!,.]?\s+)?here(?:'s| is| are)\b[^\n:]{0,60}"
        r"\b(?:instruction|prompt|version|variation|variant|rewrite)s?\b[^\n:]{0,30}:\s*",
        re.I,
    ),
    re.compile(r"^(?:sure|certainly|of course|absolutely)!\s+", re.I),
)
_LABEL = re.compile(
    r"^(?:\*\*)?(?:(?:new|improved|revised|rewritten)\s+)?(?:instruction|prompt)s?(?:\*\*)?\s*:\s*(?:\*\*)?\s*", re.I
)
_QUOTES = ('"', "'", "“”", "‘’", "`", "**")


def _spoken_before(text: str) -> bool:
    """Whether more than a preamble stands there."""
    text = text.strip() + "\n\n"
    for pattern in _PREAMBLES:
        text = pattern.sub("", text)
    return bool(text.strip())


def read_instruction(text: str) -> str | None:
    """The instruction in a writer's answer, without thinking aloud, preamble, label, code fence and quotation marks.

    None where nothing usable is left (empty, or longer than LONGEST_INSTRUCTION).
    """
    text = spoken(text)
    fence = re.search(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
    if fence and not _spoken_before(text[: fence.start()]):  # else the fence is a part of the instruction
        text = fence[1].strip()
    for pattern in (*_PREAMBLES, _LABEL):
        text = pattern.sub("", text).strip()
    for marks in _QUOTES:
        opening, closing = (marks[0], marks[1]) if len(marks) == 2 and marks != "**" else (marks, marks)
        inner = text[len(opening) : -len(closing)]
        if text.startswith(opening) and text.endswith(closing) and closing not in inner:
            text = inner.strip()
    return text if 0 < len(text) <= LONGEST_INSTRUCTION else None
