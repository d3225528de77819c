"""What a round's pairs teach the rewriter: preferences (DPO) beside the chosen text's own likelihood, or that alone;
a contrast of good and bad rewrites; and the KL to what the rewriter was, on prompts of earlier rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptmill.crafts.rewrite.config import LearnConfig
from promptmill.crafts.rewrite.rewriter import request_of
from promptmill.crafts.rewrite.tables import PairRow
from promptmill.errors import InputError
from promptmill.model.local import LocalBackend
from promptmill.model.local.chat import ChatTokenizer
from promptmill.store.stage import digest
from promptmill.train.finished import keep_outcome, kept_outcome
from promptmill.train.settings import NO_MATTER
from promptmill.vary.wording import Wording

if TYPE_CHECKING:
    from promptmill.train.batches import Item
    from promptmill.train.contrast import Contrast
    from promptmill.train.course import Outcome

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
class Taught:
    """kl_old: KL in nats per token from the rewriter before the round to the one after it, on what was kept of earlier
    rounds; None where there is nothing of them."""

    outcome: Outcome
    kl_old: float | None


@dataclass(frozen=True)
class Learner:
    """backend: the rewriter as it is before the round, whose adapters are merged into what is trained. folder: gets the
    new adapter, in `adapter`."""

    backend: LocalBackend
    wording: Wording
    config: LearnConfig
    folder: Path
    seed: int = 0
    on_row: Callable[[Mapping[str, Any]], None] = lambda row: None
    watch: Watch = lambda phase, done, total: None

    def learn(self, lesson: Lesson) -> Taught:
        """Train; blocks. Goes on where an earlier session was, and opens no model where that has come to the end.
        InputError where there is nothing to be learned, or a loss is not a number any more."""
        if not lesson.pairs:
            raise InputError("no pair of prompts was believed, so there is nothing to learn; see the panel's report")
        identity = self._identity(lesson)
        found = kept_outcome(self.folder, identity)
        if found is not None:
            outcome, more = found
            for row in outcome.rows:
                self.on_row(row)
            return Taught(outcome, more["kl_old"])
        taught = self._taught(lesson)
        keep_outcome(self.folder, identity, taught.outcome, kl_old=taught.kl_old)
        return taught

    def _identity(self, lesson: Lesson) -> dict[str, Any]:
        """All that decides what comes of a lesson."""
        return {
            "lesson": lesson.digest, "asked": self.wording.refine, "rewriter": self.backend.fingerprint,
            "seed": self.seed, "learn": self.config.model_dump(mode="json", exclude={"train": set(NO_MATTER)}),
        }  # fmt: skip

    def _taught(self, lesson: Lesson) -> Taught:
        from promptmill.model.local import load
        from promptmill.train.course import Course
        from promptmill.train.head import head_of
        from promptmill.train.loop import Trainer
        from promptmill.train.targets import attach_adapter

        backend, config = self.backend, self.config
        model = load.load_model(backend.folder, backend.adapters, backend.dtype, backend.device, backend.four_bit)
        model = attach_adapter(model, config.lora, self.seed)
        head = head_of(model)
        train, held = (self._source(model, rows) for rows in (lesson.pairs, lesson.dev))
        plain = self._plain(head, config.sft)
        objective = self._around(plain, model, head, lesson)

        def stepped(course: Course) -> None:
            self.watch("train", course.step, course.steps)

        identity = config.model_dump(mode="json", exclude={"train"})
        trainer = Trainer(
            model, objective, train, self.folder, config.train, validation=held, checked=self._plain(head, 0.0),
            identity={"lesson": lesson.digest, "rewriter": backend.fingerprint, "seed": self.seed, **identity},
            base=str(backend.name), on_step=stepped, on_row=self.on_row,
        )  # fmt: skip
        outcome = trainer.fit()
        return Taught(outcome, self._moved(model, head, lesson.kept) if lesson.kept else None)

    def _source(self, model: Any, rows: Sequence[PairRow]) -> Any:
        """Of pairs, or of the chosen texts alone; None where there are none."""
        from promptmill.train.batches import Items
        from promptmill.train.preference import Pair, Pairs, with_reference

        if not rows:
            return None
        if self.config.loss == "sft":  # a prompt is best answered in one way
            return Items([self.item(one) for one in dict.fromkeys((row.prompt, row.chosen) for row in rows)],
                         self.backend.device)  # fmt: skip
        pairs = []
        for row in rows:
            context, chosen = self.tokens(row.prompt, row.chosen)
            rejected = self.tokens(row.prompt, row.rejected)[1]
            if rejected != chosen:  # some tokenizers do not see all differences
                pairs.append(Pair(context, chosen, rejected))
        return Pairs(with_reference(model, pairs, self.config.train), self.backend.device)

    def _plain(self, head: Any, sft: float) -> Any:
        from promptmill.train.distil import Samples
        from promptmill.train.preference import Preference

        config = self.config
        return Samples(head) if config.loss == "sft" else Preference(head, config.beta, sft=sft)

    def _around(self, plain: Any, model: Any, head: Any, lesson: Lesson) -> Any:
        """What is learned beside the preferences."""
        from promptmill.train.contrast import WithContrast
        from promptmill.train.distil import WithRehearsal
        from promptmill.train.teacher import OnlineTeacher

        found, config = plain, self.config
        contrasts = [self._contrast(*one) for one in lesson.contrasts] if config.contrast else []
        if contrasts:
            found = WithContrast(found, contrasts, config.contrast, config.tau, seed=self.seed, in_batch=True)
        if config.kl and lesson.kept:
            kept = [self.item(one) for one in lesson.kept]
            found = WithRehearsal(found, kept, OnlineTeacher(model, head), config.kl, rows=16, seed=self.seed)
        return found

    def _moved(self, model: Any, head: Any, kept: Sequence[Text]) -> float:
        """The mean KL per token of what was kept, the adapter off against on; no more than MOVED_ON of them."""
        import torch

        from promptmill.train.batches import Items, Seen, plan_epoch
        from promptmill.train.distil import Distil
        from promptmill.train.loop import activations
        from promptmill.train.teacher import OnlineTeacher

        step = -(-len(kept) // MOVED_ON)
        items = [replace(one, teacher=Seen((), one.context)) for one in map(self.item, kept[::step])]
        source, train = Items(items, self.backend.device), self.config.train
        batches = plan_epoch(source.lengths, tokens=max(train.batch_tokens, max(source.lengths)),
                             items=train.batch_items, seed=0, epoch=0, shuffled=False)  # fmt: skip
        objective, total, count = Distil(head, OnlineTeacher(model, head)), 0.0, 0.0
        with torch.no_grad(), activations(train, next(model.parameters()).device):
            for indices in batches:
                loss = objective.loss(model, source.batch(indices))
                total, count = total + loss.total.item(), count + loss.count
        return total / count

    def tokens(self, prompt: str, rewrite: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The rewriter's request, and its answer with the token that ends it."""
        chat: ChatTokenizer = self.backend.chat
        context, (answer,) = chat.continuations(request_of(self.wording, prompt), "", (rewrite,))
        return context, (*answer, *((chat.end,) if chat.end is not None else ()))

    def item(self, text: Text) -> Item:
        from promptmill.train.batches import Item

        return Item(*self.tokens(*text))

    def _contrast(self, anchor: str, good: Sequence[str], bad: Sequence[str]) -> Contrast:
        from promptmill.train.contrast import Contrast

        def ids(text: str) -> tuple[int, ...]:
            return tuple(self.backend.chat.encode(text))

        return Contrast(ids(anchor), tuple(map(ids, good)), tuple(map(ids, bad)))
