"""What a file says of a task before ids and splits, and the small helpers by which every format reads its rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptmill.errors import InputError
from promptmill.tasks.formats import Row, Table

ASK_NUMBER = "Solve the problem and give the answer as a number."
ASK_LETTER = "Choose the right option and answer with its letter."
ASK = "Answer the question."


@dataclass(slots=True)
class Item:
    """An example before it has an id and a split. where: its row, for messages."""

    where: str
    fields: dict[str, str]
    gold: tuple[str, ...]
    id: str | None = None


@dataclass(slots=True)
class Draft:
    """What a file says of a task; None is left to be inferred from the golds. path: the data file, for messages."""

    items: list[Item]
    description: str
    user: str = "{input}"
    system: str | None = None
    scorer: str | None = None
    choices: tuple[str, ...] | None = None
    path: Path = Path()


def text_of(value: Any) -> str:
    """A value as text: 39.0 is "39", true is "true", nothing is "", a list or an object is JSON."""
    if isinstance(value, str):
        # JSON can write half a surrogate pair, which is no text; a replacement sign stands for it as on any screen.
        return value if value.isprintable() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if value is None or value != value:  # a missing number in parquet is a nan
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def golds_of(value: Any) -> tuple[str, ...]:
    """Acceptable golds of a gold column: a list is several. Doubled ones and empty ones are left out."""
    texts = (text_of(one).strip() for one in (value if isinstance(value, list) else [value]))
    plain = (re.sub(r"(?<=\d)\.0$", "", one) if re.fullmatch(r"-?\d+\.0", one) else one for one in texts)
    return tuple(dict.fromkeys(one for one in plain if one))


def get(table: Table, row: Row, column: str) -> Any:
    """The value of a column ("question.stem" goes into an object). Raises InputError naming file, row and columns."""
    if column in row.values:
        return row.values[column]
    value: Any = row.values
    for part in column.split("."):
        if not isinstance(value, dict) or part not in value:
            have = ", ".join(map(str, row.values)) or "none"
            raise InputError(f"{table.path}, {row.where}: there is no column {column!r} (columns: {have})")
        value = value[part]
    return value


def title(path: Path) -> str:
    """A name for the data of a file: its stem, or its folder's name where the stem says nothing (test.json)."""
    dull = path.stem.lower() in {"train", "dev", "test", "data", "questions", "task", "validation", "examples"}
    return path.resolve().parent.name if dull else path.stem


def words_of(path: Path) -> str:
    """The title in plain words, for descriptions."""
    return title(path).replace("_", " ").replace("-", " ")


def options_text(texts: Iterable[tuple[str, str]]) -> str:
    """Labelled options as lines "(A) text", the form in which the choice scorer finds them again."""
    return "Options:\n" + "\n".join(f"({label}) {text}" for label, text in texts)


def id_of(row: Row, column: str) -> str | None:
    """The id in a column, None where it is missing or empty."""
    return text_of(row.values.get(column)).strip() or None
