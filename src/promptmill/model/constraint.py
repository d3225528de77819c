"""What an answer must look like: one of some texts, a match of a regular expression, or JSON by a schema.

Whoever generates holds the answer to it (local models by masking tokens, servers by structured output); whoever only
hears the answer checks it with `met`. An answer that does not meet its constraint is a failure, never a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from promptmill.errors import InputError
from promptmill.model.schema import fault_of, fits

Choices = tuple[str, ...]
"""The answer is one of these texts."""


@dataclass(frozen=True, slots=True)
class Regex:
    """The whole answer matches `pattern`, without ^ and $.

    It must mean the same to Python, which checks, and to Rust and the servers, which generate: no look-around and no
    back-references there.
    """

    pattern: str

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise InputError(f"{self.pattern!r} is not a regular expression ({error})") from None


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """The answer is JSON that fits the schema `text`. Properties are generated in the schema's order.

    text: the schema itself as JSON, so that the value can be hashed; `of` takes it as a mapping.
    """

    text: str

    def __post_init__(self) -> None:
        try:
            schema = json.loads(self.text)
        except ValueError as error:
            raise InputError(f"the JSON schema is not JSON ({error})") from None
        if not isinstance(schema, dict):
            raise InputError(f"a JSON schema is an object, not {self.text[:60]}")
        if fault := fault_of(schema, schema):
            raise InputError(f"the JSON schema {self.text[:60]} cannot be used ({fault})")

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> JsonSchema:
        try:
            return cls(json.dumps(schema, ensure_ascii=False))
        except (TypeError, ValueError) as error:
            raise InputError(f"the JSON schema cannot be written as JSON ({error})") from None

    @property
    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = json.loads(self.text)
        return schema


Constraint = Choices | Regex | JsonSchema


def met(constraint: Constraint, text: str) -> str | None:
    """The answer as its constraint knows it (white space around it does not matter), or None where it does not meet
    it."""
    if isinstance(constraint, Regex):
        return next((form for form in (text, text.strip()) if re.fullmatch(constraint.pattern, form)), None)
    if isinstance(constraint, JsonSchema):
        try:
            value, schema = json.loads(text), constraint.schema
            return text.strip() if fits(value, schema, schema) else None
        except (ValueError, RecursionError):  # no JSON, or nested without measure
            return None
    return next((choice for choice in constraint if choice.strip() == text.strip()), None)


def wanted(constraint: Constraint) -> str:
    """How to say in a message what an answer has missed."""
    if isinstance(constraint, Regex):
        return f"does not match {constraint.pattern[:60]!r}"
    return "is no JSON of the schema" if isinstance(constraint, JsonSchema) else "is none of the choices"


def framed(constraint: Constraint, before: str, after: str) -> Constraint:
    """The constraint on `before`, an answer and `after` together; JSON stays as it is."""
    if not (before or after) or isinstance(constraint, JsonSchema):
        return constraint
    if isinstance(constraint, Regex):
        return Regex(f"{literal(before)}(?:{constraint.pattern}){literal(after)}")
    return tuple(before + choice + after for choice in constraint)


def literal(text: str) -> str:
    """A regular expression for the text itself, in what every dialect reads (`re.escape` escapes too much)."""
    return re.sub(r"([\\.^$|?*+()\[\]{}])", r"\\\1", text)


def schema_of(constraint: Constraint) -> dict[str, Any]:
    """A JSON schema of the answer: of a JSON text for choices and regular expressions."""
    if isinstance(constraint, JsonSchema):
        return constraint.schema
    if isinstance(constraint, Regex):
        return {"type": "string", "pattern": f"^(?:{constraint.pattern})$"}
    return {"type": "string", "enum": list(constraint)}


def plain(constraint: Constraint | None) -> Any:
    """The constraint in plain JSON values, one form for each: part of a call's key."""
    if isinstance(constraint, Regex):
        return {"regex": constraint.pattern}
    return {"json": constraint.text} if isinstance(constraint, JsonSchema) else constraint
