"""The words of the requests that crafts send to a writer: wording.yaml, or a user's copy of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import field_validator

from promptmill.prompt import PARTS, fill, holes
from promptmill.settings import Strict, checked, read_mapping

HOLES = {
    "first_order": {"mutation_prompt", "instruction"},
    "zero_order": {"thinking_style", "description"},
    "eda": {"instructions"},
    "eda_ranked": {"instructions"},
    "lineage": {"instructions"},
    "hyper_zero": {"thinking_style", "description"},
    "hyper_first": {"mutation_prompt"},
    "induce": {"examples"},
    "example": {"input", "output"},
    "reflect": {"instruction", "failures"},
    "failure": {"input", "output", "wanted"},
    "merge": {"first", "second"},
    "topic": {"intent"},
    "propose": {"topic"},
    "refine": {"prompt"},
    "write_input": {"description"},
    "write_text": {"subject"},
    "judge": {"instruction", "input", "output"},
    "rate": {"criterion", "rubric", "instruction", "input", "output"},
    "compare": {"instruction", "input", "a", "b"},
    "recover": {"original", "result"},
    "recover_text": {"result"},
}
LEVELS = {1, 2, 3, 4, 5}


class Wording(Strict, frozen=True):
    """See the comments in wording.yaml for what each entry is."""

    first_order: str
    zero_order: str
    eda: str
    eda_ranked: str
    lineage: str
    hyper_zero: str
    hyper_first: str
    induce: str
    example: str
    reflect: str
    failure: str
    merge: str
    topic: str
    propose: str
    refine: str
    write_input: str
    write_text: str
    judge: str
    rate: str
    compare: str
    recover: str
    recover_text: str
    opener: str
    decide: str
    parts: dict[str, str]
    criteria: dict[str, dict[int, str]]
    mutation_prompts: dict[str, list[str]]
    thinking_styles: list[str]

    @field_validator(*HOLES)
    @classmethod
    def _has_its_holes(cls, value: str, info: object) -> str:
        wanted = HOLES[info.field_name]  # type: ignore[attr-defined]
        if holes(value) != wanted:
            raise ValueError(f"must have exactly the holes {', '.join('{' + name + '}' for name in sorted(wanted))}")
        return value

    @field_validator("opener", "decide")
    @classmethod
    def _has_no_holes(cls, value: str) -> str:
        if not value.strip() or holes(value):
            raise ValueError("must be a text without holes")
        return value

    @field_validator("parts")
    @classmethod
    def _describes_each_part(cls, value: dict[str, str]) -> dict[str, str]:
        for name in PARTS:
            if holes(value.get(name, "")) != {"description"}:
                raise ValueError(f"{name} must be a text with the hole {{description}}")
        return value

    def described(self, description: str, part: str) -> str:
        """What a task is called where only that part of a prompt is written."""
        return fill(self.parts[part], {"description": description}) if part in self.parts else description

    @field_validator("criteria")
    @classmethod
    def _has_five_levels(cls, value: dict[str, dict[int, str]]) -> dict[str, dict[int, str]]:
        for name, levels in value.items():
            if set(levels) != LEVELS:
                raise ValueError(f"{name} must have the levels 1, 2, 3, 4 and 5")
        return value

    @field_validator("criteria", "mutation_prompts", "thinking_styles")
    @classmethod
    def _is_not_empty(cls, value: dict[str, list[str]] | list[str]) -> dict[str, list[str]] | list[str]:
        if not value or (isinstance(value, dict) and not all(value.values())):
            raise ValueError("must not be empty")
        return value

    @cached_property
    def all_mutation_prompts(self) -> tuple[str, ...]:
        return tuple(text for group in self.mutation_prompts.values() for text in group)

    def with_lists(self, mutation_prompts: Sequence[str] = (), thinking_styles: Sequence[str] = ()) -> Wording:
        """This wording with other mutation prompts and thinking styles, where any are given."""
        lists: dict[str, Any] = {}
        if mutation_prompts:
            lists["mutation_prompts"] = {"given": list(mutation_prompts)}
        if thinking_styles:
            lists["thinking_styles"] = list(thinking_styles)
        return self.model_copy(update=lists)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


def numbered(items: Sequence[str]) -> str:
    """Lines as `eda`, `eda_ranked` and `lineage` show them."""
    return "\n".join(f"{number}. {item}" for number, item in enumerate(items, 1))


def rubric(levels: dict[int, str]) -> str:
    """The levels of a criterion as `rate` shows them, best first."""
    return "\n".join(f"{level}: {levels[level]}" for level in sorted(levels, reverse=True))


def load_wording(path: Path | None = None) -> Wording:
    """The package's wording, or the file's. InputError, one line, for a file that cannot be used."""
    source = path or Path(__file__).with_name("wording.yaml")
    return checked(Wording, read_mapping(source, f"--wording {path}" if path else ""), str(source))
