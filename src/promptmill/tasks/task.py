"""A task: examples with their golds, cut into splits, the prompt that it starts from, and how answers are scored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from promptmill.errors import InputError
from promptmill.prompt import Prompt
from promptmill.score.scorer import Scorer

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Example:
    """One question. `gold`: the acceptable answers, the first is the canonical one. `id` is unique within its task."""

    id: str
    fields: Mapping[str, str]
    gold: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The fields for people and writers, without any prompt: the only field, or each with its name on a line."""
        if len(self.fields) == 1:
            return next(iter(self.fields.values()))
        return "\n".join(f"{name}: {value}" for name, value in self.fields.items())


@dataclass(frozen=True)
class Task:
    """Examples in three splits and all that is needed to ask and score them.

    description: what is asked, in a sentence.
    prompt:      the prompt that the task comes with, from which a search starts.
    choices:     the answers that are possible, where they are few (also the constraint of a constrained answer).
    """

    name: str
    description: str
    prompt: Prompt
    scorer: Scorer
    choices: tuple[str, ...] | None
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]

    def split(self, name: str) -> tuple[Example, ...]:
        """The examples of "train", "dev", "test" or "all". Raises InputError for another name or an empty split."""
        sizes = ", ".join(f"{part} {len(getattr(self, part))}" for part in SPLITS)
        if name != "all" and name not in SPLITS:
            raise InputError(f"task {self.name} has no split {name!r} (it has: {sizes}, and all)")
        examples: tuple[Example, ...] = (*self.train, *self.dev, *self.test) if name == "all" else getattr(self, name)
        if not examples:
            raise InputError(f"the {name} split of task {self.name} is empty ({sizes}); change split: in its task file")
        return examples

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over all that decides content: description, prompt, scorer, choices, examples, splits."""
        digest = hashlib.sha256()

        def add(value: Any) -> None:
            digest.update(json.dumps(value, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass"))
            digest.update(b"\n")

        add([self.description, self.prompt.to_dict(), repr(self.scorer), self.choices])
        for part in SPLITS:
            add(part)
            for example in getattr(self, part):
                add([example.id, dict(example.fields), example.gold])
        return digest.hexdigest()
