"""An example, and how its instruction and text stand in the chat: in two roles, or in one turn with a marker."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

Message = dict[str, str]

TEXT_MARKERS = ("Text:", "Text:", "Input:", "Input:", "Sentence:")
PROBLEM_MARKERS = ("Problem:", "Question:", "Input:", "Text:")


@dataclass(frozen=True, slots=True)
class Example:
    """A chat and the answer to it. gold: the result that the instruction is after, however well it is put."""

    kind: str
    messages: list[Message]
    answer: str
    gold: str = ""
    about: dict[str, Any] = field(default_factory=dict)


def system(content: str) -> Message:
    return {"role": "system", "content": content}


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def split_roles(instruction: str, text: str) -> list[Message]:
    """The layout of the built-in tasks: the instruction in the system role, the bare text as the user's turn."""
    return [system(instruction), user(text)]


def draw_layout(rng: Random, instruction: str, text: str, *, problem: bool = False) -> list[Message]:
    """One of the layouts in use, at random; the two roles are the most common."""
    marker = rng.choice(PROBLEM_MARKERS if problem else TEXT_MARKERS)
    if rng.random() < 0.25:
        marker = marker.lower()
    chance = rng.random()
    if chance < 0.45:
        return split_roles(instruction, text)
    if chance < 0.52:
        return split_roles(instruction, f"{marker} {text}")
    gap = rng.choice(("\n\n", "\n\n", "\n", " "))
    if chance < 0.8:
        return [user(f"{instruction}{gap}{marker} {text}")]
    if chance < 0.92:
        return [user(f"{instruction}{rng.choice((chr(10), chr(10) * 2))}{text}")]
    return [user(f"{marker} {text}{gap}{instruction}" if rng.random() < 0.5 else f"{text}{gap}{instruction}")]
