"""Attention over a shared prefix without expanding it, for models with plain full attention (`FOLDABLE`).

The prefix's keys and values stay at batch size 1. Every row attends to them in one matrix product for the whole batch,
and to its own suffix apart; one softmax goes over both. The same sum as ordinary attention in another order. Prefix
sharing after Hydragen (Juravsky et al. 2024, arXiv 2402.05099); here the scores are joined before the softmax, so that
nothing needs rescaling. Shape letters as in cache.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

from promptmill.errors import ModelError
from promptmill.model.local.cache import Prefix, Spread, accepts, left_padded

FOLDED = "promptmill_folded"
# Model types whose attention is softmax(q k^T * scaling) v over all tokens before, and that hand the attention function
# what `forward` was given. Each is compared with transformers' own generate in tests/test_local.py.
FOLDABLE = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "smollm3", "granite", "olmo2"})
SCORES = 1 << 26  # most attention scores held at once (256 MB in float32); longer prefills go in slices
CPU_SCORES = 1 << 19  # on a CPU: what its cache holds (a fifth off the prefill of a small model)
# Columns whose attention a CPU computes at once: a block needs no scores for the tokens after it, so that near half of
# those are never computed (a sixth off the time in which a model of 7M parameters rates texts of 700 tokens).
CPU_COLUMNS = 64
SLACK = 64  # columns that the suffix buffer grows by


def can_fold(model: Any) -> bool:
    """Whether the attention may be computed as `folded_attention` does."""
    kinds = {type(layer) for layer in DynamicCache(config=model.config).layers}
    return model.config.model_type in FOLDABLE and kinds == {DynamicLayer}


class FoldedLayer(DynamicLayer):  # type: ignore[misc]
    """Suffix keys and values in buffers of shape (H, B, columns, D): rows grow in place, and the prefix product of all
    rows is one matrix product for each head."""

    keys: Any
    values: Any

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append (B, H, T, D); returns views of shape (H, B, S + T, D)."""
        start, end = self.length, self.length + key_states.shape[2]
        if self.keys is None or end > self.keys.shape[2]:
            self._grow(key_states, end + max(SLACK, start // 2))
        self.keys[:, :, start:end] = key_states.transpose(0, 1)
        self.values[:, :, start:end] = value_states.transpose(0, 1)
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def _grow(self, like: Tensor, columns: int) -> None:
        rows, heads, _, size = like.shape
        old_keys, old_values, n = self.keys, self.values, self.length
        self.keys, self.values = like.new_empty(heads, rows, columns, size), like.new_empty(heads, rows, columns, size)
        if n:
            self.keys[:, :, :n], self.values[:, :, :n] = old_keys[:, :, :n], old_values[:, :, :n]
        self.is_initialized = True

    def get_seq_length(self) -> int:
        return self.length

    def select(self, index_B: Tensor) -> None:
        if self.keys is None:  # the rows have nothing of their own yet
            return
        columns, n = self.keys.shape[2], self.length
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_empty(old.shape[0], len(index_B), columns, old.shape[3])
            new[:, :, :n] = old[:, :, :n].index_select(1, index_B)
            setattr(self, name, new)


class Folded:
    """State of a batch under `folded_attention`; columns of a row: [pads | suffix | new tokens]."""

    def __init__(self, model: Any, prefix: Prefix | None) -> None:
        self.model, self.prefix, self.device, self.dtype = model, prefix, model.device, model.dtype
        self.offset = len(prefix.ids) if prefix else 0
        self.cache = _empty(model)
        self.columns = 0
        self.alone: tuple[int, ...] = ()  # the prompt of a batch of one, until something follows it
        self.pads_B: Tensor | None = None
        self.mask_1B1TS: Tensor | None = None

    def start(self, rows: Sequence[Sequence[int]]) -> Tensor:
        ids_B_S, self.pads_B = left_padded([row[self.offset :] for row in rows], self.device)
        # A long prompt goes in slices of columns, so that a slice's scores stay in bounds.
        heads, total = self.model.config.num_attention_heads, self.offset + ids_B_S.shape[1]
        for part_B_T in torch.split(ids_B_S, max(16, SCORES // (heads * total)), dim=1):
            logits_B_1_V = self._forward(part_B_T, keep=1)
        self.alone = tuple(rows[0]) if len(rows) == 1 else ()
        return logits_B_1_V[:, -1]

    def extend(self, ids_B_T: Tensor) -> Tensor:
        self.alone = ()
        return self._forward(ids_B_T, keep=ids_B_T.shape[1])

    def select(self, index_B: Tensor) -> None:
        if self.alone and len(index_B) > 1:
            self._fold(self.alone)
        for layer in self.cache.layers:
            layer.select(index_B)
        if self.pads_B is not None:
            self.pads_B = self.pads_B[index_B]

    def as_prefix(self, ids: tuple[int, ...]) -> Prefix:
        kept = [(layer.keys[:, 0, : self.columns], layer.values[:, 0, : self.columns]) for layer in self.cache.layers]
        return Prefix(ids, [key.contiguous() for key, _ in kept], [value.contiguous() for _, value in kept])

    def _fold(self, ids: tuple[int, ...]) -> None:
        """Make all that the only row has read the shared prefix: rows that repeat it need no copy of it."""
        own = self.as_prefix(ids)
        if self.prefix:
            keys = [torch.cat(pair, dim=1) for pair in zip(self.prefix.keys, own.keys, strict=True)]
            values = [torch.cat(pair, dim=1) for pair in zip(self.prefix.values, own.values, strict=True)]
            own = Prefix(ids, keys, values)
        self.prefix, self.offset, self.columns, self.pads_B, self.alone = own, len(ids), 0, None, ()
        self.cache = _empty(self.model)

    def _forward(self, ids_B_T: Tensor, keep: int) -> Tensor:
        count, device = ids_B_T.shape[1], ids_B_T.device
        columns_T = torch.arange(self.columns, self.columns + count, device=device)
        positions_B_T = (columns_T + self.offset)[None]
        if self.pads_B is not None:
            positions_B_T = (positions_B_T - self.pads_B[:, None]).clamp_(min=0)
        self.mask_1B1TS = self._mask(columns_T)
        self.columns += count
        out = self.model(
            input_ids=ids_B_T, position_ids=positions_B_T, past_key_values=self.cache, use_cache=True,
            logits_to_keep=keep, folded=self,
        )  # fmt: skip
        logits: Tensor = out.logits
        return logits

    def _mask(self, columns_T: Tensor) -> Tensor | None:
        """What is added to the suffix scores: 0 where a token may look, the lowest number where not. Never minus
        infinity: a padding query that may look at nothing would be NaN, and 0 * NaN spoils the rows that skip it."""
        count, device = len(columns_T), columns_T.device
        if count == 1 and self.pads_B is None:
            return None
        keys_S = torch.arange(self.columns + count, device=device)
        seen_B_T_S = (keys_S[None, :] <= columns_T[:, None])[None]
        if self.pads_B is not None:
            seen_B_T_S = seen_B_T_S & (keys_S >= self.pads_B[:, None])[:, None]
        mask = torch.zeros(seen_B_T_S.shape, device=device, dtype=self.dtype)
        return mask.masked_fill_(~seen_B_T_S, torch.finfo(mask.dtype).min)[None, :, None]


def _empty(model: Any) -> Cache:
    return Cache(layers=[FoldedLayer() for _ in range(model.config.num_hidden_layers)])


def folded_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, dropout: float = 0.0, *, folded: Folded | None = None, **kwargs: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attention of query (B, H*G, T, D) over the shared prefix and the rows' own key, value (H, B, S, D).

    Returns (B, T, H*G, D).
    """
    assert folded is not None, "this model was loaded for promptmill's own decoding loop"
    rows, heads, count, size = query.shape
    groups, before = heads // key.shape[0], key.shape[2] - count
    scale = size**-0.5 if scaling is None else scaling
    query_HBGTD = (query * scale).view(rows, -1, groups, count, size).permute(1, 0, 2, 3, 4)
    out = query.new_empty(rows, count, heads, size)
    out_HBGTD = out.view(rows, count, -1, groups, size).permute(2, 0, 3, 1, 4)
    offset, mask, prefix = folded.offset, folded.mask_1B1TS, folded.prefix
    shared = (prefix.keys[module.layer_idx], prefix.values[module.layer_idx]) if prefix else None
    on_cpu = query.device.type == "cpu"
    columns, most = (CPU_COLUMNS, CPU_SCORES) if on_cpu else (count, SCORES)
    for low in range(0, count, columns):
        block = slice(low, min(count, low + columns))
        seen = before + block.stop  # columns of which a token of the block may see any
        step = max(1, most // (heads * (block.stop - low) * (offset + seen)))
        for first in range(0, rows, step):
            part = slice(first, first + step)
            out_HBGTD[:, part, :, block] = _attend(
                query_HBGTD[:, part, :, block], key[:, part, :seen], value[:, part, :seen],
                None if mask is None else mask[:, part if mask.shape[1] > 1 else slice(None), :, block, :seen], shared,
            )  # fmt: skip
    return out, None


def _attend(
    query_HBGTD: Tensor, key_HBSD: Tensor, value_HBSD: Tensor, mask: Tensor | None,
    shared: tuple[Tensor, Tensor] | None,
) -> Tensor:  # fmt: skip
    heads, rows, groups, count, size = query_HBGTD.shape
    query_HBXD = query_HBGTD.reshape(heads, rows, groups * count, size)  # X = G * T
    scores_HBXS = query_HBXD @ key_HBSD.transpose(-1, -2)
    if mask is not None:
        scores_HBXS.view(heads, rows, groups, count, -1).add_(mask)
    if shared is None:
        weights = scores_HBXS.softmax(-1, dtype=torch.float32).to(query_HBXD.dtype)
        return (weights @ value_HBSD).view(query_HBGTD.shape)
    key_HPD, value_HPD = shared
    flat_HYD = query_HBXD.reshape(heads, -1, size)  # Y = B * X: every row's queries at once
    scores_HBXP = (flat_HYD @ key_HPD.transpose(-1, -2)).view(heads, rows, groups * count, -1)
    weights = torch.cat([scores_HBXP, scores_HBXS], dim=-1).softmax(-1, dtype=torch.float32).to(query_HBXD.dtype)
    offset = key_HPD.shape[1]
    from_prefix = (weights[..., :offset].reshape(*flat_HYD.shape[:2], offset) @ value_HPD).view(query_HBXD.shape)
    return from_prefix.add_(weights[..., offset:] @ value_HBSD).view(query_HBGTD.shape)


def prepare(model: Any) -> None:
    """Once after loading: give a model that can fold the folded attention. ModelError for one without a usual cache."""
    if "past_key_values" not in accepts(model):
        raise ModelError(f"{model.config.model_type} models keep no past_key_values, which the local backend needs")
    if can_fold(model):
        AttentionInterface.register(FOLDED, folded_attention)
        model.set_attn_implementation(FOLDED)


def new_state(model: Any, prefix: Prefix | None) -> Folded | Spread:
    return Folded(model, prefix) if model.config._attn_implementation == FOLDED else Spread(model, prefix)


def compute_prefix(model: Any, ids: tuple[int, ...]) -> Prefix:
    state = new_state(model, None)
    state.start([ids])
    return state.as_prefix(ids)
