"""The settings of a rewrite, a section for each stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from promptmill.judge.panel import PanelConfig, PresetPanelConfig
from promptmill.model.load import ModelConfig
from promptmill.settings import Strict
from promptmill.train.settings import LoraSettings, Rate, TrainSettings


class SynthesizeConfig(Strict, frozen=True):
    """From an intent to base prompts, variations of them, and inputs to try them on."""

    topics: int = Field(16, ge=1, description="topics for each intent")
    prompts: int = Field(6, ge=1, description="base prompts for each topic")
    variations: int = Field(4, ge=0, description="variations of each base prompt, by the operators that breed uses too")
    inputs: int = Field(4, ge=0, description="inputs that a prompt is tried on; 0: prompts are complete in themselves")
    temperature: float = Field(1.0, gt=0, description="of the writer")
    max_tokens: int = Field(256, ge=1, description="new tokens of a text at most")
    alike: float = Field(0.9, gt=0, le=1, description="likeness from which a prompt counts as written before")
    together: float = Field(0.75, gt=0, le=1, description="likeness from which base prompts lie in one cluster")
    embed: bool = Field(False, description="likeness by sentence embeddings as well (extra embed)")
    dev: float = Field(0.15, ge=0, lt=1, description="share of the clusters that is held out for choosing")
    test: float = Field(0.2, ge=0, lt=1, description="share of the clusters that is held out for the test")


class AnswerConfig(Strict, frozen=True):
    """How the main model answers the prompts."""

    samples: int = Field(1, ge=1, description="answers to each prompt and input")
    temperature: float = Field(0.0, ge=0, description="sampling temperature; above 0 where samples > 1")
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(256, ge=1, description="new tokens of an answer at most")


class PairsConfig(Strict, frozen=True):
    """Which differences are believed."""

    z: float = Field(1.0, ge=0, description="a margin must be so many of its standard errors; 0 believes all")
    margin: float = Field(0.05, ge=0, description="and at least so much of the panel's scale, which is 0 to 1")
    orders: bool = Field(True, description="ask the judges to compare, in both orders, and keep what they confirm")
    most: int = Field(4, ge=1, description="pairs of one base prompt at most, a broken rule aside")
    compared: int = Field(2, ge=1, description="inputs on which they compare")
    longest: float = Field(4.0, gt=1, description="a rewrite longer than so many times its prompt breaks a rule")
    shuffle: bool = Field(False, description="exchange better and worse at random: for a control, which must not gain")
    similar: float = Field(0.0, ge=0, le=1, description="least similarity of meaning (extra embed); 0: not asked")


class LearnLoraSettings(LoraSettings):
    """An adapter's settings with a rewriter's defaults: of the fields, so that whoever sets one keeps the others."""

    targets: Literal["attention", "all"] | list[str] = "all"


class LearnTrainSettings(TrainSettings):
    """The loop's settings with a rewriter's defaults."""

    epochs: int = Field(3, ge=1)
    rate: Rate = 1e-3
    patience: int = Field(1, ge=0)
    warmup_steps: int = Field(5, ge=0)
    batch_items: int = Field(32, ge=1)


class LearnConfig(Strict, frozen=True):
    """How the rewriter learns from the pairs of a round."""

    loss: Literal["dpo", "sft"] = Field("dpo", description="preferences, or fine-tuning on the best rewrites (BPO)")
    beta: float = Field(0.3, gt=0, description="DPO's beta")
    sft: float = Field(1.0, ge=0, description="weight of the chosen text's own likelihood beside DPO")
    contrast: float = Field(0.0, ge=0, description="weight of InfoNCE over good and bad rewrites of a prompt")
    tau: float = Field(0.1, gt=0, description="InfoNCE's temperature")
    kl: float = Field(0.0, ge=0, description="weight of the KL to the rewriter before the round, on earlier prompts")
    replay: float = Field(0.25, ge=0, lt=1, description="share of a round's pairs that are of earlier rounds")
    lora: LearnLoraSettings = LearnLoraSettings()
    train: LearnTrainSettings = LearnTrainSettings()


class TuneTrainSettings(TrainSettings):
    """The loop's settings with defaults for the main model's own best answers."""

    epochs: int = Field(3, ge=1)
    rate: Rate = 5e-4
    warmup_steps: int = Field(5, ge=0)


class TuneConfig(Strict, frozen=True):
    """How the main model learns its own best answers, where `tune_main` is set."""

    lora: LearnLoraSettings = LearnLoraSettings()
    train: TuneTrainSettings = TuneTrainSettings()


class TestingConfig(Strict, frozen=True):
    """How a rewriter is tested on base prompts that it has not seen."""

    panel: PanelConfig | None = Field(None, description="judges of the test, other than those that taught")
    target: ModelConfig | None = Field(None, description="another main model than the one that was trained for")
    candidates: int = Field(4, ge=1, description="rewrites of a prompt from which one is taken")
    proof: int = Field(12, ge=0, description="inputs that a prompt and its rewrites are tried on, by the judges that "
                                            "taught, before one is offered; 0: what is foretold decides")  # fmt: skip
    margin: float = Field(0.05, ge=0, description="a prompt is left alone that gains less on these, of the panel's "
                                                  "scale (or less than pairs.z standard errors)")  # fmt: skip


class RewriteConfig(Strict, frozen=True):
    """The whole pipeline. judge: who says which output is better; a model that is not of the wheel judges itself, in
    three ways, where no panel is named."""

    synthesize: SynthesizeConfig = SynthesizeConfig()
    answer: AnswerConfig = AnswerConfig()
    judge: PresetPanelConfig = PresetPanelConfig()
    pairs: PairsConfig = PairsConfig()
    learn: LearnConfig = LearnConfig()
    test: TestingConfig = TestingConfig()
    tune: TuneConfig = TuneConfig()
    rounds: int = Field(2, ge=1, description="rounds of rewriting, judging and learning")
    rewrites: int = Field(8, ge=1, description="rewrites of each prompt that the rewriter of a round is asked for")
    keep: Literal["better", "last"] = Field(
        "better", description="better: a round after the first is kept only where the rewriter's first answers to dev "
                              "prompts gain more than pairs.z standard errors by it, and the rounds end where one is "
                              "not; last: every round is (as with stream)")  # fmt: skip
    stream: bool = Field(False, description="one intent a round, in order, instead of all in each (continual learning)")
    tune_main: bool = Field(False, description="also fine-tune the main model on its own best answers")
