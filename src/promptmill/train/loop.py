"""One training loop for every objective. A run that was killed and continued equals an unbroken one, bit for bit (on a
CPU): all that a step depends on is in the checkpoint or follows from settings, items and the step's number."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Protocol

import torch

from promptmill.errors import InputError
from promptmill.model.local.load import context_of
from promptmill.train.batches import plan_epoch
from promptmill.train.checkpoint import checkpoints, read_checkpoint, write_checkpoint
from promptmill.train.course import Course, Means, Outcome, learning_rate
from promptmill.train.distil import Objective
from promptmill.train.head import inner_model
from promptmill.train.settings import MAY_CHANGE, TrainSettings
from promptmill.train.state import State
from promptmill.train.targets import has_adapter, recompute_activations, save_trained, seeded, set_training, trained

Row = dict[str, Any]


class Source(Protocol):
    """What is trained on: `batches.Items`, or anything else whose batches its objective understands.

    lengths: columns that each item needs. sequences: rows of each (a preference has two).
    """

    lengths: list[int]
    sequences: ClassVar[int]

    def batch(self, indices: Sequence[int], epoch: int = 0, number: int = 0) -> Any: ...
    def digest(self) -> str: ...


def activations(settings: TrainSettings, device: torch.device) -> AbstractContextManager[Any]:
    """The precision of the activations, for what must be computed as the loop computes it."""
    wanted = settings.precision
    if wanted == "auto":
        wanted = "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    return torch.autocast(device.type, torch.bfloat16) if wanted == "bfloat16" else nullcontext()


class Trainer:
    """Trains what of `model` requires gradients (see targets.attach_adapter and targets.unfreeze).

    folder:    kept weights in its "adapter" ("model" after full fine-tuning), checkpoints in its "checkpoints"
    objective: what a batch costs; `checked`, if given, what a validation batch costs
    identity:  all else that decides the result (JSON): a continued run with another is refused
    base:      what the adapter's config names as its model
    on_row:    a row of metrics; a continued run is given the earlier rows first, so their file comes out the same
    stop:      asked after every step; True ends this session with a checkpoint
    """

    def __init__(
        self, model: Any, objective: Objective, items: Source, folder: Path, settings: TrainSettings, *,
        validation: Source | None = None, checked: Objective | None = None, identity: dict[str, Any] | None = None,
        base: str | None = None, on_step: Callable[[Course], None] | None = None,
        on_row: Callable[[Row], None] | None = None, stop: Callable[[], bool] | None = None,
    ):  # fmt: skip
        self.model, self.objective, self.items, self.settings = model, objective, items, settings
        self.validation, self.checked, self.base = validation, checked or objective, base
        self.on_step, self.on_row, self.stop = on_step, on_row, stop
        self.checkpoints = folder / "checkpoints"
        self.kept = folder / ("adapter" if has_adapter(model) else "model")
        weights = trained(model)
        self.optimizer = torch.optim.AdamW(
            weights.values(), lr=settings.rate, betas=settings.betas, weight_decay=settings.weight_decay
        )
        whole: dict[str, Any] = {
            "settings": settings.model_dump(mode="json", exclude=set(MAY_CHANGE)), "items": items.digest(),
            "validation": validation.digest() if validation else None, **(identity or {}),
        }  # fmt: skip
        self.state = State(weights, self.optimizer, json.loads(json.dumps(whole)))
        self.device = self.state.device
        self._check_lengths()
        self.groups = self._plan(0)
        self.steps = len(self.groups) * settings.epochs  # every epoch has as many batches
        self.saved, self.saved_step, self.ended = time.monotonic(), 0, ""

    def fit(self) -> Outcome:
        """Train, or go on from the newest checkpoint. Afterwards the model holds what was kept: the weights with the
        least validation loss, or else the last.

        InputError where the loss is not a number any more: the last good checkpoint stays as it was.
        """
        if self.settings.gradient_checkpointing:
            recompute_activations(self.model)
        self.ended = ""  # asked anew in every session: there may be more epochs or more patience now
        with seeded(self.settings.seed, self.device):
            self._begin()
            while not self._over():
                self._next_step()
        state, progress = self.state, self.state.progress
        if self.ended != "stopped":
            state.restore_best()
            save_trained(self.model, self.kept, self.base)
        self.model.eval()
        return Outcome(
            self.kept, self.ended, progress.step, progress.tokens, progress.first, progress.best,
            progress.best_step, tuple(progress.rows),
        )  # fmt: skip

    def _check_lengths(self) -> None:
        most = context_of(inner_model(self.model).config)
        for source in (self.items, self.validation):
            longest = max(source.lengths) if source else 0
            if longest > most:
                raise InputError(f"a sequence has {longest} tokens; the model's context holds {most}: shorten it")

    def _begin(self) -> None:
        found = checkpoints(self.checkpoints)
        if not found:
            if self.validation:
                self._validate()
            return
        self.state.unpack(*read_checkpoint(found[-1]), where=str(self.checkpoints.parent))
        progress = self.state.progress
        for row in progress.rows:
            self._tell(row)
        self.groups, self.saved_step = self._plan(progress.epoch), progress.step

    def _over(self) -> bool:
        """Whether this session ends here; if so, with a checkpoint."""
        progress, settings = self.state.progress, self.settings
        if settings.patience and progress.worse >= settings.patience:
            self.ended = "patience"
        elif progress.epoch >= settings.epochs:
            self.ended = "epochs"
        elif progress.step and self.stop is not None and self.stop():
            self.ended = "stopped"
        due = self.ended or time.monotonic() - self.saved >= settings.checkpoint_seconds
        if due and progress.step > self.saved_step:
            self._check_weights()  # a step may ruin them though its loss was a number
            write_checkpoint(self.checkpoints, progress.step, *self.state.pack())
            self.saved, self.saved_step = time.monotonic(), progress.step
        return bool(self.ended)

    def _plan(self, epoch: int) -> list[list[tuple[int, list[int]]]]:
        """The epoch's steps: for each its batches, as number and indices."""
        one = self.settings
        batches = plan_epoch(
            self.items.lengths, tokens=one.batch_tokens, items=one.batch_items, seed=one.seed, epoch=epoch,
            sequences=self.items.sequences,
        )  # fmt: skip
        numbered = list(enumerate(batches))
        return [numbered[low : low + one.accumulate] for low in range(0, len(numbered), one.accumulate)]

    def _next_step(self) -> None:
        progress = self.state.progress
        rate = learning_rate(self.settings, progress.step, self.steps)
        loss, count, norm, parts = self._update(self.groups[progress.group], rate)
        progress.step, progress.group, progress.tokens = progress.step + 1, progress.group + 1, progress.tokens + count
        if progress.step % self.settings.log_every == 0:
            row = {"step": progress.step, "epoch": progress.epoch, "loss": loss, "rate": rate, "norm": norm}
            self._row(row | parts)
        if progress.group == len(self.groups):
            progress.epoch, progress.group = progress.epoch + 1, 0
            self.groups = self._plan(progress.epoch)
        if self.validation and self._validation_is_due():
            self._validate()
        if self.on_step is not None:
            self.on_step(Course(progress.step, self.steps, progress.epoch, loss, progress.validation, progress.tokens))

    def _update(self, group: list[tuple[int, list[int]]], rate: float) -> tuple[float, float, float, dict[str, float]]:
        """One step of the optimiser: loss for a token, tokens, the gradient's norm before clipping, parts."""
        set_training(self.model)
        progress, total, count, parts = self.state.progress, 0.0, 0.0, Means()
        for number, indices in group:
            batch = self.items.batch(indices, progress.epoch, number)
            with activations(self.settings, self.device):
                loss = self.objective.loss(self.model, batch)
            value = loss.total.item()
            self._check(value, "loss", group)
            loss.total.backward()  # type: ignore[no-untyped-call]
            total, count = total + value, count + loss.count
            parts.add(loss.parts)
        weights = list(self.state.weights.values())
        for weight in weights:
            if weight.grad is not None:
                weight.grad.div_(count)
        norm = torch.nn.utils.clip_grad_norm_(weights, self.settings.clip).item()
        self._check(norm, "gradient", group)
        for part in self.optimizer.param_groups:
            part["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total / count, count, norm, parts.means()

    def _check(self, value: float, what: str, group: list[tuple[int, list[int]]]) -> None:
        if math.isfinite(value):
            return
        self.optimizer.zero_grad(set_to_none=True)
        progress = self.state.progress
        self._end_ruined(f"the {what} is {value} at step {progress.step + 1} (batch {group[0][0]} of epoch "
                         f"{progress.epoch})")  # fmt: skip

    def _check_weights(self) -> None:
        if not all(bool(torch.isfinite(weight).all()) for weight in self.state.weights.values()):
            self._end_ruined(f"the weights are no numbers after step {self.state.progress.step}")

    def _end_ruined(self, what: str) -> NoReturn:
        """One line, with what is left to go on from."""
        good, best = [path.name for path in checkpoints(self.checkpoints)], self.state.progress.best_step
        left = f"the checkpoint {good[-1]} is kept" if good else "there was no checkpoint yet"
        if not good and self.kept.exists():
            left += f", and {self.kept.name}/ holds " + (f"the best so far, of step {best}" if best else "no change")
        raise InputError(f"{what}, with rate {self.settings.rate:g}: begin anew with a lower rate; {left}")

    def _validation_is_due(self) -> bool:
        progress, every = self.state.progress, self.settings.validate_every
        if progress.epoch >= self.settings.epochs:
            return True
        return progress.group == 0 if every == 0 else progress.step % every == 0

    def _validate(self) -> None:
        """Validation loss for a token, without gradients; the best weights are kept and written."""
        assert self.validation is not None
        one, progress, parts = self.settings, self.state.progress, Means()
        batches = plan_epoch(
            self.validation.lengths, tokens=one.batch_tokens, items=one.batch_items, seed=0, epoch=0, shuffled=False,
            sequences=self.validation.sequences,
        )  # fmt: skip
        self.model.eval()
        with torch.no_grad():
            for number, indices in enumerate(batches):
                batch = self.validation.batch(indices, 0, number)
                with activations(self.settings, self.device):
                    loss = self.checked.loss(self.model, batch)
                parts.add({"validation": (loss.total.item(), loss.count)} | loss.parts)
        means = parts.means()
        value = means.pop("validation")
        self._check(value, "validation loss", [(0, [])])
        named = {f"validation_{name}": mean for name, mean in means.items()}
        progress.validation = value
        self._row({"step": progress.step, "epoch": progress.epoch, "validation": value, **named})
        if progress.first is None:
            progress.first = value
        if progress.best is None or value < progress.best - one.least_gain:
            progress.best, progress.best_step, progress.worse = value, progress.step, 0
            self.state.keep_best()
            save_trained(self.model, self.kept, self.base)
        else:
            progress.worse += 1

    def _row(self, row: Row) -> None:
        self.state.progress.rows.append(row)
        self._tell(row)

    def _tell(self, row: Row) -> None:
        if self.on_row is not None:
            self.on_row(row)
