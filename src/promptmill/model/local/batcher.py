"""Collects single calls into batches and runs them in one worker thread, so that the event loop stays free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from promptmill.model.chat import CallError
from promptmill.model.local.plan import Batch, key_of, next_batch
from promptmill.model.local.work import Result, Work

SETTLE = 0.001  # seconds to wait for more calls while they keep coming and the batch is not full
SETTLE_TURNS = 5

Run = Callable[[list[Work], int], list[list[Result]]]


class Job:
    """One call: its work, cut into units that fit a batch, and the results as they come in."""

    def __init__(self, work: Work, future: asyncio.Future[list[Result]]):
        self.work, self.future = work, future
        self.parts: dict[int, list[Result]] = {}

    def done(self, low: int, results: list[Result]) -> None:
        self.parts[low] = results
        if not self.future.done() and sum(map(len, self.parts.values())) == self.work.rows:
            self.future.set_result([result for low in sorted(self.parts) for result in self.parts[low]])


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """A run of a job's rows, from `low` on, that goes into one batch."""

    job: Job
    work: Work
    low: int
    key: bytes

    @property
    def kind(self) -> type:
        return type(self.work)

    @property
    def rows(self) -> int:
        return self.work.rows


class Batcher:
    """A queue and the task that empties it. Bound to the event loop it was made in.

    run:  computes a batch of one kind of work in the worker thread, given the tokens that all prompts share.
    rows: most rows in a batch.
    """

    def __init__(self, run: Run, rows: int, worker: ThreadPoolExecutor):
        self._run, self._rows, self._worker = run, rows, worker
        self._waiting: list[Unit] = []
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._serve())

    async def submit(self, work: Work) -> list[Result]:
        """The results of all rows of `work`. Cancelling the caller takes its units out of the queue; a batch that has
        begun is finished for the others. CallError "local_error" where the computation failed."""
        if work.rows == 0:
            return []
        future: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
        job, key = Job(work, future), key_of(work.ids)
        for low in range(0, work.rows, self._rows):
            part = work.part(low, min(work.rows, low + self._rows))
            self._waiting.append(Unit(job, part, low, key))
        self._wake.set()
        return await future

    async def close(self) -> None:
        """Stop. Calls that still wait fail with CallError."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._fail(self._waiting, CallError("local_error", "the model was closed before it could answer"))
        self._waiting = []

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            await self._settle()
            self._waiting = [unit for unit in self._waiting if not unit.job.future.done()]
            if not self._waiting:
                self._wake.clear()
                continue
            batch = next_batch(self._waiting, self._rows)
            taken = set(map(id, batch.units))
            self._waiting = [unit for unit in self._waiting if id(unit) not in taken]
            await self._compute(batch)

    async def _settle(self) -> None:
        """Callers start one after another in the loop: give them a moment to join the batch."""
        before = -1
        for _ in range(SETTLE_TURNS):
            if len(self._waiting) >= self._rows or len(self._waiting) == before:
                return
            before = len(self._waiting)
            await asyncio.sleep(SETTLE)

    async def _compute(self, batch: Batch[Unit]) -> None:
        """Run a batch and hand out its results. Whatever goes wrong in it is the failure of its own calls only."""
        works = [unit.work for unit in batch.units]
        running = asyncio.get_running_loop().run_in_executor(self._worker, self._run, works, batch.shared)
        try:
            results = await asyncio.shield(running)
        except asyncio.CancelledError:  # closing: the thread cannot be stopped, so wait for it
            await asyncio.gather(running, return_exceptions=True)
            self._fail(batch.units, CallError("local_error", "the model was closed before it could answer"))
            raise
        except CallError as error:
            self._fail(batch.units, error)
        except Exception as error:
            detail = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            self._fail(batch.units, CallError("local_error", detail))
        else:
            for unit, result in zip(batch.units, results, strict=True):
                unit.job.done(unit.low, result)

    @staticmethod
    def _fail(units: list[Unit], error: CallError) -> None:
        for unit in units:
            if not unit.job.future.done():
                unit.job.future.set_exception(CallError(error.kind, error.detail, retryable=error.retryable))
