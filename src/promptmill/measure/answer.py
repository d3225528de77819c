"""How a prompt is put to a model for one example, and what comes back: one turn, two turns, or a script with holes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from promptmill.model.chat import GREEDY, Answer, Completion, Failure, Request, Sampling, Usage
from promptmill.model.gate import Model
from promptmill.model.script import Filled, Script, fill, first_request
from promptmill.prompt import Prompt
from promptmill.tasks.task import Example, Task


class Form(Protocol):
    """Another way to put a prompt than as chat turns: its parts stand in a script, whose last hole is the answer."""

    @property
    def digest(self) -> str:
        """Changes whenever a script would."""
        ...

    def script(self, prompt: Prompt) -> Script:
        """The script of that prompt; the example's fields are its {holes}."""
        ...

    def as_prompt(self, prompt: Prompt) -> Prompt:
        """The nearest prompt in chat turns, for where there is no form."""
        ...


@dataclass(frozen=True)
class Ask:
    """How the examples are put to the model. `constrain` holds the answer to the task's choices."""

    sampling: Sampling = GREEDY
    repeat: int = 1
    constrain: bool = False
    form: Form | None = None

    def calls(self, prompt: Prompt) -> int:
        """Calls for one example, its repeats among them."""
        if self.form is not None:
            return self.repeat * len(self.form.script(prompt).names)
        return self.repeat * (2 if prompt.then else 1)


AS_IT_IS = Ask()
"""Once, greedily, any answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """result: the answer that counts, or the failure of the call that got none. before: what was said before it (the
    working out of the first turn, the earlier holes of a script)."""

    result: Completion | Failure
    before: str = ""

    @property
    def said(self) -> str:
        """All that the model said, where it answered."""
        assert isinstance(self.result, Completion)
        return f"{self.before}\n{self.result.text}" if self.before else self.result.text


Choices = tuple[str, ...] | None


def requests(task: Task, prompt: Prompt, examples: Sequence[Example], ask: Ask) -> Iterator[Request]:
    """The first request for each example and repeat, in order."""
    for example in examples:
        for repeat in range(ask.repeat):
            yield first_of(prompt, example.fields, ask, task.choices, repeat)


def first_of(prompt: Prompt, fields: Mapping[str, str], ask: Ask, choices: Choices = None, repeat: int = 0) -> Request:
    """The first request for one example."""
    if ask.form is not None:
        return first_request(_script(prompt, ask), fields, repeat=repeat)
    held = choices if ask.constrain and not prompt.then else None  # a working out is free
    return Request(prompt.render(fields), ask.sampling, prompt.prefix, held, repeat=repeat)


async def reply(
    model: Model, prompt: Prompt, fields: Mapping[str, str], ask: Ask, choices: Choices = None, repeat: int = 0
) -> Reply:
    """Put one example to the model, in as many calls as that takes. choices: to which `ask.constrain` holds the answer.
    Raises what `Model.ask` raises."""
    if ask.form is not None:
        return _last_hole(await fill(model, _script(prompt, ask), fields, repeat=repeat))
    first = await model.ask(first_of(prompt, fields, ask, choices, repeat))
    if not prompt.then or isinstance(first, Failure):
        return Reply(first)
    working = prompt.prefix + first.text
    held = choices if ask.constrain else None
    second = await model.ask(Request(prompt.follow(fields, working), ask.sampling, "", held, repeat=repeat))
    if isinstance(second, Completion):
        second = replace(second, usage=_sum(first.usage, second.usage))
    return Reply(second, working)


def _script(prompt: Prompt, ask: Ask) -> Script:
    """The form's script, drawn as asked for; how long a hole may be is the form's to say."""
    assert ask.form is not None
    script = ask.form.script(prompt)
    drawn = [replace(hole, sampling=replace(ask.sampling, max_tokens=hole.sampling.max_tokens, stop=()))
             for hole in script.holes]  # fmt: skip
    return replace(script, holes=tuple(drawn))


def _last_hole(filled: Filled | Failure) -> Reply:
    if isinstance(filled, Failure):
        return Reply(filled)
    *_, answer = filled.values.values()
    before = filled.text.removesuffix(answer)
    return Reply(Completion((Answer(answer),), filled.usage), before.strip())


def _sum(a: Usage, b: Usage) -> Usage:
    return Usage(a.prompt + b.prompt, a.completion + b.completion)
