"""breeder.lmql: an hjson object of queries by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hjson

from promptmill.crafts.breed.daycare.nodes import Query
from promptmill.crafts.breed.daycare.parse import parse_query
from promptmill.crafts.breed.daycare.place import Place
from promptmill.crafts.breed.daycare.turns import check_query
from promptmill.crafts.breed.daycare.walk import Argument
from promptmill.errors import InputError
from promptmill.settings import read_text

FITNESS = "fitness_test_template"
PARTS = {"SYSTEM_PROMPT": "system", "TASK_PROMPT": "user", "REASONING_PROMPT": "prefix"}
"""The gaps whose texts are the parts of a new prompt, and which."""
MUTATIONS: Mapping[str, Mapping[str, Argument]] = {
    "mutation_direct": dict.fromkeys(("mutation_prompt", "thinking_style", "task_description", "task_prompt"), "text"),
    "mutation_eda_based": {"mutation_prompt": "text", "eda_method": "random", "task_prompts": ("text", "text")},
    "mutation_lamarckian": {"mutation_prompt": "text", "correct_reasonings": ("text", "text"), "task_prompt": "text"},
    "hypermutation_zero_order_direct": {"thinking_style": "text", "task_description": "text"},
    "hypermutation_first_order_direct": {"mutation_prompt": "text"},
}
"""The queries that write, each with its arguments."""


@dataclass(frozen=True)
class BreederFile:
    """The queries of a file. mutations: by name, those of MUTATIONS that it has. warnings: what of it does nothing."""

    fitness: Query
    mutations: dict[str, Query]
    warnings: tuple[str, ...]


def read_breeder_file(path: Path) -> BreederFile:
    """Read and check breeder.lmql, but for the names in its fitness query, which are the suite's. InputError naming
    file, line and query."""
    text = read_text(path)
    found = _object(path, text)
    if FITNESS not in found:
        have = ", ".join(name for name in found if not name.endswith("_args")) or "none"
        raise InputError(f"{path}: the query {FITNESS} is missing (there is: {have})")
    unused = [name for name in found if re.match("(hyper)?mutation_", name) and not name.endswith("_args")
              and name not in MUTATIONS]  # fmt: skip
    queries = {name: _query(path, text, name, found) for name in (FITNESS, *MUTATIONS) if name in found}
    for name, kinds in MUTATIONS.items():
        if name in queries:
            check_query(queries[name], kinds)
            _check_gaps(queries[name])
    warnings = [f"{path}: the query {name} is not used (used are: {', '.join(MUTATIONS)})" for name in unused]
    if "mutation_direct" not in queries:
        warnings += [f"{path}: the query {name} is not used without mutation_direct, which applies what it writes"
                     for name in queries if name.startswith("hyper")]  # fmt: skip
    for model in dict.fromkeys(query.model for query in queries.values() if query.model):
        warnings.append(f"{path}: the model {model} that is named there is not used; --model chooses it")
    warnings += (warning for query in queries.values() for warning in query.warnings)
    return BreederFile(queries.pop(FITNESS), queries, tuple(warnings))


def _object(path: Path, text: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"{path}: {twice[0]} stands there twice; leave one of them out")
        return dict(pairs)

    try:
        # The library takes the column of ''' from the line break before it, and there has to be one.
        found = hjson.loads("\n" + text, object_pairs_hook=once)
    except hjson.HjsonDecodeError as error:
        raise InputError(f"{path}, line {max(1, error.lineno - 1)}: not hjson: {error.msg}") from None
    except (IndexError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: not hjson: it ends too early, or is nested too deeply ({error})") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: must be an hjson object of queries by name")
    return found


def _query(path: Path, text: str, name: str, found: Mapping[str, Any]) -> Query:
    given, arguments = found[name], found.get(f"{name}_args", [])
    if not isinstance(given, str):
        raise InputError(f"{path}: the query {name} must be a text, in ''' and ''', not {type(given).__name__}")
    if not isinstance(arguments, list) or not all(isinstance(one, str) for one in arguments):
        raise InputError(f"{path}: {name}_args must be a list of names")
    return parse_query(name, given, _place(path, text, name, given))


def _place(path: Path, text: str, name: str, given: str) -> Place:
    """Where the query's text begins: behind its key, and of several that look like it the one with its words."""
    first = next((line.strip() for line in given.split("\n") if line.strip()), "")
    for match in re.finditer(rf"""(?m)(?:^|[{{,])[ \t]*["']?{re.escape(name)}["']?\s*:(?:\s|\#[^\n]*\n)*""", text):
        line = text.count("\n", 0, match.end()) + 1
        rest = text[match.end() :]
        opened = re.match(r"'''[ \t\r]*(\n)?", rest)
        if opened is None:
            return Place(str(path), name, line, flat=True)
        if rest[opened.end() :].lstrip().startswith(first):
            return Place(str(path), name, line + bool(opened[1]))
    return Place(str(path), name)


def _check_gaps(query: Query) -> None:
    """Whether what the query writes can be used."""
    if query.name.startswith("mutation") and not set(PARTS) & set(query.gaps):
        known = ", ".join(f"[{name}]" for name in PARTS)
        raise InputError(f"{query.place.whole}: has none of the gaps {known}, of which a new prompt is made")
