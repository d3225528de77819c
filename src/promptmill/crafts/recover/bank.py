"""Prompts that may be the one: out of a file, or those by which known texts were made."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from promptmill.crafts.recover.critic import Critic
from promptmill.crafts.recover.rank.known import Known
from promptmill.crafts.recover.rank.ridge import unit
from promptmill.crafts.recover.refused import refused
from promptmill.crafts.recover.space import Space
from promptmill.crafts.recover.synthesize.parts import TOGETHER, Leak, neighbours
from promptmill.crafts.recover.traces import Group, Trace
from promptmill.errors import InputError
from promptmill.store.stage import digest
from promptmill.vary.dedup import exactly

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

ALGORITHM = "bank-1"  # change it when the same bank would give other prompts, or in another order
CRITIC, BY_TEXT, BY_TRACE = 1.0, 0.5, 0.5
"""How much each way counts by which a prompt can be near, where it is known; the critic's `lift` comes on top of it. On
1,080 rewrites of GPT-3.5 the critic found the best prompts of clusters it had not seen; likeness with what a prompt did
to other texts helps where the bank has the prompt or one like it, and costs little where it has not."""
POOL = 4
"""For so many times as many examples as are shown the nearest are looked at; the seed says which half of them."""
BLOCK = 512
"""Traces that are embedded at once."""
ROUNDING, DIGITS = 1e-6, 5


@dataclass(frozen=True, slots=True)
class Entry:
    """A prompt of the bank with all that it is known to have done; clusters: all that it is said to lie in."""

    prompt: str
    clusters: frozenset[str]
    traces: tuple[Trace, ...]


@dataclass(frozen=True, eq=False)
class Bank:
    """Distinct prompts, m of them, s of them with texts that they have made. prompts_md: their vectors. solved_s: the
    places of those s. rewritten_sd, difference_sd: the mean vector of their texts, and of the texts' differences to
    the originals (rewritten less original, each at length 1); nan where no original is known. live_m: those that may
    be given. refused: how many were left out as no prompts. Vectors are float32."""

    space: Space
    entries: tuple[Entry, ...]
    prompts_md: Floats = field(repr=False)
    solved_s: NDArray[np.int64] = field(repr=False)
    rewritten_sd: Floats = field(repr=False)
    difference_sd: Floats = field(repr=False)
    live_m: NDArray[np.bool_] = field(repr=False)
    critic: Critic | None = None
    refused: int = 0

    def __len__(self) -> int:
        """Prompts that may be given."""
        return int(self.live_m.sum())

    @cached_property
    def digest(self) -> str:
        """Changes whenever it could give something else."""
        entries = (
            [one.prompt, sorted(one.clusters), [[each.id, each.original, each.rewritten] for each in one.traces], live]
            for one, live in zip(self.entries, self.live_m.tolist(), strict=True)
        )
        return digest(ALGORITHM, self.space.fingerprint, self.critic.digest if self.critic else None, entries)

    @property
    def prompts(self) -> list[str]:
        return [one.prompt for one, live in zip(self.entries, self.live_m, strict=True) if live]

    def nearest(self, group: Group, k: int) -> list[tuple[str, float]]:
        """At most k prompts with their likeness, the nearest first, each once; of equals the one that stood first.

        Likeness adds up the ways in which a prompt can be near the group's traces: to what the critic expects, to the
        texts' vectors, and by what it has done to other texts. Each is in standard deviations from the mean of the
        bank; what is not known of a prompt counts as that mean.
        """
        near_m = self._likeness(group)
        return [(self.entries[at].prompt, float(near_m[at])) for at in self._order(near_m) if self.live_m[at]][:k]

    def shown(self, group: Group, k: int, seed: int) -> list[Trace]:
        """At most k traces with their prompts, as worked examples: near the group, one of a cluster, and unlike each
        other (maximal marginal relevance, Carbonell & Goldstein 1998); the nearest one last, for it stands next to the
        question. Of each prompt the trace that is nearest. seed: others come with another."""
        near_m = self._likeness(group)
        pool, clusters = list[int](), set[str]()
        for at in self._order(near_m):
            entry = self.entries[at]
            if self.live_m[at] and entry.traces and not clusters & entry.clusters:
                clusters |= entry.clusters
                pool.append(at)
            if len(pool) == POOL * k:
                break
        rng = random.Random(f"{seed}/{group.id}")
        pool = sorted(rng.sample(pool, max(min(k, len(pool)), len(pool) // 2)), key=pool.index)
        chosen = self._unlike(pool, near_m, k)
        return [self._nearest_trace(group, self.entries[at].traces) for at in sorted(chosen, key=lambda at: near_m[at])]

    def without(
        self, clusters: Collection[str] = (), prompts: Sequence[str] = (), bound: float = TOGETHER
    ) -> Bank:  # fmt: skip
        """This bank without the prompts of these clusters, and without those whose cosine with one of `prompts` is
        `bound` or more."""
        named, same = set(clusters), {exactly(one) for one in prompts}
        live = self.live_m & np.array(
            [not named & one.clusters and exactly(one.prompt) not in same for one in self.entries], dtype=bool
        )
        if prompts and live.any():
            live &= (self.prompts_md @ self.space.vectors(prompts).T).max(axis=1) < bound - ROUNDING
        return replace(self, live_m=live)

    def apart_from(self, group: Group) -> Bank:
        """This bank without what a group with a known prompt must not be told: its cluster, its prompt, and all that
        are like it. For groups that a model is trained or measured on."""
        clusters = {one.cluster for one in group.traces if one.cluster is not None}
        return self.without(clusters, [group.prompt] if group.prompt is not None else [])

    def leaks(self, held: Sequence[str], bound: float = TOGETHER) -> list[Leak]:
        """The held-out prompts that have a neighbour here, with a cosine above the bound."""
        return neighbours(self.space, held, self.prompts, bound)

    def _order(self, near_m: Floats) -> list[int]:
        return [int(at) for at in np.argsort(-near_m, kind="stable")]

    def _likeness(self, group: Group) -> Floats:
        """[m]"""
        ways: list[tuple[float, Floats]] = []
        if self.critic is not None:
            weight = CRITIC + (self.critic.report.lift or 0.0)
            ways.append((weight, self.prompts_md @ self.critic.of_group(group).astype(np.float32)))
        rewritten_d, difference_d = _mean_of(group.traces, self.space)
        known = 1 if difference_d is None else 2
        for ours_d, theirs_sd in ((rewritten_d, self.rewritten_sd), (difference_d, self.difference_sd)):
            if ours_d is None:
                continue
            # The mean of a group's vectors with the mean of a prompt's is the mean over all pairs of their traces.
            by_trace = np.full(len(self.entries), np.nan, dtype=np.float32)
            by_trace[self.solved_s] = theirs_sd @ ours_d
            ways += [(BY_TEXT / known, self.prompts_md @ ours_d), (BY_TRACE / known, by_trace)]
        near_m = np.zeros(len(self.entries), dtype=np.float32)
        for weight, values in ways:
            near_m += weight * _standard(values, self.live_m)
        # What is embedded beside a text moves its vector's last digits, which must not decide between equals.
        return near_m.round(DIGITS)

    def _unlike(self, pool: Sequence[int], near_m: Floats, k: int) -> list[int]:
        """k of the pool, each as near as can be and as unlike those before it."""
        if not pool:
            return []
        near = near_m[list(pool)]
        near = (near - near.min()) / max(float(np.ptp(near)), 1e-12)
        alike = self.prompts_md[list(pool)] @ self.prompts_md[list(pool)].T
        taken: list[int] = []
        while len(taken) < min(k, len(pool)):
            worth = near - (alike[:, taken].max(axis=1) if taken else 0.0)
            worth[taken] = -np.inf
            taken.append(int(worth.argmax()))
        return [pool[at] for at in taken]

    def _nearest_trace(self, group: Group, traces: Sequence[Trace]) -> Trace:
        if len(traces) == 1:
            return traces[0]
        ours_d, _ = _mean_of(group.traces, self.space)
        return traces[int((self.space.vectors([one.rewritten for one in traces]) @ ours_d).argmax())]


def make_bank(known: Sequence[Known], space: Space, critic: Critic | None = None) -> Bank:
    """A bank of what is known, each prompt once (case and spacing aside) in the order in which it came. What is refused
    as a candidate (attack strings, gibberish) is left out. critic: is used only where it has shown its worth.

    InputError where the critic was fitted in another space.
    """
    if critic is not None and critic.space.fingerprint != space.fingerprint:
        raise InputError(f"the critic is of the space {critic.space.name}, the bank of {space.name}: take one for both")
    heard: dict[str, list[Known]] = {}
    left_out = set[str]()
    for one in known:
        if refused(one.prompt, None, ""):
            left_out.add(exactly(one.prompt))
        else:
            heard.setdefault(exactly(one.prompt), []).append(one)
    entries = tuple(
        Entry(
            several[0].prompt, frozenset(one.cluster for one in several if one.cluster is not None),
            tuple(one.trace for one in several if one.trace is not None),
        )
        for several in heard.values()
    )  # fmt: skip
    places = np.array([at for at, one in enumerate(entries) if one.traces], dtype=np.int64)
    prompts = space.vectors([one.prompt for one in entries])
    means = _means([entries[at].traces for at in places], space, prompts.shape[1])
    useful = critic if critic is not None and critic.kept else None
    live = np.ones(len(entries), dtype=bool)
    return Bank(space, entries, prompts, places, *means, live, useful,
                len(left_out))  # fmt: skip


def _texts(traces: Sequence[Trace], space: Space) -> tuple[Floats, Floats]:
    """[g, d] of the rewritten texts, and of their differences to the originals; nan for those that have none."""
    rewritten = space.vectors([one.rewritten for one in traces])
    difference = np.full_like(rewritten, np.nan)
    there = [at for at, one in enumerate(traces) if one.original is not None]
    if there:
        originals = space.vectors([str(traces[at].original) for at in there])
        difference[there] = unit(rewritten[there] - originals)
    return rewritten, difference


def _mean_of(traces: Sequence[Trace], space: Space) -> tuple[Floats, Floats | None]:
    """[d] each: the means of `_texts`; None where there are no originals."""
    rewritten, difference = _texts(traces, space)
    known = difference[~np.isnan(difference[:, 0])]
    return rewritten.mean(axis=0), known.mean(axis=0) if len(known) else None


def _means(several: Sequence[Sequence[Trace]], space: Space, width: int) -> tuple[Floats, Floats]:
    """[s, d] each: the means of `_texts` over the traces of each prompt, many embedded at once."""
    home = np.array([at for at, traces in enumerate(several) for _ in traces], dtype=np.int64)
    traces = [trace for some in several for trace in some]
    sums = np.zeros((2, len(several), width), dtype=np.float32)
    counts = np.zeros((2, len(several), 1), dtype=np.float32)
    for begin in range(0, len(traces), BLOCK):
        part = slice(begin, begin + BLOCK)
        for kind, vectors in enumerate(_texts(traces[part], space)):
            known = ~np.isnan(vectors[:, 0])
            np.add.at(sums[kind], home[part][known], vectors[known])
            np.add.at(counts[kind], home[part][known], 1)
    with np.errstate(invalid="ignore"):
        means = sums / counts
    return means[0], means[1]


def _standard(values_m: Floats, live_m: NDArray[np.bool_]) -> Floats:
    """In standard deviations from the mean of those that count; 0 for what is not known, and where none differ."""
    known = live_m & ~np.isnan(values_m)
    spread = float(values_m[known].std()) if known.any() else 0.0
    if spread < ROUNDING:
        return np.zeros(len(values_m), dtype=np.float32)
    found: Floats = np.nan_to_num((values_m - values_m[known].mean()) / spread, nan=0.0).astype(np.float32)
    return found
