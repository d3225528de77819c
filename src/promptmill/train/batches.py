"""Items, and batches of them: alike in length, within a budget of tokens, in an order that follows from seed and epoch.

Shape letters: B rows, S columns, N answer tokens of the whole batch (row by row), T of one item, K stored tokens,
D hidden size.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from promptmill.errors import InputError

BUCKET = 16  # lengths that count as alike: more than a few would pad too much, fewer would mix the same items again


@dataclass(frozen=True)
class StoredTopK:
    """A teacher's likeliest tokens at every answer token: ids (T, K), log-probs (T, K + 1), the tail's last."""

    ids_TK: Tensor
    logprobs_TW: Tensor


@dataclass(frozen=True)
class StoredHidden:
    """A teacher's hidden states where it predicts the answer's tokens, (T, D)."""

    states_TD: Tensor


@dataclass(frozen=True)
class Seen:
    """The context as a teacher sees it that is asked while training: prefix + context.

    prefix: the prompt, the same object in many items; its keys and values are computed once. context: the rest, one
    token at least.
    """

    prefix: tuple[int, ...]
    context: tuple[int, ...]


@dataclass(frozen=True)
class Item:
    """A context as the student sees it, the answer whose tokens are learned (all of them: the context's last position
    predicts the first), and what teaches them. weight: of each of its tokens in the loss."""

    context: tuple[int, ...]
    answer: tuple[int, ...]
    weight: float = 1.0
    teacher: StoredTopK | StoredHidden | Seen | None = None

    @property
    def length(self) -> int:
        """Columns that it needs: the answer's last token is predicted, not read."""
        return len(self.context) + len(self.answer) - 1


@dataclass(frozen=True)
class Batch:
    """A padded batch. Answer token n is predicted at [rows_N[n], columns_N[n]]."""

    items: tuple[Item, ...]
    ids_B_S: Tensor
    mask_B_S: Tensor | None
    positions_B_S: Tensor | None
    rows_N: Tensor
    columns_N: Tensor
    targets_N: Tensor
    weights_N: Tensor
    first_N: Tensor
    epoch: int = 0
    number: int = 0

    def inputs(self) -> dict[str, Any]:
        """For the model's forward. Padding on the right is seen by no token of a causal model: it needs no mask."""
        given: dict[str, Any] = {"input_ids": self.ids_B_S, "use_cache": False}
        if self.mask_B_S is not None:
            given |= {"attention_mask": self.mask_B_S, "position_ids": self.positions_B_S}
        return given

    def predicting(self, hidden_B_S_D: Tensor) -> Tensor:
        """(N, D): the hidden states that predict the answers' tokens."""
        return hidden_B_S_D[self.rows_N, self.columns_N]


def collate(
    items: Sequence[Item], device: torch.device | str = "cpu", *, padding: Literal["left", "right"] = "right",
    epoch: int = 0, number: int = 0,
) -> Batch:  # fmt: skip
    """Items as one batch, padded with token 0 on either side. Positions count from each row's first real token."""
    width = max(item.length for item in items)
    ids: list[list[int]] = []
    rows: list[int] = []
    columns: list[int] = []
    pads: list[int] = []
    for row, item in enumerate(items):
        gap = width - item.length
        before = gap if padding == "left" else 0
        tokens = [*item.context, *item.answer[:-1]]
        ids.append([0] * before + tokens + [0] * (gap - before))
        begin = before + len(item.context) - 1
        rows.extend([row] * len(item.answer))
        columns.extend(range(begin, begin + len(item.answer)))
        pads.append(before)
    mask, positions = None, None
    if any(pads):
        places_B_S = torch.arange(width, device=device)[None] - torch.tensor(pads, device=device)[:, None]
        mask, positions = (places_B_S >= 0).long(), places_B_S.clamp(min=0)

    def tensor(values: Any) -> Tensor:
        return torch.tensor(values, device=device)

    return Batch(
        tuple(items), tensor(ids), mask, positions,
        tensor(rows), tensor(columns),
        tensor([token for item in items for token in item.answer]),
        tensor([item.weight for item in items for _ in item.answer]),
        tensor([place == 0 for item in items for place in range(len(item.answer))]),
        epoch, number,
    )  # fmt: skip


def plan_epoch(
    lengths: Sequence[int], *, tokens: int, items: int, seed: int, epoch: int, shuffled: bool = True,
    sequences: int = 1,
) -> list[list[int]]:  # fmt: skip
    """Which items make which batch of an epoch: lists of indices. Every epoch has the same number of batches.

    It follows from the arguments alone, so an epoch can be begun anywhere. InputError for an item longer than `tokens`.
    sequences: of each item, padded to its length; `tokens` and `items` count them all (but an item is never split).
    """
    longest = max(lengths, default=0) * sequences
    if longest > tokens:
        what = "a sequence has" if sequences == 1 else f"{sequences} sequences that belong together have"
        raise InputError(f"{what} {longest} tokens, more than a batch may have: set batch_tokens to {longest} or more")
    tokens, items = tokens // sequences, max(1, items // sequences)
    order = list(range(len(lengths)))
    draw = random.Random(f"order {seed} {epoch}")
    if shuffled:
        draw.shuffle(order)
    order.sort(key=lambda index: -(-lengths[index] // BUCKET), reverse=True)
    batches: list[list[int]] = []
    for index in order:
        # The first of a batch is among its longest, by the bucket; cut by buckets, the cuts are the same each epoch.
        width = -(-lengths[batches[-1][0]] // BUCKET) * BUCKET if batches else 0
        if not batches or len(batches[-1]) >= items or width * (len(batches[-1]) + 1) > tokens:
            batches.append([])
        batches[-1].append(index)
    if shuffled:
        draw.shuffle(batches)
    return batches


@dataclass
class Items:
    """Items as the loop takes them: lengths to plan by, batches on the model's device, and a digest of what they are.

    InputError where an item cannot be learned from.
    """

    items: Sequence[Item]
    device: torch.device | str = "cpu"
    padding: Literal["left", "right"] = "right"
    lengths: list[int] = field(init=False)
    sequences: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not self.items:
            raise InputError("there is nothing to train on: no items")
        for number, item in enumerate(self.items):
            if not item.context or not item.answer:
                missing = "context" if not item.context else "answer"
                raise InputError(f"item {number} has no {missing}: every item needs one token of each at least")
            if not item.weight > 0:
                raise InputError(f"item {number} has weight {item.weight}: leave it out, or give it more than 0")
            _check_teacher(number, item)
        self.lengths = [item.length + _more(item) for item in self.items]

    def batch(self, indices: Sequence[int], epoch: int = 0, number: int = 0) -> Batch:
        chosen = [self.items[index] for index in indices]
        return collate(chosen, self.device, padding=self.padding, epoch=epoch, number=number)

    def digest(self) -> str:
        """Changes with any token or weight, not with the teacher's numbers."""
        found = hashlib.sha256()
        for item in self.items:
            seen = (item.teacher.prefix, item.teacher.context) if isinstance(item.teacher, Seen) else ()
            found.update(repr((item.context, item.answer, item.weight, seen)).encode())
        return found.hexdigest()[:16]


def _more(item: Item) -> int:
    """Columns that its teacher needs beyond the student's own (its prefix is not computed again)."""
    return max(0, len(item.teacher.context) - len(item.context)) if isinstance(item.teacher, Seen) else 0


def _check_teacher(number: int, item: Item) -> None:
    teacher, tokens = item.teacher, len(item.answer)
    if isinstance(teacher, Seen):
        if not teacher.context:
            raise InputError(f"item {number}: its teacher sees no context after the prompt; it needs one token of it")
        return
    if isinstance(teacher, StoredTopK):
        sizes = {len(teacher.ids_TK), len(teacher.logprobs_TW)}
    else:
        sizes = {tokens if teacher is None else len(teacher.states_TD)}
    if sizes != {tokens}:
        raise InputError(f"item {number}: its stored teacher is not of its answer's {tokens} tokens; capture it anew")
