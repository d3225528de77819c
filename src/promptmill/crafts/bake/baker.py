"""One bake: trajectories, the adapter that learns them, and how far it has come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptmill.crafts.bake.config import BakeConfig
from promptmill.crafts.bake.questions import Question
from promptmill.crafts.bake.ready import Ready
from promptmill.crafts.bake.report import sampling_report
from promptmill.crafts.bake.sample import plan_sampling, sample
from promptmill.crafts.bake.trajectories import Trajectory, read_trajectories
from promptmill.errors import InputError
from promptmill.model.local import LocalBackend
from promptmill.model.local.loaded import Loaded
from promptmill.prompt import Prompt
from promptmill.store.run import Run
from promptmill.store.stage import Stage

if TYPE_CHECKING:
    from promptmill.train.batches import Item
    from promptmill.train.course import Outcome
    from promptmill.train.loop import Source

Watch = Callable[[str, int, int], None]
"""Called with (phase, done, total) whenever something has been done."""


@dataclass(frozen=True)
class Baked:
    """adapter: its folder. first, best: KL per token on the held-out questions before training and of what was kept.
    difficulty: the initial KL by position. rows: the training's metrics."""

    adapter: Path
    outcome: Outcome
    sampling: dict[str, Any]
    difficulty: dict[str, Any]

    @property
    def drop(self) -> float | None:
        """The share of the initial KL that is gone on held-out questions; None without validation."""
        first, best = self.outcome.first, self.outcome.best
        return None if first is None or best is None or first == 0 else 1 - best / first


@dataclass
class Baker:
    """prompt: what goes into the weights. others: prompts under which the model must stay as it was. ready: its answers
    to the questions, where they are there already; else they are drawn."""

    backend: LocalBackend
    prompt: Prompt
    questions: Sequence[Question]
    others: Sequence[str]
    config: BakeConfig
    run: Run
    seed: int = 0
    watch: Watch = lambda phase, done, total: None
    ready: Ready | None = None

    def bake(self) -> Baked:
        """Sample, train, keep the best by held-out KL. Blocks. Continues what an earlier session has begun."""
        stage, sampling, difficulty = self.sample()
        outcome = self._train(self.backend.loaded(), stage)
        return Baked(outcome.folder, outcome, sampling, difficulty)

    def sample(self) -> tuple[Stage, dict[str, Any], dict[str, Any]]:
        """The first stage alone: the trajectories, what there is to be said of them, and the initial KL."""
        from promptmill.crafts.bake.difficulty import initial_kl

        loaded = self.backend.loaded()
        stage, told = self.ready.fill(self.run) if self.ready else self._drawn(loaded)
        return stage, told, initial_kl(loaded, read_trajectories(stage)).to_dict()

    def _drawn(self, loaded: Loaded) -> tuple[Stage, dict[str, Any]]:
        plan = plan_sampling(loaded, self.prompt, self.questions, self.config.sample, self.seed)
        stage = self.run.stage(plan.name, plan.schema)
        sample(plan, stage, on=lambda done, total: self.watch("sample", done, total))
        return stage, sampling_report(plan, stage)

    def _train(self, loaded: Loaded, stage: Stage) -> Outcome:
        from promptmill.model.local import load
        from promptmill.train.batches import Items
        from promptmill.train.course import Course
        from promptmill.train.loop import Trainer
        from promptmill.train.targets import attach_adapter

        backend, config = self.backend, self.config
        rehearsal = self._rehearsal(loaded) if config.rehearsal else []
        # A model of its own: the sampler's has the attention of the decoding loop, which gives no gradients.
        model = load.load_model(backend.folder, backend.adapters, backend.dtype, backend.device, backend.four_bit)
        model = attach_adapter(model, config.lora, self.seed)
        train, held = (self._items(stage, split) for split in ("train", "validation"))
        objective, checked = self._objectives(model, rehearsal)

        def stepped(course: Course) -> None:
            self.watch("train", course.step, course.steps)

        validation: Source | None = Items(held, backend.device) if held else None
        trainer = Trainer(
            model, objective, Items(train, backend.device), self.run.folder, config.train, validation=validation,
            checked=checked, identity={"loss": config.loss, "beta": config.beta, "rehearsal": config.rehearsal},
            base=str(backend.name), on_step=stepped, on_row=lambda row: self.run.metric(**row),
        )  # fmt: skip
        return trainer.fit()

    def _rehearsal(self, loaded: Loaded) -> list[Item]:
        from promptmill.crafts.bake.rehearse import rehearsed

        questions = [question for question in self.questions if question.split == "train"]
        return rehearsed(loaded, self.prompt, self.others, questions, self.config, self.seed)

    def _objectives(self, model: Any, rehearsal: list[Item]) -> tuple[Any, Any]:
        """What a batch costs in training, and what one costs in validation: there always the KL itself."""
        from promptmill.train.distil import Distil, Samples, WithRehearsal
        from promptmill.train.head import head_of
        from promptmill.train.teacher import OnlineTeacher

        head, config = head_of(model), self.config
        online = OnlineTeacher(model, head)
        teacher = online if config.sample.teacher == "online" else None
        checked = Distil(head, teacher)
        main: Any = checked
        if config.loss == "samples":
            main = Samples(head)
        elif config.loss != "forward":
            main = Distil(head, teacher, config.loss, config.beta)
        if rehearsal:
            main = WithRehearsal(main, rehearsal, online, config.rehearsal, seed=self.seed)
        return main, checked

    def _items(self, stage: Stage, split: str) -> list[Item]:
        from promptmill.train.teacher import common_prefix

        answered = [one for one in read_trajectories(stage, split) if len(one.answer_ids)]
        # A teacher that is asked while training sees the prompt's keys and values, computed once, before each question.
        prefix = common_prefix([tuple(one.context_ids.tolist()) for one in answered])
        items = [item_of(one, prefix) for one in answered]
        if split == "train" and not items:
            raise InputError("the prompted model has answered nothing to learn from; look at the sampling's settings")
        return items


def item_of(one: Trajectory, prefix: tuple[int, ...] = ()) -> Item:
    """A trajectory as the student learns it: the bare context, the answer, what the teacher said or sees. prefix: what
    all contexts with the prompt begin with."""
    import torch

    from promptmill.train.batches import Item, Seen, StoredHidden, StoredTopK

    teacher: Any
    if one.hidden is not None:
        teacher = StoredHidden(torch.from_numpy(one.hidden))
    elif one.scores is not None:
        teacher = StoredTopK(torch.from_numpy(one.scores.ids), torch.from_numpy(one.scores.with_tail))
    else:
        prompted = tuple(one.context_ids.tolist())
        teacher = Seen(prefix, prompted[len(prefix) :])
    return Item(tuple(one.bare_context_ids.tolist()), tuple(one.answer_ids.tolist()), 1.0, teacher)
