"""Cells of a user's file, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from promptmill.errors import InputError


def cell(values: Mapping[str, Any], name: str, where: str) -> str | None:
    """A cell without the spaces at its ends; None for an empty one and for a column that is not there. InputError for
    what is no text. where: file and row, for the message."""
    value = values.get(name)
    if value is None or value != value:  # a float that is no number: an empty cell of a table library
        return None
    if not isinstance(value, str):
        raise InputError(f"{where}: {name} must be text, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{where}: {name} holds half a surrogate pair, which is no text") from None
    return value.strip() or None


def first_of(values: Mapping[str, Any], names: Sequence[str], where: str) -> str:
    """The cell of the first of these columns that is there. InputError where none is, or where it is empty."""
    name = next((one for one in names if one in values), None)
    if name is None:
        raise InputError(f"{where}: there is no column {names[0]!r} (columns: {', '.join(map(str, values))})")
    text = cell(values, name, where)
    if text is None:
        raise InputError(f"{where}: the {name} is empty; fill it in or leave the row out")
    return text
