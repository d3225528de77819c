"""What a rewrite has tried so far, and what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from promptmill.crafts.rewrite.judging import Texts
from promptmill.crafts.rewrite.pairs import Candidates
from promptmill.crafts.rewrite.tables import BaseRow, VariationRow
from promptmill.crafts.rewrite.values import Values
from promptmill.store.stage import Stage


@dataclass(frozen=True)
class Tried:
    """Prompts that the main model was tried with, and its answers. name: of the step, in names of stages."""

    name: str
    variations: Sequence[VariationRow]
    outputs: Stage


@dataclass
class Known:
    """What is known so far of each base prompt's candidates."""

    values: Values
    outputs: Texts = field(default_factory=Texts)
    texts: dict[str, dict[int, str]] = field(default_factory=dict)
    broken: dict[tuple[str, int], str] = field(default_factory=dict)
    answered: dict[str, Stage] = field(default_factory=dict)

    def candidates(self, base: BaseRow) -> Candidates:
        return Candidates(base, self.texts.get(base.base_id, {}))
