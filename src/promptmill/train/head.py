"""A model cut in two: its body, which gives hidden states, and its output layer, which makes logits of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from promptmill.errors import ModelError


@dataclass(frozen=True)
class Head:
    """The output layer: logits = cap(scale * (hidden @ weight.T + bias)), cap(x) = softcap * tanh(x / softcap).

    weight_VD stays frozen; it may be tied to the input embedding.
    """

    weight_VD: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    @property
    def vocabulary(self) -> int:
        return self.weight_VD.shape[0]

    def logits(self, hidden_ND: Tensor, out: Tensor | None = None) -> Tensor:
        """(N, V) in float32, or in float64 where the hidden states are. out: memory that may be used for it."""
        hidden_ND = hidden_ND.to(self.weight_VD.dtype)
        plain = self.bias_V is None and not torch.is_autocast_enabled(hidden_ND.device.type)
        if out is not None and plain and out.dtype == hidden_ND.dtype:
            logits_NV = torch.mm(hidden_ND, self.weight_VD.T, out=out)
        else:
            logits_NV = torch.nn.functional.linear(hidden_ND, self.weight_VD, self.bias_V)
        if logits_NV.dtype != torch.float64:
            logits_NV = logits_NV.float()
        if self.scale != 1:
            logits_NV = logits_NV * self.scale
        return logits_NV if self.softcap is None else (logits_NV / self.softcap).tanh_().mul_(self.softcap)

    def slope(self, logits_NV: Tensor) -> Tensor | None:
        """What the cap does to a gradient at these logits; None without a cap."""
        return None if self.softcap is None else 1 - (logits_NV / self.softcap) ** 2

    def pull_back(self, by_logits_NV: Tensor, slope_NV: Tensor | None) -> Tensor:
        """A gradient by the logits as one by the hidden states (N, D). The given one is overwritten."""
        if slope_NV is not None:
            by_logits_NV.mul_(slope_NV)
        if self.scale != 1:
            by_logits_NV.mul_(self.scale)
        return by_logits_NV.to(self.weight_VD.dtype) @ self.weight_VD


def inner_model(model: Any) -> Any:
    """The transformers model, inside peft's wrapper where there is one (with its adapted layers in place)."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def head_of(model: Any) -> Head:
    """A causal language model's output layer. ModelError, by name, where the logits are made in another way: that is
    tried, not guessed."""
    inner = inner_model(model)
    kind, layer, config = inner.config.model_type, inner.get_output_embeddings(), inner.config
    text = config.get_text_config(decoder=True)
    weight = getattr(layer, "weight", None)
    if weight is None or inner.base_model is inner:
        raise ModelError(f"{kind} models cannot be trained here: they have no single output layer after their body")
    scale = float(getattr(text, "logit_scale", None) or getattr(text, "lm_head_multiplier", None) or 1.0)
    scale /= float(getattr(text, "logits_scaling", None) or 1.0)
    bias = getattr(layer, "bias", None)
    head = Head(
        weight.detach(), None if bias is None else bias.detach(), scale, getattr(text, "final_logit_softcapping", None)
    )
    ids_1_T = torch.arange(1, 1 + min(5, head.vocabulary - 1), device=weight.device)[None]
    with torch.no_grad(), answering(model):
        told = inner(input_ids=ids_1_T, use_cache=False).logits[0].float()
        made = head.logits(inner.base_model(input_ids=ids_1_T, use_cache=False).last_hidden_state[0])
    close = 1e-3 if told.shape == made.shape and weight.dtype == torch.float32 else 5e-2
    if told.shape != made.shape or not (told - made).abs().max() <= close * max(1.0, told.abs().max().item()):
        raise ModelError(f"{kind} models cannot be trained here: their logits are not those of their output layer")
    return head


@contextmanager
def answering(model: Any) -> Iterator[None]:
    """The model as it answers; afterwards as it was. Layers that recompute their activations use no cache."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def hidden_states(model: Any, **given: Any) -> Tensor:
    """(B, T, D): what the output layer gets. Adapters take part, unless they are disabled."""
    hidden: Tensor = inner_model(model).base_model(**given).last_hidden_state
    return hidden
