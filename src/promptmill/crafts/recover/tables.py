"""The tables of a recovery: plain key columns, a schema for each stage. Rows that failed have a reason.

Keys: group_id (of a group of traces; a trace alone is a group of one), candidate_id (within its group).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DrawRow:
    """One answer of the recoverer, or one prompt out of the bank.

    source: zero_shot, few_shot, together (several traces shown at once) or bank. trace_id: what it was asked about.
    draw: the number of the answer, 0 the greedy one; of the bank, the place. text: None where none came or it was
    refused, with the reason in `error`. retrieved: the likeness by which the bank has given it.
    """

    group_id: str
    source: str
    trace_id: str
    draw: int
    text: str | None
    error: str | None = None
    retrieved: float | None = None


@dataclass(frozen=True, slots=True)
class PartRow:
    """What is known of a candidate.

    votes: share of the draws that said it; consensus: its mean sharpened cosine with the other draws (minimum Bayes
    risk). likelihood: nats a token by which it makes the rewritten texts likelier than the generic prompt does.
    posterior: log-probability (nats, the mean over the group's traces) that the recoverer gives it. critic: cosine
    with what the critic expects. retrieved: likeness by which the bank has given it. What is unknown is None, with the
    reason in `error` where a call failed.
    """

    group_id: str
    candidate_id: int
    text: str
    sources: list[str]
    votes: float | None
    consensus: float | None
    likelihood: float | None
    posterior: float | None
    critic: float | None
    retrieved: float | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class AgainRow:
    """A text of a group written again, by the generator under a prompt. name: which prompt (predicted, true, constant,
    other). likelihood: as in PartRow. text: None where none came, with the reason in `error`. rouge_l: with the
    rewritten text, 0 to 1; same: whether both are the same, spacing aside: case may be all that was asked for."""

    group_id: str
    name: str
    trace_id: str
    likelihood: float | None
    text: str | None
    rouge_l: float | None
    same: bool | None
    error: str | None = None
