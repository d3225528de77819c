"""What a query consists of, once it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from promptmill.crafts.breed.daycare.decoder import Decoder
from promptmill.crafts.breed.daycare.place import Place


@dataclass(frozen=True, slots=True)
class Words:
    """Fixed text of the query. Markup of turns counts in it."""

    text: str


@dataclass(frozen=True, slots=True)
class Said:
    """Text that an argument brought. It is text and nothing else, whatever it looks like."""

    text: str


@dataclass(frozen=True, slots=True)
class Value:
    """The text of an argument or a loop's variable."""

    name: str


@dataclass(frozen=True, slots=True)
class Count:
    """How many items a list has, less some."""

    name: str
    less: int = 0


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the example; it is filled in for each example, after the query has been walked."""

    name: str


@dataclass(frozen=True, slots=True)
class Gap:
    """What the model is to write: a hole of the script."""

    name: str


@dataclass(frozen=True, slots=True)
class Turn:
    """From here on it is this role's turn: system, user or assistant."""

    role: str


Part = Words | Value | Count | Gap | Turn
Piece = Words | Said | Field | Gap | Turn


@dataclass(frozen=True, slots=True)
class Rule:
    """One constraint of a gap: the texts that it may be, a text that ends it, or the most tokens it may have."""

    gap: str
    line: int
    choices: tuple[str, ...] | None = None
    stops_before: str | None = None
    stops_at: str | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Say:
    """Text with gaps, and the rules that stand beside it."""

    parts: tuple[Part, ...]
    rules: tuple[Rule, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Condition:
    """Whether an argument says something, or is the text `equals`. `negated`: whether not."""

    name: str
    equals: str | None = None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """if, elif and else."""

    branches: tuple[tuple[Condition, tuple[Statement, ...]], ...]
    otherwise: tuple[Statement, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Loop:
    """for item in over, or for counter, item in enumerate(over)."""

    item: str
    over: str
    body: tuple[Statement, ...]
    line: int
    counter: str | None = None


Statement = Say | Choice | Loop
Block = tuple[Statement, ...]


@dataclass(frozen=True)
class Query:
    """A query of breeder.lmql.

    text: as it stands in the file. decoder: its own, None where it takes the task's. rules: those after `from`, for
    gaps anywhere. model: what it names after `from`, where that is a literal.
    """

    name: str
    text: str
    place: Place
    body: Block
    decoder: Decoder | None = None
    rules: tuple[Rule, ...] = ()
    model: str | None = None
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"{self.name}\n{self.text}".encode("utf-8", "surrogatepass")).hexdigest()[:12]

    @property
    def gaps(self) -> dict[str, None]:
        """The names of all gaps, those of branches not taken too, in order."""
        said = (part for statement in sayings(self.body) for part in statement.parts)
        return dict.fromkeys(part.name for part in said if isinstance(part, Gap))

    @property
    def values(self) -> frozenset[str]:
        """The names of the arguments and variables whose text is said, or tested, anywhere."""
        said = (part for statement in sayings(self.body) for part in statement.parts)
        tested = (condition.name for statement in walk(self.body) if isinstance(statement, Choice)
                  for condition, _ in statement.branches)  # fmt: skip
        return frozenset(part.name for part in said if isinstance(part, Value)) | frozenset(tested)


def walk(block: Block) -> Iterator[Statement]:
    """All statements of a block, those inside others too."""
    for statement in block:
        yield statement
        if isinstance(statement, Choice):
            for _, inner in statement.branches:
                yield from walk(inner)
            yield from walk(statement.otherwise)
        elif isinstance(statement, Loop):
            yield from walk(statement.body)


def sayings(block: Block) -> Iterator[Say]:
    return (statement for statement in walk(block) if isinstance(statement, Say))
