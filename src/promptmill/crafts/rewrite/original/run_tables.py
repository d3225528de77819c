"""The tables of a run as others read them: which stage holds what is told by its columns, whatever its name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptmill.crafts.rewrite.rewriter import IDS_OF_A_ROUND
from promptmill.crafts.rewrite.tables import (
    BASE,
    BaseRow,
    ImprovedRow,
    InputRow,
    OutputRow,
    PairRow,
    VariationRow,
)
from promptmill.crafts.rewrite.tested import CLEAN, OFFER, OFFERED, RAW
from promptmill.errors import InputError
from promptmill.store.records import schema_of
from promptmill.store.run import read_run

Row = dict[str, Any]
KINDS = ("bases", "variations", "inputs", "outputs", "scores", "pairs", "improved")
BESIDE = re.compile(r"dev_rewrites-|improved-(transfer|tuned)-|(outputs|scores)-(dev|transfer|tuned)-")
"""Stages whose keys others have too: first answers to dev prompts, and answers of other models than the run's."""
OF_A_TEST = re.compile(r"(outputs|scores|improved)-(?P<test>test|offered)-(?P<round>[0-9]+)-")
SCORES = ("base_id", "variation_id", "input_id", "sample_id", "validator", "criterion", "expected", "error")
"""Columns by which a table of scores is known."""
BATCH = 2048


@dataclass(frozen=True)
class RunTables:
    """run: its folder. stages: folders of shards by kind, in the order of their names; a kind may have none (not come
    to yet) or several (one for each round)."""

    run: Path
    stages: Mapping[str, Sequence[Path]]

    def rows(self, kind: str) -> Iterator[Row]:
        """All rows of a kind, a batch of them in memory at a time; a key comes once. InputError for a shard that cannot
        be read."""
        for folder in self.stages.get(kind, ()):
            rows = (row for path in _shards(folder) for row in _read(path))
            yield from (row for row in rows if _first(folder.name, row)) if kind in ("outputs", "scores") else rows

    def tested(self) -> Iterator[Row]:
        """What was tested, with the columns of variations: each round's first answers, the first that break no rule,
        and what was offered."""
        for folder in self.stages.get("improved", ()):
            found = OF_A_TEST.match(folder.name)
            if found is None:
                continue
            parts = ((OFFERED, "rewrite"),) if found["test"] == OFFER else ((RAW, "raw"), (CLEAN, "rewrite"))
            for row in (row for path in _shards(folder) for row in _read(path)):
                for place, name in parts:
                    if row[name] is not None and (place != RAW or row[name] != row["prompt"]):
                        number = row["round"] * IDS_OF_A_ROUND + place
                        yield {"base_id": row["base_id"], "variation_id": number, "origin": "rewriter",
                               "round": row["round"], "text": row[name], "error": None}  # fmt: skip


def _first(stage: str, row: Row) -> bool:
    """Whether this answer stands in no stage before: later tests ask the prompts as they are again, and that of what is
    offered the first answers of its round too."""
    found = OF_A_TEST.match(stage)
    if found is None:
        return True
    variation: int = row["variation_id"]
    if found["test"] == OFFER:
        return variation != BASE and variation % IDS_OF_A_ROUND == OFFERED
    return variation != BASE or found["round"] == "0"


def _read(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as parquet ({_line(error)})") from None


def tables_of(run: Path, chosen: Mapping[str, Sequence[str]] | None = None) -> RunTables:
    """chosen: names of stages by kind, where not all that a run has are meant. InputError for a folder that is no run,
    for a stage that is not there, and where there is no table at all."""
    read_run(run)
    found: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    columns = {kind: frozenset(names) for kind, names in _columns().items()}
    used = _used(run)
    for folder in sorted(path for path in (run / "stages").glob("*") if path.is_dir()):
        if BESIDE.match(folder.name) or (used and folder.name not in used):
            continue
        have = _columns_in(folder)
        for kind in KINDS:
            if columns[kind] <= have and folder.name in (chosen or {}).get(kind, (folder.name,)):
                found[kind].append(folder)
    for kind, names in (chosen or {}).items():
        if missing := sorted(set(names) - {folder.name for folder in found.get(kind, ())}):
            raise InputError(f"{run}: has no stage {missing[0]!r} with {kind}")
    if not any(found.values()):
        raise InputError(f"{run}: has no tables of a rewrite yet; run it first")
    return RunTables(run, found)


def _used(run: Path) -> frozenset[str]:
    """The stages of the run's last report: others were made by other settings, with the same keys. None where there is
    no report, or an earlier version's."""
    try:
        told = json.loads((run / "report.json").read_text(encoding="utf-8")).get("tables")
    except FileNotFoundError:
        return frozenset()
    except (ValueError, AttributeError):
        raise InputError(f"{run}/report.json: cannot be read; run the same command again") from None
    return frozenset(told or ())


def _columns() -> dict[str, Sequence[str]]:
    records = (BaseRow, VariationRow, InputRow, OutputRow, PairRow, ImprovedRow)
    names = ("bases", "variations", "inputs", "outputs", "pairs", "improved")
    return {name: schema_of(kind).names for name, kind in zip(names, records, strict=True)} | {"scores": SCORES}


def _columns_in(folder: Path) -> frozenset[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in _shards(folder)[:1]:
        try:
            return frozenset(pq.read_schema(path).names)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path}: cannot be read as parquet ({_line(error)})") from None
    return frozenset()


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
