"""A query's text, as breeder.lmql has it, to its statements.

LMQL's queries look like Python and are read as Python: tokenised, the word `where` of a statement put as an `or` (which
binds as loosely and stands nowhere else), and parsed to a syntax tree. Nothing of a query is ever run as a program.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

from promptmill.crafts.breed.daycare.decoder import DECODER, Decoder, read_decoder
from promptmill.crafts.breed.daycare.nodes import Query, Rule, sayings
from promptmill.crafts.breed.daycare.place import Place
from promptmill.crafts.breed.daycare.rules import read_rules
from promptmill.crafts.breed.daycare.statements import READABLE, Reader
from promptmill.errors import InputError

PLACEHOLDER = "{decoder_options}"
FROM = re.compile(r"^[ \t]+(?=from\b)", re.MULTILINE)
WHERE = re.compile(r""""[^"\n]*"|'[^'\n]*'|(?P<where>\bwhere\b)""")
PYTHONS_LINE = re.compile(r" \(?(?:detected at|on) line \d+\)?")  # counted from where the query begins
MODEL = re.compile(r"""(?:[A-Za-z_][\w.]*\(\s*)?(["'])(?P<name>[^"'{\n]+)\1""")


@dataclass(frozen=True)
class _Sections:
    """body: the statements, every one on its line; end: what stands after `from`, and on which line it begins."""

    decoder: Decoder | None
    body: str
    end: str
    end_line: int


def parse_query(name: str, text: str, place: Place) -> Query:
    """The query of that name. InputError naming file, line and query for what cannot be read."""
    try:
        sections = _sections(text, place)
        model, rules = _ending(sections, place)
        body = Reader(place, *_tree(sections.body, place)).read()
    except (RecursionError, MemoryError):
        raise place.error(1, "is nested too deeply to be read") from None
    query = Query(name, text, place, body, sections.decoder, rules, model)
    if not query.gaps:
        raise place.error(1, "has no gap for the model to fill: write one in capitals and square brackets: [ANSWER]")
    of_decoder = query.decoder.warnings if query.decoder else ()
    return replace(query, warnings=(*of_decoder, *_slips(query)))


def _slips(query: Query) -> tuple[str, ...]:
    """Warnings of rules for gaps that there are not. InputError for choices: without them the query says something
    else than what was meant."""
    said = []
    for rule in (*query.rules, *(rule for statement in sayings(query.body) for rule in statement.rules)):
        if rule.gap in query.gaps:
            continue
        have = ", ".join(f"[{gap}]" for gap in query.gaps)
        if rule.choices is not None:
            raise query.place.error(rule.line, f"choices for [{rule.gap}], but there is no such gap (it has: {have})")
        said.append(f"{query.place.at(rule.line)}: a constraint of [{rule.gap}], which the query does not have (it "
                    f"has: {have}), does nothing")  # fmt: skip
    return tuple(dict.fromkeys(said))


def _sections(text: str, place: Place) -> _Sections:
    lines = text.replace("\r\n", "\n").split("\n")
    first = next((at for at, line in enumerate(lines) if line.strip() and not line.strip().startswith("#")), None)
    if first is None:
        raise place.error(1, "is empty")
    head, decoder = lines[first].strip(), None
    if head == PLACEHOLDER or DECODER.fullmatch(head):
        lines[first] = ""
        if head != PLACEHOLDER:
            decoder = read_decoder(head, place.at(first + 1))
    # `from` may be less indented than the statements before it, as no line of a program is.
    flat = FROM.sub("", "\n".join(lines))
    for token in _tokens(flat, place):
        if token.type == tokenize.NAME and token.string == "from":
            row, column = token.start
            rest = flat.split("\n")[row - 1 :]
            body = "\n".join([*lines[: row - 1], rest[0][:column]])
            return _Sections(decoder, body, "\n".join([rest[0][column + len("from") :], *rest[1:]]), row)
    return _Sections(decoder, "\n".join(lines), "", len(lines))


def _tokens(source: str, place: Place) -> Iterator[tokenize.TokenInfo]:
    """The tokens that stand in no bracket."""
    depth = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(token.string, 0)
            if depth == 0:
                yield token
    except tokenize.TokenError as error:
        what, (row, _) = error.args
        raise _unreadable(what, row, place) from None
    except SyntaxError as error:
        raise _unreadable(error.msg, error.lineno or 1, place) from None


def _unreadable(what: str, line: int, place: Place) -> InputError:
    what = PYTHONS_LINE.sub("", " ".join(what.split()))
    return place.error(line, f"cannot be read ({what}); {READABLE}")


def _ending(sections: _Sections, place: Place) -> tuple[str | None, tuple[Rule, ...]]:
    """The model that is named after `from`, where it is a literal, and the rules after a last `where`."""
    where = next((match for match in WHERE.finditer(sections.end) if match["where"]), None)
    named = MODEL.match(sections.end[: where.start()].strip() if where else sections.end.strip())
    model = named["name"] if named else None
    if where is None:
        return model, ()
    line = sections.end_line + sections.end[: where.start()].count("\n")
    tree = _parsed(f"({sections.end[where.end() :]}\n)", line - 1, place)
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.Expr):
        raise _unreadable("constraints are needed after where", line, place)
    return model, read_rules(tree.body[0].value, place, line - 1)


def _tree(body: str, place: Place) -> tuple[ast.Module, int, frozenset[int]]:
    """The syntax tree, what its line numbers are ahead of the query's, and the lines that have a `where`."""
    lines, wheres = body.split("\n"), []
    for token in _tokens(body, place):
        if token.type == tokenize.NAME and token.string == "where":
            row, column = token.start
            wheres.append(row)
            line = lines[row - 1]
            lines[row - 1] = line[:column] + "or   " + line[column + 5 :]
    first = next((line for line in lines if line.strip() and not line.strip().startswith("#")), "")
    ahead = int(first[:1].isspace())
    source = "\n".join(["if 1:"] * ahead + lines)
    return _parsed(source, -ahead, place), ahead, frozenset(wheres)


def _parsed(source: str, shift: int, place: Place) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\I" is no escape and stays as it is; that is meant
            return ast.parse(source)
    except SyntaxError as error:
        raise _unreadable(error.msg, max(1, (error.lineno or 1) + shift), place) from None
    except ValueError as error:
        raise _unreadable(str(error), 1, place) from None
