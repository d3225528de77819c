"""Several judges together: their configuration, their scores, and what they say of an answer in one number."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from promptmill.errors import InputError
from promptmill.judge.judge import Ask, Judge, Judgement, Preference, Subject
from promptmill.judge.rubric import Rubric, load_rubric
from promptmill.judge.verdict import Gate
from promptmill.judge.weigh import How, Weighing
from promptmill.model.budget import Estimate
from promptmill.model.gate import Model, together
from promptmill.model.load import ModelConfig
from promptmill.settings import Strict
from promptmill.vary.wording import Wording, load_wording

ENOUGH = 3
"""Fewer judges than this are no panel whose agreement means much."""


class JudgeConfig(Strict, frozen=True):
    """One judge of a panel."""

    name: str = Field(min_length=1, description="in scores and reports")
    model: ModelConfig = ModelConfig()
    ask: Ask = Field("rate", description="rate: a level of 1 to 5 by criterion; yes_no: does it follow the instruction")
    criteria: list[str] = Field([], description="of the rubric; none: all, for yes_no the first")
    rubric: Path | None = Field(None, description="YAML; none: the criteria of the wording")
    wording: Path | None = Field(None, description="your copy of the requests")
    weight: float = Field(1.0, gt=0, allow_inf_nan=False, description="of this judge in the panel's value")
    repeats: int = Field(1, ge=1, le=64, description="how often it is asked, where it may answer otherwise")
    how: How | None = Field(None, description="exact, top_logprobs or sampled; none: what the model can")
    samples: int = Field(8, ge=2, le=64, description="answers for one question, where they are sampled")
    max_tokens: int = Field(16, ge=1, description="new tokens of an answer at most; more for models that reason first")
    min_mass: float = Field(0.25, gt=0, le=1, description="less probability than this on the levels is no answer")


class PanelConfig(Strict, frozen=True):
    """A panel, and what it must show before its word counts."""

    judges: list[JudgeConfig] = Field(min_length=1)
    gate: Gate = Gate()
    seed: int = Field(0, description="of judges whose answers are sampled")

    @field_validator("judges")
    @classmethod
    def _have_names_of_their_own(cls, value: list[JudgeConfig]) -> list[JudgeConfig]:
        names = [judge.name for judge in value]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two judges are called {doubled[0]!r}; give each a name of its own")
        return value

    @property
    def warnings(self) -> list[str]:
        """What must be said of the panel before anything is asked."""
        few = len(self.judges)
        if few >= ENOUGH:
            return []
        return [f"the panel has {few} judge{'s' * (few > 1)}; with fewer than three nobody can be outvoted"]

    @property
    def models(self) -> list[ModelConfig]:
        """Each once, in order."""
        found: list[ModelConfig] = []
        for judge in self.judges:
            if judge.model not in found:
                found.append(judge.model)
        return found


EMBEDDED_PANEL = PanelConfig(
    judges=[
        JudgeConfig(name="embedded-yes-no", ask="yes_no", criteria=["correctness"]),
        JudgeConfig(name="embedded-rate", criteria=["correctness"]),
        JudgeConfig(
            name="small-yes-no", model=ModelConfig(name="embedded-small"), ask="yes_no", criteria=["correctness"]
        ),
    ],
    gate=Gate(min_planted_auc=0.6),
)
"""Three judges of the models in the wheel. In their world many a real answer is wrong itself, to a third of a first
draft's and more, and so no better than a planted one."""


class PresetPanelConfig(PanelConfig, frozen=True):
    """A panel of which what nobody says is the embedded one's. What that must show, less than others, goes with its own
    judges: other judges have the gate's usual limits."""

    judges: list[JudgeConfig] = Field(EMBEDDED_PANEL.judges, min_length=1)

    @model_validator(mode="after")
    def _gate_goes_with_its_judges(self) -> Self:
        if self.judges == EMBEDDED_PANEL.judges:
            said = self.gate.model_fields_set
            values = dict(EMBEDDED_PANEL.gate) | self.gate.model_dump(include=said)
            object.__setattr__(self, "gate", Gate.model_construct(said, **values))  # said: what stays as it was given
        return self

    @property
    def said_gate(self) -> Gate:
        """The limits that somebody has set, and the usual ones beside them."""
        return Gate(**self.gate.model_dump(include=self.gate.model_fields_set))


class Scored(NamedTuple):
    """A judgement with who gave it, by what."""

    validator: str
    criterion: str
    judgement: Judgement
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class Value:
    """A number that several judges stand for. value: None where none could be read. judges: how many could. se: the
    standard error of the weighted mean over them; None for fewer than two."""

    value: float | None
    judges: int
    se: float | None


class Panel:
    """Judges with weights. Use it in `async with`: that opens every model once."""

    def __init__(self, judges: Sequence[Judge], weights: Mapping[str, float]):
        self.judges, self.weights = judges, weights
        self._open: list[AsyncExitStack] = []
        self._awake: set[int] = set()

    async def __aenter__(self) -> Panel:
        async with AsyncExitStack() as stack:
            for model in {id(judge.model): judge.model for judge in self.judges}.values():
                await stack.enter_async_context(model)
            self._open.append(stack.pop_all())
        self._waking = asyncio.Lock()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.pop().aclose()
        self._awake.clear()

    @asynccontextmanager
    async def _one_at_first(self, judge: Judge) -> AsyncIterator[None]:
        """Each model's first question on its own: transformers cannot load two models side by side."""
        if judge.model.awake or id(judge.model) in self._awake:
            yield
            return
        async with self._waking:
            yield
            self._awake.add(id(judge.model))

    async def score(self, subject: Subject) -> list[Scored]:
        """Every judge by every criterion it is asked, in that order. Judgements that failed are among them."""

        async def one(judge: Judge, criterion: str, repeat: int) -> Scored:
            async with self._one_at_first(judge):
                return Scored(judge.name, criterion, await judge.judge(subject, criterion, repeat), repeat)

        times = await together([judge.repeats_worth() for judge in self.judges])
        asked = [
            one(judge, criterion, repeat)
            for judge, often in zip(self.judges, times, strict=True)
            for criterion in judge.criteria
            for repeat in range(often)
        ]
        return await together(asked)

    async def compare(self, instruction: str, input: str, a: str, b: str) -> list[tuple[str, Preference]]:
        """Every judge's preference between two outputs, each asked in both orders."""

        async def one(judge: Judge) -> tuple[str, Preference]:
            async with self._one_at_first(judge):
                return judge.name, await judge.compare(instruction, input, a, b)

        return await together([one(judge) for judge in self.judges])

    @property
    def criteria_weights(self) -> dict[str, float]:
        """Of all criteria that any judge is asked."""
        return {name: weight for judge in self.judges for name, weight in judge.weights.items()}

    @property
    def identity(self) -> list[dict[str, Any]]:
        """All that decides what the panel says, in plain data: for the identity of a run or stage that it judges."""
        return [
            {
                "name": judge.name, "model": judge.model.fingerprint, "ask": judge.ask, "repeats": judge.repeats,
                "weight": self.weights[judge.name], "weighing": asdict(judge.weighing),
                "rubric": {name: judge.rubric.criteria[name].model_dump(mode="json") for name in judge.criteria},
                "requests": [judge.wording.judge, judge.wording.rate, judge.wording.compare],
            }
            for judge in self.judges
        ]  # fmt: skip

    def estimate(self, subjects: Sequence[Subject], of: int, pairs: int = 0) -> Estimate:
        """What scoring `of` subjects like `subjects`, and comparing so many pairs, may cost at most."""
        calls = prompt = completion = 0
        cost: float | None = 0.0
        for judge in self.judges:
            asked = [request for subject in subjects for request in judge.requests(subject)]
            wanted = (of * len(judge.criteria) * judge.repeats + 2 * pairs) * judge.calls_at_most
            most = judge.model.estimate(asked, of=wanted)
            calls, prompt = calls + most.calls, prompt + most.prompt_tokens
            completion += most.completion_tokens
            cost = None if cost is None or most.cost is None else cost + most.cost
        return Estimate(calls, prompt, completion, cost)

    def values(self, scored: Iterable[Scored]) -> dict[str, float]:
        """Each readable judge's value of a subject, 0 to 1: the weighted mean over its criteria, each the mean over
        its repeats. A judge is readable where it was read by every criterion that weighs something: a mean over the
        others would be on another scale."""
        read: dict[tuple[str, str], list[float]] = defaultdict(list)
        for validator, criterion, judgement, _ in scored:
            if judgement.value is not None:
                read[validator, criterion].append(judgement.value)
        found = {}
        for judge in self.judges:
            weights = {name: weight for name, weight in judge.weights.items() if weight}
            means = {name: sum(these) / len(these) for name in weights if (these := read[judge.name, name])}
            if len(means) == len(weights):
                found[judge.name] = sum(weights[name] * one for name, one in means.items()) / sum(weights.values())
        return found

    def value(self, scored: Iterable[Scored]) -> Value:
        """The panel's value of a subject, 0 to 1."""
        return self._mean(self.values(scored))

    def margin(self, a: Iterable[Scored], b: Iterable[Scored]) -> Value:
        """How far `a` is above `b`, -1 to 1, judge by judge: over those that could be read on both. Its standard error
        has not in it what sets the judges apart on both alike (a generous one, a strict one)."""
        of_a, of_b = self.values(a), self.values(b)
        return self._mean({name: of_a[name] - of_b[name] for name in of_a if name in of_b})

    def preferred(self, found: Iterable[tuple[str, Preference]]) -> Value:
        """Probability that `a` is the better one, over the judges that could be read; a flipped pair is a tie."""
        read = {name: 0.5 if one.flipped else one.p for name, one in found if one.p is not None}
        return self._mean(read)

    def _mean(self, values: Mapping[str, float]) -> Value:
        if not values:
            return Value(None, 0, None)
        total = math.fsum(self.weights[name] for name in values)
        shares = {name: self.weights[name] / total for name in values}
        mean = math.fsum(shares[name] * one for name, one in values.items())
        if len(values) < 2:
            return Value(mean, len(values), None)
        squares = math.fsum(share**2 for share in shares.values())
        spread = math.fsum(shares[name] * (one - mean) ** 2 for name, one in values.items()) / (1 - squares)
        return Value(mean, len(values), math.sqrt(spread * squares))


def open_panel(
    config: PanelConfig, open_model: Callable[[ModelConfig], Model], wording: Wording | None = None,
    rubric: Rubric | None = None,
) -> Panel:  # fmt: skip
    """The panel of a configuration. open_model: gives a model its place behind the gate (and in a run's books); it is
    called once for each different one, so that judges of one model share it. wording, rubric: of judges that name none
    of their own. InputError for a rubric or criterion that cannot be used."""
    wordings = [load_wording(one.wording) if one.wording or wording is None else wording for one in config.judges]
    rubrics = [
        load_rubric(one.rubric) if one.rubric else rubric if rubric and not one.wording else Rubric.of(own)
        for one, own in zip(config.judges, wordings, strict=True)
    ]
    models = config.models
    opened = [open_model(model) for model in models]
    judges = [
        Judge(
            one.name, opened[models.index(one.model)], its, own, one.ask, tuple(one.criteria), one.repeats,
            Weighing(one.how, one.samples, one.max_tokens, one.min_mass, config.seed),
        )
        for one, own, its in zip(config.judges, wordings, rubrics, strict=True)
    ]  # fmt: skip
    _same_weights(judges)
    return Panel(judges, {one.name: one.weight for one in config.judges})


def _same_weights(judges: Sequence[Judge]) -> None:
    """A criterion means the same to all judges: paraphrased rubrics may differ in words, not in weights."""
    known: dict[str, float] = {}
    for judge in judges:
        for name, weight in judge.weights.items():
            if known.setdefault(name, weight) != weight:
                raise InputError(
                    f"judge {judge.name}: its rubric weighs {name} {weight:g}, another judge's {known[name]:g}; "
                    "one criterion has one weight"
                )
