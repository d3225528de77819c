"""The fitness suite: examples with a gold for each task, cut into the splits of a task."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from promptmill.errors import InputError
from promptmill.settings import read_text
from promptmill.tasks.draft import golds_of, text_of
from promptmill.tasks.formats import Row, read_table
from promptmill.tasks.split import Fractions, content_hash
from promptmill.tasks.task import SPLITS, Example

GOLD = "gold_"
"""Fields that begin so are golds, and are never shown."""
MOST_CHOICES = 10
FIELD = re.compile(r"[A-Za-z_]\w*")
YES, NO = "Yes", "No"


@dataclass(frozen=True)
class Suite:
    """fields: of every example, in the order of the first. choices: the golds, where they are few; Yes and No for
    boolean ones, whether or not both are there."""

    fields: tuple[str, ...]
    choices: tuple[str, ...] | None
    splits: tuple[tuple[Example, ...], ...]
    warnings: tuple[str, ...]


def read_suite(path: Path, task: str) -> Suite:
    """Read the examples with their golds for that task. InputError naming file and example."""
    rows = _rows(path)
    key = GOLD + task
    fields = tuple(name for name in rows[0].values if not name.startswith(GOLD))
    if wrong := [name for name in fields if not FIELD.fullmatch(name)]:
        raise InputError(f"{path}: the field {wrong[0]!r} cannot stand in a query; name it with letters, digits and _")
    if not fields:
        raise InputError(f"{path}: the examples have nothing but golds; fields with their texts are needed too")
    examples: list[Example] = []
    seen: dict[str, int] = {}
    for row in rows:
        if missing := [name for name in (key, *fields) if name not in row.values]:
            have = ", ".join(row.values) or "none"
            raise InputError(f"{path}, {row.where}: there is no {missing[0]} (fields: {have})")
        gold = _gold(row, key, path)
        values = {name: text_of(row.values[name]) for name in fields}
        base = content_hash(values | {"\0gold": gold[0]})[:12]
        seen[base] = seen.get(base, 0) + 1
        examples.append(Example(base if seen[base] == 1 else f"{base}-{seen[base]}", values, gold))
    booleans = all(isinstance(row.values[key], bool) for row in rows)
    return Suite(fields, _choices(examples, booleans), _cut(path, examples), _alike(path, key, examples))


def _rows(path: Path) -> list[Row]:
    if not path.is_file():
        raise InputError(f"there is no fitness suite {path}")
    text = read_text(path)
    first = text.lstrip()[:1]
    if first == "{" and _one_object(text):
        raise InputError(f"{path}: must be a list of examples, or JSON lines, not one object")
    if first == "":
        raise InputError(f"{path}: is empty; it must be a list of examples")
    return read_table(path, "jsonl" if first == "{" else "json").rows


def _one_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):  # JSON lines, or broken; whoever reads the lines says where
        return False


def _gold(row: Row, key: str, path: Path) -> tuple[str, ...]:
    value = row.values[key]
    if isinstance(value, bool):
        return (YES if value else NO,)
    gold = golds_of(value)
    if not gold:
        raise InputError(f"{path}, {row.where}: {key} is empty; write true, false or a text")
    return gold


def _choices(examples: Sequence[Example], booleans: bool) -> tuple[str, ...] | None:
    if booleans:
        return (YES, NO)
    found = tuple(sorted({gold for example in examples for gold in example.gold}))
    return found if 2 <= len(found) <= MOST_CHOICES else None


def _cut(path: Path, examples: Sequence[Example]) -> tuple[tuple[Example, ...], ...]:
    """Train, dev and test, by the hash of an example's fields."""
    splits: dict[str, list[Example]] = {part: [] for part in SPLITS}
    for example in examples:
        splits[Fractions().place(example.fields)].append(example)
    if empty := [part for part in SPLITS if not splits[part]]:
        raise InputError(
            f"{path}: {len(examples)} examples are too few: none falls to the {empty[0]} split; 50 or more are needed"
        )
    return tuple(tuple(splits[part]) for part in SPLITS)


def _alike(path: Path, key: str, examples: Sequence[Example]) -> tuple[str, ...]:
    golds = {example.gold for example in examples}
    if len(golds) > 1:
        return ()
    return (
        f"{path}: {key} is {examples[0].gold[0]!r} in all {len(examples)} examples, so a prompt that always answers "
        "this is perfect, and the score cannot tell a good prompt from it; add examples with another gold",
    )
