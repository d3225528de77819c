"""What a round's pairs teach the rewriter: preferences (DPO) beside the chosen text's own likelihood, or that alone;
a contrast of good and bad rewrites; and the KL to what the rewriter was, on prompts of earlier rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptmill.crafts.rewrite.config import LearnConfig
from promptmill.crafts.rewrite.rewriter import request_of
from promptmill.crafts.rewrite.tables import PairRow
from promptmill.errors import InputError
from promptmill.model.local import LocalBackend
from promptmill.store.stage import digest
from promptmill.train.answers import Answered, Built, Preferred, Taught, Teaching
from promptmill.train.course import Course
from promptmill.vary.wording import Wording

if TYPE_CHECKING:
    from promptmill.train.batches import Item
    from promptmill.train.contrast import Contrast
    from promptmill.train.distil import Objective
    from promptmill.train.head import Head

Watch = Callable[[str, int, int], None]
Text = tuple[str, str]
"""A prompt and a rewrite of it."""
MOVED_ON = 256
"""Rewrites of earlier rounds on which it is measured how far the rewriter has moved; evenly spaced among them."""


@dataclass(frozen=True)
class Lesson:
    """What a round teaches. kept: chosen rewrites of earlier rounds' prompts, on which it is seen (and by `learn.kl`
    held down) how far the rewriter moves from what it was.
    contrasts: a base prompt, its good rewrites, and its bad ones."""

    pairs: Sequence[PairRow]
    dev: Sequence[PairRow] = ()
    kept: Sequence[Text] = ()
    contrasts: Sequence[tuple[str, Sequence[str], Sequence[str]]] = ()

    @property
    def digest(self) -> str:
        told = [[[one.prompt, one.chosen, one.rejected] for one in rows] for rows in (self.pairs, self.dev)]
        return digest(told, [list(one) for one in self.kept], [[a, list(b), list(c)] for a, b, c in self.contrasts])


@dataclass(frozen=True)
class Learner:
    """backend: the rewriter as it is before the round. folder: gets the new adapter, in `adapter`."""

    backend: LocalBackend
    wording: Wording
    config: LearnConfig
    folder: Path
    seed: int = 0
    on_row: Callable[[Mapping[str, Any]], None] = lambda row: None
    watch: Watch = lambda phase, done, total: None

    def learn(self, lesson: Lesson) -> Taught:
        """Train; blocks. Goes on where an earlier session was, and opens no model where that has come to the end.
        Texts longer than the rewriter's context are left out. InputError where there is nothing to be learned, or a
        loss is not a number any more.

        `more` has left_out, how many pairs were too long; and kl_old, the KL in nats per token from the rewriter before
        the round to the one after it, on what was kept of earlier rounds: None where there is nothing of them, or the
        rewriter before the round cannot be asked any more (its adapter was trained further)."""
        if not lesson.pairs:
            raise InputError("no pair of prompts was believed, so there is nothing to learn; see the panel's report")
        told = self.config.model_dump(mode="json", exclude={"lora", "train"})
        return self.teaching.fit(
            {"learn": told, "lesson": lesson.digest},
            lambda model, head: self._built(model, head, lesson),
            lambda model, head: {"kl_old": self._moved(model, head, lesson.kept)},
        )

    @cached_property
    def teaching(self) -> Teaching:
        def stepped(course: Course) -> None:
            self.watch("train", course.step, course.steps)

        config = self.config
        return Teaching(self.backend, config.lora, config.train, self.folder, self.seed, {"asked": self.wording.refine},
                        self.on_row, stepped)  # fmt: skip

    def _built(self, model: Any, head: Head, lesson: Lesson) -> Built:
        from promptmill.train.distil import Samples
        from promptmill.train.preference import Preference

        config, teaching = self.config, self.teaching
        if config.loss == "sft":
            (train, held), left_out = teaching.fitting_all(self.chosen(lesson.pairs), self.chosen(lesson.dev))
            plain, checked = Samples(head), teaching.items(held) if held else None
            return Built(teaching.items(train), checked, self._around(plain, model, head, lesson), plain, left_out)
        parts, left_out = teaching.fitting_all(self._preferred(lesson.pairs), self._preferred(lesson.dev))
        compared, held_out = (teaching.pairs(model, head, part) for part in parts)
        if compared is None:
            raise InputError("no two texts of a pair differ by a token of the rewriter's, so there is nothing to learn")
        objective = self._around(Preference(head, config.beta, sft=config.sft), model, head, lesson)
        return Built(compared, held_out, objective, Preference(head, config.beta), left_out)

    def chosen(self, rows: Sequence[PairRow]) -> list[Answered]:
        """The chosen texts alone, each once: a prompt is best answered in one way."""
        return self._answered(list(dict.fromkeys((row.prompt, row.chosen) for row in rows)))

    def _answered(self, texts: Sequence[Text]) -> list[Answered]:
        return [Answered(request_of(self.wording, prompt), text) for prompt, text in texts]

    def _preferred(self, rows: Sequence[PairRow]) -> list[Preferred]:
        return [Preferred(request_of(self.wording, row.prompt), row.chosen, row.rejected) for row in rows]

    def _kept(self, texts: Sequence[Text]) -> Sequence[Item]:
        fitting = self.teaching.fitting(self._answered(texts))
        return self.teaching.items(fitting).items if fitting else ()

    def _around(self, plain: Objective, model: Any, head: Head, lesson: Lesson) -> Objective:
        """What is learned beside the preferences."""
        from promptmill.train.contrast import WithContrast
        from promptmill.train.distil import WithRehearsal
        from promptmill.train.teacher import OnlineTeacher

        found, config = plain, self.config
        contrasts = [self._contrast(*one) for one in lesson.contrasts] if config.contrast else []
        contrasts = [one for one in contrasts if max(map(len, one.texts)) <= self.teaching.context]
        if contrasts:
            found = WithContrast(found, contrasts, config.contrast, config.tau, seed=self.seed, in_batch=True)
        if config.kl and lesson.kept:
            if self.teaching.continues(model):
                raise InputError(f"rewrite.learn.kl: {self.backend.name} is not in float32, so the rewriter before a "
                                 "round cannot be asked beside the one after it; give the rewriter dtype float32, or "
                                 "set it to 0")  # fmt: skip
            if kept := self._kept(lesson.kept):
                found = WithRehearsal(found, kept, OnlineTeacher(model, head), config.kl, rows=16, seed=self.seed)
        return found

    def _moved(self, model: Any, head: Head, kept: Sequence[Text]) -> float | None:
        """The mean KL per token of what was kept, the adapter off against on; no more than MOVED_ON of them."""
        if not kept or self.teaching.continues(model):
            return None
        import torch

        from promptmill.train.batches import Items, Seen, plan_epoch
        from promptmill.train.distil import Distil
        from promptmill.train.loop import activations
        from promptmill.train.teacher import OnlineTeacher

        step = -(-len(kept) // MOVED_ON)
        items = [replace(one, teacher=Seen((), one.context)) for one in self._kept(kept[::step])]
        if not items:
            return None
        source, train = Items(items, self.backend.device), self.config.train
        batches = plan_epoch(source.lengths, tokens=max(train.batch_tokens, max(source.lengths)),
                             items=train.batch_items, seed=0, epoch=0, shuffled=False)  # fmt: skip
        objective, total, count = Distil(head, OnlineTeacher(model, head)), 0.0, 0.0
        with torch.no_grad(), activations(train, next(model.parameters()).device):
            for indices in batches:
                loss = objective.loss(model, source.batch(indices))
                total, count = total + loss.total.item(), count + loss.count
        return total / count

    def _contrast(self, anchor: str, good: Sequence[str], bad: Sequence[str]) -> Contrast:
        from promptmill.train.contrast import Contrast

        def ids(text: str) -> tuple[int, ...]:
            return tuple(self.backend.chat.encode(text))

        return Contrast(ids(anchor), tuple(map(ids, good)), tuple(map(ids, bad)))
