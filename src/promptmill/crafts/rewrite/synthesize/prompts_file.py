"""Base prompts of the user's own, from a file of rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptmill.errors import InputError
from promptmill.store.stage import digest
from promptmill.tasks.formats import Row, read_table
from promptmill.tasks.load import load_task
from promptmill.tasks.task import SPLITS, Task

NO_DOMAIN = "given"
TEXT_COLUMNS = ("prompt", "text")


@dataclass(frozen=True, slots=True)
class GivenInput:
    """What a prompt is tried on. gold: acceptable answers, where they are known."""

    input: str
    gold: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class GivenPrompt:
    """A base prompt that somebody wrote.

    domain: what it belongs to. intent: what it is for, by which its outputs are judged. inputs: what it is tried on;
    where there are none they come from the task, or are written. task: by what `load_task` finds it; known: that task.
    split: train, dev or test where the file says so.
    """

    text: str
    domain: str = NO_DOMAIN
    intent: str = ""
    inputs: tuple[GivenInput, ...] = ()
    task: str | None = None
    split: str | None = None
    known: Task | None = field(default=None, compare=False, repr=False)

    @property
    def digest(self) -> str:
        """Changes with all that decides what becomes of it."""
        inputs = [[one.input, one.gold] for one in self.inputs]
        known = self.known.fingerprint if self.known else None
        return digest(self.text, self.domain, self.intent, inputs, self.task, self.split, known)


def read_prompts(path: Path) -> list[GivenPrompt]:
    """Prompts from JSON lines, JSON, CSV or parquet.

    Columns: `prompt` (or `text`); optional `domain` (default: the task's name, else "given"), `intent` (default: the
    task's description, else the prompt itself), `inputs` (a list of texts, in CSV as JSON), `golds` (for each input a
    text or a list of texts), `task` (a built-in task or a file, also one beside this file) and `split` (train, dev or
    test). Others are not looked at. InputError names file and row of what cannot be used.
    """
    tasks: dict[str, tuple[str, Task]] = {}
    return [_given(path, row, tasks) for row in read_table(path).rows]


def _given(path: Path, row: Row, tasks: dict[str, tuple[str, Task]]) -> GivenPrompt:
    where = f"{path}, {row.where}"
    column = next((name for name in TEXT_COLUMNS if name in row.values), None)
    if column is None:
        raise InputError(f"{where}: there is no column 'prompt' (columns: {', '.join(map(str, row.values))})")
    text = _text(row.values, column, where)
    if text is None:
        raise InputError(f"{where}: the {column} is empty; fill it in or leave the row out")
    named = _text(row.values, "task", where)
    task, known = _task(path, named, where, tasks) if named else (None, None)
    split = _text(row.values, "split", where)
    if split is not None and split not in SPLITS:
        raise InputError(f"{where}: split must be train, dev or test, not {split!r}")
    return GivenPrompt(
        text,
        _text(row.values, "domain", where) or (known.name if known else NO_DOMAIN),
        _text(row.values, "intent", where) or (known.description if known else "") or text,
        _inputs(row.values, where),
        task,
        split,
        known,
    )


def _text(values: Mapping[str, Any], name: str, where: str) -> str | None:
    value = values.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"{where}: {name} must be text, not {type(value).__name__}")
    return _sound(value, name, where).strip() or None


def _sound(value: str, name: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{where}: {name} holds half a surrogate pair, which is no text") from None
    return value


def _inputs(values: Mapping[str, Any], where: str) -> tuple[GivenInput, ...]:
    inputs = [_said(one, "inputs", where) for one in _list(values.get("inputs"), "inputs", where)]
    if any(not one.strip() for one in inputs):
        raise InputError(f"{where}: one of the inputs is empty; a prompt that needs none has no inputs at all")
    if values.get("golds") in (None, "", []):
        return tuple(map(GivenInput, inputs))
    golds = [_gold(one, where) for one in _list(values["golds"], "golds", where)]
    if len(golds) != len(inputs):
        raise InputError(f"{where}: {len(golds)} golds for {len(inputs)} inputs; each input needs one")
    return tuple(map(GivenInput, inputs, golds))


def _list(value: Any, name: str, where: str) -> Sequence[Any]:
    """A list; a text that is one in JSON (as in CSV), or any other text as its only entry."""
    if value is None or value == "":
        return []
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        raise InputError(f"{where}: {name} must be a list of texts, not {type(value).__name__}")
    try:
        read = json.loads(value) if value.lstrip().startswith("[") else None
    except (ValueError, RecursionError):  # a text in brackets is a text
        read = None
    return read if isinstance(read, list) else [value]


def _gold(value: Any, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    several = value if isinstance(value, list) else [value]
    golds = tuple(_said(one, "golds", where) for one in several)
    if not golds or not all(one.strip() for one in golds):
        raise InputError(f"{where}: one of the golds is empty; null says that there is none")
    return golds


def _said(value: Any, name: str, where: str) -> str:
    if isinstance(value, str):
        return _sound(value, name, where)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise InputError(f"{where}: {name} must be a list of texts, but it holds {type(value).__name__}")


def _task(path: Path, name: str, where: str, tasks: dict[str, tuple[str, Task]]) -> tuple[str, Task]:
    """The task, and the name by which it is found again from anywhere."""
    if name not in tasks:
        beside = path.parent / name
        source = str(beside) if beside.is_file() else name
        try:
            tasks[name] = source, load_task(source)
        except InputError as error:
            raise InputError(f"{where}: task {name}: {error}") from None
    return tasks[name]
