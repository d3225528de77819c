"""The tasks of "Instruction Induction" (Honovich et al. 2022): which outputs are right, and how they are compared.

The golds follow the paper's evaluation: all rhymes of the group, all translations, all concepts, either order of cause
and effect. Beyond it, the input word is no rhyme of itself: else repeating it would be a perfect answer.
"""

from __future__ import annotations

import re
from typing import Any

from promptmill.errors import InputError
from promptmill.tasks.draft import Draft, Item, get, golds_of, text_of, title, words_of
from promptmill.tasks.formats import Row, Table
from promptmill.tasks.split import content_hash

SEED = "Give the output for the input."
# The paper's metrics where they are not exact match and the columns do not tell.
SCORERS = {"informal_to_formal": "token_f1", "synonyms": "contains"}


def read_induction(table: Table) -> Draft:
    """Items of one task file; the scorer follows from its columns or, for two of the 24 tasks, from its name."""
    items = [_item(table, row) for row in table.rows]
    draft = Draft(
        items,
        f"Give the output for the input ({words_of(table.path)}).",
        system=SEED,
        scorer=SCORERS.get(title(table.path)),
    )
    columns = set(table.columns)
    if "all_common_concepts" in columns:
        draft.scorer = "token_f1"
    elif "category_items" in columns or {"words", "letter"} <= columns:
        draft.scorer = "word_set"
    elif "possible_outputs" in columns:
        draft.scorer, draft.choices = "choice", tuple(sorted({gold for item in items for gold in item.gold}))
    elif {"other_rhymes", "possible_translations"} & columns:
        draft.scorer = "exact"
    return draft


def _item(table: Table, row: Row) -> Item:
    values = row.values
    if "cause" in values:
        return _cause(row.where, text_of(values["cause"]), text_of(get(table, row, "effect")))
    if "items" in values:
        concepts = [values.get("concept"), *(values.get("all_common_concepts") or [])]
        return Item(row.where, {"input": ", ".join(map(text_of, values["items"]))}, golds_of(concepts))
    given = text_of(get(table, row, "input"))
    outputs = _list(get(table, row, "output"))
    if "other_rhymes" in values:
        rhymes = golds_of(outputs + _list(values["other_rhymes"]))
        return Item(row.where, {"input": given}, tuple(word for word in rhymes if word.casefold() != given.casefold()))
    if "possible_translations" in values:
        outputs += [form for one in _list(values["possible_translations"]) for form in _forms(text_of(one))]
    outputs += _list(values.get("possible_outputs"))
    return Item(row.where, {"input": given}, golds_of(outputs))


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _forms(translation: str) -> list[str]:
    """A dictionary's entry and the words in it: "for vehicles: Standplatz" also means "Standplatz"; ";" parts two."""
    parts = [re.sub(r"^[^:]*:\s*", "", part) for part in re.split(r"\s*;\s*", translation)]
    return [translation, *parts]


def _cause(where: str, cause: str, effect: str) -> Item:
    """Which of two sentences is the cause: a hash throws their order, so that their place says nothing."""
    if not cause or not effect:
        raise InputError(f"{where}: cause and effect must both be given")
    pair = (cause, effect) if int(content_hash({"cause": cause, "effect": effect})[:8], 16) % 2 else (effect, cause)
    return Item(where, {"input": f"Sentence 1: {pair[0]} Sentence 2: {pair[1]}"}, golds_of(cause))
