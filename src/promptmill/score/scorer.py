"""A score, what gives scores, and how a scorer is named in a file or on a command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from promptmill.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one answer.

    value:  0 to 1.
    parsed: what was read from the answer. None: nothing could be read (the value is 0; counted as unparsed).
    stats:  additive sufficient statistics of this item for the corpus score, the item's value last; () means (value,).
    """

    value: float
    parsed: str | None
    stats: tuple[float, ...] = ()

    @property
    def row(self) -> tuple[float, ...]:
        """The statistics to add up over items; the last one is always the item's value."""
        return self.stats or (self.value,)


class Scorer(Protocol):
    """Scores one answer, and turns summed statistics into the score of a whole set.

    binary: values are only 0 and 1 and the corpus score is their mean (so exact tests for counts apply).
    A scorer's `repr` holds all that decides its scores: it is part of a task's fingerprint.
    """

    @property
    def name(self) -> str: ...

    @property
    def binary(self) -> bool: ...

    def score(self, answer: str, gold: tuple[str, ...], fields: Mapping[str, str]) -> Score:
        """Score `answer` against the acceptable golds; `fields` are the example's, for scorers that need them."""
        ...

    def total(self, sums: NDArray[np.float64], n: NDArray[np.float64] | int) -> NDArray[np.float64]:
        """Corpus score, shape [...], from `sums` [..., k] of `Score.row` over n >= 1 items."""
        ...


class MeanTotal:
    """The corpus score that most scorers have: the mean of the values."""

    __slots__ = ()

    def total(self, sums: NDArray[np.float64], n: NDArray[np.float64] | int) -> NDArray[np.float64]:
        mean: NDArray[np.float64] = sums[..., -1] / n
        return mean


def corpus_score(scorer: Scorer, rows: Iterable[tuple[float, ...]]) -> float:
    """The corpus score of items given by their `Score.row`. No items: nan, for nothing is known."""
    import numpy as np

    matrix = np.asarray(list(rows), dtype=np.float64)
    return float(scorer.total(matrix.sum(axis=0), len(matrix))) if len(matrix) else float("nan")


SCORERS: Mapping[str, str] = {
    "exact": "exact:Exact",
    "contains": "exact:Contains",
    "regex": "exact:Regex",
    "number": "number:Number",
    "choice": "choice:Choice",
    "word_set": "overlap:WordSet",
    "token_f1": "overlap:TokenF1",
    "f_beta": "overlap:FBeta",
    "rouge-l": "rouge:RougeL",
    "bleu": "bleu:Bleu",
    "callable": "custom:Custom",
}
"""Name → module:class below promptmill.score; imported at first use."""

FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def make_scorer(spec: str | Mapping[str, Any], choices: tuple[str, ...] | None = None) -> Scorer:
    """The scorer that `spec` names.

    spec:    "name", "name:key=value,key=value", "module:function" (a function of your own) or {type: name, key: value}.
    choices: the task's choices, for scorers that read one; an argument `choices` in the spec goes first.
    Raises InputError for an unknown name or argument, naming the known ones.
    """
    name, given = _read_spec(spec)
    if name not in SCORERS:
        known = ", ".join(SCORERS)
        raise InputError(f"unknown scorer {name!r} (known: {known}; or your own function as module:function)")
    module, _, kind = SCORERS[name].partition(":")
    cls = getattr(import_module(f"promptmill.score.{module}"), kind)
    known_args = {f.name: str(f.type) for f in fields(cls) if f.init}
    required = [f.name for f in fields(cls) if f.init and f.default is MISSING and f.default_factory is MISSING]
    args = _split_args(name, given, known_args) if isinstance(given, str) else dict(given)
    for key in args:
        if key not in known_args:
            raise InputError(f"scorer {name}: unknown argument {key!r} (known: {', '.join(known_args) or 'none'})")
    args = {key: _convert(name, key, value, known_args[key]) for key, value in args.items()}
    if "choices" in known_args and choices and not args.get("choices"):
        args["choices"] = choices
    for key in required:
        if key not in args:
            raise InputError(f"scorer {name} needs {key}, such as {name}:{key}=…")
    scorer: Scorer = cls(**args)
    return scorer


def _read_spec(spec: str | Mapping[str, Any]) -> tuple[str, str | Mapping[str, Any]]:
    if isinstance(spec, str):
        name, _, rest = spec.strip().partition(":")
        if name == "callable":
            return name, {"function": rest}
        if name not in SCORERS and FUNCTION.fullmatch(spec.strip()):
            return "callable", {"function": spec.strip()}
        return name, rest
    args = {str(key): value for key, value in spec.items()}
    if not isinstance(args.get("type"), str):
        raise InputError(f"a scorer is a name or {{type: name, …}}, but there is no type in {args}")
    return args.pop("type"), args


def _split_args(name: str, text: str, known: Mapping[str, str]) -> dict[str, Any]:
    """`key=value,key=value`; a comma only separates where a known key follows, so that a pattern may hold commas."""
    if not text.strip():
        return {}
    args = {}
    for part in re.split(rf",\s*(?=(?:{'|'.join(known) or '$^'})=)", text):
        key, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"scorer {name}: {part!r} is not key=value (known keys: {', '.join(known) or 'none'})")
        args[key.strip()] = value
    return args


def _convert(name: str, key: str, value: Any, kind: str) -> Any:
    try:
        if kind == "bool":
            return value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()]
        if kind == "float":
            return float(value)
        if kind.startswith("tuple"):
            return tuple(map(str, value.split("|") if isinstance(value, str) else value))
        return str(value)
    except (TypeError, ValueError, KeyError):
        wanted = {"bool": "true or false", "float": "a number"}.get(kind, "a list (in a string: a|b|c)")
        raise InputError(f"scorer {name}: {key} must be {wanted}, not {value!r}") from None


def scorer_spec(scorer: Scorer) -> dict[str, Any]:
    """What `make_scorer` needs to make this scorer again, for JSON."""
    args = {f.name: getattr(scorer, f.name) for f in fields(scorer) if f.init}  # type: ignore[arg-type]
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in args.items()}
    return {"type": scorer.name, **plain}
