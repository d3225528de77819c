"""A set of keys of calls that takes little memory: a run may have millions of them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

BITS = (1 << 64) - 1
FULL = 2 / 3


class KeySet:
    """Texts by 64 bits of their hash, 12 to 24 bytes each. Two of n are taken for one with a chance of n² / 2^65."""

    def __init__(self, keys: Iterable[str] = ()):
        self._slots, self._count = array("Q", bytes(8 * 256)), 0
        self.update(keys)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: str) -> bool:
        return self._slots[self._place(hash(key) & BITS or 1)] != 0

    def add(self, key: str) -> None:
        value = hash(key) & BITS or 1
        at = self._place(value)
        if not self._slots[at]:
            self._slots[at] = value
            self._count += 1
            if self._count > FULL * len(self._slots):
                self._grow()

    def update(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.add(key)

    def _place(self, value: int) -> int:
        """Of the value, or of the empty slot where it would be."""
        slots, last = self._slots, len(self._slots) - 1
        at = value & last
        while slots[at] not in (0, value):
            at = (at + 1) & last
        return at

    def _grow(self) -> None:
        before = self._slots
        self._slots = array("Q", bytes(2 * 8 * len(before)))
        for value in before:
            if value:
                self._slots[self._place(value)] = value
