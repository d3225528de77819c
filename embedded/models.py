"""The models that ship: the shape and the training plan of each."""

from __future__ import annotations

from dataclasses import dataclass

from embedded.lean import Shape
from embedded.train import Plan


@dataclass(frozen=True, slots=True)
class Made:
    """A model to be made. shape: its vocabulary is set by its tokenizer."""

    shape: Shape
    plan: Plan


MODELS = {
    "embedded": Made(
        Shape(width=192, layers=5, heads=4, kv_heads=2, inner=448),
        Plan(seed=1, tokens=50_000_000, finish_tokens=13_000_000),
    ),
    "embedded-small": Made(
        Shape(width=96, layers=5, heads=4, kv_heads=2, inner=256),
        Plan(seed=2, tokens=36_000_000, finish_tokens=9_000_000),
    ),
}
