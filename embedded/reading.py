"""What an instruction in the world's words means: the check of everything that a writer or recoverer says."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise

from embedded import phrasings
from embedded.grammar import ARITHMETIC, TASKS, Tier, texts

_ENDS = re.compile(r"(?<=[.?!])\s+")


@cache
def _cores() -> dict[str, tuple[str, Tier]]:
    known: dict[str, tuple[str, Tier]] = {}
    for task in TASKS:
        known |= dict.fromkeys((core.lower() for core in texts(phrasings.MEDIUM[task])), (task, "medium"))
        known |= dict.fromkeys((core.lower() for core in texts(phrasings.CLEAR[task])), (task, "clear"))
    return known | dict.fromkeys(texts(phrasings.CLEAR_STEPS), (ARITHMETIC, "clear"))


@cache
def _replace_patterns() -> list[tuple[re.Pattern[str], Tier]]:
    return [
        (re.compile(re.sub(r"\b[xy]\b", r"\\w+", re.escape(core))), tier)
        for core, (task, tier) in _cores().items()
        if task == "replace"
    ]


def _sentences(text: str) -> list[str]:
    """Lower case, without final periods."""
    return [sentence.removesuffix(".") for sentence in _ENDS.split(text.strip().lower())]


def read_instruction(text: str) -> tuple[str, Tier] | None:
    """Task and tier of an instruction in the world's words; None where it is vague or none of them."""
    sentences = _sentences(text)
    doubles = [f"{first} {second}" for first, second in pairwise(sentences)]  # a core may be a question and more
    for core in (*sentences, *doubles):
        core = core.removeprefix("please ")
        if core in _cores():
            return _cores()[core]
        for pattern, tier in _replace_patterns():
            if pattern.fullmatch(core):
                return "replace", tier
    return None


def task_of(text: str) -> str | None:
    """The task that an instruction asks for."""
    return (read_instruction(text) or (None,))[0]


def is_clear(text: str) -> bool:
    return (read_instruction(text) or ("", ""))[1] == "clear"


def has_cue(text: str, templates: tuple[str, ...]) -> bool:
    """Whether one of the sentences is a cue of that kind."""
    return any(sentence in texts(templates) for sentence in _sentences(text))
