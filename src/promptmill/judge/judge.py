"""One judge: a model that is asked about an answer under a rubric, or which of two answers is better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from promptmill.errors import InputError
from promptmill.judge.rubric import HIGHEST, LEVELS, LOWEST, Rubric
from promptmill.judge.weigh import (
    NOTHING,
    How,
    Options,
    Weighed,
    Weighing,
    options_of,
    remote,
    scores_at_once,
    weigh,
)
from promptmill.model.chat import Request, Sampling, Usage
from promptmill.model.gate import Model
from promptmill.prompt import Message, fill
from promptmill.vary.wording import Wording, rubric

Ask = Literal["rate", "yes_no"]

RATED = Options({str(level): (str(level),) for level in LEVELS}, as_number=True)
YES_NO = options_of(("yes", "no"))
A_B = Options({"A": ("A",), "B": ("B",)})


@dataclass(frozen=True, slots=True)
class Subject:
    """What is judged: an output, the instruction it follows, and the input it was given for (may be empty)."""

    instruction: str
    input: str
    output: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """One judge's word on one subject by one criterion. What could not be read has an `error` and no score.

    expected: 1 to 5, the expectation over the judge's probabilities; "yes or no" maps p(yes) to 1 + 4 p.
    level:    the most probable one.  entropy: of the probabilities, in nats.
    how:      "exact" (every answer's probability), "top_logprobs" (of a server), "sampled".
    mass:     probability that lay on the levels at all, before it was made to sum to one.
    error:    "kind: detail" of a failed call, or "unread: …".
    """

    expected: float | None = None
    level: int | None = None
    entropy: float | None = None
    how: How | None = None
    mass: float | None = None
    raw: str | None = None
    usage: Usage = NOTHING
    error: str | None = None

    @property
    def value(self) -> float | None:
        """The expectation in 0 to 1."""
        return None if self.expected is None else (self.expected - LOWEST) / (HIGHEST - LOWEST)


@dataclass(frozen=True, slots=True)
class Preference:
    """Which of two outputs is better, asked in both orders.

    p:       probability that `a` is, the mean over both orders; None where an order could not be read.
    flipped: whether the orders name different winners: then the place decided, and the pair is a tie.
    """

    p: float | None = None
    flipped: bool | None = None
    orders: tuple[float | None, float | None] = (None, None)
    usage: Usage = NOTHING
    error: str | None = None


@dataclass(frozen=True)
class Judge:
    """A model and how it asks.

    ask:      "rate": a level of 1 to 5 for each criterion of the rubric; "yes_no": whether the output follows the
              instruction, a question without a criterion, whose answer is filed under the one that is named.
    criteria: those of the rubric that are asked; none named: all, and for yes_no the first.
    repeats:  how often each question is asked; a model whose probabilities are read at once is asked once, for it
              would say the same.
    """

    name: str
    model: Model
    rubric: Rubric
    wording: Wording
    ask: Ask = "rate"
    criteria: tuple[str, ...] = ()
    repeats: int = 1
    weighing: Weighing = field(default_factory=Weighing)

    def __post_init__(self) -> None:
        chosen = self.criteria or (self.rubric.names if self.ask == "rate" else self.rubric.names[:1])
        if unknown := [name for name in chosen if name not in self.rubric.criteria]:
            known = ", ".join(self.rubric.names)
            raise InputError(f"judge {self.name}: the rubric has no criterion {unknown[0]!r} (it has: {known})")
        if self.ask == "yes_no" and len(chosen) > 1:
            raise InputError(f"judge {self.name}: yes_no asks one question; name one criterion for its answer")
        if not any(self.rubric.weights[name] for name in chosen):
            raise InputError(f"judge {self.name}: all criteria that it is asked have the weight 0")
        object.__setattr__(self, "criteria", chosen)

    @property
    def weights(self) -> Mapping[str, float]:
        return {name: self.rubric.weights[name] for name in self.criteria}

    def build_messages(self, subject: Subject, criterion: str) -> tuple[Message, ...]:
        fields = {"instruction": subject.instruction, "input": subject.input, "output": subject.output}
        if self.ask == "yes_no":
            return (("user", fill(self.wording.judge, fields)),)
        levels = rubric(self.rubric.criteria[criterion].levels)
        return (("user", fill(self.wording.rate, fields | {"criterion": criterion, "rubric": levels})),)

    def parse(self, weighed: Weighed) -> Judgement:
        """A record of what was found, whether it can be read or not."""
        if weighed.error is not None:
            return Judgement(how=weighed.how, mass=weighed.mass, raw=weighed.raw, usage=weighed.usage,
                             error=weighed.error)  # fmt: skip
        if self.ask == "yes_no":
            expected = LOWEST + (HIGHEST - LOWEST) * weighed.shares["yes"]
            level = HIGHEST if weighed.best == "yes" else LOWEST
        else:
            expected = math.fsum(int(name) * share for name, share in weighed.shares.items())
            level = int(weighed.best)
        expected = min(float(HIGHEST), max(float(LOWEST), expected))  # but for rounding it is within
        return Judgement(expected, level, weighed.entropy, weighed.how, weighed.mass, weighed.raw, weighed.usage)

    async def judge(self, subject: Subject, criterion: str, repeat: int = 0) -> Judgement:
        """The model must be open (`async with model`). Raises BudgetSpent and ModelError as the gate does."""
        options = YES_NO if self.ask == "yes_no" else RATED
        messages = self.build_messages(subject, criterion)
        return self.parse(await weigh(self.model, messages, options, self.weighing, repeat))

    def requests(self, subject: Subject) -> list[Request]:
        """What is asked about a subject, once, for forecasts and for a look at the words."""
        sampling = Sampling(max_tokens=self.weighing.max_tokens)
        return [Request(self.build_messages(subject, criterion), sampling) for criterion in self.criteria]

    @property
    def calls_at_most(self) -> int:
        """For one question: several where the answers are sampled, or a server may give no logprobs."""
        at_once = self.weighing.how in ("exact", "top_logprobs") or (
            self.weighing.how is None and not remote(self.model)
        )
        return 1 if at_once else self.weighing.samples

    async def repeats_worth(self) -> int:
        """How often a question is asked: once where asking again could only give the same."""
        if self.repeats == 1 or self.weighing.how == "exact":
            return 1
        return 1 if self.weighing.how is None and await scores_at_once(self.model) else self.repeats

    async def compare(self, instruction: str, input: str, a: str, b: str, repeat: int = 0) -> Preference:
        """Whether output `a` is better than `b`, asked with each of them first."""
        first = await self._order(instruction, input, a, b, repeat)
        second = await self._order(instruction, input, b, a, repeat)
        usage = Usage(first.usage.prompt + second.usage.prompt, first.usage.completion + second.usage.completion)
        error = first.error or second.error
        orders = (first.shares.get("A"), second.shares.get("B"))
        before, after = orders
        if before is None or after is None:
            return Preference(orders=orders, usage=usage, error=error)
        return Preference((before + after) / 2, (before - 0.5) * (after - 0.5) < 0, orders, usage)

    async def _order(self, instruction: str, input: str, a: str, b: str, repeat: int) -> Weighed:
        text = fill(self.wording.compare, {"instruction": instruction, "input": input, "a": a, "b": b})
        return await weigh(self.model, (("user", text),), A_B, self.weighing, repeat)
