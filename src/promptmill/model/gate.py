"""The one gate to every model: budget, cache, joining of identical calls, rate limit, retry, record."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from promptmill.errors import ModelError
from promptmill.model.backend import Backend
from promptmill.model.budget import Estimate, Ledger, Price, Spend
from promptmill.model.cache import CallStore, Record, canonical, decode, key_of
from promptmill.model.chat import CallError, Completion, Failure, Request, ScoreRequest, Scores, Usage
from promptmill.model.keys import KeySet
from promptmill.model.limiter import Limiter, limiter_for

T = TypeVar("T")
Result = Completion | Scores | Failure
Send = Callable[[], Awaitable[Completion | Scores]]
NOTHING = Estimate(1, 0, 0, None)

# Failures that say something of the server rather than of the question. So many in a row and the server is given up.
SERVER_FAILURES = frozenset({"connection", "timeout", "server_error", "rate_limit", "bad_response"})
GIVE_UP_AFTER = 16


@dataclass(frozen=True, slots=True)
class _Call:
    """A call that is going to be paid for. most: what it may cost."""

    key: str
    text: str
    role: str
    most: Estimate
    send: Send


class Model:
    """A backend behind the gate. Use it in `async with`, or by the blocking `complete` and `score`.

    ledger and store may be shared by the models of one run; `role` ("task", "writer") tells them apart in the books.
    attempts: how often a call that is worth retrying is sent in all; waits grow from `base_wait` seconds, with jitter.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        role: str = "task",
        store: CallStore | None = None,
        ledger: Ledger | None = None,
        price: Price | None = None,
        attempts: int = 8,
        base_wait: float = 0.5,
        longest_wait: float = 30.0,
    ):
        self.backend, self.role, self.price = backend, role, price
        self.store = store or CallStore(None)
        self.ledger = ledger or Ledger()
        self.ledger.paid = Spend(*self.store.paid())
        self.attempts, self.base_wait, self.longest_wait = attempts, base_wait, longest_wait
        self._flying: dict[str, asyncio.Future[Result]] = {}
        self._seen = KeySet()
        self._entered = 0  # how many `async with` are open
        self._opening: asyncio.Future[None] | None = None
        self._opened = False
        self._failed_in_a_row = self._refused = 0
        self._answered = False
        self._lost: ModelError | None = None  # once the model is known to be unusable nothing more is sent
        self._jitter = random.Random()  # waiting times only: no result depends on it

    @property
    def name(self) -> str:
        return self.backend.name

    @property
    def fingerprint(self) -> str:
        return self.backend.fingerprint

    @property
    def concurrency(self) -> int:
        return self.backend.concurrency

    async def continues(self) -> bool:
        """Whether the model continues a given prefix. Where only the server knows, it is asked."""
        if self.backend.continues is None:
            await self._open_once()
        return bool(self.backend.continues)

    async def wake(self) -> None:
        """Open the backend now, where it is not open yet: not every wait is welcome in the midst of the calls."""
        if not self._opened:
            await self._open_once()

    @property
    def awake(self) -> bool:
        return self._opened

    def knows(self, request: Request) -> bool:
        """Whether the answer is in the record: then it can be had without the model."""
        return self.store.get(key_of(canonical(self.fingerprint, request))) is not None

    @property
    def limiter(self) -> Limiter:
        return limiter_for(self.backend.server, self.backend.concurrency)

    async def __aenter__(self) -> Model:
        self._entered += 1
        if self._entered == 1:
            self._lost, self._failed_in_a_row, self._refused, self._answered = None, 0, 0, False
        return self

    async def __aexit__(self, *_: object) -> None:
        self._entered -= 1
        if self._entered:
            return
        self.store.flush()
        self._opened = False
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            await asyncio.wait([opening])
            await self.backend.close()

    def start_books(self, ledger: Ledger) -> None:
        """Count in `ledger` from here on, as if nothing had been asked before."""
        self.ledger, self._seen = ledger, KeySet()
        ledger.paid = Spend(*self.store.paid())

    async def ask(self, request: Request, role: str | None = None) -> Completion | Failure:
        """One answer: from the cache, an identical call in flight, or the model.

        role: whose work it is, where one model does the work of several.

        Raises BudgetSpent, and ModelError where the model cannot be used at all; a call that failed is a Failure.
        """
        result = await self._get(request, lambda: self.backend.complete(request), role or self.role)
        assert not isinstance(result, Scores)
        return result

    async def ask_score(self, request: ScoreRequest) -> Scores | Failure:
        """Log-probabilities of given continuations; errors as in `ask`."""
        result = await self._get(request, lambda: self.backend.score(request), self.role)
        assert not isinstance(result, Completion)
        return result

    def complete(self, requests: Sequence[Request]) -> list[Completion | Failure]:
        """Blocking `ask` of many, answers in order."""
        return run_blocking(self._each(self.ask, requests))

    def score(self, requests: Sequence[ScoreRequest]) -> list[Scores | Failure]:
        """Blocking `ask_score` of many, answers in order."""
        return run_blocking(self._each(self.ask_score, requests))

    async def _each(self, ask: Callable[[Any], Coroutine[Any, Any, T]], requests: Sequence[Any]) -> list[T]:
        async with self:
            return await together([ask(request) for request in requests])

    def estimate(self, requests: Sequence[Request], of: int | None = None) -> Estimate:
        """What `requests` may cost at most, nothing counted as cached; with `of`, they are a sample of that many."""
        scale = 1.0 if of is None or not requests else of / len(requests)
        prompt = sum(self.backend.count_tokens(request.messages) for request in requests) * scale
        completion = sum(request.sampling.max_tokens * request.n for request in requests) * scale
        cost = (prompt * self.price.input + completion * self.price.output) / 1e6 if self.price else None
        return Estimate(round(len(requests) * scale), round(prompt), round(completion), cost)

    async def _get(self, request: Request | ScoreRequest, send: Send, role: str) -> Result:
        text = canonical(self.fingerprint, request)
        key = key_of(text)
        while True:
            hit = self.store.get(key)
            if hit is not None:
                response, payer, usage, cost = hit
                self._book(key, role, usage, cost, ours=payer == self.store.run)
                return decode(response, usage)
            flying = self._flying.get(key)
            if flying is None:
                return await self._fly(_Call(key, text, role, self._most(request), send))
            try:
                result = await asyncio.shield(flying)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if flying.cancelled() and not (task and task.cancelling()):
                    continue  # its owner was cancelled, not we: ask for ourselves
                raise
            self.ledger.joined += 1
            return result

    async def _fly(self, call: _Call) -> Result:
        """Make the call; identical requests that come meanwhile wait for its end."""
        flying = self._flying[call.key] = asyncio.get_running_loop().create_future()
        try:
            result = await self._within_budget(call)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                flying.cancel()
            else:
                flying.set_exception(error)
                flying.exception()  # seen: without waiters it must not be reported as forgotten
            raise
        else:
            flying.set_result(result)
            return result
        finally:
            del self._flying[call.key]

    async def _within_budget(self, call: _Call) -> Result:
        await self.ledger.reserve(call.most)
        usage: Usage | None = None
        cost: float | None = None
        try:
            if not self._opened:
                await self._open_once()
            result, cost = await self._with_retries(call)
            usage = result.usage
        finally:
            self.ledger.settle(call.most, usage, cost)
        if isinstance(result, Failure):
            self._note_failure(call, result, cost)
        else:
            self._book(call.key, call.role, result.usage, cost, ours=True)
        return result

    async def _with_retries(self, call: _Call) -> tuple[Result, float | None]:
        limiter = self.limiter
        for attempt in range(1, self.attempts + 1):
            await limiter.acquire()
            # The slot is given back only when the answer is in the file: what a kill can lose is what holds a slot.
            try:
                if self._lost:
                    raise self._lost
                return await self._recorded(call, attempt)
            except ModelError as error:
                self._lost = error
                raise
            except CallError as error:
                if error.kind in ("rate_limit", "timeout") or error.retry_after:
                    limiter.pushback(error.retry_after)
                if not error.retryable or attempt == self.attempts:
                    failure = Failure(error.kind, error.detail, attempt, error.usage)
                    return failure, self.price.cost(error.usage) if self.price and error.usage else None
                wait = error.retry_after or self._wait(attempt)
            finally:
                limiter.release()
            self.ledger.retries += 1
            await asyncio.sleep(wait)
        raise AssertionError("unreachable: the last attempt returns")

    async def _recorded(self, call: _Call, attempt: int) -> tuple[Completion | Scores, float | None]:
        started = time.monotonic()
        result = await call.send()
        self._failed_in_a_row, self._answered = 0, True
        self.limiter.success()
        cost = self.price.cost(result.usage) if self.price else None
        seconds = time.monotonic() - started
        await self.store.put(Record(call.key, call.role, self.name, call.text, result, cost, seconds, attempt))
        return result, cost

    def _wait(self, attempt: int) -> float:
        """Seconds before the next attempt: exponential with jitter, so that many callers do not come back at once."""
        longest = min(self.longest_wait, self.base_wait * 2.0 ** (attempt - 1))
        return longest * self._jitter.uniform(0.5, 1.0)

    async def _open_once(self) -> None:
        """The backend is opened at the first call that the cache cannot answer: a finished run needs no model."""
        if not self._entered:
            raise RuntimeError("use the model in 'async with model:'")
        if self._opening is None:
            self._opening = asyncio.ensure_future(self.backend.open())
        await asyncio.shield(self._opening)
        self._opened = True

    def _most(self, request: Request | ScoreRequest) -> Estimate:
        if not self.ledger.budget.bounded:
            return NOTHING
        if isinstance(request, Request):
            return self.estimate([request])
        prompt = self.backend.count_tokens(request.messages) * len(request.continuations)
        return Estimate(1, prompt, 0, prompt * self.price.input / 1e6 if self.price else None)

    def _book(self, key: str, role: str, usage: Usage, cost: float | None, *, ours: bool) -> None:
        if key in self._seen or not ours:
            self.ledger.cached += 1
        if ours and key not in self._seen:
            self._seen.add(key)
            self.ledger.role(role).add(usage, cost)

    def _note_failure(self, call: _Call, failure: Failure, cost: float | None) -> None:
        self.store.put_failure(call.key, call.role, self.name, call.text, failure, cost)
        self.ledger.failures[failure.kind] = self.ledger.failures.get(failure.kind, 0) + 1
        if failure.kind in SERVER_FAILURES:
            self._failed_in_a_row += 1
        else:
            self._refused += 1
        if self._failed_in_a_row >= GIVE_UP_AFTER:
            self._give_up(f"{GIVE_UP_AFTER} calls in a row failed for good", failure)
        # Refusals come quicker than answers: many may be refused before the first answer is there.
        if self._refused >= max(64, 4 * self.concurrency) and not self._answered:
            self._give_up(f"all of the first {self._refused} calls were refused", failure)

    def _give_up(self, why: str, last: Failure) -> None:
        self._lost = ModelError(
            f"{self.name}: {why}, the last with {last.kind}: {last.detail}; "
            "what was answered is kept, the same command goes on from there"
        )
        raise self._lost


async def together(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all side by side, results in order. The first error ends the others too, and is raised when they have ended:
    nothing goes on unseen."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def run_blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end from ordinary code, also where an event loop already runs in this thread (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        runner = asyncio.Runner()
        loop = thread.submit(runner.get_loop).result()
        done = thread.submit(runner.run, work)
        try:
            return done.result()
        except KeyboardInterrupt:  # it came to this thread: the work in the other one must hear of it
            loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
            raise
        finally:
            thread.submit(runner.close).result()
