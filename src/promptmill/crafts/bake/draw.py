"""Answers drawn from a model in memory, with the model's own scores kept as they pass by.

The local backend's batcher does not do here: it answers in texts, call by call, and its random numbers, limits and
stops are those of a request. What is needed here is tokens, with hundreds of numbers kept for each, of batches that are
known beforehand, so that a broken sampling makes the same batches again. The shared prefix, the cache and the
attention are its own (model/local).

Shape letters as in model/local/cache.py; K log-probabilities kept, W width of the last hidden state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptmill.crafts.bake.config import BakeSampleConfig
from promptmill.crafts.bake.trajectories import Finish, TopScores
from promptmill.errors import InputError, ModelError
from promptmill.model.local.cache import Prefix, can_share
from promptmill.model.local.decode import COMPACT, LEAST_SHARED, invert
from promptmill.model.local.folded import compute_prefix, new_state
from promptmill.model.local.loaded import Loaded

LEAST_LOG = -60000.0  # of a token that the model rules out (its logit is minus infinity): float16 holds it, exp is 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """An answer to be drawn. context: the tokens before it. seed: of its own stream of random numbers."""

    context: tuple[int, ...]
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """ids: int32 [T], the end token too where finish is "stop". The scores are the model's own, before temperature,
    top_p and top_k."""

    ids: NDArray[np.int32]
    finish: Finish
    scores: TopScores | None
    hidden: NDArray[np.float32] | None


@torch.inference_mode()
def shared_prefix(model: Any, contexts: Sequence[tuple[int, ...]]) -> Prefix | None:
    """The computed beginning that all contexts have in common, but for the last token of each, whose logits are needed;
    None where that is too short to pay, or where the model's cache cannot be shared."""
    common = common_beginning(contexts)[: min(map(len, contexts)) - 1]
    return compute_prefix(model, common) if len(common) >= LEAST_SHARED and can_share(model) else None


def common_beginning(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The tokens that all rows begin with: those that the first and the last in alphabetical order begin with."""
    first, last = min(rows), max(rows)
    for place, (one, other) in enumerate(zip(first, last, strict=False)):
        if one != other:
            return first[:place]
    return first[: len(last)]


@torch.inference_mode()
def draw(loaded: Loaded, prefix: Prefix | None, batch: Sequence[Wanted], config: BakeSampleConfig) -> list[Drawn]:
    """One batch of answers, in order. Answers to one context stand side by side, so that it is run once.

    ModelError where the model's scores are not finite. torch.OutOfMemoryError is the caller's to answer.
    """
    with output_inputs(loaded.model) as seen:
        state = new_state(loaded.model, prefix)
        contexts = list(dict.fromkeys(want.context for want in batch))
        places = {context: place for place, context in enumerate(contexts)}
        logits_B_V = state.start(contexts)
        hidden_B_W = seen[-1][:, -1]
        if len(contexts) < len(batch):
            index_B = torch.tensor([places[want.context] for want in batch], device=logits_B_V.device)
            state.select(index_B)
            logits_B_V, hidden_B_W = logits_B_V[index_B], hidden_B_W[index_B]
        if config.teacher == "hidden":
            _check_plain_head(loaded, logits_B_V, hidden_B_W)
        picker, rows = Picker(batch, config, loaded.eos, logits_B_V.device), list(range(len(batch)))
        notes = Notes(len(batch), config, logits_B_V.shape[-1], hidden_B_W.shape[-1])
        going = [True] * len(batch)
        for step in range(config.max_new_tokens):
            if not bool(torch.isfinite(logits_B_V.amax(-1)).all()):
                raise ModelError(
                    f"{loaded.name}: its scores are not finite numbers at token {step + 1}; try another --dtype"
                )
            alive = [place for place, goes in enumerate(going) if goes]
            notes.scores(step, rows, alive, logits_B_V, hidden_B_W)
            ids_B = picker.pick(step, logits_B_V)
            for place, token in enumerate(ids_B.tolist()):
                if going[place]:
                    going[place] = notes.token(rows[place], token, token in loaded.eos)
            alive = [place for place, goes in enumerate(going) if goes]
            if not alive or step + 1 == config.max_new_tokens:
                break
            if len(alive) <= COMPACT * len(rows):
                index_B = torch.tensor(alive, device=ids_B.device)
                state.select(index_B)
                picker.select(alive)
                ids_B, rows, going = ids_B[index_B], [rows[place] for place in alive], [True] * len(alive)
            logits_B_V = state.extend(ids_B[:, None])[:, -1]
            hidden_B_W = seen[-1][:, -1]
    return [notes.drawn(row) for row in range(len(batch))]


class Picker:
    """Next tokens for the rows of a batch, each drawn at a number of its own stream, whatever stands beside it."""

    def __init__(self, batch: Sequence[Wanted], config: BakeSampleConfig, eos: frozenset[int], device: torch.device):
        # Counter-based bits, which numpy promises never to change.
        self.streams = [np.random.Philox(want.seed) for want in batch] if config.temperature > 0 else []
        self.config, self.device = config, device
        self.eos = torch.tensor(sorted(eos), device=device)

    def select(self, keep: Sequence[int]) -> None:
        if self.streams:
            self.streams = [self.streams[place] for place in keep]

    def pick(self, step: int, logits_B_V: Tensor) -> Tensor:
        """The tokens at place `step` of the answers, (B,)."""
        logits_B_V = logits_B_V.float()
        if step < self.config.min_new_tokens and len(self.eos):
            logits_B_V = logits_B_V.index_fill(-1, self.eos, float("-inf"))
        if not self.streams:
            return logits_B_V.argmax(-1)
        numbers = [(int(stream.random_raw()) >> 11) * 2.0**-53 for stream in self.streams]
        numbers_B_1 = torch.tensor(numbers, device=self.device, dtype=torch.float64)[:, None]
        return pick_at(logits_B_V, numbers_B_1, self.config)


def pick_at(logits_B_V: Tensor, numbers_B_1: Tensor, config: BakeSampleConfig) -> Tensor:
    """Draw by inverting the distribution function at numbers in [0, 1): temperature first, then the `top_k` most
    probable, then of these the fewest that have `top_p` of what is left. (B,)."""
    probs_B_V = (logits_B_V / config.temperature).softmax(-1)
    if config.top_p >= 1 and not config.top_k:
        return invert(probs_B_V, numbers_B_1)
    if config.top_k:
        probs_B_K, order_B_K = probs_B_V.topk(min(config.top_k, probs_B_V.shape[-1]), dim=-1)
        probs_B_K = probs_B_K / probs_B_K.sum(-1, keepdim=True)
    else:
        probs_B_K, order_B_K = probs_B_V.sort(dim=-1, descending=True, stable=True)
    before_B_K = probs_B_K.cumsum(-1) - probs_B_K
    probs_B_K = probs_B_K.masked_fill(before_B_K >= config.top_p, 0.0) if config.top_p < 1 else probs_B_K
    at_B = invert(probs_B_K, numbers_B_1)
    return order_B_K.gather(-1, at_B[:, None])[:, 0]


class Notes:
    """What is kept of a batch: tokens, how each answer ended, and scores as the configuration wants them."""

    def __init__(self, rows: int, config: BakeSampleConfig, vocabulary: int, width: int):
        self.ids: list[list[int]] = [[] for _ in range(rows)]
        self.finish: list[Finish] = ["length"] * rows
        self.most, self.k = config.max_new_tokens, min(config.k, vocabulary)
        shape = (rows, self.most)
        # Memory that is never written is never taken.
        self.top = None if config.teacher != "topk" else TopScores(
            np.empty((*shape, self.k), np.int32), np.empty((*shape, self.k), np.float16), np.empty(shape, np.float32)
        )  # fmt: skip
        self.hidden = np.empty((*shape, width), np.float32) if config.teacher == "hidden" else None

    def scores(self, step: int, rows: list[int], alive: list[int], logits_B_V: Tensor, hidden_B_W: Tensor) -> None:
        """The scores before the tokens at place `step`. alive: the places of the batch that are still going; rows: the
        row of each place."""
        if self.top is None and self.hidden is None:
            return
        index = torch.tensor(alive, device=logits_B_V.device)
        kept = [rows[place] for place in alive]
        if self.top is not None:
            ids, logprobs, tail = top_scores(logits_B_V[index], self.k)
            self.top.ids[kept, step] = ids.to(torch.int32).cpu().numpy()
            self.top.logprobs[kept, step] = logprobs.half().cpu().numpy()
            self.top.tail[kept, step] = tail.cpu().numpy()
        if self.hidden is not None:
            self.hidden[kept, step] = hidden_B_W[index].float().cpu().numpy()

    def token(self, row: int, token: int, ends: bool) -> bool:
        """Take a token of a row; whether the answer goes on."""
        self.ids[row].append(token)
        if ends:
            self.finish[row] = "stop"
        return not ends

    def drawn(self, row: int) -> Drawn:
        """The row's answer; copies, so that a batch does not stay in memory for one of its rows."""
        count = len(self.ids[row])
        top = None
        if self.top is not None:
            top = TopScores(
                self.top.ids[row, :count].copy(), self.top.logprobs[row, :count].copy(),
                self.top.tail[row, :count].copy(),
            )  # fmt: skip
        hidden = None if self.hidden is None else self.hidden[row, :count].copy()
        return Drawn(np.array(self.ids[row], np.int32), self.finish[row], top, hidden)


def top_scores(logits_X_V: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k most probable tokens (..., K), their log-probabilities (..., K) in float32, and the probability of all
    others (...), exact also where it is tiny."""
    logits_X_V = logits_X_V.float()
    total_X_1 = logits_X_V.logsumexp(-1, keepdim=True)
    best_X_K, ids_X_K = logits_X_V.topk(k, dim=-1)
    rest_X = logits_X_V.scatter(-1, ids_X_K, float("-inf")).logsumexp(-1)
    return ids_X_K, (best_X_K - total_X_1).clamp(min=LEAST_LOG), (rest_X - total_X_1[..., 0]).exp()


@contextmanager
def output_inputs(model: Any) -> Iterator[list[Tensor]]:
    """The last hidden state, (B, K, W): what the latest forward pass gave to the output layer, in a list of one."""
    head = model.get_output_embeddings()
    if head is None:
        raise ModelError(f"{model.config.model_type} models have no output layer by that name, which baking needs")
    seen: list[Tensor] = []

    def note(_: Any, given: tuple[Tensor, ...]) -> None:
        seen[:] = given[:1]

    handle = head.register_forward_pre_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


def _check_plain_head(loaded: Loaded, logits_B_V: Tensor, hidden_B_W: Tensor) -> None:
    """Some models scale or cap what their output layer says; a kept hidden state would then not be their scores."""
    again_B_V = loaded.model.get_output_embeddings()(hidden_B_W)
    if not torch.allclose(again_B_V.float(), logits_B_V.float(), rtol=1e-2, atol=1e-2):
        raise InputError(
            f"{loaded.name} scales or caps the scores of its output layer, so its hidden states do not give them back; "
            "take teacher=topk or online"
        )
