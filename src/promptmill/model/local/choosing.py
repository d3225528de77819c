"""Numbers that decide: a sample's seed, and a choice by its weight."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence


def seed_of(ids: Sequence[int], seed: int | None, repeat: int, index: int) -> int:
    """A 128-bit number from all that tells one sample from another: prompt, seed, repeat and index among n."""
    text = f"{seed or 0} {repeat} {index} {' '.join(map(str, ids))}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def log_shares(logs: Sequence[float]) -> list[float]:
    """Log-probabilities shifted so that their probabilities sum to one."""
    most = max(logs)
    total = most + math.log(math.fsum(math.exp(log - most) for log in logs))
    return [log - total for log in logs]


def choose(logs: Sequence[float], temperature: float, number: float) -> int:
    """Index of the most probable at temperature 0, else drawn with `number` in [0, 1)."""
    best = max(range(len(logs)), key=lambda index: logs[index])
    if temperature <= 0:
        return best
    gone = 0.0
    for index, log in enumerate(log_shares([log / temperature for log in logs])):
        gone += math.exp(log)
        if number < gone:
            return index
    return best
