"""BIG-bench: its own task.json (Srivastava et al. 2022), and BIG-bench Hard's short form of it (Suzgun et al. 2022)."""

from __future__ import annotations

import re

from promptmill.errors import InputError
from promptmill.tasks.draft import ASK_LETTER, Draft, Item, get, golds_of, options_text, text_of, words_of
from promptmill.tasks.formats import Row, Table


def read_bbh(table: Table) -> Draft:
    items = []
    lettered = dashed = 0
    offered: set[str] = set()
    for row in table.rows:
        text = text_of(get(table, row, "input"))
        options = text.rpartition("Options:")[2] if "Options:" in text else ""
        letters = re.findall(r"^\([A-Z]\)(?= )", options, re.MULTILINE)
        dashes = [one.strip() for one in re.findall(r"^- (.+)$", options, re.MULTILINE)]
        lettered, dashed = lettered + bool(letters), dashed + bool(dashes)
        offered.update(letters or dashes)
        items.append(Item(row.where, {"input": text}, golds_of(get(table, row, "target"))))
    draft = Draft(items, f"Answer the question ({words_of(table.path)}).")
    if max(lettered, dashed) == len(items):
        draft.choices, draft.scorer = tuple(sorted(offered)), "choice"
        draft.system = ASK_LETTER if lettered else None
    return draft


def read_bigbench(table: Table) -> Draft:
    if any("target_scores" in row.values for row in table.rows):
        draft = _choices(table)
    else:
        items = [
            Item(row.where, {"input": text_of(get(table, row, "input"))}, golds_of(get(table, row, "target")))
            for row in table.rows
        ]
        preferred = str(table.head.get("preferred_score", ""))
        overlap = re.search(r"bleu|rouge|f1|bleurt", preferred)
        draft = Draft(items, "", scorer="token_f1" if overlap else ("exact" if preferred else None))
    prefix = str(table.head.get("task_prefix") or "").strip()
    draft.description = str(table.head.get("description") or f"Answer the question ({words_of(table.path)}).")
    draft.system = prefix or draft.system
    return draft


def _choices(table: Table) -> Draft:
    """Options with scores. Where all examples have the same, they are the choices; else each lists its own."""
    scored: list[tuple[Row, dict[str, float]]] = []
    for row in table.rows:
        scores = get(table, row, "target_scores")
        if not isinstance(scores, dict) or not scores:
            raise InputError(f"{table.path}, {row.where}: target_scores must be an object of options and their scores")
        scored.append((row, {str(option): float(score) for option, score in scores.items()}))
    same = len({frozenset(scores) for _, scores in scored}) == 1
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    if not same and max(len(scores) for _, scores in scored) > len(letters):
        raise InputError(f"{table.path}: an example has more than {len(letters)} options")
    items = []
    for row, scores in scored:
        text = text_of(get(table, row, "input"))
        right = [option for option, score in scores.items() if score == max(scores.values())]
        if not same:
            labels = {option: letters[i] for i, option in enumerate(scores)}
            text += "\n" + options_text((labels[option], option) for option in scores)
            right = [f"({labels[option]})" for option in right]
        items.append(Item(row.where, {"input": text}, tuple(right)))
    most = max(len(scores) for _, scores in scored)
    choices = tuple(sorted(scored[0][1])) if same else tuple(f"({letter})" for letter in letters[:most])
    return Draft(items, "", system=None if same else ASK_LETTER, scorer="choice", choices=choices)


def fits_bigbench(table: Table) -> bool:
    marks = {"preferred_score", "metrics", "keywords", "task_prefix", "description"}
    return table.nested and not table.keyed and (bool(marks & set(table.head)) or "target_scores" in table.columns)
