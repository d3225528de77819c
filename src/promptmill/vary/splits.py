"""Train, dev and test, by cluster: what says nearly the same is on one side."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from promptmill.errors import InputError

FIRST = ("train", "test", "dev")
"""Which splits are served first where there are not clusters enough for all."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the clusters that are held out. InputError where nothing is left for training."""

    dev: float
    test: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dev + self.test >= 1:
            raise InputError(
                f"synthesize: dev ({self.dev}) and test ({self.test}) leave nothing for training; "
                "together they must be below 1"
            )

    @property
    def wanted(self) -> tuple[str, ...]:
        share = {"train": 1.0, "test": self.test, "dev": self.dev}
        return tuple(name for name in FIRST if share[name] > 0)

    def place(self, cluster: str) -> str:
        """The split of a cluster by its name alone, whatever others there are."""
        at = int(hashlib.sha256(f"{self.seed}/{cluster}".encode()).hexdigest()[:16], 16) / 2**64
        return "test" if at < self.test else "dev" if at < self.test + self.dev else "train"


def splits_of(
    homes: Mapping[str, Sequence[str]], shares: Shares, pinned: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The split of each cluster. homes: cluster -> its domains. pinned: clusters whose split is given.

    By a hash of the cluster's name; only where a domain has clusters enough and a split of it is empty all the same one
    cluster is moved for it, one that leaves no other split empty. A domain's only cluster is for training.
    """
    pinned = pinned or {}
    split = {cluster: pinned.get(cluster) or shares.place(cluster) for cluster in homes}
    members: dict[str, list[str]] = {}
    for cluster in sorted(homes):
        for domain in homes[cluster]:
            members.setdefault(domain, []).append(cluster)
    wanted = {domain: shares.wanted[: len(several)] for domain, several in members.items()}
    count = Counter((domain, split[cluster]) for cluster, domains in homes.items() for domain in domains)

    def may_leave(cluster: str) -> bool:
        at = split[cluster]
        return cluster not in pinned and all(
            count[domain, at] > 1 or at not in wanted[domain] for domain in homes[cluster]
        )

    for domain in sorted(members):
        for name in wanted[domain]:
            if count[domain, name]:
                continue
            free = [cluster for cluster in members[domain] if may_leave(cluster)]
            if not free:
                continue
            # From where most are, and rather one that lies in this domain alone.
            moved = min(free, key=lambda one: (len(homes[one]), -count[domain, split[one]], one))
            for home in homes[moved]:
                count[home, split[moved]] -= 1
                count[home, name] += 1
            split[moved] = name
    return split
