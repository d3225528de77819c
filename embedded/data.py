"""The corpus as tokens: shards made on demand from the seed and their number, and batches of like length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from embedded.corpus import MIXTURE, Mixture, corpus
from embedded.layouts import Example
from embedded.tokenizer import END, render


@dataclass(frozen=True, slots=True)
class Shard:
    """Examples as one row of tokens: `lengths` of each, and the weight of each token in the loss.

    Only answers weigh, each token of one the less the longer it is: 1 / sqrt(length). Else a judge's yes would count
    for nothing beside the many words that other answers copy.
    """

    tokens: NDArray[np.int64]
    weights: NDArray[np.float32]
    lengths: NDArray[np.int64]

    @property
    def offsets(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.lengths)])


def make_shard(tokenizer: Tokenizer, seed: int, number: int, examples: int, mixture: Mixture = MIXTURE) -> Shard:
    """Shard `number` of the endless corpus of a seed; the same arguments give the same shard."""
    spans = [spans_of(example) for example in corpus(f"{seed}/train/{number}", examples, mixture)]
    encoded = iter(tokenizer.encode_batch_fast([text for row in spans for text, _ in row], add_special_tokens=False))
    tokens: list[list[int]] = []
    weights: list[NDArray[np.float32]] = []
    lengths = []
    for row in spans:
        parts = [(next(encoded).ids, is_answer) for _, is_answer in row]
        tokens += [ids for ids, _ in parts]
        weights += [np.full(len(ids), len(ids) ** -0.5 if is_answer else 0, np.float32) for ids, is_answer in parts]
        lengths.append(sum(len(ids) for ids, _ in parts))
    return Shard(
        np.concatenate([np.asarray(ids, np.int64) for ids in tokens]),
        np.concatenate(weights),
        np.asarray(lengths, np.int64),
    )


def spans_of(example: Example) -> list[tuple[str, bool]]:
    """The text of an example in pieces, each with whether it is an answer to be learned."""
    spans, read, answers = [], "", 0
    for message in example.messages:
        answers += message["role"] == "assistant"
        if message["role"] == "assistant" and example.taught is not None and answers > example.taught:
            spans += [(read + "<|assistant|>", False), (f" {message['content']}{END}", True)]
            read = ""
        else:
            read += render([message]).removesuffix("<|assistant|>")
    return [*spans, (read + "<|assistant|>", False), (f" {example.answer}{END}", True)]


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded rows, and where to predict what: `chosen` positions of the flattened rows, their next tokens.

    weights: of these predictions in the loss, their mean is 1.
    """

    rows: torch.Tensor
    chosen: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
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
    rows, weights = np.zeros((len(members), width), np.int64), np.zeros((len(members), width), np.float32)
    for row, member in enumerate(members):
        begin, length = offsets[member], shard.lengths[member]
        rows[row, :length] = shard.tokens[begin : begin + length]
        weights[row, : length - 1] = shard.weights[begin + 1 : begin + length]
    chosen = np.flatnonzero(weights)
    weighed = weights.reshape(-1)[chosen]
    return Batch(
        torch.from_numpy(rows),
        torch.from_numpy(chosen),
        torch.from_numpy(rows.reshape(-1)[chosen + 1]),
        torch.from_numpy(weighed / weighed.mean()),
        int(shard.lengths[members].sum()),
    )
