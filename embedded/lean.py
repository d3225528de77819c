"""The model as the trainer sees it: the maths of transformers' Llama in a form that trains twice as fast on a CPU.

Weights are kept in float32 and used in bfloat16. What makes it fast: plain matmul and softmax for attention (the fused
kernel's backward is slow in bfloat16 on CPUs), RMS norm and rotary embedding with their own backward, and logits at
answer positions only. `to_transformers` gives the same model as a LlamaForCausalLM.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a model."""

    vocabulary: int = 2048
    width: int = 160
    layers: int = 5
    heads: int = 4
    kv_heads: int = 2
    inner: int = 400
    theta: float = 10_000.0
    eps: float = 1e-5
    positions: int = 1024

    @property
    def head_width(self) -> int:
        return self.width // self.heads


class _RMSNorm(torch.autograd.Function):
    """x / rms(x) * weight, with the backward written out: half the memory traffic of autograd's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = torch.rsqrt(norm.square_().div_(x.shape[-1]).add_(eps)).to(x.dtype)
        normed, scale = x * inverse, weight.to(x.dtype)
        ctx.save_for_backward(normed, inverse, scale)
        return normed * scale

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        (grad,) = grads
        normed, inverse, scale = ctx.saved_tensors
        width = normed.shape[-1]
        product = (grad * normed).reshape(-1, width)
        grad_weight = product.sum(0, dtype=torch.float32)
        along = torch.mv(product, scale).view(*grad.shape[:-1], 1).div_(width)
        return torch.addcmul(grad * scale, normed, along, value=-1).mul_(inverse), grad_weight, None


class _Rotary(torch.autograd.Function):
    """Rotary embedding; `sin` carries the signs of the rotation, so forward and backward are one addcmul each."""

    @staticmethod
    def _swap(x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        return torch.cat([x[..., half:], x[..., :half]], -1)

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return torch.addcmul(x * cos, _Rotary._swap(x), sin)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        cos, sin = ctx.saved_tensors
        return torch.addcmul(_Rotary._swap(grad * sin), grad, cos), None, None


def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return cast("Tensor", _RMSNorm.apply(x, weight, eps))  # type: ignore[no-untyped-call]


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return cast("Tensor", _Rotary.apply(x, cos, sin))  # type: ignore[no-untyped-call]


class _Layer(nn.Module):
    """The weights of one block; query, key and value in one matrix, gate and up in another."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        deep = 1 / math.sqrt(2 * shape.layers)  # what writes to the residual stream starts smaller
        self.norm_attention = nn.Parameter(torch.ones(shape.width))
        self.norm_inner = nn.Parameter(torch.ones(shape.width))
        rows = (shape.heads + 2 * shape.kv_heads) * shape.head_width
        self.qkv = _matrix(rows, shape.width)
        self.out = _matrix(shape.width, shape.heads * shape.head_width, deep)
        self.gate_up = _matrix(2 * shape.inner, shape.width)
        self.down = _matrix(shape.width, shape.inner, deep)


def _matrix(rows: int, columns: int, scale: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, columns) * (0.6 * scale / math.sqrt(columns)))


class LeanLlama(nn.Module):
    """A Llama with tied embeddings whose forward gives logits at chosen positions only."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Parameter(torch.randn(shape.vocabulary, shape.width) * 0.02)
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))
        self.norm = nn.Parameter(torch.ones(shape.width))

    def forward(self, tokens: Tensor, chosen: Tensor) -> Tensor:
        """Logits (bfloat16) at the `chosen` positions of the flattened right-padded batch."""
        shape, dtype = self.shape, torch.bfloat16
        batch, length = tokens.shape
        hidden = F.embedding(tokens, self.embedding).to(dtype)
        cos, sin = self._rotation(length)
        mask = torch.full((length, length), -1e4).triu(1).to(dtype)
        for layer in self.blocks:
            hidden = hidden + self._attend(layer, hidden, cos.to(dtype), sin.to(dtype), mask)
            normed = _rms_norm(hidden, layer.norm_inner, shape.eps)
            gate, up = F.linear(normed, layer.gate_up.to(dtype)).chunk(2, -1)
            hidden = hidden + F.linear(F.silu(gate) * up, layer.down.to(dtype))
        last = _rms_norm(hidden.reshape(batch * length, shape.width)[chosen], self.norm, shape.eps)
        return F.linear(last, self.embedding.to(dtype))

    @property
    def blocks(self) -> list[_Layer]:
        return cast("list[_Layer]", list(self.layers))

    def _rotation(self, length: int) -> tuple[Tensor, Tensor]:
        width = self.shape.head_width
        frequencies = self.shape.theta ** (-torch.arange(0, width, 2).float() / width)
        angles = torch.outer(torch.arange(length).float(), frequencies)
        return torch.cat([angles.cos(), angles.cos()], -1), torch.cat([-angles.sin(), angles.sin()], -1)

    def _attend(self, layer: _Layer, hidden: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        shape, (batch, length, _) = self.shape, hidden.shape
        heads, kv_heads, width = shape.heads, shape.kv_heads, shape.head_width
        normed = _rms_norm(hidden, layer.norm_attention, shape.eps)
        mixed = F.linear(normed, layer.qkv.to(hidden.dtype))
        mixed = mixed.view(batch, length, heads + 2 * kv_heads, width).transpose(1, 2)
        query, key, value = torch.split(mixed, [heads, kv_heads, kv_heads], 1)
        scale = 1 / math.sqrt(width)
        query, key = _rotate(query, cos * scale, sin * scale), _rotate(key, cos, sin)
        if kv_heads != heads:
            key = key.repeat_interleave(heads // kv_heads, 1)
            value = value.repeat_interleave(heads // kv_heads, 1)
        weights = (torch.matmul(query, key.transpose(2, 3)) + mask).softmax(-1)
        joined = torch.matmul(weights, value).transpose(1, 2).reshape(batch, length, heads * width)
        return F.linear(joined, layer.out.to(hidden.dtype))


def to_transformers(lean: LeanLlama, *, pad: int = 0, end: int = 1) -> Any:
    """The same model as a float32 LlamaForCausalLM."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = lean.shape
    config = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.width, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads, intermediate_size=shape.inner,
        max_position_embeddings=shape.positions, rms_norm_eps=shape.eps, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": shape.theta},
        pad_token_id=pad, eos_token_id=end, bos_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    weights: dict[str, Tensor] = {"model.embed_tokens.weight": lean.embedding, "lm_head.weight": lean.embedding,
               "model.norm.weight": lean.norm}  # fmt: skip
    rows = [count * shape.head_width for count in (shape.heads, shape.kv_heads, shape.kv_heads)]
    for index, layer in enumerate(lean.blocks):
        query, key, value = torch.split(layer.qkv, rows)
        gate, up = layer.gate_up.chunk(2)
        parts = {
            "self_attn.q_proj": query, "self_attn.k_proj": key, "self_attn.v_proj": value,
            "self_attn.o_proj": layer.out, "mlp.gate_proj": gate, "mlp.up_proj": up, "mlp.down_proj": layer.down,
            "input_layernorm": layer.norm_attention, "post_attention_layernorm": layer.norm_inner,
        }  # fmt: skip
        weights |= {f"model.layers.{index}.{name}.weight": part for name, part in parts.items()}
    model.load_state_dict({name: part.detach().clone() for name, part in weights.items()})
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = pad, end
    return model.eval()
