"""`rewrite export --layout prose`: what a run has made, as seven parquet files that other tools read.

All keys are plain columns, so that the files join on base_id, variation_id, input_id and sample_id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptmill.crafts.rewrite.original.run_tables import RunTables, tables_of
from promptmill.crafts.rewrite.original.scratch import Scratch
from promptmill.crafts.rewrite.tables import BASE, VariationRow
from promptmill.errors import InputError
from promptmill.judge.table import scores_schema
from promptmill.store.files import write_whole
from promptmill.store.records import row_of
from promptmill.store.whole import whole_folder

if TYPE_CHECKING:
    import pyarrow as pa

Rows = Iterable[Mapping[str, Any]]
GROUP = 4096
"""Rows of a row group, which is what is in memory at a time."""

# name: type, with ? where there may be none
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "base_prompts": {
        "base_id": "text", "domain": "text", "topic": "text?", "intent": "text", "prompt": "text", "cluster": "text",
        "split": "text", "task": "text?",
    },
    "prompt_variations": {
        "base_id": "text", "variation_id": "int", "origin": "text", "round": "int", "prompt": "text?", "error": "text?",
    },
    "model_outputs": {
        "base_id": "text", "variation_id": "int", "input_id": "int", "sample_id": "int", "input": "text?",
        "output": "text?", "finish": "text?", "error": "text?",
    },
    "test_results": {
        "base_id": "text", "domain": "text?", "prompt": "text?", "rewrite": "text?", "base_value": "float?",
        "rewrite_value": "float?", "base_score": "float?", "rewrite_score": "float?", "guard": "text?",
        "left_alone": "bool?",
    },
    "synthetic_data": {
        "base_id": "text", "domain": "text", "split": "text?", "round": "int", "kind": "text", "prompt": "text",
        "rewrite": "text", "rejected": "text", "gain": "float?", "margin": "float?", "se": "float?",
        "preferred": "float?", "reason": "text?",
    },
    "comparison_results": {"base_id": "text", "validator": "text", "order": "text", "p_rewrite": "float?"},
}  # fmt: skip
"""The columns of the files, in order; validator_scores has those of `judge.table`."""
FILES = (
    "base_prompts", "prompt_variations", "model_outputs", "validator_scores", "test_results", "synthetic_data",
    "comparison_results",
)  # fmt: skip


def export_prose(run: Path, to: Path, tests: Rows = (), comparisons: Rows = ()) -> dict[str, int]:
    """Write the seven files into the new folder `to`; how many rows each has.

    run: a folder of a run, or of an import. A stage that it has not come to makes a file without rows.
    tests, comparisons: rows with the columns of test_results and comparison_results; other keys are left out.
    InputError for a folder that is no run, or a target in which there is something.
    """
    tables = tables_of(run)
    refuse(to)
    with whole_folder(to) as folder:
        with Scratch(folder) as scratch:
            known = scratch.put("inputs", ((_input_key(row), {"input": row["input"]}) for row in tables.rows("inputs")))
            scratch.index()
            kept = scratch if known else None
            written = {name: write_table(folder, name, rows) for name, rows in _tables(tables, kept)}
        written["test_results"] = write_test_results(folder, tests)
        written["comparison_results"] = write_comparisons(folder, comparisons)
    return {name: written[name] for name in FILES}


def refuse(to: Path) -> None:
    """InputError where there is something already."""
    if to.is_file() or (to.is_dir() and any(to.iterdir())):
        raise InputError(f"{to}: there is something already; name a new folder")


def write_test_results(folder: Path, rows: Rows) -> int:
    """rows: one for each base prompt of the test. guard: the rule that the rewrite breaks, or several of them, or
    None; left_alone: whether the rewriter kept the prompt as it was."""
    return write_table(folder, "test_results", ({**row, "guard": _rules(row.get("guard"))} for row in rows))


def write_comparisons(folder: Path, rows: Rows) -> int:
    """rows: one for each judge and order of the answers. p_rewrite: the judge's probability that the rewrite's answer
    is the better one."""
    return write_table(folder, "comparison_results", ({**row, "order": _text(row.get("order"))} for row in rows))


def write_table(folder: Path, name: str, rows: Rows) -> int:
    """Write one of the seven files, a row group at a time; how many rows it has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, count = schema_of_file(name), 0

    def write(part: Path) -> None:
        nonlocal count
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            for group in _groups(rows):
                try:
                    plain = [{key: row.get(key) for key in schema.names} for row in group]
                    writer.write_table(pa.Table.from_pylist(plain, schema))
                except (pa.ArrowException, TypeError, ValueError) as error:
                    why = " ".join(str(error).split())[:120]
                    raise InputError(f"{name}: a row does not fit its columns ({why})") from None
                count += len(group)

    write_whole(folder / f"{name}.parquet", write)
    return count


def schema_of_file(name: str) -> pa.Schema:
    import pyarrow as pa

    if name == "validator_scores":
        return scores_schema()
    types: dict[str, Callable[[], pa.DataType]] = {
        "text": pa.string, "int": pa.int32, "float": pa.float64, "bool": pa.bool_,
    }  # fmt: skip
    return pa.schema(
        [pa.field(key, types[kind.rstrip("?")](), nullable=kind.endswith("?")) for key, kind in COLUMNS[name].items()]
    )


def _tables(tables: RunTables, inputs: Scratch | None) -> Iterator[tuple[str, Rows]]:
    splits: dict[str, str] = {}

    def bases() -> Iterator[Mapping[str, Any]]:
        for row in tables.rows("bases"):
            splits[row["base_id"]] = row["split"]
            yield {**row, "prompt": row["text"]}

    yield "base_prompts", bases()
    yield "prompt_variations", ({**row, "prompt": row["text"]} for row in _variations(tables))
    yield "model_outputs", ({**row, "input": _input(inputs, row)} for row in tables.rows("outputs"))
    yield "validator_scores", tables.rows("scores")
    yield "synthetic_data", ({**_pair(row), "split": splits.get(row["base_id"])} for row in tables.rows("pairs"))


def _variations(tables: RunTables) -> Iterator[Mapping[str, Any]]:
    """All that was tried: the base prompts themselves, what operators and rewriters made of them, and what was
    tested."""
    themselves = set()
    for row in chain(tables.rows("variations"), tables.tested()):
        if row["variation_id"] == BASE:  # an import has them
            themselves.add(row["base_id"])
        yield row
    for row in tables.rows("bases"):
        if row["base_id"] not in themselves:
            yield row_of(VariationRow(row["base_id"], BASE, "base", 0, row["text"]))


def _input_key(row: Mapping[str, Any]) -> str:
    return f"{row['base_id']} {row['input_id']}"


def _input(inputs: Scratch | None, row: Mapping[str, Any]) -> str | None:
    found = inputs.take("inputs", _input_key(row)) if inputs else []
    return str(found[0]["input"]) if found else None


def _pair(row: Mapping[str, Any]) -> dict[str, Any]:
    """gain: of the better one over the base prompt; 0 where that itself is the better, None where the pair is of two
    rewrites, or of one that broke a rule."""
    gain = None
    if row["chosen"] == row["prompt"]:
        gain = 0.0
    elif row["rejected"] == row["prompt"]:
        gain = row["margin"]
    return {**row, "rewrite": row["chosen"], "gain": gain}


def _groups(rows: Rows) -> Iterator[Sequence[Mapping[str, Any]]]:
    walk = iter(rows)
    while group := list(islice(walk, GROUP)):
        yield group


def _rules(guard: Any) -> str | None:
    if not guard or isinstance(guard, str):
        return guard or None
    return "; ".join(map(str, guard)) if isinstance(guard, Iterable) else str(guard)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
