"""The original project's files into a run, and back to what they were."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptmill.crafts.rewrite.config import SynthesizeConfig
from promptmill.crafts.rewrite.original.exporting import export_original
from promptmill.crafts.rewrite.original.importing import import_original
from promptmill.errors import InputError
from promptmill.judge.imported import read_scores
from promptmill.judge.report import panel_report
from tests.originals import (
    SMALL,
    WEIGHTS,
    Scores,
    a_folder,
    problems,
    read_layout,
    rows,
    write_database,
    write_outputs,
    write_scores,
    write_texts,
    write_variations,
)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return a_folder(tmp_path / "seed", SMALL)


WORDS = st.text(min_size=1, max_size=20).filter(lambda text: bool(text.strip()))
INDICES = st.integers(0, 9999)
VALIDATORS = 2


@st.composite
def folders(draw: st.DrawFn) -> dict[int, dict[str, Any]]:
    data: dict[int, dict[str, Any]] = {}
    criteria = list(WEIGHTS)[: draw(st.integers(1, 5))]
    level = st.lists(st.integers(0, 5), min_size=VALIDATORS, max_size=VALIDATORS)
    for base in draw(st.lists(INDICES, min_size=1, max_size=3, unique=True)):
        variations = draw(st.dictionaries(st.integers(0, 90), WORDS, max_size=3))
        answered = [-1, *variations] if variations else []
        outputs = {at: draw(WORDS) for at in answered if draw(st.booleans())}
        scores = {at: {name: draw(level) for name in criteria} for at in outputs if draw(st.booleans())}
        data[base] = {"text": draw(WORDS), "variations": variations, "outputs": outputs, "scores": scores}
    return data


def as_it_should_be(scores: Scores) -> dict[str, Any]:
    """Unread answers are null, and in no mean."""
    lists = {name: [one or None for one in several] for name, several in scores.items()}
    means = {
        name: sum(read) / len(read) if (read := [one for one in several if one]) else None
        for name, several in lists.items()
    }
    parts = [mean if mean is None else WEIGHTS[name] * mean for name, mean in means.items()]
    total = None if None in parts else sum(part for part in parts if part is not None)
    return lists | {f"{name}_avg": mean for name, mean in means.items()} | {"total_score": total}


@settings(max_examples=25, deadline=None)
@given(folders())
def test_what_is_imported_and_exported_is_the_folder_that_it_was(data: dict[int, dict[str, Any]]) -> None:
    with TemporaryDirectory() as place:
        seed = a_folder(Path(place) / "seed", data)
        import_original(seed, Path(place) / "run")
        export_original(Path(place) / "run", Path(place) / "back")
        before, after = read_layout(seed), read_layout(Path(place) / "back")
        assert before.keys() == after.keys()
        assert {name: of for name, of in before.items() if "score" not in name} == {
            name: of for name, of in after.items() if "score" not in name
        }
        for base, one in data.items():
            if one["scores"]:
                back = pq.read_table(Path(place) / "back" / "validation_scores" / f"{base}_validation_score.parquet")
                assert back.schema == pq.read_schema(seed / "validation_scores" / f"{base}_validation_score.parquet")
                for row in back.to_pylist():
                    found, at = dict(row), row["bpv_idx"]
                    assert at[0] == base
                    assert found == {"bpv_idx": at} | as_it_should_be(one["scores"][at[1]])


def test_a_folder_becomes_the_stages_of_a_run(small: Path, tmp_path: Path) -> None:
    report = import_original(small, tmp_path / "run", domain="third-graders", validators=["falcon", "gemma"])
    assert report["rows"] == {"bases": 2, "variations": 3, "inputs": 0, "outputs": 3, "scores": 30}
    assert report["problems"] == []
    bases = {row["base_id"]: row for row in rows(tmp_path / "run", "bases")}
    assert list(bases) == ["bp-000003", "bp-000012"]
    assert bases["bp-000003"]["text"] == SMALL[3]["text"] == bases["bp-000003"]["intent"]
    assert bases["bp-000003"]["domain"] == "third-graders"
    assert [(row["variation_id"], row["origin"]) for row in rows(tmp_path / "run", "variations")] == [
        (-1, "base"), (0, "imported"), (1, "imported"),
    ]  # fmt: skip
    first = rows(tmp_path / "run", "outputs")[0]
    assert (first["input_id"], first["sample_id"], first["output"]) == (0, 0, "Hot rock.")
    scores = rows(tmp_path / "run", "scores")
    assert {(row["base_id"], row["validator"]) for row in scores} == {("bp-000003", "falcon"), ("bp-000003", "gemma")}
    assert {row["length"] for row in scores if row["variation_id"] == -1} == {len("Hot rock.")}
    assert json.loads((tmp_path / "run" / "report.json").read_text())["rows"] == report["rows"]


@pytest.mark.parametrize("names", [["falcon"], ["falcon", "gemma", "llama"]])
def test_names_that_are_not_as_many_as_the_validators_are_refused_before_anything_is_written(
    small: Path, tmp_path: Path, names: list[str]
) -> None:
    with pytest.raises(InputError, match=f"--validators: {len(names)} names, but 3_validation_score.parquet has 2"):
        import_original(small, tmp_path / "run", validators=names)
    assert not (tmp_path / "run").exists()


def test_an_imported_run_can_be_reported_on_as_a_panel(small: Path, tmp_path: Path) -> None:
    import_original(small, tmp_path / "run")
    assert panel_report(read_scores(tmp_path / "run").scores)["answers"] == 3


def test_importing_twice_gives_the_same_bytes(small: Path, tmp_path: Path) -> None:
    import_original(small, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run" / "stages").rglob("*.parquet")}
    import_original(small, tmp_path / "run")
    assert {path: path.read_bytes() for path in before} == before


def test_another_folder_into_the_same_run_is_refused(small: Path, tmp_path: Path) -> None:
    import_original(small, tmp_path / "run")
    write_database(tmp_path / "other", {0: "Write a guide."})
    with pytest.raises(InputError, match="name another folder"):
        import_original(tmp_path / "other", tmp_path / "run")


def test_the_original_itself_is_not_touched(small: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in small.rglob("*") if path.is_file()}
    import_original(small, tmp_path / "run")
    assert {path: path.read_bytes() for path in small.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("place", [".", "data"])
def test_files_may_lie_flat_or_as_in_the_originals_repository(place: str, tmp_path: Path) -> None:
    folder = tmp_path / "seed" / place
    write_database(folder / "base_prompts", {7: "Write a guide."})
    write_variations(folder, 7, {-1: "Write a guide.", 0: "Guide, please."})
    with closing(sqlite3.connect(folder / "base_prompts" / "prompt_topics.db")) as base, base:
        base.execute("CREATE TABLE topics (idx INT, topic TEXT)")
        base.execute("INSERT INTO topics VALUES (0, 'birds')")
    report = import_original(tmp_path / "seed", tmp_path / "run")
    assert report["rows"]["variations"] == 2
    assert report["topics"] == 1


def test_broken_files_are_named_and_the_rest_is_imported(small: Path, tmp_path: Path) -> None:
    outputs, variations, scores = (small / name for name in ("model_outputs", "prompt_variations", "validation_scores"))
    nothing = pa.table({"bpv_idx": pa.nulls(2), "model_output_string": pa.nulls(2)})
    pq.write_table(nothing, outputs / "216_model_output.parquet")
    write_outputs(outputs, 217, {})
    write_outputs(outputs, 218, {0: None, 1: None})
    (outputs / "219_model_output.parquet").write_bytes(b"")
    write_texts(outputs / "220_model_output.parquet", 17, "model_output_string", {0: "of another"})
    write_texts(outputs / "221_model_output.parquet", 221, "output", {0: "another column"})
    write_variations(variations, 12, {0: None, 1: "one", -7: "two"})
    pq.write_table(pa.table({"bpv_idx": pa.nulls(0)}), scores / "4_validation_score.parquet")
    write_scores(scores, 5, {0: {"section_1": [3, 3]}})
    (scores / "5_validation_score.parquet").rename(scores / "6_validation_score.parquet")
    pq.write_table(pa.table({"bpv_idx": [[7, 0]], "section_1": [["x"]]}), scores / "7_validation_score.parquet")
    report = import_original(small, tmp_path / "run")
    found = problems(report)
    assert found["216_model_output.parquet"] == "all null: 2 rows of the type null"
    assert found["217_model_output.parquet"] == "empty"
    assert found["218_model_output.parquet"].startswith("all null: model_output_string")
    assert found["219_model_output.parquet"].startswith("cannot be read as parquet")
    assert found["220_model_output.parquet"] == "1 row of another base prompt, left out"
    assert "no column model_output_string" in found["221_model_output.parquet"]
    assert "variation below -1" in found["12_prompt_variation.parquet"]
    assert found["6_validation_score.parquet"] == "1 row of another base prompt, left out"
    assert {"4_validation_score.parquet", "7_validation_score.parquet"} <= found.keys()
    assert len(found) == 10
    assert report["rows"]["outputs"] == 3
    failed = [row for row in rows(tmp_path / "run", "variations") if row["text"] is None]
    assert [(row["base_id"], row["variation_id"]) for row in failed] == [("bp-000012", 0)]
    assert failed[0]["error"].startswith("empty")


def test_a_base_prompt_without_a_text_and_one_with_two_are_told(small: Path, tmp_path: Path) -> None:
    write_outputs(small / "model_outputs", 44, {0: "an output of a prompt that nobody knows"})
    write_variations(small / "prompt_variations", 12, {-1: "Another text.", 0: "A variation."})
    report = import_original(small, tmp_path / "run")
    assert "base prompt 44" in problems(report)["base_prompts.db"]
    assert "another text" in problems(report)["12_prompt_variation.parquet"]
    bases = {row["base_id"]: row["text"] for row in rows(tmp_path / "run", "bases")}
    assert bases["bp-000012"] == "Another text."
    assert "bp-000044" in {row["base_id"] for row in rows(tmp_path / "run", "outputs")}


def test_scores_alone_are_enough(tmp_path: Path) -> None:
    write_scores(tmp_path / "seed", 2, {-1: {"section_1": [0, 4]}, 0: {"section_1": [3, 2]}})
    report = import_original(tmp_path / "seed", tmp_path / "run")
    assert report["rows"]["scores"] == 4
    assert report["unread"] == 1
    export_original(tmp_path / "run", tmp_path / "back")
    back = pq.read_table(tmp_path / "back" / "validation_scores" / "2_validation_score.parquet").to_pylist()
    assert [(row["section_1"], row["section_1_avg"], row["total_score"]) for row in back] == [
        ([None, 4], 4.0, 4.0), ([3, 2], 2.5, 2.5),
    ]  # fmt: skip


def test_nothing_of_the_layout_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "seed").mkdir()
    with pytest.raises(InputError, match=r"has none of the original's files \(base_prompts.db"):
        import_original(tmp_path / "seed", tmp_path / "run")
    with pytest.raises(InputError, match="there is no folder"):
        import_original(tmp_path / "nowhere", tmp_path / "run")
    (tmp_path / "seed" / "base_prompts.db").write_text("version https://git-lfs")
    with pytest.raises(InputError, match=r"nothing in it can be read; base_prompts.db: cannot be read \(file is not"):
        import_original(tmp_path / "seed", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bad_rows_of_the_data_base_are_counted(tmp_path: Path) -> None:
    write_database(tmp_path / "seed", {0: "Write.", 1: None, 2: "  "})
    with closing(sqlite3.connect(tmp_path / "seed" / "base_prompts.db")) as base, base:
        base.execute("INSERT INTO base_prompts VALUES (NULL, 'x'), (0, 'Another.')")
    report = import_original(tmp_path / "seed", tmp_path / "run")
    told = {one["problem"] for one in report["problems"]}
    assert told == {
        "2 rows without a text, left out", "1 row without an index, left out",
        "1 row with an index that was there before, left out",
    }  # fmt: skip
    assert report["rows"]["bases"] == 1


def test_shares_that_leave_nothing_for_training_are_refused_before_anything_is_written(
    small: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="leave nothing for training"):
        import_original(small, tmp_path / "run", config=SynthesizeConfig(dev=0.5, test=0.5))
    assert not (tmp_path / "run").exists()


def test_nearly_equal_base_prompts_lie_in_one_split(tmp_path: Path) -> None:
    texts = [f"Write a learning guide about the {name} for third-graders" for name in ("sun", "sea", "moon", "rain")]
    near = {2 * at + one: text + "!" * one for at, text in enumerate(texts) for one in (0, 1)}
    write_database(tmp_path / "seed", near)
    import_original(tmp_path / "seed", tmp_path / "run")
    bases = rows(tmp_path / "run", "bases")
    splits: dict[str, set[str]] = {}
    for row in bases:
        splits.setdefault(row["cluster"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert bases[0]["cluster"] == bases[1]["cluster"]
