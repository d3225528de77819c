"""What the rows of a file mean: the known data sets, each by the columns that give it away, and plain tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from promptmill.errors import InputError
from promptmill.tasks.bigbench import fits_bigbench, read_bbh, read_bigbench
from promptmill.tasks.draft import (
    ASK_LETTER,
    ASK_NUMBER,
    Draft,
    Item,
    get,
    golds_of,
    id_of,
    options_text,
    text_of,
    words_of,
)
from promptmill.tasks.formats import Table
from promptmill.tasks.induction import read_induction

INPUTS = ("input", "question", "text")
GOLDS = ("gold", "answer", "target", "output", "label")
IDS = ("id", "ID", "Id", "uid", "qid", "example_id", "iIndex", "idx")


class Mapped(NamedTuple):
    """Columns as a task file maps them; None is guessed."""

    fields: Mapping[str, str] | None = None
    id: str | None = None
    gold: str | None = None


class Shape(NamedTuple):
    fits: Callable[[Table], bool]
    read: Callable[[Table], Draft]


def _has(*columns: str) -> Callable[[Table], bool]:
    return lambda table: not table.nested and bool(table.rows) and all(column in table.columns for column in columns)


def _svamp(table: Table) -> Draft:
    items = []
    for row in table.rows:
        body, question = (text_of(get(table, row, column)).strip() for column in ("Body", "Question"))
        joined = f"{body} {question}" if body.endswith((".", "?", "!", ",")) else f"{body}. {question}"
        items.append(Item(row.where, {"question": joined}, golds_of(get(table, row, "Answer")), id_of(row, "ID")))
    return Draft(items, "Solve an arithmetic word problem (SVAMP).", "{question}", ASK_NUMBER, "number")


def _multiarith(table: Table) -> Draft:
    items = []
    for row in table.rows:
        fields = {"question": text_of(get(table, row, "sQuestion")).strip()}
        items.append(Item(row.where, fields, golds_of(get(table, row, "lSolutions")), id_of(row, "iIndex")))
    return Draft(items, "Solve an arithmetic word problem.", "{question}", ASK_NUMBER, "number")


def _gsm8k(table: Table) -> Draft:
    items = []
    for row in table.rows:
        _, marker, gold = text_of(get(table, row, "answer")).rpartition("####")
        if not marker:
            raise InputError(f"{table.path}, {row.where}: the answer does not end in #### and the gold, as GSM8K's do")
        fields = {"question": text_of(get(table, row, "question")).strip()}
        items.append(Item(row.where, fields, golds_of(gold.replace(",", "")), id_of(row, "id")))
    return Draft(items, "Solve a grade school math word problem.", "{question}", ASK_NUMBER, "number")


def _aqua(table: Table) -> Draft:
    items = []
    for row in table.rows:
        pairs = []
        for option in get(table, row, "options"):
            label, bracket, text = text_of(option).partition(")")
            if not bracket:
                raise InputError(f"{table.path}, {row.where}: the option {option!r} is not written as A)text")
            pairs.append((label.strip(" ("), text.strip()))
        question = f"{text_of(get(table, row, 'question')).strip()}\n{options_text(pairs)}"
        items.append(Item(row.where, {"question": question}, golds_of(get(table, row, "correct")), id_of(row, "id")))
    return _lettered(items, "Solve an algebraic word problem by choosing one of the options.")


def _commonsenseqa(table: Table) -> Draft:
    items = []
    for row in table.rows:
        question = get(table, row, "question")
        inside = isinstance(question, dict)
        choices = get(table, row, "question.choices" if inside else "choices")
        if isinstance(choices, dict):  # as the Hugging Face hub stores them: {label: [...], text: [...]}
            choices = [{"label": a, "text": b} for a, b in zip(choices["label"], choices["text"], strict=True)]
        pairs = [(text_of(choice["label"]), text_of(choice["text"])) for choice in choices]
        stem = text_of(question["stem"] if inside else question).strip()
        gold = golds_of(get(table, row, "answerKey"))
        items.append(Item(row.where, {"question": f"{stem}\n{options_text(pairs)}"}, gold, id_of(row, "id")))
    return _lettered(items, "Answer a question by choosing one of the options.")


def _lettered(items: list[Item], description: str) -> Draft:
    offered = {label for item in items for label in re.findall(r"^\((\w+)\) ", item.fields["question"], re.MULTILINE)}
    choices = tuple(sorted(offered | {gold for item in items for gold in item.gold}))
    return Draft(items, description, "{question}", ASK_LETTER, "choice", choices)


def _ethos(table: Table) -> Draft:
    items = []
    for row in table.rows:
        share = get(table, row, "isHate")
        try:
            gold = "yes" if float(share) >= 0.5 else "no"  # the share of annotators who saw hate speech
        except (TypeError, ValueError):
            raise InputError(f"{table.path}, {row.where}: isHate must be a number from 0 to 1, not {share!r}") from None
        items.append(Item(row.where, {"comment": text_of(get(table, row, "comment"))}, (gold,), id_of(row, "id")))
    system = "Does the comment contain hate speech? Answer yes or no."
    return Draft(items, "Tell whether a comment contains hate speech.", "{comment}", system, "choice", ("yes", "no"))


def _fits_gsm8k(table: Table) -> bool:
    return _has("question", "answer")(table) and "####" in text_of(table.rows[0].values["answer"])


def _fits_commonsenseqa(table: Table) -> bool:
    return _has("question", "answerKey")(table) and (
        isinstance(table.rows[0].values["question"], dict) or "choices" in table.columns
    )


SHAPES: Mapping[str, Shape] = {
    "svamp": Shape(_has("Body", "Question", "Answer"), _svamp),
    "multiarith": Shape(_has("sQuestion", "lSolutions"), _multiarith),
    "aqua": Shape(_has("question", "options", "correct"), _aqua),
    "commonsenseqa": Shape(_fits_commonsenseqa, _commonsenseqa),
    "gsm8k": Shape(_fits_gsm8k, _gsm8k),
    "ethos": Shape(_has("comment", "isHate"), _ethos),
    "bigbench": Shape(fits_bigbench, read_bigbench),
    "instruction-induction": Shape(lambda table: table.keyed, read_induction),
    "bbh": Shape(lambda table: table.nested and {"input", "target"} <= set(table.columns), read_bbh),
}


def read_plain(table: Table, mapped: Mapped) -> Draft:
    """A table of named columns: those that the task file maps, the rest guessed by name."""
    gold = mapped.gold or _guess(table, GOLDS, "gold")
    id_column = mapped.id or next((column for column in IDS if column in table.columns and column != gold), None)
    if mapped.fields:
        columns, main = dict(mapped.fields), next(iter(mapped.fields))
    else:
        main = _guess(table, tuple(name for name in INPUTS if name != gold), "input")
        columns = {name: name for name in table.columns if name.isidentifier() and name not in (gold, id_column)}
    items = []
    for row in table.rows:
        fields = {}
        for name, column in columns.items():
            guessed = not mapped.fields and name != main  # a column that nobody asked for may be missing in some rows
            fields[name] = text_of(row.values.get(column) if guessed else get(table, row, column))
        given = text_of(get(table, row, id_column) if mapped.id else row.values.get(id_column)) if id_column else ""
        items.append(Item(row.where, fields, golds_of(get(table, row, gold)), given.strip() or None))
    user = "\n".join(f"{{{name}}}" for name in mapped.fields) if mapped.fields else f"{{{main}}}"
    return Draft(items, f"Answer the question ({words_of(table.path)}).", user)


def _guess(table: Table, names: Sequence[str], what: str) -> str:
    for name in names:
        if name in table.columns:
            return name
    have = ", ".join(map(str, table.columns))
    raise InputError(
        f"{table.path}: no column is called {', '.join(names[:-1])} or {names[-1]} (columns: {have}); write a task "
        f"file task.yaml with: {{data: {table.path.name}, fields: {{input: COLUMN}}, gold: COLUMN}}"
    )
