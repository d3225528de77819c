"""The statements of a query, out of the syntax tree that Python makes of them."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from promptmill.crafts.breed.daycare.literal import read_literal
from promptmill.crafts.breed.daycare.nodes import (
    Block,
    Choice,
    Condition,
    Count,
    Gap,
    Loop,
    Part,
    Rule,
    Say,
    Statement,
    Value,
    sayings,
)
from promptmill.crafts.breed.daycare.place import Place
from promptmill.crafts.breed.daycare.rules import read_rules
from promptmill.errors import InputError

READABLE = (
    'a statement is a text "…{name}…[GAP]…", also with where after it, a sum of texts and names, or if, elif, else '
    "or for over these"
)


@dataclass(frozen=True)
class Reader:
    """Reads the statements of a syntax tree.

    ahead: what its line numbers are ahead of the query's; 1 where an `if` was put before the indented statements.
    wheres: the lines of the query that have a `where`, which stands in the tree as an `or`.
    """

    place: Place
    tree: ast.Module
    ahead: int
    wheres: frozenset[int]

    def read(self) -> Block:
        top = self.tree.body
        return self._block(top[0].body if self.ahead and isinstance(top[0], ast.If) else top)

    def _line(self, node: ast.stmt | ast.expr) -> int:
        return node.lineno - self.ahead

    def _error(self, node: ast.stmt | ast.expr) -> InputError:
        shown = ast.unparse(node).split("\n")[0][:60]
        return self.place.error(self._line(node), f"{shown} cannot be read; {READABLE}")

    def _block(self, nodes: list[ast.stmt]) -> Block:
        return tuple(self._statement(node) for node in nodes if not isinstance(node, ast.Pass))

    def _statement(self, node: ast.stmt) -> Statement:
        if isinstance(node, ast.Expr):
            return self._say(node.value)
        if isinstance(node, ast.If):
            return self._choice(node)
        if isinstance(node, ast.For) and not node.orelse:
            return self._loop(node)
        raise self._error(node)

    def _say(self, node: ast.expr) -> Say:
        rules: tuple[Rule, ...] = ()
        said = node
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
            lines = range(self._line(node), (node.end_lineno or node.lineno) - self.ahead + 1)
            if len(node.values) != 2 or not self.wheres.intersection(lines):
                raise self.place.error(self._line(node), "or cannot be read; join constraints by and")
            said, constraints = node.values
            rules = read_rules(constraints, self.place, -self.ahead)
        return Say(self._parts(said), rules, self._line(node))

    def _parts(self, node: ast.expr) -> tuple[Part, ...]:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return read_literal(node.value, self._line(node), self.place)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._parts(node.left) + self._parts(node.right)
        if isinstance(node, ast.Name):
            return (Value(node.id),)
        if isinstance(node, ast.Call) and (part := _as_text(node)):
            return (part,)
        raise self._error(node)

    def _choice(self, node: ast.If) -> Choice:
        branches, otherwise = [], [node]
        while len(otherwise) == 1 and isinstance(otherwise[0], ast.If):
            inner = otherwise[0]
            branches.append((self._condition(inner.test), self._block(inner.body)))
            otherwise = inner.orelse  # type: ignore[assignment]
        return Choice(tuple(branches), self._block(list(otherwise)), self._line(node))

    def _condition(self, node: ast.expr) -> Condition:
        if isinstance(node, ast.Name):
            return Condition(node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not) and isinstance(node.operand, ast.Name):
            return Condition(node.operand.id, negated=True)
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name) and isinstance(node.ops[0], ast.Eq):
            wanted = node.comparators[0]
            if len(node.ops) == 1 and isinstance(wanted, ast.Constant) and isinstance(wanted.value, str):
                return Condition(node.left.id, equals=wanted.value)
        shown = ast.unparse(node)[:60]
        raise self.place.error(self._line(node), f'the condition {shown} is none of: name, not name, name == "text"')

    def _loop(self, node: ast.For) -> Loop:
        names, over = [node.target], node.iter
        if isinstance(over, ast.Call) and (counted := _argument(over, "enumerate")):
            names, over = node.target.elts if isinstance(node.target, ast.Tuple) else [], counted
        found = [name.id for name in names if isinstance(name, ast.Name)]
        wanted = 1 if over is node.iter else 2
        if not isinstance(over, ast.Name) or not len(found) == len(names) == wanted:
            raise self._error(node)
        body = self._block(node.body)
        for statement in sayings(body):
            if any(isinstance(part, Gap) for part in statement.parts):
                raise self.place.error(statement.line, "a gap within for would be filled twice; each is filled once")
        return Loop(found[-1], over.id, body, self._line(node), found[0] if wanted == 2 else None)


def _as_text(node: ast.Call) -> Part | None:
    """str(name), str(len(name)), str(len(name)-1)."""
    inner, less = _argument(node, "str"), 0
    if isinstance(inner, ast.Name):
        return Value(inner.id)
    if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Sub) and isinstance(inner.right, ast.Constant):
        if type(inner.right.value) is not int:
            return None
        less, inner = inner.right.value, inner.left
    counted = _argument(inner, "len")
    return Count(counted.id, less) if isinstance(counted, ast.Name) else None


def _argument(node: ast.expr | None, function: str) -> ast.expr | None:
    """The only argument of a call of that function."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
        return node.args[0] if len(node.args) == 1 and not node.keywords else None
    return None
