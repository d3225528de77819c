from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from promptmill.crafts.rewrite.original.prose import FILES, GROUP, export_prose, schema_of_file, write_table
from promptmill.crafts.rewrite.original.run_tables import tables_of
from promptmill.crafts.rewrite.tables import BASE, BaseRow, ImprovedRow, InputRow, OutputRow, PairRow, VariationRow
from promptmill.errors import InputError
from promptmill.judge.table import scores_schema
from promptmill.store.records import row_of, schema_of
from promptmill.store.run import Run

BASES = [BaseRow("b0", "d", "t", "i", "Say it.", "c", "train"), BaseRow("b1", "d", None, "i", "Do it.", "c", "test")]
VARIATIONS = [VariationRow("b0", 0, "mutate", 0, "Say it well."), VariationRow("b0", 1000, "rewriter", 1, None, "no")]
INPUTS = [InputRow("b0", 0, "first"), InputRow("b0", 1, "second")]
OUTPUTS = [
    OutputRow("b0", 0, 1, 0, "out", "stop"),
    OutputRow("b0", 0, 0, 0, None, None, "timeout: slow"),
    OutputRow("b1", -1, 0, 0, "whole", "stop"),
]
SCORE = {
    "base_id": "b0", "variation_id": 0, "input_id": 1, "sample_id": 0, "planted": None, "validator": "v",
    "criterion": "form", "repeat": 0, "expected": 4.5, "level": 5, "entropy": 0.1, "mass": 0.9, "how": "exact",
    "raw": "5", "prompt_tokens": 9, "completion_tokens": 1, "length": 3, "error": None,
}  # fmt: skip
PAIRS = [
    PairRow("b0", 1, "d", "best_base", "Say it.", "Say it well.", "Say it.", 0.25, 0.1, 0.8),
    PairRow("b0", 1, "d", "best_worst", "Say it.", "Say it well.", "Shout.", 0.5, 0.1, 0.9),
    PairRow("b1", 1, "d", "restraint", "Do it.", "Do it.", "Do.", 0.1, 0.05, None),
    PairRow("b1", 2, "d", "guard", "Do it.", "Do it well.", "I cannot.", None, None, None, "refusal"),
]
TESTS = [
    {"base_id": "b1", "domain": "d", "prompt": "Do it.", "rewrite": "Do it.", "base_value": 0.5, "rewrite_value": 0.5,
     "base_score": None, "rewrite_score": None, "guard": None, "left_alone": True, "more": "not asked for"},
    {"base_id": "b2", "guard": ["length", "refusal"], "left_alone": False},
]  # fmt: skip
COMPARED = [{"base_id": "b1", "validator": "v", "order": 0, "p_rewrite": 0.75}]

Table = tuple[Any, Sequence[Any]]


def a_run(folder: Path, **more: Table) -> Path:
    """more: further stages, by name with _ for -."""
    stages: Mapping[str, Table] = {
        "bases-0a": (BaseRow, BASES), "variations-1b": (VariationRow, VARIATIONS), "inputs-2c": (InputRow, INPUTS),
        "round-1-answers-3d": (OutputRow, OUTPUTS), "round-1-pairs-5f": (PairRow, PAIRS),
    }  # fmt: skip
    with Run(folder, "rewrite", {}) as run:
        for name, (kind, several) in (stages | more).items():
            run.stage(name.replace("_", "-"), schema_of(kind)).write(0, [row_of(one) for one in several])
        run.stage("round-1-scores-4e", scores_schema()).write(0, [SCORE])
        run.stage("topics-9z", pa.schema([("topic", pa.string())])).write(0, [{"topic": "not exported"}])
    return folder


def exported(tmp_path: Path, **given: Any) -> dict[str, list[dict[str, Any]]]:
    counts = export_prose(a_run(tmp_path / "run"), tmp_path / "to", **given)
    found = {path.stem: pq.read_table(path).to_pylist() for path in (tmp_path / "to").iterdir()}
    assert counts == {name: len(found[name]) for name in FILES}
    return found


def test_seven_files_with_plain_key_columns(tmp_path: Path) -> None:
    found = exported(tmp_path, tests=TESTS, comparisons=COMPARED)
    assert set(found) == set(FILES)
    for name in FILES:
        schema = pq.read_schema(tmp_path / "to" / f"{name}.parquet")
        assert schema == schema_of_file(name)
        assert not any(pa.types.is_nested(field.type) for field in schema)
    assert found["base_prompts"][0] == {
        "base_id": "b0", "domain": "d", "topic": "t", "intent": "i", "prompt": "Say it.", "cluster": "c",
        "split": "train", "task": None,
    }  # fmt: skip
    assert [(row["variation_id"], row["prompt"], row["error"]) for row in found["prompt_variations"]] == [
        (0, "Say it well.", None), (1000, None, "no"), (BASE, "Say it.", None), (BASE, "Do it.", None),
    ]  # fmt: skip
    assert found["validator_scores"] == [SCORE]


def test_outputs_come_with_the_input_that_they_answer(tmp_path: Path) -> None:
    found = exported(tmp_path)["model_outputs"]
    assert [(row["input"], row["output"]) for row in found] == [("second", "out"), ("first", None), (None, "whole")]
    assert found[1]["error"] == "timeout: slow"


def test_answers_of_other_models_and_of_later_tests_to_the_same_do_not_share_a_key(tmp_path: Path) -> None:
    def answer(variation: int, text: str) -> OutputRow:
        return OutputRow("b1", variation, 0, 0, text, "stop")

    tested = ImprovedRow("b1", 1, "Do it.", "Do.", [], "Do it now.", "", None)
    more: dict[str, Table] = {
        "outputs_test_0_a": (OutputRow, [answer(BASE, "own")]),
        "outputs_test_1_b": (OutputRow, [answer(BASE, "own"), answer(1000, "raw"), answer(1001, "clean")]),
        "outputs_offered_1_c": (OutputRow, [answer(BASE, "own"), answer(1000, "raw"), answer(1002, "offered")]),
        "outputs_dev_1_d": (OutputRow, [answer(2000, "dev")]),
        "outputs_transfer_1_e": (OutputRow, [answer(1001, "other model")]),
        "improved_test_1_f": (ImprovedRow, [tested]),
        "improved_offered_1_g": (ImprovedRow, [replace(tested, rewrite="Do it then.")]),
    }
    run = a_run(tmp_path / "run", **more)
    export_prose(run, tmp_path / "to")
    outputs, variations = (
        [(row["variation_id"], row[name]) for row in pq.read_table(tmp_path / "to" / f"{file}.parquet").to_pylist()
         if row["base_id"] == "b1"]
        for file, name in (("model_outputs", "output"), ("prompt_variations", "prompt"))
    )  # fmt: skip
    assert sorted(set(outputs) - {(BASE, "whole")}) == [
        (BASE, "own"), (1000, "raw"), (1001, "clean"), (1002, "offered"),
    ]  # fmt: skip
    assert sorted(variations) == [(BASE, "Do it."), (1000, "Do."), (1001, "Do it now."), (1002, "Do it then.")]


def test_stages_that_the_last_report_is_not_of_are_left_out(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", outputs_of_other_settings=(OutputRow, [OutputRow("b0", 7, 0, 0, "old", "stop")]))
    used = [path.name for path in (run / "stages").iterdir() if "other" not in path.name]
    (run / "report.json").write_text(json.dumps({"tables": used}))
    export_prose(run, tmp_path / "to")
    assert "old" not in pq.read_table(tmp_path / "to" / "model_outputs.parquet")["output"].to_pylist()


def test_synthetic_data_has_the_rewrite_and_what_it_gains_over_the_base_prompt(tmp_path: Path) -> None:
    found = exported(tmp_path)["synthetic_data"]
    assert [(row["kind"], row["prompt"], row["rewrite"], row["gain"], row["split"]) for row in found] == [
        ("best_base", "Say it.", "Say it well.", 0.25, "train"),
        ("best_worst", "Say it.", "Say it well.", None, "train"),
        ("restraint", "Do it.", "Do it.", 0.0, "test"),
        ("guard", "Do it.", "Do it well.", None, "test"),
    ]
    assert found[3]["reason"] == "refusal"


def test_rows_of_the_test_are_those_that_are_given(tmp_path: Path) -> None:
    found = exported(tmp_path, tests=iter(TESTS), comparisons=iter(COMPARED))
    assert [(row["base_id"], row["guard"], row["left_alone"]) for row in found["test_results"]] == [
        ("b1", None, True), ("b2", "length; refusal", False),
    ]  # fmt: skip
    assert found["comparison_results"] == [{"base_id": "b1", "validator": "v", "order": "0", "p_rewrite": 0.75}]


def test_a_stage_that_is_not_there_yet_makes_a_file_without_rows(tmp_path: Path) -> None:
    with Run(tmp_path / "run", "rewrite", {}) as run:
        run.stage("bases", schema_of(BaseRow)).write(0, [row_of(BASES[0])])
    counts = export_prose(tmp_path / "run", tmp_path / "to")
    assert counts == {name: int(name in ("base_prompts", "prompt_variations")) for name in FILES}
    assert pq.read_schema(tmp_path / "to" / "synthetic_data.parquet") == schema_of_file("synthetic_data")


def test_several_stages_of_a_kind_are_all_exported_unless_some_are_chosen(tmp_path: Path) -> None:
    more = [OutputRow("b0", 0, 0, 0, "round two", "stop")]
    run = a_run(tmp_path / "run", round_2_answers=(OutputRow, more))
    assert [row["output"] for row in tables_of(run).rows("outputs")] == ["out", None, "whole", "round two"]
    chosen = tables_of(run, {"outputs": ["round-2-answers"]})
    assert [row["output"] for row in chosen.rows("outputs")] == ["round two"]
    assert len(list(chosen.rows("bases"))) == 2
    with pytest.raises(InputError, match="has no stage 'round-3' with outputs"):
        tables_of(run, {"outputs": ["round-3"]})


def test_an_existing_target_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    export_prose(run, tmp_path / "to")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(InputError, match="there is something already; name a new folder"):
        export_prose(run, tmp_path / "to")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_row_that_does_not_fit_is_one_clear_line_and_nothing_is_left(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    with pytest.raises(InputError, match="test_results: a row does not fit its columns"):
        export_prose(run, tmp_path / "to", tests=[{"base_id": "b", "base_value": "high"}])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_large_tables_are_written_in_row_groups(tmp_path: Path) -> None:
    count = 2 * GROUP + 1
    given = ({"base_id": str(one), "validator": "v", "order": "ab", "p_rewrite": 0.5} for one in range(count))
    assert write_table(tmp_path, "comparison_results", given) == count
    assert pq.ParquetFile(tmp_path / "comparison_results.parquet").num_row_groups == 3
