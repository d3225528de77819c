"""The models that ship: the shape and the training plan of each."""

from __future__ import annotations

from dataclasses import dataclass

from embedded.lean import Shape
from embedded.train import Phase, Plan


@dataclass(frozen=True, slots=True)
class Made:
    """A model to be made. shape: its vocabulary is set by its tokenizer."""

    shape: Shape
    plan: Plan


MODELS = {
    "embedded": Made(
        Shape(width=160, layers=5, heads=4, kv_heads=2, inner=400),
        Plan(
            seed=3,
            phases=(
                Phase("main", 24_000_000, rate=3e-3, steady=0.5),
                Phase("hard", 30_000_000, rate=2.5e-3),
                Phase("late", 13_000_000, rate=2e-3),
            ),
        ),
    ),
    "embedded-small": Made(
        Shape(width=96, layers=5, heads=4, kv_heads=2, inner=256),
        Plan(
            seed=2,
            phases=(Phase("main", 36_000_000, rate=4e-3, steady=0.3), Phase("finish", 9_000_000, rate=2e-3)),
        ),
    ),
}
