"""What a run may spend, what it has spent, and what it is going to spend."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptmill.errors import BudgetSpent, InputError
from promptmill.model.chat import Usage
from promptmill.settings import read_mapping


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float

    def cost(self, usage: Usage) -> float:
        return (usage.prompt * self.input + usage.completion * self.output) / 1e6


def read_prices(path: Path) -> dict[str, Price]:
    """A price table: YAML of `model name: {input: dollars, output: dollars}` per million tokens."""
    table = read_mapping(path, f"--prices {path}")
    try:
        return {str(name): Price(float(row["input"]), float(row["output"])) for name, row in table.items()}
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"--prices {path}: must be YAML of 'model: {{input: 0.15, output: 0.60}}', dollars per million tokens"
        ) from None


@dataclass(frozen=True, slots=True)
class Budget:
    """Hard limits of one run over all its models; None is no limit. tokens: prompt and completion; cost: US dollars."""

    calls: int | None = None
    tokens: int | None = None
    cost: float | None = None

    def __post_init__(self) -> None:
        for name in ("calls", "tokens", "cost"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InputError(f"--budget-{name} must be more than 0, not {value}")

    @property
    def bounded(self) -> bool:
        return self.calls is not None or self.tokens is not None or self.cost is not None


@dataclass(slots=True)
class Spend:
    """A sum of calls. `cost` counts only calls whose price is known."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def less(self, other: Spend) -> Spend:
        return Spend(
            self.calls - other.calls,
            self.prompt_tokens - other.prompt_tokens,
            self.completion_tokens - other.completion_tokens,
            self.cost - other.cost,
        )

    def plus(self, other: Spend) -> Spend:
        return self.less(Spend().less(other))

    def add(self, usage: Usage, cost: float | None, calls: int = 1) -> None:
        self.calls += calls
        self.prompt_tokens += usage.prompt
        self.completion_tokens += usage.completion
        self.cost += cost or 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a call, or many, may cost at most: calls, tokens, US dollars (None where the price is unknown)."""

    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: Estimate) -> Estimate:
        cost = None if self.cost is None or other.cost is None else self.cost + other.cost
        return Estimate(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            cost,
        )


@dataclass
class Ledger:
    """The books of one run, shared by all its models.

    paid:  everything that this run has ever paid for, sessions before this one included. The budget binds this.
    asked: by role, the distinct calls that this session has asked for, whether they were paid for now or by an earlier
           session of the same run. It grows in the same order in an unbroken and in a continued run, so decisions and
           reports rest on it.
    """

    budget: Budget = field(default_factory=Budget)
    paid: Spend = field(default_factory=Spend)
    asked: dict[str, Spend] = field(default_factory=dict)
    cached: int = 0
    joined: int = 0
    retries: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    _reserved: Spend = field(default_factory=Spend)
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def role(self, name: str) -> Spend:
        return self.asked.setdefault(name, Spend())

    @property
    def total(self) -> Spend:
        total = Spend()
        for spend in self.asked.values():
            total.add(Usage(spend.prompt_tokens, spend.completion_tokens), spend.cost, spend.calls)
        return total

    def _fits(self, most: Estimate) -> bool:
        budget, paid, held = self.budget, self.paid, self._reserved
        return (
            (budget.calls is None or paid.calls + held.calls + 1 <= budget.calls)
            and (budget.tokens is None or paid.tokens + held.tokens + most.tokens <= budget.tokens)
            and (budget.cost is None or paid.cost + held.cost + (most.cost or 0.0) <= budget.cost)
        )

    async def reserve(self, most: Estimate) -> None:
        """Set aside what a call may cost at most. Waits while calls in flight may yet give room;
        raises BudgetSpent when they cannot."""
        while not self._fits(most):
            if self._reserved.calls == 0:
                raise BudgetSpent(self._spent_message())
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
        self._hold(most, +1)

    def settle(self, most: Estimate, usage: Usage | None, cost: float | None) -> None:
        """Give back what was set aside and book what was really used; usage None for a call that got no answer."""
        self._hold(most, -1)
        if usage is not None:
            self.paid.add(usage, cost)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _hold(self, most: Estimate, sign: int) -> None:
        held = self._reserved
        held.calls += sign
        held.prompt_tokens += sign * most.prompt_tokens
        held.completion_tokens += sign * most.completion_tokens
        held.cost += sign * (most.cost or 0.0)

    def _spent_message(self) -> str:
        parts = []
        if self.budget.calls is not None:
            parts.append(f"{self.paid.calls} of {self.budget.calls} calls")
        if self.budget.tokens is not None:
            parts.append(f"{self.paid.tokens} of {self.budget.tokens} tokens")
        if self.budget.cost is not None:
            parts.append(f"${self.paid.cost:.4f} of ${self.budget.cost:.4f}")
        return f"the budget does not allow the next call (used: {', '.join(parts)})"

    def summary(self) -> dict[str, Any]:
        """For report.json. calls, tokens, cost: what the result rests on, the same however often a run was broken off.
        paid: all that the run has ever paid for, ways that were given up for a larger budget included."""
        total, paid = self.total, self.paid
        return {
            "calls": {role: spend.calls for role, spend in sorted(self.asked.items())},
            "tokens": {"prompt": total.prompt_tokens, "completion": total.completion_tokens},
            "cost": round(total.cost, 6),
            "paid": {"calls": paid.calls, "tokens": paid.tokens, "cost": round(paid.cost, 6)},
        }


def price_of(model: str, prices: Mapping[str, Price], budget: Budget) -> Price | None:
    """The model's price. A budget in money with a model of unknown price cannot be kept: InputError."""
    price = prices.get(model)
    if price is None and budget.cost is not None:
        raise InputError(f"--budget-cost needs the price of {model!r}: give a table with --prices FILE")
    return price
