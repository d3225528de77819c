"""What a prompt has left behind: a text before and after it; files of them, and groups that one prompt has made."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptmill.errors import InputError
from promptmill.store.files import write_whole
from promptmill.tasks.formats import Row, read_table
from promptmill.tasks.task import SPLITS

COLUMNS = ("id", "original_text", "rewritten_text", "rewrite_prompt")
"""Those of the competition, in its order."""


@dataclass(frozen=True, slots=True)
class Trace:
    """original: the text before, None where only the result is known. rewritten: the text that the prompt has led to.
    prompt: the truth, where it is known. group: traces of one group were made by one prompt. split, cluster: prompts
    that say nearly the same are in one cluster, and a cluster is in one split. generator: the model that wrote it.
    similarity: of both texts, 0 to 1 (character n-grams)."""

    id: str
    original: str | None
    rewritten: str
    prompt: str | None = None
    group: str | None = None
    split: str | None = None
    cluster: str | None = None
    generator: str | None = None
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Traces of one prompt, one or more. What is recovered is the prompt of a group."""

    id: str
    traces: tuple[Trace, ...]

    @property
    def prompt(self) -> str | None:
        """The truth, where it is known."""
        return self.traces[0].prompt

    @property
    def cluster(self) -> str | None:
        return self.traces[0].cluster


NONE = Trace("", None, "")


def read_traces(path: Path, *, need_prompt: bool = False, allow_empty: bool = False) -> list[Trace]:
    """Traces from CSV, JSON lines, JSON or parquet with the competition's columns.

    Columns: `rewritten_text`; optional `id` (default: the row's number from 0), `original_text`, `rewrite_prompt`,
    `group`, `split` (train, dev or test), `cluster` and `generator`. Others are not looked at.

    need_prompt: whether every row must have a rewrite_prompt. allow_empty: rows without a rewritten text are kept (with
    an empty one) instead of refused. InputError names file and row of what cannot be used.
    """
    traces, seen = [], dict[str, str]()
    for number, row in enumerate(read_table(path).rows):
        trace = _trace(path, number, row, need_prompt, allow_empty)
        before = seen.setdefault(trace.id, row.where)
        if before != row.where:
            made = " (a row without an id has its number, from 0, in place of it)" if not row.values.get("id") else ""
            raise InputError(f"{path}, {row.where}: the id {trace.id!r} stands in {before} too{made}; ids must differ")
        traces.append(trace)
    return traces


def groups_of(traces: Sequence[Trace]) -> list[Group]:
    """Traces with a group of the same name together, every other one alone; in the order of their first traces.

    InputError where traces of one group have different prompts.
    """
    found: dict[tuple[bool, str], list[Trace]] = {}
    for trace in traces:
        found.setdefault((trace.group is not None, trace.group or trace.id), []).append(trace)
    groups = [Group(name, tuple(several)) for (_, name), several in found.items()]
    for group in groups:
        prompts = {one.prompt for one in group.traces}
        if len(prompts) > 1:
            several = ", ".join(map(repr, sorted(map(str, prompts))))[:200]
            raise InputError(f"group {group.id!r}: its traces have different prompts ({several}); a group is what one "
                             "prompt has made")  # fmt: skip
    alone = {trace.id for trace in traces if trace.group is None}
    if both := next((one.id for one in groups if one.traces[0].group is not None and one.id in alone), None):
        raise InputError(f"{both!r} is the name of a group and the id of a trace outside it; rename one of them")
    return groups


def _trace(path: Path, number: int, row: Row, need_prompt: bool, allow_empty: bool) -> Trace:
    where = f"{path}, {row.where}"
    if "rewritten_text" not in row.values:
        raise InputError(f"{where}: there is no column 'rewritten_text' (columns: {', '.join(map(str, row.values))})")
    texts = {name: _text(row.values, name, where) for name in (*COLUMNS, "group", "split", "cluster", "generator")}
    if texts["rewritten_text"] is None and not allow_empty:
        raise InputError(f"{where}: the rewritten_text is empty; there is nothing to recover a prompt from: "
                         "leave the row out")  # fmt: skip
    if need_prompt and texts["rewrite_prompt"] is None:
        raise InputError(f"{where}: there is no rewrite_prompt, which is what is to be learned; leave the row out")
    if texts["split"] not in (None, *SPLITS):
        raise InputError(f"{where}: split must be train, dev or test, not {texts['split']!r}")
    return Trace(
        texts["id"] or str(number), texts["original_text"], texts["rewritten_text"] or "", texts["rewrite_prompt"],
        texts["group"], texts["split"], texts["cluster"], texts["generator"],
    )  # fmt: skip


def _text(values: Mapping[str, Any], name: str, where: str) -> str | None:
    """A cell; None for one that is empty. Numbers (of an id, say) as they are written."""
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"{where}: {name} must be text, not {type(value).__name__}")
    if value != value:  # a float that is no number: an empty cell of a table library
        return None
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{where}: {name} holds half a surrogate pair, which is no text") from None
    return text if text.strip() else None


def write_traces(path: Path, traces: Sequence[Trace]) -> None:
    """CSV, JSON lines or parquet, by the name, with the columns of `read_traces` and `similarity`. InputError for
    another name."""
    check_writable(path)
    write = {".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}[path.suffix]
    write_whole(path, lambda part: write(part, [_row(one) for one in traces]))


def check_writable(path: Path) -> None:
    """InputError for a file that `write_traces` cannot write, said before there is anything to write."""
    if path.suffix not in (".csv", ".jsonl", ".parquet"):
        raise InputError(f"{path}: must end in .csv, .jsonl or .parquet")


def check_place(path: Path, inputs: Sequence[Path | None] = ()) -> None:
    """InputError for a file (of --to) that cannot be written, or that is one of `inputs`."""
    where = f"--to {path}"
    if path.is_dir():
        raise InputError(f"{where}: is a folder; name a file")
    if not path.parent.is_dir():
        raise InputError(f"{where}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise InputError(f"{where}: must not be written there; name another file")
    if any(one is not None and one.exists() and path.exists() and path.samefile(one) for one in inputs):
        raise InputError(f"{where}: is what is read; name another file to write")


def _row(trace: Trace) -> dict[str, Any]:
    return {
        "id": trace.id, "original_text": trace.original, "rewritten_text": trace.rewritten,
        "rewrite_prompt": trace.prompt, "group": trace.group, "split": trace.split, "cluster": trace.cluster,
        "generator": trace.generator, "similarity": trace.similarity,
    }  # fmt: skip


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(_row(NONE)))
        writer.writeheader()
        writer.writerows(rows)


def _write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {name: pa.float64() if name == "similarity" else pa.string() for name in _row(NONE)}
    pq.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(kinds)), path)
