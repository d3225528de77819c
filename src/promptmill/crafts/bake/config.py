"""The settings of a bake's sampling, with what the original used beside them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from promptmill.settings import Strict
from promptmill.train.settings import LoraSettings, Rate, TrainSettings


class BakeSampleConfig(Strict, frozen=True, allow_inf_nan=False):
    """How trajectories are drawn from the prompted model. All that shapes the distribution stands here: the defaults in
    a model's generation_config play no part."""

    sequences: int = Field(4, ge=1, description="answers drawn for each question")
    min_new_tokens: int = Field(0, ge=0, description="new tokens before an answer may end; 0 leaves it to the model")
    max_new_tokens: int = Field(128, ge=1, description="new tokens of an answer at most")
    temperature: float = Field(1.0, ge=0, description="sampling temperature")
    top_p: float = Field(1.0, gt=0, le=1, description="draw from the most probable tokens of this sum; 1: from all")
    top_k: int = Field(0, ge=0, description="draw from so many most probable tokens; 0: from all")
    unprompted: str = Field(
        "none", description="what stands in the prompt's place: none (no system turn), empty, or another prompt's text"
    )
    teacher: Literal["topk", "hidden", "online"] = Field(
        "topk",
        description="scores kept: the k best log-probabilities, the last hidden state (exact), none (computed anew)",
    )
    k: int = Field(128, ge=1, description="log-probabilities kept for each token (teacher=topk)")
    validation: float = Field(0.1, ge=0, lt=1, description="share of the questions that is held out for validation")

    @model_validator(mode="after")
    def _fits_together(self) -> BakeSampleConfig:
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(f"min_new_tokens={self.min_new_tokens} is more than max_new_tokens={self.max_new_tokens}")
        if self.temperature == 0 and self.sequences > 1:
            raise ValueError(f"at temperature 0 all {self.sequences} sequences are alike; set sequences=1, or raise it")
        return self


AS_ORIGINAL: dict[str, Any] = {
    "sequences": 25, "max_new_tokens": 300, "temperature": 2.0, "top_p": 0.9, "top_k": 50,
    "unprompted": "empty", "teacher": "online",
}  # fmt: skip
"""What the original's defaults came to. Its top_p and top_k were never named: they are those of Llama 3's
generation_config and of transformers. Its least length counted the prompt, and so did nothing."""


class BakeTrainSettings(TrainSettings):
    """The loop's settings with a bake's defaults: of the fields, so that whoever sets one keeps the others."""

    epochs: int = Field(4, ge=1)
    rate: Rate = 1e-3
    warmup_steps: int = Field(5, ge=0)
    batch_items: int = Field(32, ge=1)
    patience: int = Field(2, ge=0)


class BakeConfig(Strict, frozen=True, allow_inf_nan=False):
    """A whole bake: trajectories of the prompted model, and the training of the unprompted one on them."""

    sample: BakeSampleConfig = BakeSampleConfig()
    lora: LoraSettings = LoraSettings()
    train: BakeTrainSettings = BakeTrainSettings()
    loss: Literal["forward", "reverse", "jsd", "samples"] = Field(
        "forward", description="KL(prompted || baked), its reverse, Jensen-Shannon, or cross-entropy on the samples"
    )
    beta: float = Field(0.5, gt=0, lt=1, description="the weight of the teacher in loss=jsd")
    rehearsal: float = Field(
        1.0, ge=0, description="weight of the KL to the model as it was, on other prompts; 0: no rehearsal"
    )
    rehearsal_answers: int = Field(384, ge=1, description="answers of the model as it was that are rehearsed, at most")
    on_policy: float = Field(
        0.0, ge=0, le=1, description="share of the batches that the baked model answers anew itself; the prompted one "
        "says what it would have said there"
    )  # fmt: skip
    full: bool = Field(False, description="train all weights but the output layer, in float32, instead of an adapter")
