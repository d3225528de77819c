"""What a bank is made of: prompts out of a file, or of traces whose prompts are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from promptmill.crafts.recover.synthesize.cells import cell, first_of
from promptmill.crafts.recover.traces import Trace
from promptmill.errors import InputError
from promptmill.tasks.formats import Row, read_table
from promptmill.tasks.task import SPLITS

COLUMNS = ("prompt", "rewrite_prompt")


@dataclass(frozen=True, slots=True)
class Known:
    """A prompt, and (where it is known) a trace of it. cluster: prompts of one say nearly the same."""

    prompt: str
    cluster: str | None = None
    trace: Trace | None = None


def solved(traces: Sequence[Trace]) -> list[Known]:
    """Traces whose prompts are known, for a bank."""
    return [Known(one.prompt, one.cluster, one) for one in traces if one.prompt is not None]


def read_bank(path: Path) -> list[Known]:
    """Prompts from CSV, JSON lines, JSON or parquet: a column `prompt` or `rewrite_prompt`; a row with a
    `rewritten_text` (and an `original_text`) is a worked example too. `cluster` may be given; rows whose `split` is dev
    or test are left out.

    InputError names file and row of what cannot be used.
    """
    rows = read_table(path).rows
    found = [one for number, row in enumerate(rows) if (one := _known(path, number, row)) is not None]
    if not found:
        raise InputError(f"{path}: no row is for a bank, for all are of the split dev or test")
    return found


def _known(path: Path, number: int, row: Row) -> Known | None:
    where, values = f"{path}, {row.where}", row.values
    prompt = first_of(values, COLUMNS, where)
    rewritten, original, split = (cell(values, name, where) for name in ("rewritten_text", "original_text", "split"))
    if split not in (None, *SPLITS):
        raise InputError(f"{where}: split must be train, dev or test, not {split!r}")
    if split in ("dev", "test"):
        return None
    number_or_name = values.get("cluster")
    cluster = str(number_or_name) if isinstance(number_or_name, int) else cell(values, "cluster", where)
    trace = Trace(f"bank-{number}", original, rewritten, prompt, cluster=cluster) if rewritten is not None else None
    return Known(prompt, cluster, trace)
