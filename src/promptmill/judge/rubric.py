"""What an answer is rated by: criteria, each with five anchored levels and a weight, as data."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import field_validator, model_validator

from promptmill.errors import InputError
from promptmill.settings import Strict, checked, read_mapping
from promptmill.vary.wording import Wording, load_wording

LOWEST, HIGHEST = 1, 5
LEVELS = tuple(range(LOWEST, HIGHEST + 1))


class Criterion(Strict, frozen=True):
    """One thing to look at. levels: what each of 1 to 5 means; weight: its share of an answer's value."""

    levels: dict[int, str]
    weight: float = 1.0

    @field_validator("levels")
    @classmethod
    def _is_anchored(cls, value: dict[int, str]) -> dict[int, str]:
        missing = [level for level in LEVELS if not value.get(level, "").strip()]
        if len(missing) == len(LEVELS):
            raise ValueError("has no anchors; say what each of the levels 1 to 5 means")
        if missing:
            raise ValueError(f"level {missing[0]} has no text; say what each of the levels 1 to 5 means")
        if beyond := sorted(set(value) - set(LEVELS)):
            raise ValueError(f"there is no level {beyond[0]}; the levels are 1 to 5")
        return value

    @field_validator("weight")
    @classmethod
    def _weighs(cls, value: float) -> float:
        if not (math.isfinite(value) and value >= 0):
            raise ValueError("a weight is a number of 0 or more")
        return value


class Rubric(Strict, frozen=True):
    """Criteria by name, in order."""

    criteria: dict[str, Criterion]

    @model_validator(mode="after")
    def _has_weight(self) -> Rubric:
        if not self.criteria:
            raise ValueError("has no criteria")
        if not any(one.weight for one in self.criteria.values()):
            raise ValueError("all weights are 0; give one criterion a weight above 0")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.criteria)

    @cached_property
    def weights(self) -> dict[str, float]:
        return {name: one.weight for name, one in self.criteria.items()}

    @classmethod
    def of(cls, wording: Wording) -> Rubric:
        """The criteria of a wording, all of one weight."""
        return cls(criteria={name: Criterion(levels=levels) for name, levels in wording.criteria.items()})


def load_rubric(path: Path | None = None) -> Rubric:
    """The rubric in a YAML file, or the wording's own.

    Two forms: `criteria: {name: {levels: {1: …, …, 5: …}, weight: 2}}`, and the short one of wording.yaml, name to
    levels (with or without `criteria:` above). InputError, one line, for a file that is none of them.
    """
    if path is None:
        return Rubric.of(load_wording())
    where = f"rubric {path}"
    data = read_mapping(path, where)
    given = data.get("criteria", data)
    if not isinstance(given, dict) or not given:
        raise InputError(f"{where}: has no criteria; write a name, and below it the levels 1 to 5 with their texts")
    if "criteria" in data and len(data) > 1:
        raise InputError(f"{where}: unknown key {next(key for key in data if key != 'criteria')!r} beside criteria")
    return checked(Rubric, {"criteria": {str(name): _long(where, name, one) for name, one in given.items()}}, where)


def _long(where: str, name: Any, one: Any) -> dict[str, Any]:
    """A criterion in the long form, whichever it was written in."""
    if not isinstance(one, dict):
        raise InputError(f"{where}: {name} has no anchors; say what each of the levels 1 to 5 means")
    long = one if "levels" in one or "weight" in one else {"levels": one}
    levels = long.get("levels")
    return {**long, "levels": levels if levels is not None else {}}
