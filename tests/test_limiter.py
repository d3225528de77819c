"""The limiter alone: halving, pauses, and slots that must not be lost."""

from __future__ import annotations

import asyncio
import random

from promptmill.model.limiter import Limiter


async def test_the_limiter_halves_once_for_a_burst_and_recovers():
    limiter = Limiter(64)
    for _ in range(64):
        await limiter.acquire()
    for _ in range(64):
        limiter.pushback()
        limiter.release()
    assert limiter.window == 32
    for _ in range(32 * 33):
        limiter.success()
    assert limiter.window > 50
    assert limiter.peak == 64


async def test_retry_after_holds_every_call_of_the_server():
    limiter = Limiter(8)
    limiter.pushback(0.15)
    started = asyncio.get_running_loop().time()
    await limiter.acquire()
    assert asyncio.get_running_loop().time() - started >= 0.14


async def test_cancelled_waiters_leave_the_limiter_whole():
    limiter = Limiter(2)
    rng = random.Random(0)

    async def use() -> None:
        await limiter.acquire()
        try:
            await asyncio.sleep(rng.random() / 500)
        finally:
            limiter.release()

    tasks = [asyncio.create_task(use()) for _ in range(200)]
    for task in rng.sample(tasks, 80):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert limiter.in_flight == 0
    assert limiter.peak <= 2
    await asyncio.wait_for(limiter.acquire(), 1)


async def test_a_woken_waiter_that_is_cancelled_in_a_pause_passes_its_slot_on():
    limiter = Limiter(1)
    await limiter.acquire()
    first, second = asyncio.create_task(limiter.acquire()), asyncio.create_task(limiter.acquire())
    await asyncio.sleep(0)
    limiter.pushback(0.1)
    limiter.release()
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.wait_for(second, 2)
