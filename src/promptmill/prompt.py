"""The value that everything is about: a prompt, and how it becomes chat messages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from promptmill.errors import InputError

Message = tuple[str, str]
"""(role, content); the roles are system, user and assistant."""

# A hole is {name}. Everything else in braces (JSON in a prompt, say) is plain text, and {{name}} writes {name}.
# Substitution of names is all there is: no attribute, no format code, no expression can run from a template.
HOLE = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|\{([A-Za-z_]\w*)\}")


def holes(template: str) -> frozenset[str]:
    """The names of the holes in `template`."""
    return frozenset(match[2] for match in HOLE.finditer(template) if match[2])


def fill(template: str, fields: Mapping[str, str]) -> str:
    """`template` with its holes filled, once: a value is not filled again. A hole without a field: InputError."""

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return "{" + match[1] + "}"
        try:
            return fields[match[2]]
        except KeyError:
            have = ", ".join(sorted(fields)) or "none"
            raise InputError(
                f"the prompt has a hole {{{match[2]}}} but the example has no such field (it has: {have})"
            ) from None

    return HOLE.sub(value, template) if "{" in template else template


PARTS = ("system", "user", "prefix", "then")
"""The texts of a prompt, in the order in which they are said."""


@dataclass(frozen=True, slots=True)
class Demo:
    """A worked example shown before the question: fields for the user template, and the assistant's answer."""

    fields: tuple[tuple[str, str], ...]
    answer: str

    @classmethod
    def of(cls, fields: Mapping[str, str], answer: str) -> Demo:
        return cls(tuple(fields.items()), answer)


@dataclass(frozen=True, slots=True)
class Prompt:
    """Immutable. With an example it renders to chat messages.

    system: instruction in the system role, may have holes; empty means no system message.
    user:   template of the user's turn.
    prefix: the first words of the answer (a reasoning opener, say); the model continues them.
    demos:  worked examples, each a user turn and an assistant turn.
    then:   a second task prompt, said after the first answer, which is then a working out; the answer to it counts
            (PromptBreeder, arXiv 2309.16797, section 3, applies two task prompts in turn).
    """

    system: str = ""
    user: str = "{input}"
    prefix: str = ""
    demos: tuple[Demo, ...] = field(default=())
    then: str = ""

    @classmethod
    def of(cls, text: str, default: Prompt) -> Prompt:
        """A prompt given as one text, over `default`: with holes it is the user's turn (and there is no system turn),
        without holes the system instruction; empty, there is no instruction."""
        return replace(default, system="", user=text) if holes(text) else replace(default, system=text)

    def render(self, fields: Mapping[str, str]) -> tuple[Message, ...]:
        """Chat messages for one example. Raises InputError for a hole without a field."""
        messages: list[Message] = []
        if self.system:
            messages.append(("system", fill(self.system, fields)))
        for demo in self.demos:
            messages.append(("user", fill(self.user, dict(demo.fields))))
            messages.append(("assistant", demo.answer))
        messages.append(("user", fill(self.user, fields)))
        return tuple(messages)

    def follow(self, fields: Mapping[str, str], working: str) -> tuple[Message, ...]:
        """The messages of the second turn, after the first one's answer. InputError for a hole without a field."""
        return (*self.render(fields), ("assistant", working), ("user", fill(self.then, fields)))

    @property
    def holes(self) -> frozenset[str]:
        return holes(self.system) | holes(self.user) | holes(self.then)

    @property
    def instruction(self) -> str:
        """The part that a craft rewrites: the system instruction, or the user template where there is none."""
        return self.system or self.user

    def with_instruction(self, text: str) -> Prompt:
        """This prompt with another instruction. Raises InputError when a hole would be lost or appear from nowhere."""
        return self.with_part("instruction", text)

    def part(self, name: str) -> str:
        """The text of one of PARTS, or of the instruction."""
        return self.instruction if name == "instruction" else str(getattr(self, name))

    def with_part(self, name: str, text: str) -> Prompt:
        """This prompt with another text for that part. Raises InputError when a hole would be lost or appear from
        nowhere."""
        before, after = holes(self.part(name)), holes(text)
        if before != after:
            lost, new = sorted(before - after), sorted(after - before)
            raise InputError(f"the rewrite changes the holes of the prompt (lost: {lost}, new: {new})")
        return self.put_part(name, text)

    def put_part(self, name: str, text: str) -> Prompt:
        """`with_part` without looking at holes, for prompts that are no templates."""
        if name == "instruction":
            name = "system" if self.system else "user"
        changed: dict[str, Any] = {name: text}
        return replace(self, **changed)

    def check(self, fields: Iterable[str]) -> None:
        """Raise InputError when a hole has no field of that name."""
        missing = sorted(self.holes - frozenset(fields))
        if missing:
            have = ", ".join(sorted(fields)) or "none"
            raise InputError(f"the prompt has a hole {{{missing[0]}}} but the task has no such field (it has: {have})")

    def to_dict(self) -> dict[str, Any]:
        demos = [{"fields": dict(demo.fields), "answer": demo.answer} for demo in self.demos]
        return {name: self.part(name) for name in PARTS} | {"demos": demos}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "prompt") -> Prompt:
        """Read what `to_dict` writes; every key is optional. Raises InputError naming `where` for a wrong shape."""
        unknown = sorted(set(data) - {*PARTS, "demos"})
        if unknown:
            raise InputError(f"{where}: unknown key {unknown[0]!r} (known: {', '.join(PARTS)}, demos)")
        texts = {key: data[key] for key in PARTS if data.get(key) is not None}
        for key, value in texts.items():
            if not isinstance(value, str):
                raise InputError(f"{where}: {key} must be text, not {type(value).__name__}")
        demos = data.get("demos") or []
        try:
            read = tuple(Demo.of({k: str(v) for k, v in d["fields"].items()}, str(d["answer"])) for d in demos)
        except (TypeError, KeyError, AttributeError):
            raise InputError(f"{where}: each demo must be {{fields: {{…}}, answer: …}}") from None
        return cls(demos=read, **texts)
