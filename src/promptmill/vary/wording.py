"""The words of the requests that crafts send to a writer: wording.yaml, or a user's copy of it."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

from pydantic import field_validator

from promptmill.prompt import holes
from promptmill.settings import Strict, checked, read_mapping

HOLES = {
    "first_order": {"mutation_prompt", "instruction"},
    "zero_order": {"thinking_style", "description"},
    "judge": {"instruction", "input", "output"},
    "recover": {"original", "result"},
}


class Wording(Strict, frozen=True):
    """See the comments in wording.yaml for what each entry is."""

    first_order: str
    zero_order: str
    judge: str
    recover: str
    mutation_prompts: dict[str, list[str]]
    thinking_styles: list[str]

    @field_validator(*HOLES)
    @classmethod
    def _has_its_holes(cls, value: str, info: object) -> str:
        wanted = HOLES[info.field_name]  # type: ignore[attr-defined]
        if holes(value) != wanted:
            raise ValueError(f"must have exactly the holes {', '.join('{' + name + '}' for name in sorted(wanted))}")
        return value

    @field_validator("mutation_prompts", "thinking_styles")
    @classmethod
    def _is_not_empty(cls, value: dict[str, list[str]] | list[str]) -> dict[str, list[str]] | list[str]:
        if not value or (isinstance(value, dict) and not all(value.values())):
            raise ValueError("must not be empty")
        return value

    @cached_property
    def all_mutation_prompts(self) -> tuple[str, ...]:
        return tuple(text for group in self.mutation_prompts.values() for text in group)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


def load_wording(path: Path | None = None) -> Wording:
    """The package's wording, or the file's. InputError, one line, for a file that cannot be used."""
    source = path or Path(__file__).with_name("wording.yaml")
    return checked(Wording, read_mapping(source, f"--wording {path}" if path else ""), str(source))
