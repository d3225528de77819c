"""Stages filled shard by shard, so that a killed run goes on with the shard it was at.

A shard follows from its own rows alone. For models on this machine that takes some care, since a batch of other calls
may move the last bits of a score: what a shard asks is asked afresh, all at once, with nothing kept from before. So a
shard that was broken off is asked anew from its beginning, and comes out byte for byte as if nothing had happened.
Servers are different: what was paid for is in the record of calls, and is not asked again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from promptmill.model.cache import CallStore
from promptmill.model.gate import Model
from promptmill.model.local import LocalBackend
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
            for model in models:
                _begin_afresh(model)
            stage.write(number, await make(part))
        done += len(part)
        on(done)
    if not done and not stage.done(0):
        stage.write(0, [])
    return stage


def _parts(items: Iterable[T], rows: int) -> Iterator[Sequence[T]]:
    walk = iter(items)
    while part := list(islice(walk, rows)):
        yield part


def _begin_afresh(model: Model) -> None:
    if isinstance(model.backend, LocalBackend):
        model.backend.forget()
        if model.store.path is None:  # one of ours, and not the run's own record
            model.store.close()
        model.store = CallStore(None, model.store.run)
