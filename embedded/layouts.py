"""An example, and how its instruction and text stand in the chat: in two roles, or in one turn with a marker."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from embedded.words import nonce

Message = dict[str, str]

TEXT_MARKERS = ("Text:", "Text:", "Input:", "Input:", "Sentence:", "Message:", "Content:", "Line:", "Words:", "Note:",
                "Example:", "Original:", "Here is the text:", "The text is:")  # fmt: skip
PROBLEM_MARKERS = ("Problem:", "Question:", "Q:", "Input:", "Text:")
ANSWER_MARKERS = ("Output:", "Answer:", "Result:", "A:")
HELD_MARKERS = ("Passage:", "Document:", "Data:", "Source:")
"""Markers that are in no training example."""
_WRAPS = ('"{}"', "'{}'", "<text>{}</text>", "```\n{}\n```", "[{}]", '"""{}"""')


@dataclass(frozen=True, slots=True)
class Example:
    """A chat and the answer to it. gold: the result that the instruction is after, however well it is put.

    taught: from which of the assistant's earlier turns on they are learned too; None is the last answer alone.
    """

    kind: str
    messages: list[Message]
    answer: str
    gold: str = ""
    about: dict[str, Any] = field(default_factory=dict)
    taught: int | None = None


def system(content: str) -> Message:
    return {"role": "system", "content": content}


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def split_roles(instruction: str, text: str) -> list[Message]:
    """The layout of the built-in tasks: the instruction in the system role, the bare text as the user's turn."""
    return [system(instruction), user(text)]


def draw_marker(rng: Random, *, problem: bool = False) -> str:
    """A word and a colon to stand before a text; now and then a word that means nothing."""
    if rng.random() < 0.15:
        marker = nonce(rng).capitalize() + ":"
    else:
        marker = rng.choice(PROBLEM_MARKERS if problem else TEXT_MARKERS)
    return marker.lower() if rng.random() < 0.25 else marker


def draw_layout(rng: Random, instruction: str, text: str, *, problem: bool = False) -> list[Message]:
    """One of the layouts in use, at random; the two roles are the most common."""
    marker, chance = draw_marker(rng, problem=problem), rng.random()
    if chance < 0.4:
        return split_roles(instruction, text)
    if chance < 0.5:
        return split_roles(instruction, f"{marker} {text}")
    gap = rng.choice(("\n\n", "\n\n", "\n", " "))
    if chance < 0.72:
        ending = f"{rng.choice((chr(10), chr(10) * 2))}{rng.choice(ANSWER_MARKERS)}" if rng.random() < 0.25 else ""
        return [user(f"{instruction}{gap}{marker} {text}{ending}")]
    if chance < 0.82:
        return [user(f"{instruction}{rng.choice((chr(10), chr(10) * 2))}{text}")]
    if chance < 0.86:
        return [user(f"{instruction.rstrip('.')}: {text}")]
    if chance < 0.94:
        wrapped = rng.choice(_WRAPS).format(text)
        return [user(f"{instruction}{gap}{wrapped}")] if rng.random() < 0.7 else split_roles(instruction, wrapped)
    return [user(f"{marker} {text}{gap}{instruction}" if rng.random() < 0.5 else f"{text}{gap}{instruction}")]
