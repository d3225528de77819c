"""One bake: trajectories, the adapter that learns them, and how far it has come."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptmill.crafts.bake.clock import timed
from promptmill.crafts.bake.config import BakeConfig
from promptmill.crafts.bake.questions import Question
from promptmill.crafts.bake.ready import Ready
from promptmill.crafts.bake.report import sampling_report
from promptmill.crafts.bake.sample import plan_sampling, sample
from promptmill.crafts.bake.trajectories import Trajectory
from promptmill.crafts.bake.unrelated import Texts, unrelated_items
from promptmill.model.local import LocalBackend
from promptmill.model.local.loaded import Loaded
from promptmill.prompt import Prompt
from promptmill.store.run import Run
from promptmill.store.stage import Stage

if TYPE_CHECKING:
    from promptmill.train.batches import Item
    from promptmill.train.course import Outcome

Watch = Callable[[str, int, int], None]
"""Called with (phase, done, total) whenever something has been done."""


@dataclass(frozen=True)
class Baked:
    """adapter: its folder (that of the whole model, where all weights were trained). first, best: KL per token on the
    held-out questions before training and of what was kept. difficulty: the initial KL by position. rows: the
    training's metrics. unrelated: the KL to the model as it was on plain texts; None where there are none."""

    adapter: Path
    outcome: Outcome
    sampling: dict[str, Any]
    difficulty: dict[str, Any]
    unrelated: dict[str, Any] | None = None

    @property
    def drop(self) -> float | None:
        """The share of the initial KL that is gone on held-out questions; None without validation."""
        first, best = self.outcome.first, self.outcome.best
        return None if first is None or best is None or first == 0 else 1 - best / first


@dataclass(frozen=True)
class Drawn:
    """What the model has brought before it is trained. rehearsal: its answers to other prompts. unrelated: plain texts.
    ends: tokens that end an answer. context: most tokens that it holds."""

    stage: Stage
    sampling: dict[str, Any]
    difficulty: dict[str, Any]
    rehearsal: list[Item]
    unrelated: list[Item]
    ends: tuple[int, ...]
    context: int


@dataclass
class Baker:
    """prompt: what goes into the weights. others: prompts under which the model must stay as it was. ready: its answers
    to the questions, where they are there already; else they are drawn. texts: on which it is seen how far the baked
    model is from the model as it was."""

    backend: LocalBackend
    prompt: Prompt
    questions: Sequence[Question]
    others: Sequence[str]
    config: BakeConfig
    run: Run
    seed: int = 0
    watch: Watch = lambda phase, done, total: None
    ready: Ready | None = None
    texts: Texts | None = None

    def bake(self) -> Baked:
        """Sample, train, keep the best by held-out KL. Blocks. Continues what an earlier session has begun."""
        from promptmill.crafts.bake.learn import learned

        drawn = self._drawn()
        forget_unused()
        outcome, unrelated = learned(self, drawn)
        forget_unused()
        return Baked(outcome.folder, outcome, drawn.sampling, drawn.difficulty, unrelated)

    def sample(self) -> tuple[Stage, dict[str, Any], dict[str, Any]]:
        """The first stage alone: the trajectories, what there is to be said of them, and the initial KL."""
        return self._sampled(self._model())

    def _model(self) -> Loaded:
        # Of a copy, which keeps to itself what it loads: with its last user it is gone from memory.
        return copy.copy(self.backend).loaded()

    def _drawn(self) -> Drawn:
        loaded = self._model()
        stage, told, difficulty = self._sampled(loaded)
        rehearsal = self._rehearsal(loaded) if self.config.rehearsal else []
        plain = unrelated_items(loaded, self.texts) if self.texts else []
        return Drawn(stage, told, difficulty, rehearsal, plain, tuple(sorted(loaded.eos)), loaded.context)

    def _sampled(self, loaded: Loaded) -> tuple[Stage, dict[str, Any], dict[str, Any]]:
        from promptmill.crafts.bake.difficulty import initial_kl_of

        stage, told = self.ready.fill(self.run) if self.ready else self._answered(loaded)
        return stage, told, initial_kl_of(loaded, stage.folder)

    def _answered(self, loaded: Loaded) -> tuple[Stage, dict[str, Any]]:
        plan = plan_sampling(loaded, self.prompt, self.questions, self.config.sample, self.seed)
        stage = self.run.stage(plan.name, plan.schema)
        with timed(self.run, "sampling") as note:

            def drawn(done: int, total: int) -> None:
                note()
                self.watch("sample", done, total)

            sample(plan, stage, on=drawn)
        return stage, sampling_report(plan, stage)

    def _rehearsal(self, loaded: Loaded) -> list[Item]:
        from promptmill.crafts.bake.rehearse import plan_rehearsal, rehearsal_schema, rehearsed

        questions = [question for question in self.questions if question.split == "train"]
        plan = plan_rehearsal(loaded, self.prompt, self.others, questions, self.config, self.seed)
        with timed(self.run, "sampling") as note:

            def drawn(done: int, total: int) -> None:
                note()
                self.watch("rehearse", done, total)

            return rehearsed(loaded, plan, self.run.stage(plan.name, rehearsal_schema()), drawn)


def item_of(one: Trajectory, prefix: tuple[int, ...] = ()) -> Item:
    """A trajectory as the student learns it: the bare context, the answer, what the teacher said or sees. prefix: what
    all contexts with the prompt begin with."""
    import torch

    from promptmill.train.batches import Item, StoredHidden, StoredTopK

    teacher: Any
    if one.hidden is not None:
        teacher = StoredHidden(torch.from_numpy(one.hidden))
    elif one.scores is not None:
        teacher = StoredTopK(torch.from_numpy(one.scores.ids), torch.from_numpy(one.scores.with_tail))
    else:
        teacher = seen_of(one, prefix)
    return Item(tuple(one.bare_context_ids.tolist()), tuple(one.answer_ids.tolist()), 1.0, teacher)


def seen_of(one: Trajectory, prefix: tuple[int, ...]) -> Any:
    """What a teacher sees that is asked while training."""
    from promptmill.train.batches import Seen

    return Seen(prefix, tuple(one.context_ids.tolist())[len(prefix) :])


def forget_unused() -> None:
    """A model that nobody uses any more leaves the memory now, not when another is there already."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
