"""The tables of the first stage. What failed has a reason, "kind: detail"."""

from __future__ import annotations

from dataclasses import dataclass

BASE = -1
"""The variation_id of a prompt that is no variation."""


@dataclass(frozen=True, slots=True)
class TextRow:
    """An answer of the writer that was asked for a text. number: of the answer, by its subject."""

    subject: str
    number: int
    text: str | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class OriginalRow:
    """A text that is to be rewritten. subject: where the writer has written it."""

    original_id: int
    text: str
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A prompt by which texts are rewritten. base_id: the prompt_id of the prompt that it varies, its own for a base
    prompt. origin: given, written or first_order. split, cluster: where a file has said so."""

    prompt_id: str | None
    base_id: str
    variation_id: int
    origin: str
    category: str
    text: str | None
    error: str | None = None
    split: str | None = None
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class RewrittenRow:
    """What a prompt has made of a text. original: as the model was shown it. rewritten: cleaned; None where the row is
    no trace."""

    prompt_id: str
    original_id: int
    original: str
    rewritten: str | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DroppedRow:
    """What is no trace, and why. like: the id of the trace whose text this one repeats, by that likeness (0 to 1)."""

    prompt_id: str
    original_id: int
    reason: str
    like: str | None = None
    likeness: float | None = None


@dataclass(frozen=True, slots=True)
class PartRow:
    """Where a prompt lies. given: whether the split is a file's. torn: a file has put prompts of this cluster (or this
    very prompt) into several splits. nearest, likeness: of a held-out prompt the most alike among those of the splits
    that come before its own, and their cosine; None for train, and where there is none."""

    prompt: str
    cluster: str
    split: str
    given: bool
    torn: bool
    nearest: str | None = None
    likeness: float | None = None
