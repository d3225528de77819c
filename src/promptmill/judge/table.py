"""Scores and preferences in long form: one row for each answer, judge and criterion; a further judge or another rubric
needs no other columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from promptmill.judge.judge import Preference, Subject
from promptmill.judge.panel import Scored

if TYPE_CHECKING:
    import pyarrow as pa

BASE_ITSELF = -1
"""The variation that is the base prompt."""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Which answer: of which base prompt, which variation of it (-1: itself), to which input, which of several."""

    base_id: str
    variation_id: int = BASE_ITSELF
    input_id: int = 0
    sample_id: int = 0


def _schema(needed: Sequence[str], columns: Sequence[tuple[str, str]]) -> pa.Schema:
    """Columns in the order of `columns`, by name and type; those `needed` hold no nulls."""
    import pyarrow as pa

    types = {
        "string": pa.string(), "int32": pa.int32(), "int8": pa.int8(), "float64": pa.float64(), "bool": pa.bool_(),
    }  # fmt: skip
    return pa.schema([pa.field(name, types[kind], name not in needed) for name, kind in columns])


def scores_schema() -> pa.Schema:
    """Columns of scores. planted: kind of a planted answer (see planted.py), null for a real one. length: characters of
    the answer. expected, level: null where `error` says why. The keys with validator, criterion, repeat and planted are
    unique."""
    return _schema(("base_id", "validator", "criterion"), [
        ("base_id", "string"), ("variation_id", "int32"), ("input_id", "int32"), ("sample_id", "int32"),
        ("planted", "string"), ("validator", "string"), ("criterion", "string"), ("repeat", "int32"),
        ("expected", "float64"), ("level", "int8"), ("entropy", "float64"), ("mass", "float64"), ("how", "string"),
        ("raw", "string"), ("prompt_tokens", "int32"), ("completion_tokens", "int32"), ("length", "int32"),
        ("error", "string"),
    ])  # fmt: skip


def preferences_schema() -> pa.Schema:
    """Columns of preferences between two answers to one base prompt. p: probability that the first is better."""
    return _schema(("base_id", "validator"), [
        ("base_id", "string"), ("input_id", "int32"), ("first_variation", "int32"), ("first_sample", "int32"),
        ("second_variation", "int32"), ("second_sample", "int32"), ("validator", "string"), ("p", "float64"),
        ("flipped", "bool"), ("prompt_tokens", "int32"), ("completion_tokens", "int32"), ("error", "string"),
    ])  # fmt: skip


def score_rows(
    key: Key, subject: Subject, scored: Iterable[Scored], planted: str | None = None
) -> list[dict[str, Any]]:
    """Rows of one subject's scores, for a Stage with `scores_schema`."""
    return [
        {
            "base_id": key.base_id, "variation_id": key.variation_id, "input_id": key.input_id,
            "sample_id": key.sample_id, "planted": planted, "validator": validator, "criterion": criterion,
            "repeat": repeat, "expected": one.expected, "level": one.level, "entropy": one.entropy, "mass": one.mass,
            "how": one.how, "raw": one.raw, "prompt_tokens": one.usage.prompt,
            "completion_tokens": one.usage.completion, "length": len(subject.output), "error": one.error,
        }
        for validator, criterion, one, repeat in scored
    ]  # fmt: skip


def preference_rows(first: Key, second: Key, found: Sequence[tuple[str, Preference]]) -> list[dict[str, Any]]:
    """Rows of one pair's preferences, for a Stage with `preferences_schema`."""
    return [
        {
            "base_id": first.base_id, "input_id": first.input_id, "first_variation": first.variation_id,
            "first_sample": first.sample_id, "second_variation": second.variation_id,
            "second_sample": second.sample_id, "validator": validator, "p": one.p, "flipped": one.flipped,
            "prompt_tokens": one.usage.prompt, "completion_tokens": one.usage.completion, "error": one.error,
        }
        for validator, one in found
    ]  # fmt: skip
