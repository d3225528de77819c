"""A teacher asked while training: the model without its adapter, with the prompt in its context.

The prompt's keys and values are computed once for each prompt and expanded over the rows of a batch.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import DynamicCache

from promptmill.errors import InputError
from promptmill.model.local.cache import can_share
from promptmill.model.local.load import context_of
from promptmill.train.batches import Batch, Item, Seen, StoredHidden, StoredTopK, collate
from promptmill.train.head import Head, answering, head_of, hidden_states, inner_model
from promptmill.train.losses import top_k
from promptmill.train.targets import has_adapter

Layers = list[tuple[Tensor, Tensor]]


class OnlineTeacher:
    """The model as it was before training. With an adapter it is the model itself under `disable_adapter`; for full
    fine-tuning it is a copy, made here, so begin with it before the first step."""

    def __init__(self, model: Any, head: Head | None = None):
        self.model = model if has_adapter(model) else copy.deepcopy(model).eval().requires_grad_(False)
        self.head = head or head_of(model)  # frozen in every case, so it is the teacher's as well
        self.shares = can_share(inner_model(model))
        self.most = context_of(inner_model(model).config)
        self._prefixes: dict[tuple[int, ...], Layers] = {}

    def hidden(self, batch: Batch) -> Tensor:
        """(N, D): the teacher's hidden states where it predicts the batch's answer tokens; no gradient.

        InputError for an item that does not say what its teacher sees, or whose teacher would see more than the
        model's context: nothing is cut.
        """
        by_prefix: dict[tuple[int, ...], list[int]] = {}
        for row, item in enumerate(batch.items):
            by_prefix.setdefault(self._seen(item).prefix, []).append(row)
        found: list[Tensor | None] = [None] * len(batch.items)
        with torch.no_grad(), answering(self.model), self._without_adapter():
            for prefix, rows in by_prefix.items():
                items = [batch.items[row] for row in rows]
                parts = self._hidden_after(prefix, items, batch.ids_B_S.device)
                for row, part_TD in zip(rows, parts, strict=True):
                    found[row] = part_TD
        return torch.cat([part for part in found if part is not None])

    def _without_adapter(self) -> Any:
        return self.model.disable_adapter() if has_adapter(self.model) else nullcontext()

    def _seen(self, item: Item) -> Seen:
        if not isinstance(item.teacher, Seen):
            raise InputError("an item says nothing of what its teacher sees: give it Seen, or a stored teacher")
        long = len(item.teacher.prefix) + len(item.teacher.context) + len(item.answer)
        if long > self.most:
            raise InputError(
                f"prompt, question and answer have {long} tokens together; the model's context holds {self.most}: "
                f"shorten the prompt, or sample shorter answers"
            )
        return item.teacher

    def _hidden_after(self, prefix: tuple[int, ...], items: Sequence[Item], device: torch.device) -> list[Tensor]:
        kept = prefix if self.shares else ()
        rest = [self._seen(item) for item in items]
        shown = [
            Item(seen.context if kept else prefix + seen.context, item.answer)
            for seen, item in zip(rest, items, strict=True)
        ]
        batch = collate(shown, device)
        given = batch.inputs()
        if kept:
            given["past_key_values"] = self._expanded(kept, len(shown), device)
            given["use_cache"] = True
            columns_S = torch.arange(len(kept), len(kept) + batch.ids_B_S.shape[1], device=device)
            given["position_ids"] = columns_S[None].expand(len(shown), -1)
        hidden_ND = batch.predicting(hidden_states(self.model, **given))
        return list(torch.split(hidden_ND, [len(item.answer) for item in shown]))

    def _expanded(self, prefix: tuple[int, ...], rows: int, device: torch.device) -> DynamicCache:
        """A cache of the prefix for each row; made anew for every batch, since a forward pass appends to it."""
        if prefix not in self._prefixes:
            ids_1_P = torch.tensor([prefix], device=device)
            # Without the config every layer keeps all tokens; the model's own mask does any sliding.
            cache = DynamicCache()
            hidden_states(self.model, input_ids=ids_1_P, past_key_values=cache, use_cache=True)
            self._prefixes[prefix] = [(layer.keys, layer.values) for layer in cache.layers]
        spread = DynamicCache()
        for index, (key, value) in enumerate(self._prefixes[prefix]):
            spread.update(key.expand(rows, -1, -1, -1), value.expand(rows, -1, -1, -1), index)
        return spread


def common_prefix(contexts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The tokens that all contexts begin with, one token of each left over."""
    if not contexts:
        return ()
    low, high = min(map(tuple, contexts)), max(map(tuple, contexts))
    length = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return tuple(low[: min(length, min(map(len, contexts)) - 1)])


def capture(
    teacher: OnlineTeacher, items: Sequence[Item], keep: Literal["topk", "hidden"] = "topk", *, k: int = 128,
    rows: int = 16, device: torch.device | str = "cpu",
) -> tuple[list[Item], float]:  # fmt: skip
    """The items with what their teacher (Seen) says of them stored: one pass now instead of one in every epoch.

    keep: "topk" (float16, about 0.8 KB a token at k = 128) or "hidden" (exact; in the model's type). Also the mean
    share of probability that was captured (1 for hidden).
    """
    done: list[Item] = []
    captured, tokens = 0.0, 0
    for low in range(0, len(items), rows):
        part = items[low : low + rows]
        hidden_ND = teacher.hidden(collate(part, device))
        sizes = [len(item.answer) for item in part]
        if keep == "hidden":
            stored: list[StoredTopK | StoredHidden] = [
                StoredHidden(x.cpu().clone()) for x in torch.split(hidden_ND, sizes)
            ]
        else:
            ids_NK, logprobs_NW = (x.cpu() for x in top_k(hidden_ND, teacher.head, k))
            captured += logprobs_NW[:, : ids_NK.shape[1]].float().exp().sum().item()
            pairs = zip(torch.split(ids_NK, sizes), torch.split(logprobs_NW, sizes), strict=True)
            stored = [StoredTopK(ids.clone(), logprobs.clone()) for ids, logprobs in pairs]
        done += [replace(item, teacher=one) for item, one in zip(part, stored, strict=True)]
        tokens += sum(sizes)
    return done, 1.0 if keep == "hidden" else captured / tokens
