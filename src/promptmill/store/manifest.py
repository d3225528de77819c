"""What a run has made, file by file: two runs that made the same have the same manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from promptmill.errors import InputError

CHUNK = 1 << 20


def manifest(run: Path) -> dict[str, Any]:
    """`stages`: for each table its shards in order, with rows and SHA-256; `adapters`: SHA-256 of each file of weights
    below a folder `adapter`, by its path in the run. Files are read a chunk at a time. InputError for a shard that is
    no parquet."""
    stages = sorted(path for path in (run / "stages").glob("*") if path.is_dir())
    weights: Iterable[Path] = sorted(run.glob("*/adapter/*.safetensors"))
    return {
        "stages": {stage.name: [_shard(path) for path in sorted(stage.glob("part-*.parquet"))] for stage in stages},
        "adapters": {str(path.relative_to(run)): sha256_of(path) for path in weights},
    }


def sha256_of(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()


def _shard(path: Path) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: cannot be read as parquet ({' '.join(str(error).split())})") from None
    return {"shard": path.name, "rows": rows, "sha256": sha256_of(path)}
