"""What stands after `where`: constraints of gaps, joined by `and`."""

from __future__ import annotations

import ast

from promptmill.crafts.breed.daycare.nodes import Rule
from promptmill.crafts.breed.daycare.place import Place

READABLE = (
    'a constraint is NAME in set(["a", "b"]), STOPS_BEFORE(NAME, "text"), STOPS_AT(NAME, "text") or '
    "len(TOKENS(NAME)) < 100, and several are joined by and"
)


def read_rules(node: ast.expr, place: Place, shift: int = 0) -> tuple[Rule, ...]:
    """The rules of an expression. shift: to add to its line numbers. InputError for anything else."""
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        return tuple(rule for value in node.values for rule in read_rules(value, place, shift))
    line = node.lineno + shift
    rule = _stop(node, line) or _choices(node, line) or _length(node, line)
    if rule is None:
        raise place.error(line, f"the constraint {ast.unparse(node)[:60]} cannot be read; {READABLE}")
    if rule.choices is not None and not all(choice.strip() for choice in rule.choices or ("",)):
        raise place.error(line, f"the choices of [{rule.gap}] must be texts, none of them empty")
    if rule.most is not None and rule.most < 1:
        raise place.error(line, f"[{rule.gap}] must have room for one token at least")
    return (rule,)


def _name(node: ast.expr) -> str | None:
    return node.id.upper() if isinstance(node, ast.Name) else None


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _called(node: ast.expr, function: str, count: int) -> list[ast.expr] | None:
    """The arguments of a call of that function."""
    if isinstance(node, ast.Call) and _name(node.func) == function.upper() and len(node.args) == count:
        return None if node.keywords else node.args
    return None


def _stop(node: ast.expr, line: int) -> Rule | None:
    for function in ("STOPS_BEFORE", "STOPS_AT"):
        if args := _called(node, function, 2):
            gap, text = _name(args[0]), _text(args[1])
            if gap and text:
                at = function == "STOPS_AT"
                return Rule(gap, line, stops_at=text) if at else Rule(gap, line, stops_before=text)
    return None


def _choices(node: ast.expr, line: int) -> Rule | None:
    if not isinstance(node, ast.Compare) or len(node.ops) != 1 or not isinstance(node.ops[0], ast.In):
        return None
    gap, listed = _name(node.left), node.comparators[0]
    if args := _called(listed, "set", 1):
        listed = args[0]
    if gap is None or not isinstance(listed, ast.List | ast.Tuple | ast.Set):
        return None
    texts = [_text(one) for one in listed.elts]
    return Rule(gap, line, choices=tuple(dict.fromkeys(text or "" for text in texts)))


def _length(node: ast.expr, line: int) -> Rule | None:
    """len(TOKENS(NAME)) < 100, or <= 100."""
    if not isinstance(node, ast.Compare) or len(node.ops) != 1 or not isinstance(node.ops[0], ast.Lt | ast.LtE):
        return None
    outer, most = _called(node.left, "len", 1), node.comparators[0]
    inner = _called(outer[0], "TOKENS", 1) if outer else None
    gap = _name(inner[0]) if inner else None
    if gap is None or not isinstance(most, ast.Constant) or type(most.value) is not int:
        return None
    return Rule(gap, line, most=most.value - isinstance(node.ops[0], ast.Lt))
