"""How many calls a server gets at once: additive increase, multiplicative decrease (AIMD, as in TCP).

One limiter for each server, shared by the models that talk to it: a "slow down" to one of them is heard by all.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from weakref import WeakKeyDictionary


class Limiter:
    """A semaphore whose size follows what the server says.

    It starts at `most` slots. A pushback (429, a timeout, any Retry-After) halves the window, at most once for each
    window of calls, and holds all calls for as long as `Retry-After` asks. A window of answers raises it by one.
    """

    def __init__(self, most: int, least: int = 1):
        self.most, self.least = most, least
        self.window = float(most)
        self.in_flight = 0
        self.peak = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._paused_until = 0.0
        self._deaf = (
            0  # answers still to come from calls sent before the last halving; their pushbacks are the same news
        )

    async def acquire(self) -> None:
        while True:
            pause = self._paused_until - time.monotonic()
            if pause > 0:
                try:
                    await asyncio.sleep(pause)
                except asyncio.CancelledError:
                    self._wake()  # a slot that was offered to this caller must not be lost with it
                    raise
            elif self.in_flight < int(self.window):
                self.in_flight += 1
                self.peak = max(self.peak, self.in_flight)
                return
            else:
                waiter = asyncio.get_running_loop().create_future()
                self._waiting.append(waiter)
                try:
                    await waiter
                except asyncio.CancelledError:
                    if waiter.done() and not waiter.cancelled():
                        self._wake()  # the slot was offered to a caller that has gone: pass it on
                    raise

    def raise_to(self, most: int) -> None:
        """Let `most` be the ceiling if it is higher; a window that was full grows with it."""
        if most > self.most:
            if self.window >= self.most:
                self.window = float(most)
            self.most = most

    def release(self) -> None:
        self.in_flight -= 1
        self._deaf = max(0, self._deaf - 1)
        self._wake()

    def success(self) -> None:
        self.window = min(float(self.most), self.window + 1.0 / self.window)

    def pushback(self, retry_after: float | None = None) -> None:
        """The server asked for less. `retry_after` in seconds."""
        if self._deaf == 0:
            self.window = max(float(self.least), self.window / 2)
            self._deaf = self.in_flight
        if retry_after:
            self._paused_until = max(self._paused_until, time.monotonic() + retry_after)

    def _wake(self) -> None:
        free = int(self.window) - self.in_flight
        while free > 0 and self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1


_limiters: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Limiter]] = WeakKeyDictionary()


def limiter_for(server: str, most: int) -> Limiter:
    """The limiter of `server` in this event loop, one for all models on it; the largest `most` asked for counts.

    Call it inside the loop. Loops in other threads have limiters of their own: futures cannot be shared between them.
    """
    limiters = _limiters.setdefault(asyncio.get_running_loop(), {})
    limiter = limiters.setdefault(server, Limiter(most))
    limiter.raise_to(most)
    return limiter
