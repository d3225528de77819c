"""A scorer of your own: any function answer, gold, fields → 0 to 1, named as module:function."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import ClassVar

from promptmill.errors import InputError
from promptmill.score.scorer import FUNCTION, MeanTotal, Score

ScoreFunction = Callable[[str, tuple[str, ...], Mapping[str, str]], float]


@dataclass(frozen=True, slots=True)
class Custom(MeanTotal):
    """Scores with `function` ("module:function", imported). A failure inside is an InputError naming the example."""

    function: str
    binary: bool = False
    source: str = field(init=False)
    """Start of the SHA-256 of its source text: another function is another scorer in fingerprints."""
    call: ScoreFunction = field(init=False, repr=False, compare=False)
    name: ClassVar[str] = "callable"

    def __post_init__(self) -> None:
        call = _load(self.function)
        try:
            text = inspect.getsource(call)
        except (OSError, TypeError):  # a built-in or a compiled function has no source to show
            text = self.function
        object.__setattr__(self, "call", call)
        object.__setattr__(self, "source", hashlib.sha256(text.encode()).hexdigest()[:12])

    def score(self, answer: str, gold: tuple[str, ...], fields: Mapping[str, str]) -> Score:
        try:
            value = float(self.call(answer, gold, fields))
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(f"scorer {self.function} failed on {_example(fields)}: {reason}") from error
        if math.isnan(value) or not 0 <= value <= 1 or (self.binary and value not in (0, 1)):
            wanted = "0 or 1" if self.binary else "from 0 to 1"
            raise InputError(f"scorer {self.function} gave {value} for {_example(fields)}; a score must be {wanted}")
        return Score(value, answer)


def _example(fields: Mapping[str, str]) -> str:
    text = ", ".join(f"{key}={value!r}" for key, value in fields.items()) or "an example without fields"
    return "the example " + (text if len(text) <= 80 else text[:77] + "…")


def _load(function: str) -> ScoreFunction:
    if not FUNCTION.fullmatch(function):
        raise InputError(f"scorer callable: {function!r} is not module:function")
    module, _, name = function.partition(":")
    try:
        loaded = import_module(module)
    except Exception as error:
        hint = "; is its folder in PYTHONPATH?" if isinstance(error, ModuleNotFoundError) else ""
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"scorer {function}: the module {module} cannot be imported ({reason}){hint}") from error
    call = getattr(loaded, name, None)
    if not callable(call):
        raise InputError(f"scorer {function}: the module {module} has no function {name}")
    found: ScoreFunction = call
    return found
