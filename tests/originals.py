"""What the tests of the original's layout share: its files as that project wrote them, and what of them is in a run."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from promptmill.crafts.rewrite.original.run_tables import tables_of

WEIGHTS = {"section_1": 1.0, "section_2": 1.0, "section_3": 0.5, "section_4": 2.0, "section_5": 0.5}
KEY = ("bpv_idx", pa.list_(pa.int64()))
Scores = Mapping[str, Sequence[int | None]]


def write_database(folder: Path, texts: Mapping[int, str | None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(folder / "base_prompts.db")) as base, base:
        base.execute("CREATE TABLE base_prompts (bp_idx INT, base_prompt_string TEXT)")
        base.executemany("INSERT INTO base_prompts VALUES (?, ?)", list(texts.items()))


def write_texts(path: Path, base: int, column: str, texts: Mapping[int, str | None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"bpv_idx": [base, at], column: text} for at, text in texts.items()]
    pq.write_table(pa.Table.from_pylist(rows, pa.schema([KEY, (column, pa.string())])), path)


def write_variations(folder: Path, base: int, texts: Mapping[int, str | None]) -> None:
    write_texts(folder / f"{base}_prompt_variation.parquet", base, "prompt_variation_string", texts)


def write_outputs(folder: Path, base: int, texts: Mapping[int, str | None]) -> None:
    write_texts(folder / f"{base}_model_output.parquet", base, "model_output_string", texts)


def write_scores(folder: Path, base: int, scores: Mapping[int, Scores]) -> None:
    """scores: by variation and criterion, a number for each validator; averaged as the original did, zeros and all."""
    criteria = list(next(iter(scores.values())))
    rows = []
    for at, given_scores in scores.items():
        means = {name: sum(one or 0 for one in several) / len(several) for name, several in given_scores.items()}
        row: dict[str, Any] = {"bpv_idx": [base, at], **given_scores}
        row |= {f"{name}_avg": mean for name, mean in means.items()}
        rows.append(row | {"total_score": sum(WEIGHTS[name] * mean for name, mean in means.items())})
    fields = [KEY, *((name, pa.list_(pa.int64())) for name in criteria)]
    fields += [*((f"{name}_avg", pa.float64()) for name in criteria), ("total_score", pa.float64())]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(fields)), folder / f"{base}_validation_score.parquet")


def a_folder(folder: Path, data: Mapping[int, Mapping[str, Any]]) -> Path:
    write_database(folder, {base: one["text"] for base, one in data.items()})
    for base, one in data.items():
        if one["variations"]:
            write_variations(folder / "prompt_variations", base, {-1: one["text"]} | one["variations"])
        if one["outputs"]:
            write_outputs(folder / "model_outputs", base, one["outputs"])
        if one["scores"]:
            write_scores(folder / "validation_scores", base, one["scores"])
    return folder


def read_layout(folder: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(folder / "base_prompts.db")) as base:
        found: dict[str, Any] = {"base_prompts": base.execute("SELECT * FROM base_prompts ORDER BY 1").fetchall()}
    for path in folder.glob("*/*.parquet"):
        table = pq.read_table(path)
        found[f"{path.parent.name}/{path.name}"] = (table.schema.names, sorted(map(str, table.to_pylist())))
    return found


SMALL = {
    3: {
        "text": "Write a guide on volcanoes for third-graders.",
        "variations": {0: "Explain volcanoes to third-graders.", 1: "A guide about volcanoes."},
        "outputs": {-1: "Hot rock.", 0: "Mountains of fire.", 1: "Lava."},
        "scores": {at: {f"section_{one}": [4, 5] for one in range(1, 6)} for at in (-1, 0, 1)},
    },
    12: {"text": "Write a guide on birds for third-graders.", "variations": {}, "outputs": {}, "scores": {}},
}


def rows(run: Path, kind: str) -> list[dict[str, Any]]:
    return list(tables_of(run).rows(kind))


def problems(report: Mapping[str, Any]) -> dict[str, str]:
    return {one["file"]: one["problem"] for one in report["problems"]}
