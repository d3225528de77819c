"""Prompts in clusters, and clusters in train, dev and test, so that no held-out prompt has a neighbour elsewhere.

A split by the very words of a prompt leaks: paraphrases cross it, and what only remembers prompts then beats a model
that reads texts. So all prompts alike from a bound on lie in one split, and those alike a third; this is made exactly,
by comparing all with all, and checked afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from promptmill.crafts.recover.space import Space
from promptmill.crafts.recover.synthesize.records import PartRow
from promptmill.crafts.recover.traces import Trace
from promptmill.errors import InputError
from promptmill.tasks.split import content_hash
from promptmill.tasks.task import SPLITS
from promptmill.vary.dedup import clusters
from promptmill.vary.sketches import Sketches
from promptmill.vary.splits import Shares, splits_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOGETHER = 0.8
"""The cosine above which a held-out prompt has a neighbour."""
STRICTEST = ("test", "dev", "train")
BLOCK = 512
"""Prompts that are compared with all others at once."""
ROUNDING = 1e-6
DIGITS = 5
HOME = "prompts"
HALF = 0.5
FEW = 8
"""Prompts below which nothing is said of shares."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A held-out prompt, the most alike of the others, and their cosine."""

    held: str
    other: str
    likeness: float

    def __str__(self) -> str:
        return f"{self.held[:80]!r} is like {self.other[:80]!r} (cosine {self.likeness:.2f})"


@dataclass(frozen=True)
class Parted:
    """traces: with split and cluster. parts: a row for each prompt (and each split of it, where a file has several).
    report: see `report_of`. warnings: lines."""

    traces: list[Trace]
    parts: list[PartRow]
    report: dict[str, Any]
    warnings: list[str]


def neighbours(space: Space, held: Sequence[str], others: Sequence[str], bound: float = TOGETHER) -> list[Leak]:
    """Every prompt of `held` that has one among `others` with a cosine above `bound`, in order, each once, with the
    most alike one. held: prompts of a test; others: of training, a bank, or worked examples."""
    held = list(dict.fromkeys(held))
    return [
        Leak(one, other, likeness)
        for one, (other, likeness) in zip(held, _nearest(space, held, others), strict=True)
        if other is not None and likeness > bound
    ]


def prompt_id_of(prompt: str) -> str:
    """The key of a prompt: of its words, case and spacing aside."""
    return content_hash({"prompt": prompt})[:16]


def parted(traces: Sequence[Trace], space: Space, together: float, shares: Shares) -> Parted:
    """Traces with split and cluster; what they bring of either they keep. Those without a prompt stay as they are.

    together: cosine from which two prompts lie in one cluster. InputError where a held-out prompt has a neighbour
    elsewhere all the same and no file has torn its cluster: then it is a warning.
    """
    parts = parts_of(traces, space, together, shares)
    done = with_parts(traces, parts)
    report, warnings = report_of(done, parts, space, together, shares)
    return Parted(done, parts, report, warnings)


def parts_of(
    traces: Iterable[Trace], space: Space, together: float, shares: Shares, same: Mapping[str, str] | None = None
) -> list[PartRow]:
    """A row for each prompt, in the order of the traces; errors as in `parted`. same: for a prompt another one with
    which it lies together whatever their likeness."""
    marks: dict[str, set[str]] = {}
    splits: dict[str, set[str]] = {}
    for trace in traces:
        if trace.prompt is not None:
            marks.setdefault(trace.prompt, set()).update([trace.cluster] if trace.cluster else [])
            splits.setdefault(trace.prompt, set()).update([trace.split] if trace.split else [])
    prompts = list(marks)
    joined = [*_marked(prompts, marks), *_families(prompts, same or {})]
    labels = components(prompts, space, together, joined)
    names = _names(prompts, labels, marks)
    said: dict[str, set[str]] = {}
    for prompt, name in zip(prompts, names, strict=True):
        said.setdefault(name, set()).update(splits[prompt])
    # Where a file put neighbours in different splits, those it said nothing of go where they can do no harm.
    pinned = {name: next(split for split in STRICTEST if split in several) for name, several in said.items() if several}
    split_of = splits_of(dict.fromkeys(names, (HOME,)), shares, _large(names, shares) | pinned)
    rows = [
        PartRow(prompt, min(marks[prompt], default=name), split, bool(splits[prompt]), len(said[name]) > 1)
        for prompt, name in zip(prompts, names, strict=True)
        for split in (sorted(splits[prompt], key=STRICTEST.index) or [split_of[name]])
    ]
    return _checked(_with_nearest(rows, space), together)


def components(
    prompts: Sequence[str], space: Space, together: float, joined: Iterable[tuple[int, int]] = ()
) -> NDArray[np.int64]:
    """[n]: for each prompt the place of the first one of its cluster. In one cluster are those with a cosine of
    `together` or more, those whose letters are that much alike (vary/dedup.py), pairs `joined` by their places, and
    those that belong together over a third. All are compared with all: 10,000 take seconds, not minutes."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(prompts)
    labels: NDArray[np.int64] = np.array(clusters(Sketches(prompts), together), dtype=np.int64)
    places = np.arange(count)
    pairs = np.array(sorted(joined), dtype=np.int64).reshape(-1, 2)
    edges = [(pairs[:, 0], pairs[:, 1])]
    unit = space.vectors(prompts) if count else np.empty((0, 1), dtype=np.float32)
    for begin in range(0, count, BLOCK):
        near = np.nonzero(unit[begin : begin + BLOCK] @ unit[begin:].T >= together - ROUNDING)
        edges.append((near[0] + begin, near[1] + begin))
        ends = [np.concatenate([*(pair[side] for pair in edges), (places, labels)[side]]) for side in (0, 1)]
        graph = coo_matrix((np.ones(len(ends[0]), dtype=np.int8), (ends[0], ends[1])), shape=(count, count))
        found = connected_components(graph, directed=False)[1]
        _, first = np.unique(found, return_index=True)
        labels, edges = first[found].astype(np.int64), []
    return labels


def with_parts(traces: Iterable[Trace], parts: Iterable[PartRow]) -> list[Trace]:
    """The traces with the split and the cluster of their prompts, where they have none of their own."""
    place = {row.prompt: row for row in reversed(list(parts))}
    return [
        trace
        if trace.prompt is None
        else replace(trace, split=trace.split or place[trace.prompt].split,
                     cluster=trace.cluster or place[trace.prompt].cluster)
        for trace in traces
    ]  # fmt: skip


def _large(names: Sequence[str], shares: Shares) -> dict[str, str]:
    """Clusters that are more than what is to be held out: they are for training, or little would be left for it."""
    held = [share for share in (shares.dev, shares.test) if share > 0]
    most = max(1.0, min(held, default=1.0) * len(names))
    return {name: "train" for name, count in Counter(names).items() if count > most}


def _marked(prompts: Sequence[str], marks: Mapping[str, Iterable[str]]) -> Iterator[tuple[int, int]]:
    first: dict[str, int] = {}
    for at, prompt in enumerate(prompts):
        for mark in marks[prompt]:
            yield first.setdefault(mark, at), at


def _families(prompts: Sequence[str], same: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """By a name of what they vary: the prompt itself may have left no trace."""
    first: dict[str, int] = {}
    for at, prompt in enumerate(prompts):
        yield first.setdefault(same.get(prompt, prompt), at), at


def _names(prompts: Sequence[str], labels: NDArray[np.int64], marks: Mapping[str, Iterable[str]]) -> list[str]:
    """A cluster is called by the least name that a file gives to one of it, else by the least key in it: the same in
    whatever order its members came."""
    called: dict[int, set[str]] = {}
    keys: dict[int, str] = {}
    for prompt, label in zip(prompts, labels.tolist(), strict=True):
        called.setdefault(label, set()).update(marks[prompt])
        keys[label] = min(prompt_id_of(prompt), keys.get(label, "g"))
    return [min(called[label], default=keys[label]) for label in labels.tolist()]


# The check


def _with_nearest(rows: Sequence[PartRow], space: Space) -> list[PartRow]:
    found = list(rows)
    for split, others in (("dev", ("train",)), ("test", ("train", "dev"))):
        places = [at for at, row in enumerate(rows) if row.split == split]
        among = [row.prompt for row in rows if row.split in others]
        nearest = _nearest(space, [rows[at].prompt for at in places], among)
        for at, (other, likeness) in zip(places, nearest, strict=True):
            if other is not None:
                found[at] = replace(rows[at], nearest=other, likeness=round(likeness, DIGITS))
    return found


def _nearest(space: Space, held: Sequence[str], others: Sequence[str]) -> list[tuple[str | None, float]]:
    """Of each the most alike of the others (the first of several), and their cosine."""
    if not held or not others:
        return [(None, 0.0)] * len(held)
    ours, theirs = space.vectors(held), space.vectors(others)
    found: list[tuple[str | None, float]] = []
    for begin in range(0, len(held), BLOCK):
        cosines = ours[begin : begin + BLOCK] @ theirs.T
        best = cosines.argmax(axis=1)
        found += [(others[at], min(1.0, float(row[at]))) for row, at in zip(cosines, best.tolist(), strict=True)]
    return found


def leaks_of(parts: Iterable[PartRow], bound: float) -> list[tuple[PartRow, Leak]]:
    """The held-out prompts whose nearest one in another split is above the bound."""
    return [
        (row, Leak(row.prompt, row.nearest, row.likeness))
        for row in parts
        if row.nearest is not None and row.likeness is not None and row.likeness > bound
    ]


def _checked(parts: list[PartRow], bound: float) -> list[PartRow]:
    leak = next((leak for row, leak in leaks_of(parts, bound) if not row.torn), None)
    if leak is not None:
        raise InputError(f"the {_split(parts, leak.held)} prompt {leak} of {_split(parts, leak.other)}: they must lie "
                         "in one split")  # fmt: skip
    return parts


def _split(parts: Iterable[PartRow], prompt: str) -> str:
    return next(row.split for row in parts if row.prompt == prompt)


# The report


def report_of(
    traces: Sequence[Trace], parts: Sequence[PartRow], space: Space, together: float, shares: Shares
) -> tuple[dict[str, Any], list[str]]:
    """Plain data: `space` (its name), `clusters` {count, largest (prompts)}, `splits` {split: {prompts, clusters,
    traces}}, `nearest` (the highest cosine of a held-out prompt with one of another split, None without any), `leaks`
    (held-out prompts with a neighbour, since a file tears their cluster) and `shared_originals` (share of the held-out
    traces whose original is one of train too); and the warnings."""
    sizes: dict[str, int] = {}
    for row in parts:
        sizes[row.cluster] = sizes.get(row.cluster, 0) + 1
    leaks = leaks_of(parts, together)
    known = [row.likeness for row in parts if row.likeness is not None]
    report = {
        "space": space.name,
        "clusters": {"count": len(sizes), "largest": max(sizes.values(), default=0)},
        "splits": {split: _counts(split, traces, parts) for split in SPLITS},
        "nearest": max(known, default=None),
        "leaks": len(leaks),
        "shared_originals": _shared(traces),
    }
    lines = _of_sizes(report, len(parts), together, shares)
    if leaks:
        lines.append(
            f"{len(leaks)} held-out prompts have a neighbour in another split, since the file says so: "
            f"{leaks[0][1]}; what is measured on them is partly memory"
        )
    if together > TOGETHER and (near := len(leaks_of(parts, TOGETHER)) - len(leaks)):
        lines.append(f"split.together is {together}: {near} held-out prompts have one above {TOGETHER} elsewhere")
    return report, lines


def _counts(split: str, traces: Iterable[Trace], parts: Iterable[PartRow]) -> dict[str, int]:
    mine = [row for row in parts if row.split == split]
    return {
        "prompts": len(mine), "clusters": len({row.cluster for row in mine}),
        "traces": sum(trace.split == split for trace in traces),
    }  # fmt: skip


def _shared(traces: Sequence[Trace]) -> float | None:
    learned = {trace.original for trace in traces if trace.split == "train" and trace.original is not None}
    held = [trace for trace in traces if trace.split in ("dev", "test")]
    return sum(trace.original in learned for trace in held) / len(held) if held else None


def _of_sizes(report: Mapping[str, Any], prompts: int, together: float, shares: Shares) -> list[str]:
    lines, splits, count = [], report["splits"], report["clusters"]["count"]
    empty = [split for split in SPLITS if split in shares.wanted and not splits[split]["prompts"]]
    if prompts and empty:
        lines.append(f"there is no prompt for {' and '.join(empty)}, since those alike must not be parted (prompts: "
                     f"{prompts}, clusters: {count})")  # fmt: skip
    largest = report["clusters"]["largest"]
    if prompts >= FEW and largest > HALF * prompts:
        lines.append(f"one cluster holds {largest} of {prompts} prompts, which are all for one split; with "
                     f"split.together above {together} clusters are smaller")  # fmt: skip
    if splits["train"]["traces"] < splits["test"]["traces"]:
        lines.append(f"the test has more traces ({splits['test']['traces']}) than train ({splits['train']['traces']}), "
                     "since clusters differ much in size")  # fmt: skip
    return lines
