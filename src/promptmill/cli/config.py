"""The configuration of a command: from defaults, a file, flags and --set to one checked value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import Field

from promptmill.cli.options import PLACES, Given
from promptmill.crafts.bake.config import BakeConfig
from promptmill.crafts.breed.config import BreedConfig
from promptmill.crafts.recover.config import RecoverConfig
from promptmill.crafts.rewrite.config import RewriteConfig
from promptmill.errors import InputError
from promptmill.model.budget import Budget, Price, read_prices
from promptmill.model.chat import Sampling
from promptmill.model.load import ModelConfig
from promptmill.settings import Strict, checked, read_mapping


class SamplingConfig(Strict):
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(512, ge=1)
    stop: list[str] = Field([])

    def sampling(self, seed: int) -> Sampling:
        """The seed goes to the model only where something is drawn: greedy answers are the same under every seed."""
        return Sampling(
            self.temperature, self.top_p, self.max_tokens, tuple(self.stop), seed if self.temperature else None
        )


class BudgetConfig(Strict):
    calls: int | None = None
    tokens: int | None = None
    cost: float | None = None
    prices: Path | None = None

    def budget(self) -> Budget:
        return Budget(self.calls, self.tokens, self.cost)

    def price_table(self) -> dict[str, Price]:
        return read_prices(self.prices) if self.prices else {}


class AskConfig(Strict):
    """Settings of `promptmill ask`, and the part that all commands share."""

    model: ModelConfig = ModelConfig()
    sampling: SamplingConfig = SamplingConfig()
    budget: BudgetConfig = BudgetConfig()
    seed: int = 0


class EvalConfig(AskConfig):
    """Settings of `promptmill eval`."""

    task: str
    scorer: str | None = None
    split: str = "test"
    repeat: int = Field(1, ge=1)
    limit: int | None = Field(None, ge=1)
    constrain: bool = False


class BreedRunConfig(AskConfig):
    """Settings of `promptmill breed`."""

    task: str | None = None
    scorer: str | None = None
    writer: ModelConfig | None = None
    limit: int | None = Field(None, ge=1)
    repeat: int = Field(1, ge=1)
    constrain: bool = False
    wording: Path | None = None
    mutation_prompts: Path | None = None
    thinking_styles: Path | None = None
    minutes: float | None = Field(None, gt=0)
    wandb: str | None = None
    breed: BreedConfig = BreedConfig()


class BakeSampleRunConfig(AskConfig):
    """Settings of `promptmill bake sample`."""

    inputs: Path | None = None
    validation: Path | None = Field(None, description="questions that are held out, as a file of their own")
    task: str | None = None
    about: str | None = None
    about_kind: Literal["requests", "inputs"] = Field(
        "requests", description="what the model writes: requests on topics of that, or inputs to that instruction"
    )
    count: int = Field(64, ge=2, description="questions that the model is to write")
    limit: int | None = Field(None, ge=1)
    bake: BakeConfig = BakeConfig()


class BakeTrainConfig(BakeSampleRunConfig):
    """What the commands that train share."""

    behaviour: list[str] = Field([])
    rehearse: Path | None = None
    unrelated: Path | None = Field(None, description="plain texts on which the baked model is held against the base")


class BakeRunConfig(BakeTrainConfig):
    """Settings of `promptmill bake run`."""

    trajectories: Path | None = Field(None, description="answers that are there already, in place of questions")
    forgetting: list[str] = Field([])


class BakePursueConfig(BakeTrainConfig):
    """Settings of `promptmill bake pursue`."""

    rounds: int = Field(3, ge=1, description="bakes, one on top of the other")


class RewriteRunConfig(AskConfig):
    """Settings of `promptmill rewrite run`, and of its steps. model: the main one, which answers the prompts."""

    intents: list[str] = Field([], description="what prompts are to be for")
    prompts: Path | None = Field(None, description="base prompts of one's own")
    writer: ModelConfig | None = Field(None, description="writes base prompts, variations and inputs; none: the model")
    rewriter: ModelConfig | None = Field(None, description="what is trained; none: the model")
    allow_weak_panel: bool = False
    rewrite: RewriteConfig = RewriteConfig()


class RecoverRunConfig(AskConfig):
    """Settings of `promptmill recover`. model: the recoverer, which is asked what the prompt was."""

    generator: ModelConfig | None = Field(None, description="the model that wrote the texts, or one like it; none: the "
                                                            "recoverer")  # fmt: skip
    bank: Path | None = Field(None, description="prompts that may be the one, solved traces among them")
    recover: RecoverConfig = RecoverConfig()


class RecoverTrainConfig(RecoverRunConfig):
    """Settings of `promptmill recover train`. model: what is trained."""

    other: list[Path] = Field([], description="more traces to test on, as of another generator")


class RecoverSynthesizeConfig(AskConfig):
    """Settings of `promptmill recover synthesize`. model: the one that rewrites the texts."""

    intents: list[str] = Field([], description="what the prompts are to be for")
    prompts: Path | None = Field(None, description="prompts of one's own")
    originals: Path | None = Field(None, description="texts of one's own")
    writer: ModelConfig | None = Field(None, description="writes prompts and texts; none: the model")
    recover: RecoverConfig = RecoverConfig()


C = TypeVar("C", bound=AskConfig)
SECOND = ("writer", "generator")
"""Models beside the first one."""
REACH = ("concurrency", "timeout", "attempts", "base_wait", "api_key_env")


def resolve(kind: type[C], given: Given, under: Mapping[str, Any] | None = None, **more: Any) -> C:
    """The checked configuration. under: settings below those of --config. InputError, one line, for a file, key or
    value that cannot be used."""
    data = read_mapping(path, f"--config {path}") if (path := given.get("config")) else {}
    data = _over(under or {}, data)
    for name, value in {**given, **more}.items():
        top = PLACES.get(name, name)
        if value not in (None, [], ()) and top.split(".")[0] in kind.model_fields:
            _put(data, top, value, f"--{name.replace('_', '-')}")
    for setting in given.get("set_") or []:
        key, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting}: must be key=value, such as --set sampling.top_p=0.9")
        _put(data, key.strip(), _value(value), f"--set {setting}")
    model = data.get("model")
    for role in SECOND:  # how to reach a server is said once, unless the other's differs
        if isinstance(data.get(role), dict) and isinstance(model, dict):
            data[role] = {key: model[key] for key in REACH if key in model} | data[role]
    return checked(kind, data)


def _over(under: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """`data`, and what it does not say as `under` has it; neither is changed."""
    found = dict(data)
    for key, value in under.items():
        mine = found.get(key)
        if isinstance(value, dict) and isinstance(mine, dict | None):
            found[key] = _over(value, mine or {})
        else:
            found.setdefault(key, value)
    return found


def _value(text: str) -> Any:
    """A value on the command line, as YAML reads it; what is no YAML is a text."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _put(data: dict[str, Any], place: str, value: Any, said: str) -> None:
    *folders, last = place.split(".")
    for folder in folders:
        inner = data.setdefault(folder, {})
        if not isinstance(inner, dict):
            raise InputError(f"{said}: {folder} is a value, not a group of settings")
        data = inner
    data[last] = value
