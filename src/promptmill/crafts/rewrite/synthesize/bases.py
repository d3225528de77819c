"""Base prompts out of drafts and of what was given: each once, in clusters, in train, dev or test. No call is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from promptmill.crafts.rewrite.config import SynthesizeConfig
from promptmill.crafts.rewrite.synthesize.prompts_file import GivenPrompt
from promptmill.crafts.rewrite.tables import BaseRow
from promptmill.errors import InputError
from promptmill.model import shards
from promptmill.store.records import row_of
from promptmill.store.stage import Stage
from promptmill.tasks.split import content_hash
from promptmill.vary.alike import Vectors
from promptmill.vary.dedup import Copy, clusters, copies, exactly
from promptmill.vary.splits import Shares, splits_of

if TYPE_CHECKING:
    import pyarrow as pa

STRICTEST = ("test", "dev", "train")


@dataclass(frozen=True, slots=True)
class Draft:
    """A text that may become a base prompt. split: where somebody has said it."""

    text: str
    domain: str
    intent: str
    topic: str | None = None
    split: str | None = None
    task: str | None = None


def base_id_of(text: str) -> str:
    """The key of a base prompt: of its words, case and spacing aside."""
    return content_hash({"prompt": text})[:16]


def drafts_of(given: Iterable[GivenPrompt], written: Stage | None) -> Iterator[Draft]:
    """What was given goes first, so that of two alike it is the one that stays."""
    for one in given:
        yield Draft(one.text, one.domain, one.intent or one.text, None, one.split, one.task)
    names: dict[str, str] = {}  # a row's strings are new ones each; a domain has thousands of rows
    for row in written.rows() if written else ():
        if row["text"] is not None:
            topic = names.setdefault(row["topic"], row["topic"])
            yield Draft(row["text"], names.setdefault(row["domain"], row["domain"]), topic, topic)


def dropped_schema() -> pa.Schema:
    """A row for each draft that fell away. like: base_id of the one that stayed; why: exact, near or embedding."""
    import pyarrow as pa

    columns: dict[str, pa.DataType] = {
        "domain": pa.string(),
        "text": pa.string(),
        "like": pa.string(),
        "why": pa.string(),
        "likeness": pa.float64(),
    }
    return pa.schema(columns)


async def write_bases(
    bases: Stage, dropped: Stage, drafts: Sequence[Draft], config: SynthesizeConfig, seed: int,
    vectors: Vectors | None = None, on: shards.Listener = lambda done: None,
) -> None:  # fmt: skip
    """Both tables of the drafts; nothing is done where they are whole already."""
    if count_rows(bases) + count_rows(dropped) == len(drafts):
        return
    kept, gone, sketches = copies([one.text for one in drafts], config.alike, vectors)
    await shards.fill(dropped, (_dropped(one, drafts) for one in gone), _as_they_are)
    first = clusters(sketches, config.together, [_topic(drafts[at]) for at in kept])
    del sketches
    ids = [base_id_of(drafts[at].text) for at in kept]
    names = _names(ids, first)
    stay = [drafts[at] for at in kept]
    split = _splits(stay, names, Shares(config.dev, config.test, seed))
    rows = (
        row_of(BaseRow(base, one.domain, one.topic, one.intent, one.text, name, part, one.task))
        for base, one, name, part in zip(ids, stay, names, split, strict=True)
    )
    await shards.fill(bases, rows, _as_they_are, on=on)


def count_rows(stage: Stage) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 0
    for path in stage.shards():
        try:
            count += int(pq.read_metadata(path).num_rows)
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"{path}: cannot be read as parquet ({' '.join(str(error).split())})") from None
    return count


def _topic(draft: Draft) -> str | None:
    return exactly(draft.topic) if draft.topic else None


def _dropped(copy: Copy, drafts: Sequence[Draft]) -> dict[str, Any]:
    return {
        "domain": drafts[copy.at].domain, "text": drafts[copy.at].text, "like": base_id_of(drafts[copy.of].text),
        "why": copy.why, "likeness": copy.likeness,
    }  # fmt: skip


def _names(ids: Sequence[str], first: Sequence[int]) -> list[str]:
    """A cluster's name is the least id in it: the same in whatever order its members came."""
    least: dict[int, str] = {}
    for base, root in zip(ids, first, strict=True):
        least[root] = min(base, least.get(root, base))
    return [least[root] for root in first]


def _splits(drafts: Sequence[Draft], names: Sequence[str], shares: Shares) -> list[str]:
    homes: dict[str, dict[str, None]] = {}
    said: dict[str, set[str]] = {}
    for draft, name in zip(drafts, names, strict=True):
        homes.setdefault(name, {})[draft.domain] = None
        if draft.split:
            said.setdefault(name, set()).add(draft.split)
    # Where somebody put neighbours in different splits, those he said nothing of go where they can do no harm.
    pinned = {name: next(split for split in STRICTEST if split in several) for name, several in said.items()}
    split = splits_of({name: tuple(domains) for name, domains in homes.items()}, shares, pinned)
    return [draft.split or split[name] for draft, name in zip(drafts, names, strict=True)]


async def _as_they_are(part: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(part)


@dataclass
class Tally:
    """What the tables of base prompts hold, counted in one walk."""

    domains: dict[str, Counter[str]]
    clusters: dict[str, int]
    torn: int
    """Clusters that lie in several splits, since a file says so."""

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Tally:
        domains: dict[str, Counter[str]] = {}
        sizes: Counter[str] = Counter()
        splits: dict[str, set[str]] = {}
        for row in rows:
            domains.setdefault(row["domain"], Counter())[row["split"]] += 1
            sizes[row["cluster"]] += 1
            splits.setdefault(row["cluster"], set()).add(row["split"])
        return cls(domains, dict(sizes), sum(len(several) > 1 for several in splits.values()))
