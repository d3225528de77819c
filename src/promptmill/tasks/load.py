"""From a name or a file to a Task."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from promptmill.errors import InputError
from promptmill.prompt import Prompt
from promptmill.score.reading import normalise
from promptmill.score.scorer import make_scorer
from promptmill.tasks.draft import ASK, ASK_NUMBER, Draft, Item, title
from promptmill.tasks.formats import Table, read_table
from promptmill.tasks.shapes import SHAPES, Mapped, read_plain
from promptmill.tasks.split import Fractions, content_hash
from promptmill.tasks.task import SPLITS, Example, Task
from promptmill.tasks.taskfile import DataFiles, TaskFile, read_task_file

FEW = 6
"""Up to so many different golds are taken for labels, where each stands for several examples."""
LABELLED = ("choice", "f_beta")
"""Scorers that need choices; where a task names none, its golds are the choices."""
LOOK = 10_000
"""Rows that are looked at, even where fewer are wanted, so that a limit does not change scorer and choices."""


def load_task(source: str, *, scorer: str | None = None, limit_rows: int | None = None) -> Task:
    """The task that `source` names: a built-in task, a task file (YAML) or a data file.

    scorer:     goes before the task's own (see score.scorer.make_scorer).
    limit_rows: only the first so many rows of each data file.
    Raises InputError saying file, row and what to change.
    """
    if limit_rows is not None and limit_rows < 1:
        raise InputError(f"the number of rows must be 1 or more, not {limit_rows}")
    path = _find(source)
    if path.suffix.lower() in (".yaml", ".yml"):
        file, folder, where = read_task_file(path), path.parent, str(path)
    else:
        file, folder, where = TaskFile(name=title(path), data=DataFiles(file=str(path))), Path(), str(path)
    drafts = {part: _draft(folder / name, file, limit_rows) for part, name in _files(file.data).items()}
    _map_golds(drafts, file, where)
    draft = _join(drafts, where)
    choices, spec = _choices_and_scorer(draft, file, scorer)
    with _said_of("" if scorer else f"{where}: "):  # a slip on the command line is not the file's
        made = make_scorer(spec, choices)
    prompt = _prompt(draft, file, choices, spec, where)
    with _said_of(f"{where}: "):
        fractions = Fractions(**file.split.model_dump())
        prompt.check(draft.items[0].fields)
        prompt.render(draft.items[0].fields)  # the demos have all fields too
    splits = _cut(drafts, fractions, limit_rows)
    return Task(file.name or title(path), file.description or draft.description, prompt, made, choices, *splits)


@contextmanager
def _said_of(prefix: str) -> Iterator[None]:
    """Put the file before the message of an InputError that does not know of it."""
    try:
        yield
    except InputError as error:
        raise InputError(prefix + str(error)) from None


def builtin_tasks() -> dict[str, str]:
    """The built-in tasks, as name → description."""
    return {name: read_task_file(path).description or "" for name, path in sorted(_builtin().items())}


def _builtin() -> dict[str, Path]:
    folder = Path(str(resources.files("promptmill.tasks").joinpath("builtin")))
    return {path.stem: path for path in folder.glob("*.yaml")} if folder.is_dir() else {}


def _find(source: str) -> Path:
    builtin, path = _builtin(), Path(source).expanduser()
    if source in builtin:
        return builtin[source]
    if path.exists():
        return path
    if path.suffix or len(path.parts) > 1:
        raise InputError(f"there is no file {path}")
    close = difflib.get_close_matches(source, builtin, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise InputError(
        f"there is no built-in task and no file {source!r}{hint} (built in: {', '.join(sorted(builtin)) or 'none'})"
    )


def _files(data: DataFiles) -> dict[str, str]:
    if data.file:
        return {"all": data.file}
    return {part: name for part in SPLITS if (name := getattr(data, part))}


def _draft(path: Path, file: TaskFile, limit: int | None) -> Draft:
    kind = file.format if file.format in ("jsonl", "csv", "parquet") else "auto"
    table = read_table(path, kind, file.delimiter, None if limit is None else max(limit, LOOK))
    if file.fields or file.gold:
        draft = read_plain(table, Mapped(file.fields, file.id, file.gold))
    else:
        draft = _shaped(table, file)
    draft.path = path
    if file.id and not (file.fields or file.gold):
        for item, row in zip(draft.items, table.rows, strict=True):
            if file.id not in row.values:
                have = ", ".join(map(str, row.values))
                raise InputError(f"{path}, {row.where}: there is no column {file.id!r} (columns: {have})")
            item.id = str(row.values[file.id]).strip() or None
    return draft


def _shaped(table: Table, file: TaskFile) -> Draft:
    if file.format in SHAPES:
        return SHAPES[file.format].read(table)
    for shape in SHAPES.values() if file.format == "auto" else ():
        if shape.fits(table):
            return shape.read(table)
    return read_plain(table, Mapped(id=file.id))


def _join(drafts: Mapping[str, Draft], where: str) -> Draft:
    """One draft of the same examples: what the first file says holds, and the choices of all."""
    first = next(iter(drafts.values()))
    joined = Draft(
        [item for draft in drafts.values() for item in draft.items],
        first.description,
        first.user,
        first.system,
        first.scorer,
    )
    offered = [choice for draft in drafts.values() for choice in draft.choices or ()]
    joined.choices = tuple(dict.fromkeys(offered)) or None
    names = set(first.items[0].fields)
    for part, draft in drafts.items():
        if set(draft.items[0].fields) != names:
            have = ", ".join(sorted(draft.items[0].fields))
            raise InputError(
                f"{where}: the {part} file has other fields ({have}) than the first ({', '.join(sorted(names))})"
            )
    return joined


def _map_golds(drafts: Mapping[str, Draft], file: TaskFile, where: str) -> None:
    """Apply gold_pattern and gold_map to all golds; a gold that is empty or that they do not cover is an error."""
    try:
        pattern = re.compile(file.gold_pattern) if file.gold_pattern else None
    except re.error as error:
        raise InputError(f"{where}: gold_pattern is no regular expression: {error}") from None
    for draft in drafts.values():
        for item in draft.items:
            at = f"{draft.path}, {item.where}"
            if pattern:
                item.gold = tuple(_group(pattern, gold, at) for gold in item.gold)
            if file.gold_map:
                for gold in item.gold:
                    if gold not in file.gold_map:
                        known = ", ".join(file.gold_map)
                        raise InputError(f"{at}: the gold {gold!r} is not in gold_map (it has: {known})")
                item.gold = tuple(dict.fromkeys(file.gold_map[gold] for gold in item.gold))
            if not item.gold:
                raise InputError(f"{at}: the gold is empty; fill it in or leave the row out")
        if pattern or file.gold_map:  # the golds are no longer those that the format knows
            draft.scorer = draft.choices = None


def _group(pattern: re.Pattern[str], gold: str, at: str) -> str:
    match = pattern.search(gold)
    found = (match[1] if pattern.groups else match[0]) if match else None
    if not found:
        raise InputError(f"{at}: gold_pattern finds nothing in the gold {gold[:60]!r}")
    return found.strip()


def _choices_and_scorer(
    draft: Draft, file: TaskFile, wanted: str | None
) -> tuple[tuple[str, ...] | None, str | Mapping[str, Any]]:
    """What is asked for goes first, then the task file, the format, and what the golds look like."""
    choices = tuple(file.choices) if file.choices else draft.choices
    scorer: str | Mapping[str, Any] | None = wanted or file.scorer or ("choice" if file.choices else draft.scorer)
    if scorer is None:
        scorer, labels = _infer(draft.items)
        choices = choices or labels
    elif choices is None and (scorer if isinstance(scorer, str) else str(scorer.get("type"))).startswith(LABELLED):
        choices = tuple(sorted({gold for item in draft.items for gold in item.gold}))
    return choices, scorer


def _infer(items: Sequence[Item]) -> tuple[str, tuple[str, ...] | None]:
    """Scorer and choices that fit the golds: labels, numbers, or text (with its case where only case changes)."""
    labels = {gold for item in items for gold in item.gold}
    numbers = all(re.fullmatch(r"-?(?:\d[\d,]*)?\.?\d+", label) for label in labels)
    each = 10 if numbers else 3
    short = all(len(label) <= 40 and re.search(r"\w", label) for label in labels)
    if 2 <= len(labels) <= FEW and len(items) >= each * len(labels) and short:
        return "choice", tuple(sorted(labels))
    if numbers:
        return "number", None
    echo = all(normalise(item.gold[0]) in map(normalise, item.fields.values()) for item in items)
    return ("exact:case_sensitive=true" if echo else "exact"), None


def _prompt(draft: Draft, file: TaskFile, choices: tuple[str, ...] | None, spec: Any, where: str) -> Prompt:
    system = draft.system
    if system is None:
        system = f"Answer with one of: {', '.join(choices)}." if choices else ASK_NUMBER if spec == "number" else ASK
    return Prompt.from_dict({"system": system, "user": draft.user} | (file.prompt or {}), f"{where}: prompt")


def _cut(drafts: Mapping[str, Draft], fractions: Fractions, limit: int | None) -> list[tuple[Example, ...]]:
    """Examples of train, dev and test: as the files say, else by hash; a dev split without a file is cut from train."""
    splits: dict[str, list[Example]] = {part: [] for part in SPLITS}
    homes: dict[str, str] = {}
    ids = _Ids()
    for part, draft in drafts.items():
        for item in draft.items[:limit]:
            home = fractions.place(item.fields) if part == "all" else part
            if part == "train" and "dev" not in drafts:
                cut = Fractions(fractions.train, fractions.dev, 0, fractions.seed) if fractions.train else fractions
                home = cut.place(item.fields)
            example = ids.example(item, draft.path, "" if part == "all" else f"{part}-")
            if part != "all":
                content = content_hash(item.fields)
                if homes.setdefault(content, part) != part:
                    raise InputError(
                        f"{draft.path}, {item.where}: this example is also in the {homes[content]} file; "
                        "leave it out of one, or nothing is held out"
                    )
            splits[home].append(example)
    return [tuple(splits[part]) for part in SPLITS]


class _Ids:
    """Gives examples unique ids. Names of fields and golds that repeat are stored once: 20,000 examples stay small."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}
        self.golds: dict[tuple[str, ...], tuple[str, ...]] = {}

    def example(self, item: Item, path: Path, prefix: str) -> Example:
        gold = self.golds.setdefault(item.gold, item.gold)
        fields = {sys.intern(name): value for name, value in item.fields.items()}
        if item.id:
            name = prefix + item.id
            if name in self.seen:
                first = self.seen[name]
                raise InputError(
                    f"{path}: the id {item.id!r} stands twice, at {first} and {item.where}; ids must be unique"
                )
        else:
            name = base = prefix + content_hash(fields | {"\0gold": gold[0]})[:12]
            copies = 1
            while name in self.seen:
                copies += 1
                name = f"{base}-{copies}"
        self.seen[name] = item.where
        return Example(name, fields, gold)
