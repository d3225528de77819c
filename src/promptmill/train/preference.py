"""Preferences: of two answers to the same context the one shall become likelier than the other, measured against the
model as it was (direct preference optimisation: Rafailov et al., arXiv 2305.18290, equation 7).

Shape letters: B pairs, N answer tokens of all 2B rows, the chosen answers' before the rejected ones'.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from promptmill.errors import InputError
from promptmill.model.local.load import context_of
from promptmill.train.batches import Batch, Item, collate, plan_epoch
from promptmill.train.distil import Loss
from promptmill.train.head import Head, answering, head_of, hidden_states, inner_model
from promptmill.train.loop import activations
from promptmill.train.losses import FromSamples, each_loss
from promptmill.train.settings import TrainSettings
from promptmill.train.targets import has_adapter


@dataclass(frozen=True)
class Pair:
    """A context as the student sees it and two answers to it, each with the token that ends it.

    weight: of the pair in the loss. reference: the log-probability (nats, summed over tokens) of the chosen and of the
    rejected answer in the model as it was; `with_reference` gives it.
    """

    context: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    weight: float = 1.0
    reference: tuple[float, float] | None = None

    @property
    def length(self) -> int:
        """Columns that it needs: those of its longer answer."""
        return len(self.context) + max(len(self.chosen), len(self.rejected)) - 1


@dataclass(frozen=True)
class PairBatch(Batch):
    """Row i is the chosen answer of pairs[i], row B + i its rejected one."""

    pairs: tuple[Pair, ...] = ()


def side_by_side(
    pairs: Sequence[Pair], device: torch.device | str = "cpu", *, epoch: int = 0, number: int = 0
) -> PairBatch:
    """Pairs as one batch of 2B rows, padded on the right."""
    rows = [Item(pair.context, pair.chosen, pair.weight) for pair in pairs]
    rows += [Item(pair.context, pair.rejected, pair.weight) for pair in pairs]
    return PairBatch(**vars(collate(rows, device, epoch=epoch, number=number)), pairs=tuple(pairs))


@dataclass
class Pairs:
    """Pairs as the loop takes them. A batch of the settings' `batch_items` sequences has half as many pairs.

    InputError where a pair cannot be learned from.
    """

    pairs: Sequence[Pair]
    device: torch.device | str = "cpu"
    lengths: list[int] = field(init=False)
    sequences: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not self.pairs:
            raise InputError("there is nothing to train on: no pairs")
        for number, pair in enumerate(self.pairs):
            _check(number, pair)
        self.lengths = [pair.length for pair in self.pairs]

    def batch(self, indices: Sequence[int], epoch: int = 0, number: int = 0) -> PairBatch:
        return side_by_side([self.pairs[index] for index in indices], self.device, epoch=epoch, number=number)

    def digest(self) -> str:
        """Changes with any token or weight, not with the reference's numbers."""
        found = hashlib.sha256()
        for pair in self.pairs:
            found.update(repr((pair.context, pair.chosen, pair.rejected, pair.weight)).encode())
        return found.hexdigest()[:16]


def _check(number: int, pair: Pair) -> None:
    for name in ("context", "chosen", "rejected"):
        if not getattr(pair, name):
            raise InputError(f"pair {number} has no {name} tokens: it needs one of each at least")
    if pair.chosen == pair.rejected:
        raise InputError(f"pair {number}: the chosen answer is the rejected one; leave it out")
    if not (pair.weight > 0 and math.isfinite(pair.weight)):
        raise InputError(f"pair {number} has weight {pair.weight}: leave it out, or give it more than 0")
    if pair.reference is not None and not all(map(math.isfinite, pair.reference)):
        raise InputError(f"pair {number} has a reference of {pair.reference}, which are no log-probabilities")


def with_reference(
    model: Any, pairs: Sequence[Pair], settings: TrainSettings | None = None, *, head: Head | None = None
) -> list[Pair]:
    """The pairs with the log-probabilities of their answers in the model as it is without its adapter (a model that has
    none: as it is now, so begin with it before the first step).

    settings: those of the training, so that batches are as large and activations as precise as there. InputError,
    with the pair's number, for one that the model's context does not hold.
    """
    source, one = Pairs(pairs), settings or TrainSettings()
    head = head or head_of(model)
    device = next(model.parameters()).device
    _check_lengths(model, source)
    batches = plan_epoch(
        source.lengths, tokens=one.batch_tokens, items=one.batch_items, seed=0, epoch=0, shuffled=False,
        sequences=source.sequences,
    )  # fmt: skip
    found: dict[int, tuple[float, float]] = {}
    without = model.disable_adapter() if has_adapter(model) else nullcontext()
    with torch.no_grad(), answering(model), without, activations(one, device):
        for indices in batches:
            batch = side_by_side([pairs[index] for index in indices], device)
            sums = _by_row(_token_losses(model, head, batch), batch).neg().tolist()
            found |= dict(zip(indices, zip(sums[: len(indices)], sums[len(indices) :], strict=True), strict=True))
    return [replace(pair, reference=found[number]) for number, pair in enumerate(pairs)]


def _check_lengths(model: Any, source: Pairs) -> None:
    most = context_of(inner_model(model).config)
    for number, length in enumerate(source.lengths):
        if length > most:
            raise InputError(
                f"pair {number}: context and longer answer have {length} tokens; the model's context holds {most}: "
                f"shorten them, or leave it out"
            )


@dataclass(frozen=True)
class Preference:
    """Minus log sigmoid of the margin, where the margin is the chosen answer's implicit reward less the rejected one's,
    and the reward is beta times how much likelier (in nats) an answer has become than the reference had it.

    smoothing: the share of pairs that are believed to be the wrong way round: their loss counts as that of the pair
    turned round. sft: weight of the chosen answers' negative log-likelihood for a token of the batch, which keeps them
    from becoming unlikely along with the rejected ones (Pang et al., arXiv 2404.19733, by tokens of the batch instead
    of by answer, as TRL has it; so it is not the same for other batches of the same pairs).

    The loss is a sum over pairs by weight; count: the weights' sum. parts: "preference" is the loss without sft;
    "accuracy" the share of pairs whose margin is above 0; "margin", "chosen_reward" and "rejected_reward" are means,
    without weights; "nll" is the chosen answers', for a token.
    """

    head: Head
    beta: float = 0.1
    smoothing: float = 0.0
    sft: float = 0.0

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise InputError(f"beta is {self.beta}: it must be above 0")
        if not 0 <= self.smoothing < 0.5:
            raise InputError(f"smoothing is {self.smoothing}: it must be 0 or more, and less than 0.5")
        if not self.sft >= 0:
            raise InputError(f"sft is {self.sft}: it must be 0 or more")

    def loss(self, model: Any, batch: PairBatch) -> Loss:
        count = len(batch.pairs)
        reference_2B = torch.tensor(_references(batch.pairs), device=batch.ids_B_S.device)
        each_N = _token_losses(model, self.head, batch)
        rewards_2B = self.beta * (-_by_row(each_N, batch) - reference_2B)
        chosen_B, rejected_B = rewards_2B[:count], rewards_2B[count:]
        margin_B = chosen_B - rejected_B
        right_B, wrong_B = F.logsigmoid(margin_B), F.logsigmoid(-margin_B)
        weights_B = torch.tensor([pair.weight for pair in batch.pairs], device=margin_B.device)
        total = -(weights_B * ((1 - self.smoothing) * right_B + self.smoothing * wrong_B)).sum()
        weight = sum(pair.weight for pair in batch.pairs)
        of_chosen_N = (batch.rows_N < count) * batch.weights_N
        nll, tokens = (each_N * of_chosen_N).sum(), of_chosen_N.sum()
        figures = torch.stack(
            [total, (margin_B > 0).sum(), margin_B.sum(), chosen_B.sum(), rejected_B.sum(), nll, tokens]
        ).tolist()
        counts = [weight, *[float(count)] * 4, figures.pop()]
        names = ("preference", "accuracy", "margin", "chosen_reward", "rejected_reward", "nll")
        parts = dict(zip(names, zip(figures, counts, strict=True), strict=True))
        if self.sft:
            total = total + self.sft * weight * nll / tokens
        return Loss(total, weight, parts)


def _references(pairs: Sequence[Pair]) -> list[float]:
    """Of the chosen answers, then of the rejected ones."""
    known = [pair.reference for pair in pairs if pair.reference is not None]
    if len(known) < len(pairs):
        raise InputError("a pair says nothing of its answers' log-probabilities in the reference: see with_reference")
    return [one for one, _ in known] + [other for _, other in known]


def _token_losses(model: Any, head: Head, batch: Batch) -> Tensor:
    """(N,): minus the log-probability of every answer token, differentiable."""
    hidden_ND = batch.predicting(hidden_states(model, **batch.inputs()))
    return each_loss(hidden_ND, head, FromSamples(batch.targets_N))


def _by_row(each_N: Tensor, batch: Batch) -> Tensor:
    """Sums over each row's tokens. (Scattered sums would come in another order every time on a GPU.)"""
    parts: tuple[Tensor, ...] = torch.split(each_N, [len(item.answer) for item in batch.items])
    return torch.stack([part.sum() for part in parts])
