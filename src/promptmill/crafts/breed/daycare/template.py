"""Pieces of text, fields and gaps to the templates that prompts and scripts are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable

from promptmill.crafts.breed.daycare.nodes import Field, Gap, Piece, Said, Turn, Words
from promptmill.model.script import NAMED, Script
from promptmill.prompt import HOLE, fill

# A template reads {name} and [NAME] as holes, and {{name}} and [[NAME]] as the texts {name} and [NAME]. So the
# innermost brackets of whatever is meant as text are doubled.
LIKE_FIELD = re.compile(r"\{([A-Za-z_]\w*)\}")
LIKE_GAP = re.compile(r"\[([A-Z][A-Z0-9_]*)\]")


def template(pieces: Iterable[Piece], gaps: bool = False) -> str:
    """One template of the pieces, turns left out. gaps: it is a script's text, in which brackets mean something too."""
    text = ""
    for kind, piece in _merged(pieces):
        if kind == "text":
            if text and piece[:1] == _closing(text):
                # Between two signs "{" and "}" a hole would itself read as text, and there is no way to write that.
                text = _parted(text)
            shown = LIKE_FIELD.sub(r"{{\1}}", piece)
            text += LIKE_GAP.sub(r"[[\1]]", shown) if gaps else shown
        else:
            text += piece
    return text


def _merged(pieces: Iterable[Piece]) -> list[tuple[str, str]]:
    """(kind, text) of the pieces, texts that follow each other as one: together they may look like a hole."""
    merged: list[tuple[str, str]] = []
    for piece in pieces:
        if isinstance(piece, Words | Said):
            before = merged.pop()[1] if merged and merged[-1][0] == "text" else ""
            merged.append(("text", before + piece.text))
        elif isinstance(piece, Field):
            merged.append(("hole", f"{{{piece.name}}}"))
        elif isinstance(piece, Gap):
            merged.append(("hole", f"[{piece.name}]"))
        elif isinstance(piece, Turn):
            continue
    return [one for one in merged if one[1]]


def _closing(text: str) -> str | None:
    """The sign after which the hole at the end of `text` would read as text: it has such a sign before it."""
    hole = re.search(r"(\{\{\w+\}|\[\[\w+\])$", text)
    return text[-1] if hole else None


def _parted(text: str) -> str:
    """A space before the hole at the end of `text`."""
    at = max(text.rfind("{"), text.rfind("["))
    return f"{text[:at]} {text[at:]}"


def opening(script: Script) -> str:
    """The plain text of a script before its first gap, up to its first field."""
    first = next(match for match in NAMED.finditer(script.text) if match[2])
    text = script.text[: first.start()]
    field = next((match for match in HOLE.finditer(text) if match[2]), None)
    return NAMED.sub(lambda match: f"[{match[1]}]", fill(text[: field.start()] if field else text, {}))
