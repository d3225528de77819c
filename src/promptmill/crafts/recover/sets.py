"""What a recoverer learns from, what is chosen by, and what it is tested on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from promptmill.crafts.recover.config import RecoverConfig
from promptmill.crafts.recover.space import Space
from promptmill.crafts.recover.synthesize.parts import neighbours, parted
from promptmill.crafts.recover.traces import Group, Trace, groups_of
from promptmill.errors import InputError
from promptmill.vary.splits import Shares

KNOWN, TEST = "known prompts, new texts", "other prompts"
GROUPED = ", grouped"
"""Behind the name of a set whose groups are looked at as groups."""


@dataclass(frozen=True)
class Sets:
    """train; known: other texts of its prompts; dev; test; others: more sets to be tested on, by name. report: how the
    traces were parted. warnings: lines."""

    train: list[Trace]
    known: list[Trace]
    dev: list[Trace]
    test: list[Trace]
    others: Mapping[str, Sequence[Trace]]
    report: dict[str, Any]
    warnings: list[str]

    @property
    def sizes(self) -> dict[str, int]:
        return {name: len(getattr(self, name)) for name in ("train", "known", "dev", "test")}

    @property
    def tests(self) -> dict[str, Sequence[Trace]]:
        """What is tested on, by name."""
        return {TEST: self.test, **({KNOWN: self.known} if self.known else {}), **self.others}

    @cached_property
    def units(self) -> dict[str, list[Group]]:
        """The same as what prompts are recovered of: each trace alone, and each group."""
        grouped = {f"{name}{GROUPED}": several for name, some in self.tests.items() if (several := in_groups(some))}
        return {name: alone(some) for name, some in self.tests.items()} | grouped


def sets_of(
    traces: Sequence[Trace], others: Mapping[str, Sequence[Trace]], config: RecoverConfig, space: Space, seed: int
) -> Sets:
    """All have prompts. InputError where there is nothing to learn from, to choose by, or to test on, where a group is
    of several prompts, and for names that are taken."""
    taken = [name for name in others if name in (TEST, KNOWN) or name.endswith(GROUPED)]
    if taken:
        raise InputError(f"a set to test on cannot be called {taken[0]!r}; rename the file")
    for some in (traces, *others.values()):
        groups_of(some)
    parts = parted(traces, space, config.split.together, Shares(config.synthesize.dev, config.synthesize.test, seed))
    found = _cut(parts.traces, config.learn.known, seed)
    for name, why in (("train", "to learn from"), ("dev", "to choose by"), ("test", "to test on")):
        if not found[name]:
            raise InputError(f"no trace is of the split {name}, so there is nothing {why}: give traces of more prompts "
                             f"that differ, or name their splits in a column 'split'")  # fmt: skip
    learned = [one.prompt for one in found["train"] if one.prompt]
    warnings = [*parts.warnings, *_leaks(learned, others, space, config.split.together)]
    return Sets(found["train"], found["known"], found["dev"], found["test"], others, parts.report, warnings)


def _cut(traces: Sequence[Trace], share: float, seed: int) -> dict[str, list[Trace]]:
    """By split; of train a share of the traces, by a hash of their ids, is kept as known where others of their prompts
    are left."""
    found: dict[str, list[Trace]] = {"train": [], "known": [], "dev": [], "test": []}
    for one in traces:
        place = int(hashlib.sha256(f"known {seed} {one.id}".encode()).hexdigest()[:16], 16) / 16**16
        known = one.split == "train" and place < share
        found["known" if known else one.split or "train"].append(replace(one, group=None) if known else one)
    prompts = {one.prompt for one in found["train"]}
    found["train"] += [one for one in found["known"] if one.prompt not in prompts]
    found["known"] = [one for one in found["known"] if one.prompt in prompts]
    return found


def _leaks(
    learned: Sequence[str], others: Mapping[str, Sequence[Trace]], space: Space, bound: float
) -> list[str]:  # fmt: skip
    """Where a set's prompts were learned from, its figures say so."""
    lines = []
    for name, some in others.items():
        if leaks := neighbours(space, [one.prompt for one in some if one.prompt], learned, bound):
            lines.append(f"{name}: {len(leaks)} of its prompts are like one that was learned from, such as {leaks[0]}")
    return lines


def alone(traces: Sequence[Trace]) -> list[Group]:
    """Each trace as a group of its own, whatever group it is of."""
    return [Group(one.id, (one,)) for one in traces]


def in_groups(traces: Sequence[Trace]) -> list[Group]:
    """The groups of more than one trace. One that is called like a trace gets another name, so that both may stand in
    one table."""
    ids = {one.id for one in traces}
    return [
        Group(f"{one.id} (group)" if one.id in ids else one.id, one.traces)
        for one in groups_of(traces)
        if len(one.traces) > 1
    ]
