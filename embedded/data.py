"""The corpus as tokens: shards made on demand from the seed and their number, and batches of like length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from embedded.corpus import MIXTURE, Mixture, corpus
from embedded.tokenizer import END, render


@dataclass(frozen=True, slots=True)
class Shard:
    """Examples as one row of tokens: `lengths` of each, and `starts`, where the answer begins in it."""

    tokens: NDArray[np.int64]
    lengths: NDArray[np.int64]
    starts: NDArray[np.int64]

    @property
    def offsets(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.lengths)])


def make_shard(tokenizer: Tokenizer, seed: int, number: int, examples: int, mixture: Mixture = MIXTURE) -> Shard:
    """Shard `number` of the endless corpus of a seed; the same arguments give the same shard."""
    drawn = list(corpus(f"{seed}/train/{number}", examples, mixture))
    questions = tokenizer.encode_batch_fast([render(e.messages) for e in drawn], add_special_tokens=False)
    answers = tokenizer.encode_batch_fast([f" {e.answer}{END}" for e in drawn], add_special_tokens=False)
    rows = [question.ids + answer.ids for question, answer in zip(questions, answers, strict=True)]
    return Shard(
        np.concatenate([np.asarray(row, np.int64) for row in rows]),
        np.asarray([len(row) for row in rows], np.int64),
        np.asarray([len(question.ids) for question in questions], np.int64),
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded rows, and where to predict what: `chosen` positions of the flattened rows, their next tokens."""

    rows: torch.Tensor
    chosen: torch.Tensor
    targets: torch.Tensor
    tokens: int


def batches(shard: Shard, seed: int, number: int, most: int) -> Iterator[Batch]:
    """All examples of a shard once, at most `most` padded tokens a batch, in an order that follows from the seed.

    Examples of like length go together: with no packing there is no need for a mask between documents.
    """
    rng = np.random.default_rng([seed, number])
    order = np.lexsort((rng.random(len(shard.lengths)), shard.lengths))
    groups, begin = [], 0
    while begin < len(order):
        end = begin
        while end < len(order) and (end - begin + 1) * shard.lengths[order[end]] <= most:
            end += 1
        end = max(end, begin + 1)
        groups.append(order[begin:end])
        begin = end
    offsets = shard.offsets
    for group in rng.permutation(len(groups)):
        yield _batch(shard, offsets, groups[group])


def _batch(shard: Shard, offsets: NDArray[np.int64], members: NDArray[np.int64]) -> Batch:
    width = int(shard.lengths[members].max())
    rows, answer = np.zeros((len(members), width), np.int64), np.zeros((len(members), width), bool)
    for row, member in enumerate(members):
        length = shard.lengths[member]
        rows[row, :length] = shard.tokens[offsets[member] : offsets[member] + length]
        answer[row, shard.starts[member] - 1 : length - 1] = True
    chosen = np.flatnonzero(answer)
    flat = rows.reshape(-1)
    return Batch(
        torch.from_numpy(rows),
        torch.from_numpy(chosen),
        torch.from_numpy(flat[chosen + 1]),
        int(shard.lengths[members].sum()),
    )
