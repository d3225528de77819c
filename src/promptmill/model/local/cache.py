"""Keys and values of a batch whose prompts begin alike: the shared beginning is computed and kept once.

Two ways, chosen by what the model is, never by what fails:

- `Folded` (folded.py), for plain full attention: the prefix stays at batch size 1 and is not expanded.
- `Spread` (here), for the rest: the prefix's keys are copied into an ordinary cache, each row's at its place, so that
  the row's real tokens are contiguous (sliding windows count columns). Models with any other state than keys and values
  of tokens (linear attention, compressed caches) cannot be given a prefix at all: there `can_share` is False.

Shape letters: B rows, T new tokens, S columns of suffix so far, P prefix tokens, H key-value heads, G query heads for
each of them, D head size, V vocabulary, K positions kept.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


@dataclass(frozen=True)
class Prefix:
    """A computed beginning: its tokens, and for each layer keys and values of shape (H, P, D)."""

    ids: tuple[int, ...]
    keys: list[Tensor]
    values: list[Tensor]

    def crop(self, length: int) -> Prefix:
        """The first `length` tokens of it; views, no copy."""
        keys, values = [k[:, :length] for k in self.keys], [v[:, :length] for v in self.values]
        return Prefix(self.ids[:length], keys, values)

    @property
    def nbytes(self) -> int:
        return sum(t.shape[0] * t.shape[1] * t.shape[2] * t.element_size() for t in (*self.keys, *self.values))


class State(Protocol):
    """A batch in the middle of decoding."""

    def start(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Run the prompts (each begins with the prefix); logits after their last tokens, (B, V)."""
        ...

    def extend(self, ids_B_T: Tensor) -> Tensor:
        """Append T tokens to each row; logits after each, (B, T, V)."""
        ...

    def select(self, index_B: Tensor) -> None:
        """Keep or repeat rows: row i becomes what row index_B[i] was."""
        ...


def can_share(model: Any) -> bool:
    """Whether a prefix's cache can be given to other rows: every layer keeps keys and values of tokens, nothing else,
    and positions can be told."""
    kinds = {type(layer) for layer in DynamicCache(config=model.config).layers}
    return kinds <= {DynamicLayer, DynamicSlidingWindowLayer} and "position_ids" in accepts(model)


def accepts(model: Any) -> frozenset[str]:
    return frozenset(inspect.signature(model.forward).parameters)


def left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """ids (B, S) with zeros on the left, and how many zeros each row has, (B,), or None where none has any."""
    width = max(map(len, rows))
    padded = [[0] * (width - len(row)) + list(row) for row in rows]
    pads = [width - len(row) for row in rows]
    return torch.tensor(padded, device=device), torch.tensor(pads, device=device) if any(pads) else None


class Spread:
    """State of a batch under the model's own attention; columns of a row: [pads | prefix | suffix | new tokens]."""

    def __init__(self, model: Any, prefix: Prefix | None) -> None:
        self.model, self.prefix = model, prefix
        self.accepts = accepts(model)
        # With a prefix all layers keep all tokens, and the model's mask does the sliding; a sliding layer's own short
        # cache could not be filled from a prefix that ends elsewhere in each row.
        shares = can_share(model)
        self.cache = DynamicCache() if shares else DynamicCache(config=model.config)
        self.mask_B_C: Tensor | None = None

    def start(self, rows: Sequence[Sequence[int]]) -> Tensor:
        ids_B_C, pads_B = left_padded(rows, self.model.device)
        self.mask_B_C = torch.ones_like(ids_B_C)
        if pads_B is not None:
            columns_C = torch.arange(ids_B_C.shape[1], device=ids_B_C.device)
            self.mask_B_C = (columns_C >= pads_B[:, None]).long()
        offset = 0
        if self.prefix:
            offset = len(self.prefix.ids)
            self._fill(len(rows), pads_B)
        # A row shorter than the longest repeats the end of the prefix here, in the columns that others need for their
        # longer suffixes.
        return self._forward(ids_B_C[:, offset:], keep=1)[:, -1]

    def extend(self, ids_B_T: Tensor) -> Tensor:
        assert self.mask_B_C is not None
        more = self.mask_B_C.new_ones(ids_B_T.shape)
        self.mask_B_C = torch.cat([self.mask_B_C, more], dim=1)
        return self._forward(ids_B_T, keep=ids_B_T.shape[1])

    def select(self, index_B: Tensor) -> None:
        assert self.mask_B_C is not None
        self.cache.reorder_cache(index_B)
        self.mask_B_C = self.mask_B_C[index_B]

    def as_prefix(self, ids: tuple[int, ...]) -> Prefix:
        kept = [(layer.keys[0], layer.values[0]) for layer in self.cache.layers]
        return Prefix(ids, [key.contiguous() for key, _ in kept], [value.contiguous() for _, value in kept])

    def _fill(self, rows: int, pads_B: Tensor | None) -> None:
        """Put the prefix into the first P columns of every row, moved right by its pads."""
        assert self.prefix is not None
        length = len(self.prefix.ids)
        for index, (key, value) in enumerate(zip(self.prefix.keys, self.prefix.values, strict=True)):
            if pads_B is None:
                key_BHPD, value_BHPD = (x[None].expand(rows, -1, -1, -1) for x in (key, value))
            else:
                at_B_P = (torch.arange(length, device=key.device) - pads_B[:, None]).clamp_(min=0)
                key_BHPD, value_BHPD = (x[:, at_B_P].transpose(0, 1) for x in (key, value))
            self.cache.update(key_BHPD, value_BHPD, index)

    def _forward(self, ids_B_T: Tensor, keep: int) -> Tensor:
        assert self.mask_B_C is not None
        given: dict[str, Any] = {"attention_mask": self.mask_B_C}
        if "position_ids" in self.accepts:
            given["position_ids"] = (self.mask_B_C.cumsum(-1) - 1).clamp_(min=0)[:, -ids_B_T.shape[1] :]
        if "logits_to_keep" in self.accepts:
            given["logits_to_keep"] = keep
        out = self.model(input_ids=ids_B_T, past_key_values=self.cache, use_cache=True, **given)
        logits: Tensor = out.logits[:, -keep:]
        return logits
