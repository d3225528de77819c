"""The strings of a query: text with {values}, [GAPS] and turns such as {:user}."""

from __future__ import annotations

import re

from promptmill.crafts.breed.daycare.nodes import Gap, Part, Turn, Value, Words
from promptmill.crafts.breed.daycare.place import Place

ROLES = ("system", "user", "assistant")
SIGNS = re.compile(
    r"(?P<escaped>\[\[|\]\]|\{\{|\}\})|\{:(?P<role>\w+)\}|\{\s*(?P<value>[A-Za-z_]\w*)\s*\}"
    r"|\[(?P<gap>[A-Za-z][A-Za-z0-9_]*)\]|(?P<open>[\[{])",
    re.ASCII,
)


def read_literal(text: str, line: int, place: Place) -> tuple[Part, ...]:
    """The parts of a string's text; line: where it stands in the query. InputError for a bracket that opens nothing."""
    parts: list[Part] = []
    end = 0
    for match in SIGNS.finditer(text):
        parts.append(Words(text[end : match.start()]))
        end = match.end()
        if match["escaped"]:
            parts.append(Words(match["escaped"][0]))
        elif match["role"]:
            if match["role"] not in ROLES:
                known = ", ".join(f"{{:{role}}}" for role in ROLES)
                raise place.error(line, f"there is no turn {match[0]} (known: {known})")
            parts.append(Turn(match["role"]))
        elif match["value"]:
            parts.append(Value(match["value"]))
        elif match["gap"]:
            parts.append(Gap(match["gap"].upper()))
        else:
            shown = text[match.start() :][:30]
            form = "[NAME]" if match["open"] == "[" else "{name}"
            twice = match["open"] * 2
            raise place.error(line, f"{shown!r} is no {form}; write {twice} for the sign {match['open']} itself")
    return tuple(part for part in (*parts, Words(text[end:])) if part != Words(""))
