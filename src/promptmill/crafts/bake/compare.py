"""The model in four ways on the same answers: with the prompt and without it, before the bake and after.

Every way is run over the prompted model's answers once. From its scores come the KL divergence between any two ways at
each place of an answer, and what the original wrote of each answer (four mean negative log-likelihoods, in nats per
token; its six scatter plots are drawn from them). Its override is here too: another prompt in the prompted ways.

Shape letters: B answers, N answer tokens of a batch (answer by answer), C of a chunk, V vocabulary, D hidden size,
T places of an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice, permutations
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptmill.crafts.bake.trajectories import Trajectory
from promptmill.crafts.bake.worth import WAYS
from promptmill.errors import InputError
from promptmill.train.batches import Batch, Item, collate
from promptmill.train.head import answering, head_of, hidden_states

T = TypeVar("T")

CELLS = 1 << 22  # scores of one way that are held at once
ORIGINAL = {
    "baked": "unprompted_logits_peft_losses", "unprompted": "unprompted_logits_base_losses",
    "baked_prompted": "prompted_logits_peft_losses", "prompted": "prompted_logits_base_losses",
}  # fmt: skip
"""What the original's result files call the losses of each way."""
Contexts = tuple[tuple[int, ...], tuple[int, ...]]
"""The tokens before an answer, with the prompt and without it."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """kl: for (P, Q) the mean KL(P ‖ Q) in nats at each place, [T]. counts: answers that are as long, [T].
    losses: each way's mean negative log-likelihood of each answer, in nats per token."""

    kl: dict[tuple[str, str], NDArray[np.float64]]
    counts: NDArray[np.int64]
    losses: dict[str, list[float]]
    lengths: list[int]
    texts: list[str]

    def per_token(self, one: str, other: str) -> float:
        return float(self.kl[one, other] @ self.counts / self.counts.sum())

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers: the original's keys, and `kl` as P → Q → {per_token, by_position}."""
        told: dict[str, dict[str, Any]] = {one: {} for one in WAYS}
        for one, other in self.kl:
            told[one][other] = {
                "per_token": self.per_token(one, other), "by_position": self.kl[one, other].tolist(),
            }  # fmt: skip
        return {
            "answers": len(self.lengths), "tokens": sum(self.lengths), "kl": told, "counts": self.counts.tolist(),
            **{name: self.losses[way] for way, name in ORIGINAL.items()},
            "lengths": self.lengths, "texts": self.texts,
        }  # fmt: skip


def compared(
    model: Any, answers: Iterable[tuple[Contexts, Trajectory]], decode: Callable[[Sequence[int]], str], *,
    batch_size: int = 16,
) -> Comparison:  # fmt: skip
    """Run a model that peft wraps over answers of the prompted base. InputError where there is none.

    decode: an answer's tokens to text, for the record.
    """
    meter = _Meter(model)
    lengths: list[int] = []
    texts: list[str] = []
    for batch in in_batches((one for one in answers if len(one[1].answer_ids)), batch_size):
        ids = [tuple(trajectory.answer_ids.tolist()) for _, trajectory in batch]
        meter.add([contexts for contexts, _ in batch], ids)
        lengths += map(len, ids)
        texts += map(decode, ids)
    if not lengths:
        raise InputError("there are no answers to compare on; ask other questions with --questions")
    counts = np.array([sum(length > place for length in lengths) for place in range(max(lengths))], np.int64)
    kl = {pair: np.array(sums[: max(lengths)]) / counts for pair, sums in meter.kl.items()}
    return Comparison(kl, counts, meter.losses, lengths, texts)


class _Meter:
    """Sums over batches."""

    def __init__(self, model: Any):
        self.model, self.head = model, head_of(model)
        self.kl: dict[tuple[str, str], list[float]] = {pair: [] for pair in permutations(WAYS, 2)}
        self.losses: dict[str, list[float]] = {way: [] for way in WAYS}

    @torch.no_grad()
    def add(self, contexts: Sequence[Contexts], answers: Sequence[tuple[int, ...]]) -> None:
        device = self.head.weight_VD.device
        prompted, bare = (
            collate([Item(context[side], answer) for context, answer in zip(contexts, answers, strict=True)], device)
            for side in (0, 1)
        )
        hidden = {
            "unprompted": self._hidden(bare, baked=False), "prompted": self._hidden(prompted, baked=False),
            "baked": self._hidden(bare, baked=True), "baked_prompted": self._hidden(prompted, baked=True),
        }  # fmt: skip
        lengths = [len(answer) for answer in answers]
        places_N = torch.cat([torch.arange(length) for length in lengths])
        kl_N = {pair: torch.zeros(len(places_N), dtype=torch.float64) for pair in self.kl}
        nll_N = {way: torch.zeros(len(places_N), dtype=torch.float64) for way in WAYS}
        step = max(1, CELLS // self.head.vocabulary)
        for low in range(0, len(places_N), step):
            part = slice(low, low + step)
            self._chunk(part, hidden, bare.targets_N[part], kl_N, nll_N)
        for pair, sums in self.kl.items():
            sums += [0.0] * (max(lengths) - len(sums))
            for place, value in zip(places_N.tolist(), kl_N[pair].tolist(), strict=True):
                sums[place] += value
        for way in WAYS:
            self.losses[way] += [part.mean().item() for part in torch.split(nll_N[way], lengths)]

    def _hidden(self, batch: Batch, baked: bool) -> Tensor:
        with answering(self.model), nullcontext() if baked else self.model.disable_adapter():
            return batch.predicting(hidden_states(self.model, **batch.inputs()))

    def _chunk(
        self, part: slice, hidden: dict[str, Tensor], targets_C: Tensor,
        kl_N: dict[tuple[str, str], Tensor], nll_N: dict[str, Tensor],
    ) -> None:  # fmt: skip
        logs = {way: self.head.logits(hidden[way][part]).log_softmax(-1) for way in WAYS}
        for one, log_CV in logs.items():
            nll_N[one][part] = -log_CV.gather(-1, targets_C[:, None])[:, 0].double().cpu()
            probs_CV = log_CV.exp()
            for other in WAYS:
                if other != one:
                    kl_N[one, other][part] = divergence(probs_CV, log_CV, logs[other]).double().cpu()


def divergence(probs_CV: Tensor, log_CV: Tensor, other_CV: Tensor) -> Tensor:
    """KL of a distribution to another, (C,). A token that is ruled out has no part in it."""
    return torch.where(probs_CV > 0, probs_CV * (log_CV - other_CV), 0.0).sum(-1)


@dataclass(frozen=True)
class Closeness:
    """Of one model to another on the same tokens: largest difference of a logit, mean KL(one ‖ other) per token."""

    largest: float
    kl: float


@torch.no_grad()
def closeness(one: Any, other: Any, items: Sequence[Item], batch_size: int = 16) -> Closeness:
    """How far two models of the same vocabulary are apart on the items' answers. Both on one device."""
    heads = head_of(one), head_of(other)
    device, step = heads[0].weight_VD.device, max(1, CELLS // heads[0].vocabulary)
    largest, total, count = 0.0, 0.0, 0
    for part in in_batches(items, batch_size):
        batch = collate(part, device)
        first, second = (_answered(model, batch) for model in (one, other))
        for low in range(0, len(first), step):
            logits, others = (
                head.logits(x[low : low + step]) for head, x in zip(heads, (first, second), strict=True)
            )  # fmt: skip
            largest = max(largest, (logits - others).abs().max().item())
            log_CV = logits.log_softmax(-1)
            total += divergence(log_CV.exp(), log_CV, others.log_softmax(-1)).double().sum().item()
        count += len(first)
    return Closeness(largest, max(0.0, total / count))  # rounding may leave less than nothing


def _answered(model: Any, batch: Batch) -> Tensor:
    with answering(model):
        return batch.predicting(hidden_states(model, **batch.inputs()))


def fixed_items(vocabulary: int) -> list[Item]:
    """Some tokens to tell models apart by, where no answers are at hand."""
    ids = [(place * 97 + 11) % vocabulary for place in range(64)]
    return [Item((ids[0],), tuple(ids[1:]))]


def in_batches(rows: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    rest = iter(rows)
    while batch := tuple(islice(rest, size)):
        yield batch
