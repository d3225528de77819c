"""Objectives: what a batch costs a model. Distillation from a stored or an online teacher, samples, rehearsal, and
answers of the student's own.

An objective is stateless: what it draws follows from the batch's epoch and number. So a continued run draws the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from promptmill.errors import InputError
from promptmill.train.batches import Batch, Item, Items, Seen, StoredHidden, StoredTopK, collate
from promptmill.train.head import Head, answering, hidden_states
from promptmill.train.losses import Divergence, FromHidden, FromSamples, FromTopK, Target, token_losses
from promptmill.train.targets import seeded
from promptmill.train.teacher import OnlineTeacher

Parts = dict[str, tuple[float, float]]
"""Further figures by name: a sum and what it is to be divided by."""


@dataclass(frozen=True)
class Loss:
    """total: differentiable, a sum; count: what it is divided by (weighted tokens, say); parts: for the record."""

    total: Tensor
    count: float
    parts: Parts


class Objective(Protocol):
    def loss(self, model: Any, batch: Any) -> Loss: ...


@dataclass(frozen=True)
class Distil:
    """The student's divergence from its teacher at every answer token.

    The items of a batch have teachers of one kind: stored, or Seen, for which `teacher` is asked.
    parts: "first" is the loss of the answers' first tokens.
    """

    head: Head
    teacher: OnlineTeacher | None = None
    divergence: Divergence = "forward"
    beta: float = 0.5

    def loss(self, model: Any, batch: Batch) -> Loss:
        # The teacher first: its activations are gone before the student's are kept.
        return _of_tokens(model, self.head, batch, self.target(batch))

    def target(self, batch: Batch) -> Target:
        device = batch.ids_B_S.device
        stored = [item.teacher for item in batch.items]
        if all(isinstance(one, StoredHidden) for one in stored):
            states = _joined([one.states_TD for one in stored if isinstance(one, StoredHidden)], device)
            return FromHidden(states, self.head, self.divergence, self.beta)
        if all(isinstance(one, StoredTopK) for one in stored):
            kept = [one for one in stored if isinstance(one, StoredTopK)]
            ids, logprobs = (
                _joined([one.ids_TK for one in kept], device),
                _joined([one.logprobs_TW for one in kept], device),
            )
            return FromTopK(ids, logprobs, self.divergence, self.beta)
        if self.teacher is None:
            raise InputError("the items have no stored teacher of one kind, and there is none to ask while training")
        return FromHidden(self.teacher.hidden(batch), self.teacher.head, self.divergence, self.beta)


def _joined(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    with torch.autocast(device.type, enabled=False):  # which would not join float16
        return torch.cat(list(tensors)).to(device)


@dataclass(frozen=True)
class Samples:
    """Cross-entropy on the answers: plain supervised fine-tuning."""

    head: Head

    def loss(self, model: Any, batch: Batch) -> Loss:
        return _of_tokens(model, self.head, batch, FromSamples(batch.targets_N))


def _of_tokens(model: Any, head: Head, batch: Batch, target: Target) -> Loss:
    hidden_ND = batch.predicting(hidden_states(model, **batch.inputs()))
    total, each_N = token_losses(hidden_ND, head, target, weights_N=batch.weights_N)
    first_N = batch.first_N
    parts = {"first": (each_N[first_N].double().sum().item(), float(first_N.sum().item()))}
    return Loss(total, batch.weights_N.double().sum().item(), parts)


@dataclass(frozen=True)
class WithRehearsal:
    """An objective plus `weight` times the KL to the model as it was on other texts, so that it forgets less.

    Each batch rehearses `rows` items, drawn by its number. Their teacher is stored, or sees what the student sees.
    parts: "rehearsal" is that KL for a token. Give the plain objective for validation.
    """

    objective: Objective
    items: Sequence[Item]
    teacher: OnlineTeacher
    weight: float = 1.0
    rows: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        Items(self.items)  # which checks them

    def loss(self, model: Any, batch: Batch) -> Loss:
        draw = random.Random(f"rehearsal {self.seed} {batch.epoch} {batch.number}")
        chosen = [_own_view(item) for item in draw.sample(list(self.items), min(self.rows, len(self.items)))]
        main = self.objective.loss(model, batch)
        kept = Distil(self.teacher.head, self.teacher).loss(model, collate(chosen, batch.ids_B_S.device))
        share = self.weight * main.count / kept.count
        parts = main.parts | {"rehearsal": (kept.total.item(), kept.count)}
        return Loss(main.total + share * kept.total, main.count, parts)


def _own_view(item: Item) -> Item:
    if item.teacher is not None:
        return item
    return Item(item.context, item.answer, item.weight, Seen((), item.context))


Rollout = Callable[[Any, Sequence[Item], int], list[tuple[int, ...]]]
"""(model, items, seed) to one new answer for each item's context; an empty one leaves the item out."""


@dataclass(frozen=True)
class OnPolicy:
    """Distillation on the student's own answers: a share of the batches are answered anew by it, and the teacher says
    what it would have said there. Other batches go to `objective` as they are.

    seen: what the teacher sees, by the student's context; without it the items must say that themselves.
    """

    objective: Objective
    teacher: OnlineTeacher
    rollout: Rollout
    share: float = 1.0
    divergence: Divergence = "reverse"
    seed: int = 0
    beta: float = 0.5
    seen: Mapping[tuple[int, ...], Seen] | None = None

    def loss(self, model: Any, batch: Batch) -> Loss:
        draw = random.Random(f"rollout {self.seed} {batch.epoch} {batch.number}")
        if draw.random() >= self.share:
            return self.objective.loss(model, batch)
        with torch.no_grad():
            answers = self.rollout(model, batch.items, draw.getrandbits(31))
        answered = [
            Item(item.context, answer, item.weight, self.seen[item.context] if self.seen else item.teacher)
            for item, answer in zip(batch.items, answers, strict=True)
            if answer
        ]
        if not answered:
            return self.objective.loss(model, batch)
        fresh = collate(answered, batch.ids_B_S.device, epoch=batch.epoch, number=batch.number)
        return Distil(self.teacher.head, self.teacher, self.divergence, self.beta).loss(model, fresh)


def sampling_rollout(most: int, ends: Sequence[int], temperature: float = 1.0) -> Rollout:
    """Answers of at most `most` tokens by transformers' generate: plain sampling, neither top-k nor top-p. The token
    that ends an answer belongs to it."""

    def rollout(model: Any, items: Sequence[Item], seed: int) -> list[tuple[int, ...]]:
        device = next(model.parameters()).device
        width = max(len(item.context) for item in items)
        gaps = [width - len(item.context) for item in items]
        ids = [[0] * gap + list(item.context) for gap, item in zip(gaps, items, strict=True)]
        mask = [[0] * gap + [1] * (width - gap) for gap in gaps]
        with seeded(seed, device), answering(model):
            out = model.generate(
                input_ids=torch.tensor(ids, device=device), attention_mask=torch.tensor(mask, device=device),
                max_new_tokens=most, do_sample=True, temperature=temperature, top_k=0, top_p=1.0,
                eos_token_id=list(ends) or None, pad_token_id=ends[0] if ends else 0,
            )  # fmt: skip
        return [_until(row, ends) for row in out[:, width:].tolist()]

    return rollout


def _until(tokens: Sequence[int], ends: Sequence[int]) -> tuple[int, ...]:
    length = next((place + 1 for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tuple(tokens[:length])
