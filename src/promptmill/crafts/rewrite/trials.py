"""What the main model is asked: each prompt of a base on each of its inputs, as often as there are samples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from promptmill.crafts.rewrite.tables import BASE, BaseRow, InputRow, VariationRow
from promptmill.judge.table import Key
from promptmill.prompt import Message, Prompt, fill, holes
from promptmill.store.records import record_of
from promptmill.store.stage import Stage

WHOLE = InputRow("", 0, "")
"""Stands for the input of a prompt that is complete in itself."""
PLAIN = Prompt()


@dataclass(frozen=True, slots=True)
class Trial:
    """One answer to be asked for."""

    key: Key
    prompt: str
    input: str


@dataclass(frozen=True)
class Material:
    """The base prompts of a run and what they are tried on, by base_id."""

    bases: Mapping[str, BaseRow]
    inputs: Mapping[str, tuple[InputRow, ...]]

    @classmethod
    def read(cls, bases: Stage, inputs: Stage) -> Material:
        found: dict[str, list[InputRow]] = defaultdict(list)
        for row in inputs.rows():
            one: InputRow = record_of(InputRow, row)
            found[one.base_id].append(one)
        rows: Iterable[BaseRow] = (record_of(BaseRow, row) for row in bases.rows())
        return cls({one.base_id: one for one in rows}, {base: tuple(several) for base, several in found.items()})

    def of(self, *, splits: Iterable[str], domains: Iterable[str] | None = None) -> list[BaseRow]:
        """The base prompts of these splits, and of these domains only where any are named; in the order of the run."""
        wanted, among = set(splits), None if domains is None else set(domains)
        return [one for one in self.bases.values() if one.split in wanted and (among is None or one.domain in among)]

    def tried_on(self, base: str) -> tuple[InputRow, ...]:
        return self.inputs.get(base) or (WHOLE,)

    def input(self, key: Key) -> InputRow:
        return next(one for one in self.tried_on(key.base_id) if one.input_id == key.input_id)

    def trials(self, variations: Iterable[VariationRow], samples: int) -> Iterator[Trial]:
        """Of all that has a text, in order."""
        for one in variations:
            if one.text is None:
                continue
            for tried in self.tried_on(one.base_id):
                for sample in range(samples):
                    key = Key(one.base_id, one.variation_id, tried.input_id, sample)
                    yield Trial(key, one.text, tried.input)


def themselves(bases: Iterable[BaseRow]) -> Iterator[VariationRow]:
    """The base prompts as they are, as something to be tried."""
    for one in bases:
        yield VariationRow(one.base_id, BASE, "base", 0, one.text)


def read_variations(*stages: Stage) -> Iterator[VariationRow]:
    for stage in stages:
        for row in stage.rows():
            yield record_of(VariationRow, row)


def messages(prompt: str, given: str, role: str = "") -> tuple[Message, ...]:
    """A prompt as the main model gets it. role: what it is told about its work beforehand, in the system turn.

    Without an input the prompt is the user's turn, word for word. With one, a prompt with a single hole has it filled;
    any other stands before the input: in the system turn, or, where that has the role, in front of it.
    """
    before: tuple[Message, ...] = (("system", role),) if role else ()
    if not given:
        return (*before, ("user", prompt))
    names = holes(prompt)
    if len(names) == 1:
        return (*before, ("user", fill(prompt, dict.fromkeys(names, given))))
    if role:
        return (*before, ("user", f"{prompt}\n\n{given}"))
    return (("system", prompt), ("user", given))
