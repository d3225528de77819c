"""The tables of a recovery: plain key columns, a schema for each stage. Rows that failed have a reason.

Keys: group_id (of a group of traces; a trace alone is a group of one), candidate_id (within its group).
"""

from __future__ import annotations

from dataclasses import dataclass

CONSTANT_ID, OTHER_ID, TRUE_ID = -1, -2, -3
"""Candidate ids of what is no candidate and is measured beside them: the constant prompt, another group's prompt, the
truth."""


@dataclass(frozen=True, slots=True)
class DrawRow:
    """One answer of the recoverer, or one prompt out of the bank.

    source: zero_shot, few_shot, together (several traces shown at once) or bank. trace_id: what it was asked about.
    draw: the number of the answer, 0 the greedy one; of the bank, the place. text: None where none came or it was
    refused, with the reason in `error`.
    """

    group_id: str
    source: str
    trace_id: str
    draw: int
    text: str | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PartRow:
    """What is known of a candidate. likelihood: by how many nats a token it makes the rewritten text likelier than the
    generic prompt; posterior: log-probability a token that the recoverer gives it; consensus: mean likeness with the
    answers drawn; critic: likeness with what the critic expects; retrieved: likeness by which the bank has given it;
    votes: share of the draws that said it. All but votes and consensus may be unknown, with the reason in `error`."""

    group_id: str
    candidate_id: int
    text: str
    sources: list[str]
    votes: float
    consensus: float
    likelihood: float | None
    posterior: float | None
    critic: float | None
    retrieved: float | None
    error: str | None = None
