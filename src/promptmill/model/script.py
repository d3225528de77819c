"""Scripted generation: an answer with named holes, filled in their order, each under its own rules.

    Script("Reasoning: [WHY]\\nAnswer: [ANSWER]", (Hole("ANSWER", ("yes", "no")),), Prompt(user="{question}"))

Reasoning stays free and the decision is constrained. Each hole is one request, whose prefix is all that stands before
it; so budget, cache and retries hold for each. A server that cannot continue a prefix is asked once, for a JSON object
with a property for each hole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from promptmill.errors import InputError
from promptmill.model.chat import GREEDY, Answer, Completion, Failure, Request, Sampling, Usage
from promptmill.model.constraint import Constraint, JsonSchema, met, schema_of, wanted
from promptmill.model.gate import Model, run_blocking, together
from promptmill.model.schema import object_of
from promptmill.prompt import Message, Prompt
from promptmill.prompt import fill as fill_fields

# A hole is [NAME], in capitals. Other brackets are plain text, and [[NAME]] writes [NAME].
NAMED = re.compile(r"\[\[([A-Z][A-Z0-9_]*)\]\]|\[([A-Z][A-Z0-9_]*)\]")
FIRST_WORD = re.compile(r"\s*\S+|\s*\n")
FORM = "Answer with a JSON object that has a text for each name in square brackets here, in this order:\n\n{text}"
JSON_TOKENS = 16  # for a hole's name and quotes


@dataclass(frozen=True, slots=True)
class Hole:
    """How one hole is filled.

    constraint:   what may stand there; None: any text.
    stops_before: texts that end it and are left out. stops_at: texts that end it and are its end; kept where the model
                  tells what ended it (local models, vLLM). A free hole with neither ends where the model itself writes
                  the text that follows the hole.
    sampling:     how it is drawn, its `max_tokens` too.
    """

    name: str
    constraint: Constraint | None = None
    stops_before: tuple[str, ...] = ()
    stops_at: tuple[str, ...] = ()
    sampling: Sampling = GREEDY

    def __post_init__(self) -> None:
        if self.sampling.stop:
            raise InputError(f"hole [{self.name}]: give stop texts as stops_before or stops_at, not in its sampling")
        if self.constraint is not None and (self.stops_before or self.stops_at):
            raise InputError(f"hole [{self.name}]: it ends where its constraint does, so it takes no stop texts")
        if self.constraint == ():
            raise InputError(f"hole [{self.name}]: there are no choices to choose from")

    def cut(self, text: str) -> str:
        """`text` up to its first stop text, with it or without."""
        stops = [(stop, False) for stop in self.stops_before] + [(stop, True) for stop in self.stops_at]
        ends = [(at, -len(stop), at + kept * len(stop)) for stop, kept in stops if (at := text.find(stop)) >= 0]
        return text[: min(ends)[2]] if ends else text


@dataclass(frozen=True, slots=True)
class Script:
    """An answer to write: text with {fields} and holes [NAME].

    holes:  rules, by name; a hole that is not among them is free.
    prompt: what is asked, in the turns before the answer; its prefix stands before the text.
    """

    text: str
    holes: tuple[Hole, ...] = ()
    prompt: Prompt = field(default_factory=Prompt)

    def __post_init__(self) -> None:
        names = self.names
        if not names:
            raise InputError("the script has no hole: write one in capitals and square brackets, such as [ANSWER]")
        twice = [name for name in names if names.count(name) > 1] or [
            hole.name for hole in self.holes if [other.name for other in self.holes].count(hole.name) > 1
        ]
        if twice:
            raise InputError(f"the script has two holes [{twice[0]}]; each needs a name of its own")
        lost = [hole.name for hole in self.holes if hole.name not in names]
        if lost:
            raise InputError(f"the script has rules for [{lost[0]}] but no such hole (it has: {', '.join(names)})")

    @property
    def names(self) -> list[str]:
        """The names of the holes, in order."""
        return [match[2] for match in NAMED.finditer(self.text) if match[2]]

    def parts(self, fields: Mapping[str, str]) -> tuple[list[tuple[str, Hole]], str]:
        """Each hole with the text before it, and the text after the last one. InputError for a field that is not
        there. What a field says is never read as a hole."""
        rules, parts, text, end = {hole.name: hole for hole in self.holes}, [], self.prompt.prefix, 0
        for match in NAMED.finditer(self.text):
            text += fill_fields(self.text[end : match.start()], fields)
            end = match.end()
            if match[1]:
                text += f"[{match[1]}]"
            else:
                parts.append((text, rules.get(match[2]) or Hole(match[2])))
                text = ""
        return parts, text + fill_fields(self.text[end:], fields)


@dataclass(frozen=True, slots=True)
class Filled:
    """A script with its holes filled. values: by name, in order; text: the whole answer; usage: of all its calls."""

    values: dict[str, str]
    text: str
    usage: Usage


def first_request(script: Script, fields: Mapping[str, str], *, repeat: int = 0) -> Request:
    """The request for the first hole, as a model gets it that continues a prefix."""
    parts, tail = script.parts(fields)
    return _request(script.prompt.render(fields), "", parts, 0, tail, repeat)


async def fill(
    model: Model, script: Script, fields: Mapping[str, str], *, repeat: int = 0, role: str | None = None
) -> Filled | Failure:
    """The script filled by the model, or the failure of the first hole that could not be. repeat and role: as of a
    Request and of `Model.ask`. Raises what `Model.ask` raises, and InputError for a field that is not there."""
    parts, tail = script.parts(fields)
    messages = script.prompt.render(fields)
    whole = _whole(messages, parts, tail, repeat)
    first = _request(messages, "", parts, 0, tail, repeat)
    # What the record answers needs no model, and so no question to a server which of the two ways is its own.
    if model.knows(first) or (not model.knows(whole) and await model.continues()):
        return await _in_turn(model, messages, parts, tail, repeat, role)
    return await _at_once(model, whole, parts, tail, role)


def fill_all(model: Model, script: Script, rows: Sequence[Mapping[str, str]]) -> list[Filled | Failure]:
    """Blocking `fill` for many sets of fields, results in order."""

    async def run() -> list[Filled | Failure]:
        async with model:
            return await together([fill(model, script, fields) for fields in rows])

    return run_blocking(run())


async def _in_turn(
    model: Model, messages: tuple[Message, ...], parts: list[tuple[str, Hole]], tail: str, repeat: int, role: str | None
) -> Filled | Failure:
    """One request for each hole."""
    values: dict[str, str] = {}
    written, usage = "", Usage()
    for index, (before, hole) in enumerate(parts):
        result = await model.ask(_request(messages, written, parts, index, tail, repeat), role)
        if isinstance(result, Failure):
            return replace(result, detail=f"hole [{hole.name}]: {result.detail}")
        values[hole.name] = _value(result.answers[0], hole)
        written += before + values[hole.name]
        usage = Usage(usage.prompt + result.usage.prompt, usage.completion + result.usage.completion)
    return Filled(values, written + tail, usage)


def _request(
    messages: tuple[Message, ...], written: str, parts: list[tuple[str, Hole]], index: int, tail: str, repeat: int
) -> Request:
    """The request for a hole. What follows it ends it: for a constrained answer as its suffix, the next word of the
    text; for a free one without stops of its own as a stop, all the text up to the next hole."""
    before, hole = parts[index]
    following = parts[index + 1][0] if index + 1 < len(parts) else tail
    if hole.constraint is not None:
        word = FIRST_WORD.match(following)
        return Request(messages, hole.sampling, written + before, hole.constraint, repeat=repeat,
                       suffix=word[0] if word else "")  # fmt: skip
    stops = hole.stops_before + hole.stops_at or tuple(filter(None, [following.rstrip(" ")]))
    return Request(messages, replace(hole.sampling, stop=stops), written + before, repeat=repeat)


def _value(answer: Answer, hole: Hole) -> str:
    kept = answer.stop if answer.stop in hole.stops_at else None
    return answer.text + (kept or "")


def _whole(messages: tuple[Message, ...], parts: list[tuple[str, Hole]], tail: str, repeat: int) -> Request:
    """All holes in one request, drawn as the first of them, for servers that cannot continue a prefix."""
    schema = object_of(
        {hole.name: schema_of(hole.constraint) if hole.constraint else {"type": "string"} for _, hole in parts}
    )
    text = "".join(f"{before}[{hole.name}]" for before, hole in parts) + tail
    role, content = messages[-1]
    asked = (*messages[:-1], (role, f"{content}\n\n{FORM.format(text=text)}"))
    tokens = sum(hole.sampling.max_tokens + JSON_TOKENS for _, hole in parts)
    sampling = replace(parts[0][1].sampling, max_tokens=tokens)
    return Request(asked, sampling, constraint=JsonSchema.of(schema), repeat=repeat)


async def _at_once(
    model: Model, whole: Request, parts: list[tuple[str, Hole]], tail: str, role: str | None
) -> Filled | Failure:
    result = await model.ask(whole, role)
    if isinstance(result, Failure):
        return result
    return _read(result, parts, tail)


def _read(result: Completion, parts: list[tuple[str, Hole]], tail: str) -> Filled | Failure:
    """The holes out of the JSON object; the gate has let through only one that fits the schema."""
    said, values, written = json.loads(result.text), {}, ""
    for before, hole in parts:
        value = said[hole.name]
        text = json.dumps(value, ensure_ascii=False) if isinstance(hole.constraint, JsonSchema) else hole.cut(value)
        if hole.constraint is not None and met(hole.constraint, text) is None:
            detail = f"hole [{hole.name}]: {text[:60]!r} {wanted(hole.constraint)}"
            return Failure("constraint", detail, usage=result.usage)
        values[hole.name] = text
        written += before + text
    return Filled(values, written + tail, result.usage)
