"""All that the steps of a rewrite share: the run, the models, the judges, and what they are told; and how prompts are
answered and answers scored with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from promptmill.crafts.rewrite.answer import answer
from promptmill.crafts.rewrite.config import RewriteConfig
from promptmill.crafts.rewrite.guard.guard import Guard
from promptmill.crafts.rewrite.judging import judge
from promptmill.crafts.rewrite.synthesize.bases import count_rows
from promptmill.crafts.rewrite.tables import OutputRow, VariationRow
from promptmill.crafts.rewrite.trials import Material
from promptmill.judge.panel import Panel
from promptmill.judge.table import scores_schema
from promptmill.model.gate import Model
from promptmill.model.load import ModelConfig
from promptmill.store.records import row_of, schema_of
from promptmill.store.run import Run
from promptmill.store.stage import Stage, digest
from promptmill.vary.wording import Wording

ALGORITHM = "rewrite-3"  # change it when the same settings give other rows
Watch = Callable[[str, int, int], None]


@dataclass
class Bench:
    """All that a rewrite asks and writes to. open_model: gives a model its place behind the gate, in the run's books.
    role: what the main model is told about its work beforehand. panel_name: by what the panel's scores are known."""

    run: Run
    main: Model
    panel: Panel
    panel_name: str
    wording: Wording
    role: str
    config: RewriteConfig
    rewriter: ModelConfig
    open_model: Callable[[ModelConfig, str], Model]
    seed: int = 0
    watch: Watch = lambda phase, done, total: None

    @cached_property
    def guard(self) -> Guard:
        return Guard.of(self.config.pairs)

    async def answered(self, name: str, variations: Sequence[VariationRow], material: Material, main: Model) -> Stage:
        """The main model's answers to these prompts. name: for people; the stage's own is by all that decides it."""
        config = self.config.answer
        told = ([one.base_id, one.variation_id, one.text] for one in variations)
        tried = ([list(row_of(given).values()) for given in material.tried_on(one)] for one in _bases_of(variations))
        stage = self.stage(name, OutputRow, told, tried, main.fingerprint, config.model_dump(), self.role)
        total = sum(1 for _ in material.trials(variations, config.samples))
        trials = material.trials(variations, config.samples)
        return await answer(stage, main, trials, config, self.role, on=self.on(f"{name}: answers", total))

    async def scored(self, name: str, outputs: Stage, material: Material, panel: Panel, panel_name: str) -> Stage:
        stage = self.run.stage(f"{name}-{digest(ALGORITHM, outputs.folder.name, panel_name)}", scores_schema())
        total = count_rows(outputs)
        return await judge(stage, panel, outputs, material, on=self.on(f"{name}", total))

    def stage(self, name: str, kind: type[Any], *parts: Any) -> Stage:
        return self.run.stage(f"{name}-{digest(ALGORITHM, *parts)}", schema_of(kind))

    def on(self, phase: str, total: int) -> Callable[[int], None]:
        return lambda done: self.watch(phase, done, total)


def _bases_of(variations: Iterable[VariationRow]) -> list[str]:
    return list(dict.fromkeys(one.base_id for one in variations))
