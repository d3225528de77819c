"""What a query says, as a script: the turns that are asked, and the answer with its gaps.

Up to the first gap stands what is asked, in Llama 2's markup ([INST] <<SYS>> … <</SYS>> … [/INST], or without the
[INST] signs) or in LMQL's turns ({:system} {:user} {:assistant}); without any of them it is all the user's turn. What
stands between the user's turn and the first gap is given to the model as the beginning of its answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from promptmill.crafts.breed.daycare.nodes import Gap, Piece, Query, Rule, Said, Turn, Words
from promptmill.crafts.breed.daycare.place import said_of
from promptmill.crafts.breed.daycare.template import template
from promptmill.crafts.breed.daycare.walk import (
    Arguments,
    check_names,
    in_words,
    tested_names,
    walked,
    ways,
)
from promptmill.errors import InputError
from promptmill.model.chat import Sampling
from promptmill.model.script import Hole, Script
from promptmill.prompt import Prompt

# [\INST] is a slip of the pen for [/INST] that is common enough to be read as what it means.
MARKUP = re.compile(r"(?P<user>(?:<s>\s*)?\[INST\]|<</SYS>>)|(?P<assistant>\[[/\\]INST\])|(?P<system><<SYS>>)")


def script_of(query: Query, arguments: Arguments, sampling: Sampling) -> Script:
    """The script that the query is with these arguments. sampling: of all gaps, where the query has no decoder of its
    own. InputError where it has no gap or more than one question and answer."""
    found = walked(query, arguments)
    with said_of(query.place.whole):
        asked, answer = _cut(found.pieces)
        answer, holes = _ruled(answer, found.rules, query.decoder.sampling if query.decoder else sampling)
        system, user = template(asked["system"]).strip(), template(asked["user"]).strip()
        if not user:
            raise InputError("nothing is asked before the first gap")
        return Script(template(answer, gaps=True).lstrip(), holes, Prompt(system, user))


def check_query(query: Query, kinds: Arguments) -> None:
    """Try a query before a search begins, by every way through it. kinds: see `check_names`. InputError."""
    check_names(query, kinds)
    for arguments in ways(query, kinds):
        try:
            script_of(query, arguments, Sampling())
        except InputError as error:
            raise InputError(f"{error}{in_words(arguments, tested_names(query))}") from None


def _cut(pieces: Sequence[Piece]) -> tuple[dict[str, list[Piece]], list[Piece]]:
    """What is asked, by role, and the answer up to its last gap."""
    last = max((at for at, piece in enumerate(pieces) if isinstance(piece, Gap)), default=None)
    if last is None:
        raise InputError("there is no gap for the model to fill")
    said: dict[str, list[Piece]] = {"system": [], "user": [], "assistant": []}
    role, begun = "user", False
    for piece in _marked(pieces[: last + 1]):
        if isinstance(piece, Turn):
            if begun or (piece.role != "assistant" and template(said["assistant"]).strip()):
                raise InputError("a turn begins after the answer has begun; a query is one question and its answer")
            role = piece.role
            continue
        if isinstance(piece, Gap):
            role, begun = "assistant", True
        said[role].append(piece)
    return said, said["assistant"]


def _marked(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """The pieces with the markup in fixed text, and only there, as turns."""
    words = ""
    for piece in (*pieces, None):
        if isinstance(piece, Words):
            words += piece.text  # a sign may be cut in two by the lines of the query
            continue
        end = 0
        for match in MARKUP.finditer(words):
            yield Words(words[end : match.start()])
            yield Turn(match.lastgroup or "user")
            end = match.end()
        yield Words(words[end:])
        words = ""
        if piece is not None:
            yield piece


def _ruled(answer: Sequence[Piece], rules: Sequence[Rule], sampling: Sampling) -> tuple[list[Piece], tuple[Hole, ...]]:
    """The answer and the holes of its gaps, each with the rules that name it."""
    pieces: list[Piece] = []
    holes: list[Hole] = []
    for piece in answer:
        if isinstance(piece, Gap):
            own = [rule for rule in rules if rule.gap == piece.name]
            if _spaced(own) and (before := template(pieces)) and not before[-1].isspace():
                pieces.append(Said(" "))
            holes.append(_hole(piece.name, own, sampling))
        pieces.append(piece)
    return pieces, tuple(holes)


def _spaced(rules: Sequence[Rule]) -> bool:
    """Whether the space before a word is a part of its choices, as LMQL wants it; here it stands before the gap."""
    return any(choice[:1].isspace() for rule in rules for choice in rule.choices or ())


def _hole(name: str, rules: Sequence[Rule], sampling: Sampling) -> Hole:
    most = [rule.most for rule in rules if rule.most is not None]
    drawn = replace(sampling, max_tokens=min(most)) if most else sampling
    offered = [tuple(choice.strip() for choice in rule.choices) for rule in rules if rule.choices is not None]
    if offered:  # a constrained answer ends where its constraint does
        choices = tuple(choice for choice in dict.fromkeys(offered[0]) if all(choice in more for more in offered))
        return Hole(name, choices, sampling=drawn)
    before = dict.fromkeys(rule.stops_before for rule in rules if rule.stops_before)
    at = dict.fromkeys(rule.stops_at for rule in rules if rule.stops_at)
    return Hole(name, None, tuple(before), tuple(at), drawn)
