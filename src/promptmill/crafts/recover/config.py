"""The settings of a recovery, a section for each stage."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from promptmill.settings import Strict
from promptmill.train.settings import LoraSettings, Rate, TrainSettings

CONSTANT = "Please improve this text while maintaining its original meaning and tone."
"""A prompt that fits everything and says nothing: the baseline, and what a prompt's effect is measured against."""
Temperature = Annotated[float, Field(ge=0)]


class SynthesizeConfig(Strict, frozen=True):
    """From prompts and texts to traces: what each prompt makes of some texts."""

    originals: int = Field(64, ge=1, description="texts to be rewritten, where the writer has to write them")
    topics: int = Field(16, ge=1, description="topics of which the writer writes texts, and topics of each intent")
    prompts: int = Field(4, ge=1, description="prompts for each topic, where the writer has to write them")
    variations: int = Field(3, ge=0, description="variations of each prompt, by the operators that breed uses too")
    texts: int = Field(4, ge=1, description="texts that each prompt rewrites")
    temperature: float = Field(1.0, gt=0, description="of the writer")
    rewriting: float = Field(0.0, ge=0, description="temperature of the model that rewrites")
    max_tokens: int = Field(256, ge=1, description="new tokens of a text at most")
    longest: int = Field(480, ge=8, description="tokens of a text at most; longer ones are cut in the middle")
    unchanged: float = Field(0.95, gt=0, le=1, description="likeness from which a text counts as not rewritten")
    alike: float = Field(0.95, gt=0, le=1, description="likeness from which two texts count as one, before as after")
    about: list[str] = Field([], description="what texts are wanted; none: of everyday things")
    dev: float = Field(0.15, ge=0, lt=1, description="share of the prompt clusters that is held out for choosing")
    test: float = Field(0.2, ge=0, lt=1, description="share of the prompt clusters that is held out for the test")


class SplitConfig(Strict, frozen=True):
    """Prompts that say nearly the same are in one cluster, and a cluster is in one split."""

    together: float = Field(0.8, gt=0, le=1, description="likeness from which two prompts lie in one cluster")


class CandidatesConfig(Strict, frozen=True):
    """Where candidates come from."""

    draws: int = Field(8, ge=0, description="answers of the recoverer for each trace, the first one greedy; 0: none, "
                                            "but the bank's")  # fmt: skip
    temperatures: list[Temperature] = Field([1.0], min_length=1, description="of the others, in turn")
    openings: list[str] = Field([""], min_length=1, description="first words that the others are given, in turn")
    few_shot: int = Field(0, ge=0, description="solved examples that every second draw is shown, out of the bank")
    bank: int = Field(8, ge=0, description="prompts of the bank that are candidates, the nearest ones")
    shown: int = Field(4, ge=2, description="traces of a group that are shown together")
    together: int = Field(4, ge=0, description="answers for a group's traces shown together")
    most: int = Field(32, ge=1, description="candidates of a group at most, those that came most often")
    pooled: int = Field(16, ge=1, description="traces of a group that are looked at")
    max_tokens: int = Field(96, ge=1, description="new tokens of a candidate at most")
    longest: int = Field(480, ge=8, description="tokens of a text that are shown; longer ones are cut in the middle")


class RankConfig(Strict, frozen=True):
    """How candidates are weighed."""

    embedder: str = Field("auto", description="minilm, a folder or a Hugging Face name; none: character n-grams; "
                                              "auto: minilm where it is installed")  # fmt: skip
    likelihood: bool = Field(True, description="how likely the generator makes the text under each candidate")
    posterior: bool = Field(True, description="how likely the recoverer finds each candidate")
    layout: Literal["system", "user", "text_first"] = Field(
        "system", description="how prompt and text are put to the generator: two roles (one turn for templates that "
                              "have no system role), one turn, or one turn with the text first"
    )  # fmt: skip
    generic: str = Field(CONSTANT, min_length=1, description="prompt against which a candidate's effect is measured")
    scored: int = Field(8, ge=1, description="traces of a group on which candidates are scored")
    right: float = Field(0.25, gt=0, le=1, description="sharpened cosine with the truth from which a prompt is right "
                                                       "(0.25: a cosine of 0.63)")  # fmt: skip
    abstain: float = Field(0.0, ge=0, le=1, description="confidence below which it says that it cannot tell")
    kept: int = Field(8, ge=1, description="candidates that are told, the best ones")


class BehaviourConfig(Strict, frozen=True):
    """Whether the recovered prompt does what the true one did."""

    texts: int = Field(1, ge=0, description="traces of a group whose texts are written again; 0: none")
    max_tokens: int = Field(256, ge=1, description="new tokens of such a text at most")


class LearnLoraSettings(LoraSettings):
    """An adapter's settings with a recoverer's defaults."""

    targets: Literal["attention", "all"] | list[str] = "all"


class SftTrainSettings(TrainSettings):
    """The loop's settings with defaults for learning from true prompts."""

    epochs: int = Field(3, ge=1)
    rate: Rate = 5e-4
    patience: int = Field(1, ge=0)
    warmup_steps: int = Field(5, ge=0)
    batch_items: int = Field(32, ge=1)


class DpoTrainSettings(SftTrainSettings):
    """The loop's settings with defaults for learning from preferences."""

    epochs: int = Field(2, ge=1)
    rate: Rate = 2e-4


class LearnConfig(Strict, frozen=True):
    """How a recoverer learns: from true prompts first, then from preferences among its own answers."""

    until: Literal["base", "sft", "dpo"] = Field(
        "dpo", description="how far it learns: not at all, the true prompts, or preferences after them"
    )
    draws: int = Field(8, ge=2, description="answers of its own for each trace, from which pairs are made")
    gap: float = Field(0.15, gt=0, description="least difference in sharpened cosine between both of a pair")
    gold: float = Field(0.5, ge=0, le=1, description="share of the pairs whose better one is the true prompt")
    least: float = Field(0.25, ge=-1, le=1, description="sharpened cosine with the truth that the better one must have")
    ratio: float = Field(2.0, ge=1, description="pairs whose one is longer than so many times the other are left out")
    beta: float = Field(0.1, gt=0, description="DPO's beta")
    sft: float = Field(1.0, ge=0, description="weight of the better one's own likelihood beside DPO")
    cluster: int = Field(32, ge=1, description="traces of one prompt cluster at most")
    known: float = Field(0.1, ge=0, lt=1, description="share of the train traces that are kept for a test on known "
                                                      "prompts and new texts")  # fmt: skip
    lora: LearnLoraSettings = LearnLoraSettings()
    train: SftTrainSettings = SftTrainSettings()
    preference: DpoTrainSettings = DpoTrainSettings()


class RecoverConfig(Strict, frozen=True):
    """All of it."""

    synthesize: SynthesizeConfig = SynthesizeConfig()
    split: SplitConfig = SplitConfig()
    candidates: CandidatesConfig = CandidatesConfig()
    rank: RankConfig = RankConfig()
    behaviour: BehaviourConfig = BehaviourConfig()
    learn: LearnConfig = LearnConfig()


OFFLINE: dict[str, Any] = {
    "candidates": {"draws": 0, "together": 0, "bank": 20}, "rank": {"likelihood": False, "posterior": False},
    "behaviour": {"texts": 0}, "learn": {"until": "base"},
}  # fmt: skip
"""Settings of a recovery that asks no model: prompts of the bank, weighed by the critic and by what they agree on."""
