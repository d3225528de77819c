"""What people can set about training. No torch here: settings are read before anything heavy is loaded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from promptmill.settings import Strict

Rate = Annotated[float, Field(gt=0, lt=1e38, allow_inf_nan=False)]
"""A learning rate: more is no number in float32."""


class LoraSettings(Strict, allow_inf_nan=False):
    """A LoRA adapter. alpha: twice the rank where it is not given; the adapter's change is scaled by alpha / rank.

    targets: "attention" (every linear projection of attention), "all" (the MLP's as well), or names of modules.
    """

    rank: int = Field(16, ge=1)
    alpha: float | None = Field(None, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: Literal["attention", "all"] | list[str] = "attention"


class TrainSettings(Strict, allow_inf_nan=False):
    """The loop. Sequences are counted in tokens of context and answer, as the student sees them.

    rate: learning rate after `warmup_steps`; schedule "cosine" takes it down to `rate * last_rate` at the last step.
    A run that is continued with more epochs has a later last step: its rate jumps up to that longer curve
    accumulate: batches to one step
    batch_tokens, batch_items: most padded tokens, and most sequences, of a batch
    precision: of the activations; "auto" is bfloat16 on a GPU that has it and float32 elsewhere
    validate_every: steps; 0 validates after every epoch
    patience: validations without a gain of more than `least_gain` before training ends; 0 never ends it early. A run
    that ended so goes on only with more patience, whatever its epochs
    checkpoint_seconds: time between checkpoints; 0 writes one at every step
    """

    epochs: int = Field(10, ge=1)
    rate: Rate = 1e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = Field(10, ge=0)
    last_rate: float = Field(0.1, ge=0, le=1)
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = Field(1.0, gt=0)
    accumulate: int = Field(1, ge=1)
    batch_tokens: int = Field(8192, ge=1)
    batch_items: int = Field(16, ge=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    gradient_checkpointing: bool = False
    validate_every: int = Field(0, ge=0)
    patience: int = Field(0, ge=0)
    least_gain: float = Field(0.0, ge=0)
    checkpoint_seconds: float = Field(60.0, ge=0)
    log_every: int = Field(1, ge=1)
    seed: int = 0


MAY_CHANGE = frozenset({"epochs", "patience", "checkpoint_seconds"})
"""Settings that a continued run may be given anew; all others decide what the steps before it were."""
NO_MATTER = frozenset({"checkpoint_seconds"})
"""Settings on which nothing of the outcome depends."""
