"""The tables of a rewrite run: plain key columns, long form, a schema for each stage. Rows that failed have a reason.

Keys: base_id (of a base prompt, from its text), variation_id (-1: the base prompt itself), input_id (what the prompt is
tried on; 0 where the prompt is complete in itself), sample_id (repeats of one answer).
"""

from __future__ import annotations

from dataclasses import dataclass

BASE = -1
"""The variation_id of a base prompt itself."""


@dataclass(frozen=True, slots=True)
class BaseRow:
    """A base prompt.

    domain: the intent that it was written for, as the user gave it. intent: what it is for, in words, by which its
    outputs are judged: its topic, or the prompt's own text where nothing better is known. cluster: base prompts that
    say nearly the same, or are about one topic; a cluster lies in one split. task: of a known task, whose scorer then
    tells the truth about it.
    """

    base_id: str
    domain: str
    topic: str | None
    intent: str
    text: str
    cluster: str
    split: str
    task: str | None = None


@dataclass(frozen=True, slots=True)
class VariationRow:
    """A prompt to be tried instead of a base prompt, or the base prompt itself.

    origin: "base", the operator that wrote it, or "rewriter". round: 0 before the first rewriter, then the round in
    which it was written. text: None where none came, with the reason in `error`.
    """

    base_id: str
    variation_id: int
    origin: str
    round: int
    text: str | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class InputRow:
    """What the prompts of a base are tried on. gold: acceptable answers, where they are known."""

    base_id: str
    input_id: int
    input: str
    gold: list[str] | None = None


@dataclass(frozen=True, slots=True)
class OutputRow:
    """An answer of the main model. finish: stop or length. output None: no answer, with the reason."""

    base_id: str
    variation_id: int
    input_id: int
    sample_id: int
    output: str | None
    finish: str | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PairRow:
    """One prompt is better than another for the same base prompt.

    kind: best_worst, best_base, restraint (the base prompt is better than its rewrite) or guard (the rejected one broke
    a rule). margin: of the panel's values, 0 to 1; se: its standard error, None for guard. preferred: the judges' mean
    probability of the chosen one's outputs, asked in both orders; None where they were not asked.
    """

    base_id: str
    round: int
    domain: str
    kind: str
    prompt: str
    chosen: str
    rejected: str
    margin: float | None
    se: float | None
    preferred: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ImprovedRow:
    """What became of a test prompt. raw: the rewriter's first answer; broken: the rules that it breaks. rewrite: what
    is offered, None where the prompt is left alone, with the reason. expected: the predictor's gain."""

    base_id: str
    round: int
    prompt: str
    raw: str | None
    broken: list[str]
    rewrite: str | None
    reason: str
    expected: float | None


@dataclass(frozen=True, slots=True)
class PreferredRow:
    """p: the judges' mean probability that the rewrite's answers are better than the prompt's own; None: unread."""

    base_id: str
    p: float | None


Record = ImprovedRow | PreferredRow | BaseRow | VariationRow | InputRow | OutputRow | PairRow
