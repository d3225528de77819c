"""Which of the waiting calls go into the next batch: those that share most of their prompt, and are about as long."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

TOKEN = 4  # bytes of a token in a key

# One decoding step over a batch costs about as much as prefilling this many tokens divided by the steps of an answer;
# measured for 1M-parameter models on a CPU, and of the right order for 7B ones there. On a GPU full batches matter
# more, and there batches are full anyway.
STEP_TOKENS = 1500.0


def key_of(ids: Sequence[int]) -> bytes:
    """Token ids as bytes, so that two prompts are compared by memcmp."""
    return array("I", ids).tobytes()


def shared(a: bytes, b: bytes) -> int:
    """How many tokens two keys have in common at their beginning (bisection over memcmp)."""
    low, high = 0, min(len(a), len(b)) // TOKEN
    if a.startswith(b[: high * TOKEN]):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if a[low * TOKEN : middle * TOKEN] == b[low * TOKEN : middle * TOKEN]:
            low = middle
        else:
            high = middle
    return low


class Waiting(Protocol):
    """A piece of work in the queue. kind: only one kind goes into a batch; rows: of the batch that it takes."""

    @property
    def key(self) -> bytes: ...
    @property
    def kind(self) -> type: ...
    @property
    def rows(self) -> int: ...


U = TypeVar("U", bound=Waiting)


@dataclass(frozen=True, slots=True)
class Batch(Generic[U]):
    """units: sorted by prompt length. shared: tokens that all their prompts begin with."""

    units: list[U]
    shared: int


def worth(levels: Sequence[tuple[int, int]], rows: int) -> int:
    """The shared length at which the batch is cut: long prefixes save prefill, big batches save decoding steps.

    levels: (shared tokens with the anchor, rows), in falling order of shared tokens, the anchor itself first.
    """
    best, level, taken = float("-inf"), 0, 0
    for index, (common, count) in enumerate(levels):
        taken = min(rows, taken + count)
        following = levels[index + 1][0] if index + 1 < len(levels) else -1
        gain = common - STEP_TOKENS / taken
        if common != following and gain > best:
            best, level = gain, common
    return level


def next_batch(waiting: Sequence[U], rows: int) -> Batch[U]:
    """The batch that the longest waiting unit goes into, at most `rows` rows (one unit always fits).

    A unit's last prompt token is never shared: its logits are the first that are needed.
    """
    anchor = waiting[0]
    commons = [
        (min(shared(anchor.key, unit.key), len(unit.key) // TOKEN - 1, len(anchor.key) // TOKEN - 1), unit)
        for unit in waiting
        if unit.kind is anchor.kind
    ]
    levels = sorted(((common, unit.rows) for common, unit in commons), key=lambda row: -row[0])
    least = worth(levels, rows)
    group = sorted((unit for common, unit in commons if common >= least), key=lambda unit: len(unit.key))
    chosen = _window(group, group.index(anchor), rows)
    first = chosen[0].key
    common = min(min(shared(first, unit.key), len(unit.key) // TOKEN - 1) for unit in chosen)
    return Batch(chosen, common)


def _window(group: list[U], at: int, rows: int) -> list[U]:
    """The batch of `group[at]` when the group is cut into batches of neighbours in length, from the longest down: so
    neighbours waste little on padding, and what is left behind is in whole batches too."""
    high = len(group)
    while True:
        low, taken = high - 1, group[high - 1].rows
        while low > 0 and taken + group[low - 1].rows <= rows:
            low -= 1
            taken += group[low].rows
        if low <= at:
            break
        high = low
    while high < len(group) and taken + group[high].rows <= rows:  # the last cut may leave room
        taken += group[high].rows
        high += 1
    return group[low:high]
