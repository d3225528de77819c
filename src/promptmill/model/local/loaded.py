"""A model in memory with all that must be known to put it to work outside the batcher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from promptmill.model.local.chat import ChatTokenizer


@dataclass(frozen=True)
class Loaded:
    """model: transformers' own object, its attention prepared for the decoding loop (folded.py) where it can fold.
    eos: tokens that end an answer. context: most tokens of prompt and answer. fingerprint: the backend's."""

    model: Any
    chat: ChatTokenizer
    eos: frozenset[int]
    context: int
    name: str
    fingerprint: str
