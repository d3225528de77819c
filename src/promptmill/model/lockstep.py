"""Calls in lockstep: all that can be asked now goes out together, and no answer is given before all of them are there.

What stands together in a batch then follows from the questions alone, not from how soon the event loop came to each of
them. So the same work comes out the same to the last bit, however often it is begun anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from promptmill.model.backend import Backend
from promptmill.model.cache import canonical
from promptmill.model.chat import Completion, Request, ScoreRequest, Scores
from promptmill.prompt import Message

QUIET_TURNS = 64
"""Turns of the event loop in which nothing more is asked: more than it takes to go through all the tasks and waits
between an answer and the next question, none of which may be a wait for the clock."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A call that waits for its wave. order: by what is asked, so that it is no matter who came first."""

    order: str
    send: Callable[[], Awaitable[Any]]
    answer: asyncio.Future[Any]


class Lockstep:
    """The calls of some backends, wave by wave. Use it in `async with`, within one event loop, and ask what `front`
    gives instead of each backend."""

    def __init__(self) -> None:
        self._held: list[_Held] = []
        self._came = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Lockstep:
        self._task = asyncio.create_task(self._serve())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    def front(self, backend: Backend) -> Backend:
        return _Front(backend, self)

    async def wait(self, order: str, send: Callable[[], Awaitable[Any]]) -> Any:
        held = _Held(order, send, asyncio.get_running_loop().create_future())
        self._held.append(held)
        self._came.set()
        return await held.answer

    async def _serve(self) -> None:
        wave: list[_Held] = []
        try:
            while True:
                await self._came.wait()
                await self._quiet()
                self._came.clear()
                wave, self._held = self._held, []
                wave = sorted((one for one in wave if not one.answer.done()), key=lambda one: one.order)
                found = await asyncio.gather(*[_sent(one) for one in wave])
                for one, (answer, error) in zip(wave, found, strict=True):
                    if one.answer.done():
                        continue
                    if error is None:
                        one.answer.set_result(answer)
                    else:
                        one.answer.set_exception(error)
        finally:  # nobody may wait for what will not come
            for one in (*wave, *self._held):
                one.answer.cancel()

    async def _quiet(self) -> None:
        before, turns = -1, 0
        while turns < QUIET_TURNS:
            turns = turns + 1 if len(self._held) == before else 0
            before = len(self._held)
            await asyncio.sleep(0)


async def _sent(held: _Held) -> tuple[Any, Exception | None]:
    try:
        return await held.send(), None
    except Exception as error:  # it is the caller's
        return None, error


def behind(backend: Backend) -> Backend:
    """The backend itself, whether its calls go in lockstep now or not."""
    return backend._backend if isinstance(backend, _Front) else backend


class _Front:
    """A backend whose calls go in lockstep with others."""

    def __init__(self, backend: Backend, lockstep: Lockstep):
        self._backend, self._lockstep = backend, lockstep
        self.name, self.fingerprint = backend.name, backend.fingerprint
        self.server, self.concurrency = backend.server, backend.concurrency

    @property
    def continues(self) -> bool | None:
        return self._backend.continues

    async def open(self) -> None:
        await self._backend.open()

    async def close(self) -> None:
        await self._backend.close()

    async def complete(self, request: Request) -> Completion:
        order = canonical(self.fingerprint, request)
        answer: Completion = await self._lockstep.wait(order, lambda: self._backend.complete(request))
        return answer

    async def score(self, request: ScoreRequest) -> Scores:
        order = canonical(self.fingerprint, request)
        answer: Scores = await self._lockstep.wait(order, lambda: self._backend.score(request))
        return answer

    def count_tokens(self, messages: tuple[Message, ...]) -> int:
        return self._backend.count_tokens(messages)
