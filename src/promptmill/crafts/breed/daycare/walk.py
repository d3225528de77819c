"""A query walked with its arguments: what it says, in order, and the rules of what it said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product

from promptmill.crafts.breed.daycare.nodes import (
    Block,
    Choice,
    Condition,
    Count,
    Field,
    Loop,
    Part,
    Piece,
    Query,
    Rule,
    Said,
    Say,
    Statement,
    Value,
    walk,
)

Argument = str | bool | tuple[str, ...] | Field
Arguments = Mapping[str, Argument]
"""By name: a text, a flag, a list of texts, or a field of the examples, which stays a hole."""

MOST_WAYS = 256


@dataclass(frozen=True, slots=True)
class Walked:
    pieces: tuple[Piece, ...]
    rules: tuple[Rule, ...]


def walked(query: Query, arguments: Arguments) -> Walked:
    """What the query says with these arguments, which have been checked by `check_names`."""
    pieces: list[Piece] = []
    rules: list[Rule] = []
    for said, known in _said(query.body, dict(arguments)):
        pieces += (_piece(part, known) for part in said.parts)
        rules += said.rules
    return Walked(tuple(pieces), (*rules, *query.rules))


def _said(block: Block, known: dict[str, Argument]) -> Iterator[tuple[Say, dict[str, Argument]]]:
    for statement in block:
        if isinstance(statement, Say):
            yield statement, known
        elif isinstance(statement, Choice):
            taken = (inner for condition, inner in statement.branches if _holds(condition, known))
            yield from _said(next(taken, statement.otherwise), known)
        else:
            items = known[statement.over]
            assert isinstance(items, tuple)
            for number, item in enumerate(items):
                counted = {statement.counter: str(number)} if statement.counter else {}
                yield from _said(statement.body, {**known, **counted, statement.item: item})


def _holds(condition: Condition, known: Arguments) -> bool:
    value = known[condition.name]
    true = bool(value) if condition.equals is None else value == condition.equals
    return true != condition.negated


def _piece(part: Part, known: Arguments) -> Piece:
    if isinstance(part, Count):
        items = known[part.name]
        assert isinstance(items, tuple)
        return Said(str(len(items) - part.less))
    if not isinstance(part, Value):
        return part
    value = known[part.name]
    assert isinstance(value, str | Field)
    return Said(value) if isinstance(value, str) else value


def check_names(query: Query, kinds: Arguments) -> None:
    """Whether the query uses the arguments as what they are. kinds: one value of each argument's kind. InputError with
    the line of a name that there is not, or that is used as something else."""
    _check(query, query.body, dict(kinds))


def _check(query: Query, block: Block, known: dict[str, Argument]) -> None:
    for statement in block:
        for name, wanted, words in _uses(statement):
            if name not in known:
                have = ", ".join(known)
                raise query.place.error(statement.line, f"there is nothing called {name} here (there is: {have})")
            if not isinstance(known[name], wanted):
                raise query.place.error(statement.line, f"{name} is {_kind(known[name])}, where {words} is needed")
        if isinstance(statement, Choice):
            for _, inner in statement.branches:
                _check(query, inner, known)
            _check(query, statement.otherwise, known)
        elif isinstance(statement, Loop):
            counted = {statement.counter: "0"} if statement.counter else {}
            _check(query, statement.body, {**known, **counted, statement.item: ""})


def _uses(statement: Statement) -> Iterator[tuple[str, type | tuple[type, ...], str]]:
    """(name, what it must be, in words)"""
    if isinstance(statement, Say):
        for part in statement.parts:
            if isinstance(part, Value):
                yield part.name, (str, Field), "a text"
            elif isinstance(part, Count):
                yield part.name, tuple, "a list"
    elif isinstance(statement, Choice):
        for condition, _ in statement.branches:
            if condition.equals is None:
                yield condition.name, (str, bool, tuple), "a text, a list or a flag"
            else:
                yield condition.name, str, "a text"
    else:
        yield statement.over, tuple, "a list"


def _kind(value: Argument) -> str:
    if isinstance(value, Field):
        return "a field of the examples, which is not known yet"
    return "a text" if isinstance(value, str) else "a flag" if isinstance(value, bool) else "a list"


def ways(query: Query, kinds: Arguments) -> Iterator[dict[str, Argument]]:
    """Arguments by which every branch of a query is taken, as far as there are not too many ways through it."""
    conditions = [condition for statement in walk(query.body) if isinstance(statement, Choice)
                  for condition, _ in statement.branches]  # fmt: skip
    tested: dict[str, Sequence[Argument]] = {}
    for name, value in kinds.items():
        texts = [condition.equals for condition in conditions if condition.name == name and condition.equals]
        if any(condition.name == name for condition in conditions):
            empty: Argument = "" if isinstance(value, str) else False if isinstance(value, bool) else ()
            tested[name] = list(dict.fromkeys([value, empty, *texts]))
    for values in islice(product(*tested.values()), MOST_WAYS):
        yield {**kinds, **dict(zip(tested, values, strict=True))}


def in_words(arguments: Mapping[str, Argument], names: Sequence[str]) -> str:
    """Which way was taken, for a message."""
    said = ", ".join(f"{name} = {arguments[name]!r}" for name in names if name in arguments)
    return f" (with {said})" if said else ""


def tested_names(query: Query) -> list[str]:
    found = (condition.name for statement in walk(query.body) if isinstance(statement, Choice)
             for condition, _ in statement.branches)  # fmt: skip
    return list(dict.fromkeys(found))
