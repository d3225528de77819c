"""A run's tables in the original project's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from promptmill.crafts.rewrite.original.exporting import export_original
from promptmill.crafts.rewrite.original.importing import import_original
from promptmill.crafts.rewrite.tables import BaseRow, OutputRow, VariationRow
from promptmill.errors import InputError
from promptmill.judge.table import scores_schema
from promptmill.store.records import row_of, schema_of
from promptmill.store.run import Run
from tests.originals import SMALL, a_folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return a_folder(tmp_path / "seed", SMALL)


def a_run(folder: Path, tables: Mapping[str, tuple[pa.Schema, Sequence[Mapping[str, Any]]]]) -> Path:
    with Run(folder, "rewrite", {"test": 1}) as run:
        for name, (schema, several) in tables.items():
            run.stage(name, schema).write(0, several)
    return folder


def a_score(variation: int, validator: str, expected: float | None, **more: Any) -> dict[str, Any]:
    return {
        "base_id": "b1", "variation_id": variation, "input_id": 0, "sample_id": 0, "validator": validator,
        "criterion": "form", "repeat": 0, "expected": expected, "error": None if expected else "unread: hm", **more,
    }  # fmt: skip


def our_own(folder: Path) -> Path:
    bases = [BaseRow(f"b{one}", "d", None, "i", f"Prompt {one}.", f"c{one}", "train") for one in (0, 1, 2)]
    outputs = [OutputRow("b1", at, tried, sample, f"{at} {tried} {sample}", "stop") for at in (-1, 5)
               for tried in (1, 0) for sample in (0, 1)]  # fmt: skip
    scores = [
        a_score(-1, "a", 4.25), a_score(-1, "a", 3.75, repeat=1), a_score(-1, "b", None),
        a_score(-1, "a", 1.0, sample_id=1), a_score(-1, "a", 1.0, planted="shuffled"), a_score(5, "a", None),
        a_score(5, "b", None),
    ]  # fmt: skip
    return a_run(folder, {
        "bases-1f": (schema_of(BaseRow), [row_of(one) for one in bases]),
        "variations-2e": (schema_of(VariationRow), [row_of(VariationRow("b1", 5, "eda", 0, "Another."))]),
        "answers-3d": (schema_of(OutputRow), [row_of(one) for one in outputs]),
        "scores-4c": (scores_schema(), scores),
    })  # fmt: skip


def test_our_own_run_is_written_with_the_first_answer_of_each_prompt(tmp_path: Path) -> None:
    counts = export_original(our_own(tmp_path / "run"), tmp_path / "to", weights={"form": 2.0})
    assert counts == {
        "base_prompts": 3, "prompt_variations": 2, "model_outputs": 2, "validation_scores": 2, "files": 3,
        "left_out_outputs": 6, "left_out_scores": 1,
    }  # fmt: skip
    found = pq.read_table(tmp_path / "to" / "model_outputs" / "1_model_output.parquet").to_pylist()
    assert [row["model_output_string"] for row in found] == ["-1 0 0", "5 0 0"]
    found = pq.read_table(tmp_path / "to" / "prompt_variations" / "1_prompt_variation.parquet").to_pylist()
    assert [(row["bpv_idx"], row["prompt_variation_string"]) for row in found] == [
        ([1, -1], "Prompt 1."), ([1, 5], "Another."),
    ]  # fmt: skip


def test_unread_answers_are_null_and_in_no_mean(tmp_path: Path) -> None:
    export_original(our_own(tmp_path / "run"), tmp_path / "to", weights={"form": 2.0})
    table = pq.read_table(tmp_path / "to" / "validation_scores" / "1_validation_score.parquet")
    assert table.schema.field("form").type == pa.list_(pa.float64())
    assert table.to_pylist() == [
        {"bpv_idx": [1, -1], "form": [4.0, None], "form_avg": 4.0, "total_score": 8.0},
        {"bpv_idx": [1, 5], "form": [None, None], "form_avg": None, "total_score": None},
    ]


def test_repeats_are_averaged_and_a_score_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    later = [a_score(-1, "a", 4.0), a_score(-1, "a", 5.0, repeat=1)]
    with Run(tmp_path / "run", "rewrite", {}) as run:
        run.stage("scores-1", scores_schema()).write(0, later)
        run.stage("scores-2", scores_schema()).write(0, [a_score(-1, "a", 1.0)])
    export_original(tmp_path / "run", tmp_path / "to")
    found = pq.read_table(tmp_path / "to" / "validation_scores" / "0_validation_score.parquet").to_pylist()
    assert found[0]["form"] == [4.5]


def test_an_export_never_writes_over_something(small: Path, tmp_path: Path) -> None:
    import_original(small, tmp_path / "run")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="there is something already"):
        export_original(tmp_path / "run", tmp_path / "to")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".to")] == []


def test_a_folder_that_is_no_run_or_has_no_tables_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run.json"):
        export_original(tmp_path, tmp_path / "to")
    with pytest.raises(InputError, match="no tables of a rewrite"):
        export_original(a_run(tmp_path / "run", {}), tmp_path / "to")


def test_an_export_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    run = our_own(tmp_path / "run")
    (run / "stages" / "answers-3d" / "part-00001.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(InputError, match=r"part-00001\.parquet: cannot be read as parquet"):
        export_original(run, tmp_path / "to")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
