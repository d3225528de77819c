"""Stages filled shard by shard, so that a killed run goes on with the shard it was at.

A shard follows from its own rows alone. For models on this machine that takes some care, since a batch of other calls
may move the last bits of a score: what a shard asks is asked afresh, in lockstep (model/lockstep.py), with nothing kept
from before. So a shard that was broken off is asked anew from its beginning, and comes out byte for byte as if nothing
had happened; its calls go into the record together, when all are there. Servers are different: what was paid for is in
the record of calls at once, and is not asked again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from itertools import islice
from typing import Any, TypeVar

from promptmill.model.cache import CallStore
from promptmill.model.gate import Model
from promptmill.model.local import LocalBackend
from promptmill.model.lockstep import Lockstep
from promptmill.store.stage import Stage

T = TypeVar("T")
SHARD_ROWS = 512
"""Few enough for a kill to cost little, and for all calls of a shard to be under way together."""

Make = Callable[[Sequence[T]], Awaitable[list[dict[str, Any]]]]
Listener = Callable[[int], None]
"""Told how many items are done."""


async def fill(
    stage: Stage, items: Iterable[T], make: Make[T], *, models: Sequence[Model] = (), rows: int = SHARD_ROWS,
    on: Listener = lambda done: None,
) -> Stage:  # fmt: skip
    """Make what is not there yet. items: all of them, in an order that never changes, `rows` to a shard; they are
    walked once and a shard of them is in memory at a time. models: those that `make` asks.

    Where there are no items the stage is one empty shard, so that its columns can be read all the same.
    """
    done = 0
    for number, part in enumerate(_parts(items, rows)):
        if not stage.done(number):
            async with _afresh(models):
                rows_of_part = await make(part)
            stage.write(number, rows_of_part)
        done += len(part)
        on(done)
    if not done and not stage.done(0):
        stage.write(0, [])
    return stage


def _parts(items: Iterable[T], rows: int) -> Iterator[Sequence[T]]:
    walk = iter(items)
    while part := list(islice(walk, rows)):
        yield part


@asynccontextmanager
async def _afresh(models: Sequence[Model]) -> AsyncIterator[None]:
    """In it the models of this machine know nothing of earlier calls, and are asked in lockstep."""
    local = [model for model in {id(one): one for one in models}.values() if isinstance(model.backend, LocalBackend)]
    if not local:
        yield
        return
    async with AsyncExitStack() as stack:
        lockstep = await stack.enter_async_context(Lockstep())
        for model in local:
            stack.enter_context(_apart(model, lockstep))
        for model in local:  # one after another: transformers cannot load two side by side
            await model.wake()
        yield


@contextmanager
def _apart(model: Model, lockstep: Lockstep) -> Iterator[None]:
    """The model in lockstep and with a record of its own, which goes into the run's afterwards: also what was answered
    before an error, since it counts for the budget."""
    backend, record = model.backend, model.store
    assert isinstance(backend, LocalBackend)
    backend.forget()
    model.store, model.backend = CallStore(None, record.run), lockstep.front(backend)
    try:
        yield
    finally:
        own, model.store, model.backend = model.store, record, backend
        record.take_over(own)
        own.close()
