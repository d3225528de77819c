"""What an operator looks at, and what comes out of it.

An operator is a pure function of a scene and a random generator. It is written as a Python generator: it yields the
text of a request to the writer (or a script), is sent the answer (None where none came), and returns a child, or None
where it has made none. So an operator of two requests reads like one of one, and is tested without a model.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

from promptmill.model.script import Filled, Script
from promptmill.prompt import HOLE, Prompt, holes
from promptmill.vary.alike import Vectors
from promptmill.vary.read import read_instruction
from promptmill.vary.wording import Wording

Answered = str | Filled | None
"""What came of a request: the text, the filled script, or nothing."""


@dataclass(frozen=True, slots=True)
class Genome:
    """What is inherited: the prompt (its demos are the paper's few-shot contexts), and the mutation prompt by which
    this unit is changed when it has a child (PromptBreeder, arXiv 2309.16797, section 3). temperature: of the writer,
    for its children; None is the run's. part: the part of the prompt that is being changed now (`Prompt.part`).
    literal: braces in the prompt are plain text, no holes."""

    prompt: Prompt
    mutation_prompt: str = ""
    temperature: float | None = None
    part: str = "instruction"
    literal: bool = False

    @property
    def instruction(self) -> str:
        return self.prompt.part(self.part)

    @property
    def holes(self) -> frozenset[str]:
        """The holes that a rewrite has to keep."""
        return frozenset() if self.literal else holes(self.instruction)

    def rewritten(self, answer: Answered, mutation_prompt: str | None = None) -> Genome | None:
        """With the instruction that stands in a writer's answer; None where that is none, or changes the holes.

        A rewrite without any hole is followed by the holes of the old text: writers that are asked for an instruction
        write one, and the fields have to be shown all the same.
        """
        text = read_instruction(answer) if isinstance(answer, str) else None
        if text is None:
            return None
        if self.holes and not holes(text):
            text = f"{text}\n\n{_fields_of(self.instruction)}"
        if not self.literal and self.holes != holes(text):
            return None
        own = self.mutation_prompt if mutation_prompt is None else mutation_prompt
        return replace(self, prompt=self.prompt.put_part(self.part, text), mutation_prompt=own)


LABEL_WORDS = 3
"""Words beside a hole in a line that is a label ("Question: {question}") rather than an instruction."""


def _fields_of(template: str) -> str:
    """The lines of a template that show a field, each with its label; a hole within an instruction stands alone."""
    lines = []
    for line in template.splitlines():
        bare = HOLE.sub("", line)
        if holes(line):
            lines.append(line if len(bare.split()) <= LABEL_WORDS else "\n".join(_names(line)))
    return "\n".join(lines)


def _names(line: str) -> list[str]:
    return list(dict.fromkeys(f"{{{match[2]}}}" for match in HOLE.finditer(line) if match[2]))


@dataclass(frozen=True, slots=True)
class Member:
    """A unit as others see it. fitness: its score so far, None where it has none. right: ids of the train examples
    that it is known to get right."""

    genome: Genome
    fitness: float | None = None
    right: frozenset[str] = frozenset()

    @property
    def instruction(self) -> str:
        return self.genome.instruction


@dataclass(frozen=True, slots=True)
class Working:
    """A train example under the parent's prompt: its id, what was put in (`shown` to a writer), what came out, and the
    gold."""

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
    eda_shown, lamarckian_shown: instructions and workings out that those operators show at most. vectors: sentence
    embeddings by which instructions are alike; n-grams where there are none.
    """

    description: str
    wording: Wording
    parent: Member
    population: tuple[Member, ...] = ()
    elites: tuple[str, ...] = ()
    failures: tuple[Working, ...] = ()
    workings: tuple[Working, ...] = ()
    most_demos: int = 0
    eda_shown: int = 5
    lamarckian_shown: int = 3
    vectors: Vectors | None = None


@dataclass(frozen=True, slots=True)
class Child:
    """A new genome. drawn: the words that made it (a mutation prompt, a thinking style), for the report.

    shown: ids of the failures that the writer was shown, which it may have mended. used: ids of the train examples that
    stand in the child itself, as demos.
    """

    genome: Genome
    drawn: str = ""
    shown: tuple[str, ...] = ()
    used: tuple[str, ...] = ()


Steps = Generator[str | Script, Answered, Child | None]
Operator = Callable[[Scene, random.Random], Steps]


def child(genome: Genome | None, drawn: str = "", shown: tuple[str, ...] = ()) -> Child | None:
    return Child(genome, drawn, shown) if genome else None
