"""Splits fixed by the content of an example: they do not move when rows are added, shuffled or doubled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from promptmill.errors import InputError


def content_hash(fields: Mapping[str, str], seed: int | None = None) -> str:
    """SHA-256 (hex) of the fields. Case and white space do not count, so that near-copies of a row share a split."""
    plain = sorted((key, " ".join(value.split()).casefold()) for key, value in fields.items())
    return hashlib.sha256(json.dumps([seed, plain]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Fractions:
    """Shares of the three splits (they need not add up to 1: their proportions count) and the seed of the cut."""

    train: float = 0.4
    dev: float = 0.2
    test: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        shares = (self.train, self.dev, self.test)
        if not all(0 <= share < float("inf") for share in shares) or sum(shares) <= 0:
            raise InputError(f"split: the shares must be 0 or more and not all 0, not {shares}")

    def place(self, fields: Mapping[str, str]) -> str:
        """The split ("train", "dev" or "test") of an example with these fields. The gold plays no part."""
        at = int(content_hash(fields, self.seed)[:16], 16) / 2**64 * (self.train + self.dev + self.test)
        if at < self.train:
            return "train"
        if at < self.train + self.dev or not self.test:
            return "dev" if self.dev else "train"
        return "test"
