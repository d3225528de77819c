"""LMQL's decoder strings, such as `sample(n=2, temperature=0.7)`, as our sampling."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any

from promptmill.errors import InputError
from promptmill.model.chat import GREEDY, Sampling

DECODERS = ("argmax", "sample", "beam", "beam_sample")
DECODER = re.compile(r"[A-Za-z_]\w*\s*(?:\(.*\))?", re.DOTALL)
OFF: dict[str, tuple[Any, ...]] = {"top_k": (0, -1), "repetition_penalty": (1,)}
"""Values by which an argument that is not sent says nothing: no warning for these."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """sampling: how answers are drawn. repeat: answers for each question. warnings: what of it has no counterpart."""

    sampling: Sampling = GREEDY
    repeat: int = 1
    warnings: tuple[str, ...] = ()


def read_decoder(text: str, where: str) -> Decoder:
    """The decoder that `text` names. `argmax` and `beam` are greedy; `sample` and `beam_sample` draw at temperature 1
    unless they say otherwise, `n` answers each. InputError naming `where` for any other text."""
    name, given = _call(text, where)
    if name not in DECODERS:
        raise InputError(f"{where}: unknown decoder {name!r} (known: {', '.join(DECODERS)})")
    draws = name.endswith("sample")
    read = {
        "temperature": _number(given, "temperature", 1.0, where, "0 or more", lambda value: value >= 0),
        "top_p": _number(given, "top_p", 1.0, where, "above 0, at most 1", lambda value: 0 < value <= 1),
        "max_tokens": _whole(given, "max_tokens", GREEDY.max_tokens, where),
    }
    repeat = _whole(given, "n", 1, where)
    if not draws:
        read |= {"temperature": 0.0, "top_p": 1.0}
        repeat = 1
    sampling = Sampling(float(read["temperature"]), float(read["top_p"]), int(read["max_tokens"]))
    return Decoder(sampling, repeat, _warnings(name, given, where))


def _call(text: str, where: str) -> tuple[str, dict[str, Any]]:
    """Name and arguments of `name` or `name(key=value, …)`."""
    wrong = InputError(
        f"{where}: the decoder {' '.join(text.split())[:60]!r} cannot be read; write argmax or such as "
        "sample(n=2, temperature=0.7)"
    )
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise wrong from None
    if isinstance(node, ast.Name):
        return node.id, {}
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
        raise wrong
    given = {}
    for keyword in node.keywords:
        value = keyword.value
        negative = isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub)
        inner = value.operand if isinstance(value, ast.UnaryOp) and negative else value
        if keyword.arg is None or not isinstance(inner, ast.Constant):
            raise wrong
        given[keyword.arg] = -inner.value if negative and isinstance(inner.value, int | float) else inner.value
    return node.func.id, given


def _number(given: dict[str, Any], key: str, default: float, where: str, wanted: str, fits: Any) -> float:
    value = given.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not fits(value) or value == float("inf"):
        raise InputError(f"{where}: {key} must be a number, {wanted}, not {value!r}")
    return value


def _whole(given: dict[str, Any], key: str, default: int, where: str) -> int:
    value = given.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{where}: {key} must be a whole number, 1 or more, not {value!r}")
    return value


def _warnings(name: str, given: dict[str, Any], where: str) -> tuple[str, ...]:
    warnings = []
    if name.startswith("beam"):
        instead = "answers are drawn by sampling" if name == "beam_sample" else "answers are greedy"
        warnings.append(f"{where}: there is no beam search here, so with {name} {instead}")
    known = ("temperature", "top_p", "max_tokens", "n")
    unknown = [key for key, value in given.items() if key not in known and value not in OFF.get(key, ())]
    if unknown:
        warnings.append(f"{where}: {', '.join(unknown)} is not sent to the model (known: {', '.join(known)})")
    return tuple(warnings)
