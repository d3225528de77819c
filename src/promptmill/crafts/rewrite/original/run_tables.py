"""The tables of a run as others read them: which stage holds what is told by its columns, whatever its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptmill.crafts.rewrite.tables import BaseRow, InputRow, OutputRow, PairRow, VariationRow
from promptmill.errors import InputError
from promptmill.store.records import schema_of
from promptmill.store.run import read_run

Row = dict[str, Any]
KINDS = ("bases", "variations", "inputs", "outputs", "scores", "pairs")
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
        """All rows of a kind, a batch of them in memory at a time. InputError for a shard that cannot be read."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for folder in self.stages.get(kind, ()):
            for path in _shards(folder):
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
    for folder in sorted(path for path in (run / "stages").glob("*") if path.is_dir()):
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


def _columns() -> dict[str, Sequence[str]]:
    records = (BaseRow, VariationRow, InputRow, OutputRow, PairRow)
    names = ("bases", "variations", "inputs", "outputs", "pairs")
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
