"""The main model itself, fine-tuned on its own best answers; and what that and the rewriter come to, alone and both.

For each base prompt and each input the panel knows many answers: to the prompt as it is, to its variations and to its
rewrites. The main model learns to give the best of them to the prompt as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from promptmill.crafts.rewrite.config import TuneConfig
from promptmill.crafts.rewrite.judging import read_outputs
from promptmill.crafts.rewrite.measures import gain
from promptmill.crafts.rewrite.roles import TUNED_ON
from promptmill.crafts.rewrite.tables import BASE, OutputRow
from promptmill.crafts.rewrite.tested import Tested
from promptmill.crafts.rewrite.trials import Material, messages
from promptmill.crafts.rewrite.values import Values
from promptmill.errors import InputError
from promptmill.model.load import ModelConfig
from promptmill.model.local import LocalBackend
from promptmill.prompt import fill
from promptmill.settings import read_mapping
from promptmill.store.files import write_json
from promptmill.store.stage import Stage, digest
from promptmill.train.answers import Answered, Taught, Teaching, trainable
from promptmill.train.course import Course
from promptmill.train.settings import MAY_CHANGE

FOLDER = "tuned"
"""Of the run; the adapter is in its `adapter`."""
LESSON = "lesson.json"
Answers = Mapping[tuple[str, int], str]
"""By base_id and input_id."""


def tunable(kind: ModelConfig, config: TuneConfig) -> LocalBackend:
    """The main model as what can be fine-tuned. InputError, one line, where it cannot; no weights are read."""
    backend = trainable(kind, config.lora, "--model (rewrite.tune_main)")
    if backend.adapters and (backend.four_bit or backend.dtype not in ("auto", "float32")):
        raise InputError(f"tune_main: {backend.adapters[0]} stays beside the weights of a model that is not in float32,"
                         " and no other adapter can be trained there; give --dtype float32")  # fmt: skip
    return backend


def best_answers(outputs: Iterable[OutputRow], values: Values, broken: Container[tuple[str, int]] = ()) -> Answers:
    """Of all prompts' answers the one that the panel values most; of several that it values alike the base prompt's own
    is taken first. An answer that was cut off is none to learn from, and neither is one to a prompt that breaks a rule
    (broken: base_id and variation_id): what such nonsense leads to is where judges err most."""
    found: dict[tuple[str, int], tuple[tuple[float, bool, int, int], str]] = {}
    for (base, variation), rows in groupby(outputs, lambda one: (one.base_id, one.variation_id)):
        valued = {} if (base, variation) in broken else values.by_place(base, variation)
        for one in rows:
            value = valued.get((one.input_id, one.sample_id))
            if value is None or not one.output or one.finish == "length":
                continue
            rank, place = (value, variation == BASE, -variation, -one.sample_id), (base, one.input_id)
            if place not in found or rank > found[place][0]:
                found[place] = rank, one.output
    return {place: text for place, (_, text) in found.items()}


@dataclass(frozen=True)
class Tuner:
    """kind: the main model as it was. turn: what it is told when it learns, {prompt} in it. role: as in all of its
    work. folder: of the run."""

    kind: ModelConfig
    config: TuneConfig
    folder: Path
    turn: str = TUNED_ON
    role: str = ""
    seed: int = 0
    on_row: Callable[[Mapping[str, Any]], None] = lambda row: None
    watch: Callable[[str, int, int], None] = lambda phase, done, total: None

    @cached_property
    def backend(self) -> LocalBackend:
        return tunable(self.kind, self.config)

    @property
    def adapter(self) -> Path:
        return self.folder / FOLDER / "adapter"

    @property
    def tuned(self) -> ModelConfig:
        """The main model with what it has learned."""
        return self.kind.model_copy(update={"adapters": [*self.kind.adapters, str(self.adapter)]})

    def tune(
        self, material: Material, outputs: Sequence[Stage], values: Values, broken: Container[tuple[str, int]] = ()
    ) -> dict[str, Any]:
        """Train on the answers to train prompts, keep what is best on those to dev prompts; the report's entry
        `tuning`. Goes on where an earlier session was. InputError where there is no answer to learn from."""
        best = best_answers(read_outputs(*outputs), values, broken)
        train, dev = (self.lesson(material, best, split) for split in ("train", "dev"))
        if not train:
            raise InputError("tune_main: no answer to a train prompt has a value, so there is nothing to learn from")
        taught = self._fit(train, dev)
        outcome = taught.outcome
        return {
            "adapter": str(self.adapter.relative_to(self.folder)), "answers": len(train), "dev_answers": len(dev),
            "left_out": taught.more["left_out"],
            "steps": outcome.steps, "ended": outcome.ended,
            "validation": {"first": outcome.first, "best": outcome.best}, "rows": list(outcome.rows),
        }  # fmt: skip

    def lesson(self, material: Material, best: Answers, split: str) -> list[Answered]:
        """What is learned: each prompt of the split on each of its inputs, as the main model gets it."""
        return [
            Answered(messages(fill(self.turn, {"prompt": base.text}), one.input, self.role), best[place])
            for base in material.of(splits=[split])
            for one in material.tried_on(base.base_id)
            if (place := (base.base_id, one.input_id)) in best
        ]

    def _fit(self, train: Sequence[Answered], dev: Sequence[Answered]) -> Taught:
        def stepped(course: Course) -> None:
            self.watch("main model: train", course.step, course.steps)

        config, folder = self.config, self.folder / FOLDER
        settings = config.train.model_dump(mode="json", exclude=set(MAY_CHANGE))
        told = ([one.messages, one.answer] for part in (train, dev) for one in part)
        _make_room(folder, digest(self.backend.fingerprint, config.lora.model_dump(mode="json"), self.seed, settings,
                                  len(train), told))  # fmt: skip
        teaching = Teaching(self.backend, config.lora, config.train, folder, self.seed, on_row=self.on_row,
                            on_step=stepped)  # fmt: skip
        return teaching.on_answers(train, dev)


def _make_room(folder: Path, lesson: str) -> None:
    """Of a run that goes on with more rounds or other settings, the adapter is made anew: it learns from all of it."""
    path = folder / LESSON
    if path.exists() and read_mapping(path).get("digest") == lesson:
        return
    if folder.exists():  # without its lesson: of a session that was killed while it made room
        shutil.rmtree(folder)
    write_json(path, {"digest": lesson})


def two_by_two(before: Sequence[Tested], after: Sequence[Tested], seed: int) -> list[dict[str, Any]]:
    """The report's entry `tuned`. before: the untrained rewriter's test and the trained one's, with the main model as
    it was; after: the same with the tuned one.

    Every gain is over the prompts as they are with the main model as it was, paired by base prompt. A first row has the
    prompts as they are with the tuned model.
    """
    plain = {row["base_id"]: row for row in before[0].rows()}
    names = ("untrained", "trained")
    found = [_cell("none", "tuned", plain, after[0], "base", seed)]
    for model, tests in (("as it was", before), ("tuned", after)):
        found += [_cell(name, model, plain, one, "rewrite", seed) for name, one in zip(names, tests, strict=True)]
    return found


def _cell(
    rewriter: str, model: str, plain: Mapping[str, Mapping[str, Any]], tested: Tested, which: str, seed: int
) -> dict[str, Any]:
    cell: dict[str, Any] = {"rewriter": rewriter, "model": model}
    for kind in ("value", "score"):
        pairs = [
            (plain[row["base_id"]][f"base_{kind}"], row[f"{which}_{kind}"], row["cluster"]) for row in tested.rows()
        ]
        both = [(a, b, cluster) for a, b, cluster in pairs if a is not None and b is not None]
        cell[kind] = gain([a for a, _, _ in both], [b for _, b, _ in both], seed, [cluster for *_, cluster in both])
    return cell
