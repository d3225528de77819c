"""What an operator looks at, and what comes out of it.

An operator is a pure function of a scene and a random generator. It is written as a Python generator: it yields the
text of a request to the writer, is sent the answer (None where none came), and returns a child, or None where it has
made none. So an operator of two requests reads like one of one, and is tested without a model.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

from promptmill.errors import InputError
from promptmill.prompt import Prompt
from promptmill.vary.read import read_instruction
from promptmill.vary.wording import Wording


@dataclass(frozen=True, slots=True)
class Genome:
    """What is inherited: the prompt (its demos are the paper's few-shot contexts), and the mutation prompt by which
    this unit is changed when it has a child (PromptBreeder, arXiv 2309.16797, section 3). temperature: of the writer,
    for its children; None is the run's."""

    prompt: Prompt
    mutation_prompt: str = ""
    temperature: float | None = None

    def rewritten(self, answer: str | None, mutation_prompt: str | None = None) -> Genome | None:
        """With the instruction that stands in a writer's answer; None where that is none, or loses a hole."""
        text = read_instruction(answer) if answer else None
        if text is None:
            return None
        try:
            prompt = self.prompt.with_instruction(text)
        except InputError:
            return None
        own = self.mutation_prompt if mutation_prompt is None else mutation_prompt
        return replace(self, prompt=prompt, mutation_prompt=own)


@dataclass(frozen=True, slots=True)
class Member:
    """A unit as others see it. fitness: its score so far, None where it has none."""

    genome: Genome
    fitness: float | None = None

    @property
    def instruction(self) -> str:
        return self.genome.prompt.instruction


@dataclass(frozen=True, slots=True)
class Working:
    """A train example under the parent's prompt: its id, what was put in, what came out, and the gold."""

    id: str
    fields: tuple[tuple[str, str], ...]
    shown: str
    output: str
    gold: str


@dataclass(frozen=True, slots=True)
class Scene:
    """The material of an operator.

    population: all living units, the parent among them. elites: the best instruction of each generation so far, oldest
    first. failures, workings: what the parent got wrong and right. most_demos: worked examples in a prompt at most.
    """

    description: str
    wording: Wording
    parent: Member
    population: tuple[Member, ...] = ()
    elites: tuple[str, ...] = ()
    failures: tuple[Working, ...] = ()
    workings: tuple[Working, ...] = ()
    most_demos: int = 0


@dataclass(frozen=True, slots=True)
class Child:
    """A new genome. drawn: the words that made it (a mutation prompt, a thinking style), for the report.

    shown: ids of the failures that the writer was shown, which it may have mended.
    """

    genome: Genome
    drawn: str = ""
    shown: tuple[str, ...] = ()


Steps = Generator[str, str | None, Child | None]
Operator = Callable[[Scene, random.Random], Steps]


def child(genome: Genome | None, drawn: str = "", shown: tuple[str, ...] = ()) -> Child | None:
    return Child(genome, drawn, shown) if genome else None
