"""Scores that others gave: the original project's files and long tables, and what is wrong with them."""

from __future__ import annotations

import itertools
import json

import krippendorff
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import cohen_kappa_score

from promptmill.errors import InputError
from promptmill.judge.imported import read_scores
from promptmill.judge.report import panel_report
from tests.judging import scores_table
from tests.panels import SECTIONS, like, original, world, write_original

# The original's files


def test_scores_in_the_originals_layout_have_the_alpha_and_kappa_of_the_libraries(tmp_path):
    scores = original(tmp_path)
    found = read_scores(tmp_path, ["falcon", "gemma"])
    report = panel_report(found.scores, criteria_weights=found.weights)
    assert [judge["name"] for judge in report["judges"]] == ["falcon", "gemma"]
    assert (report["answers"], report["bases"], report["rows"]) == (42, 6, 420)
    for name, section in zip(SECTIONS, scores, strict=True):
        for scale in ("interval", "ordinal", "nominal"):
            expected = krippendorff.alpha(section.astype(float), level_of_measurement=scale)
            assert report["agreement"]["criteria"][name][scale]["value"] == pytest.approx(expected)
    (pair,) = report["agreement"]["pairs"]
    one, other = (scores[:, at].reshape(-1) for at in (0, 1))
    assert pair["kappa"] == pytest.approx(cohen_kappa_score(one, other, weights="quadratic"))
    weights = np.array([1, 1, 0.5, 2, 0.5])
    totals = np.tensordot(weights, scores, 1) / weights.sum()
    expected = krippendorff.alpha(totals, level_of_measurement="interval")
    assert report["agreement"]["alpha"]["value"] == pytest.approx(expected)
    row = found.scores.to_pylist()[0]
    assert (row["base_id"], row["variation_id"], row["validator"], row["criterion"]) == ("0", -1, "falcon", "section_1")


def test_a_score_of_zero_is_an_unread_answer_and_no_score(tmp_path):
    scores = original(tmp_path)[:, :, :7]
    scores[:, 1, 2] = 0
    write_original(tmp_path, 0, scores)
    found = read_scores(tmp_path)
    zero = [row for row in found.scores.to_pylist() if row["error"]]
    assert len(zero) == 5
    assert {(row["base_id"], row["variation_id"], row["validator"], row["expected"], row["error"]) for row in zero} == {
        ("0", 1, "validator_2", None, "unread")
    }
    report = panel_report(found.scores)
    assert report["judges"][1]["errors"] == {"unread": 5}
    assert report["judges"][1]["mean"] > 2


def test_empty_null_and_broken_files_are_named_and_not_fatal(tmp_path):
    original(tmp_path, bases=2)
    nothing = {"bpv_idx": pa.nulls(3), **{name: pa.nulls(3) for name in SECTIONS}}
    pq.write_table(pa.table(nothing), tmp_path / "7_validation_score.parquet")
    nulls = {"bpv_idx": pa.array([[8, -1]]), "section_1": pa.array([None], pa.list_(pa.int64()))}
    pq.write_table(pa.table(nulls), tmp_path / "8_validation_score.parquet")
    (tmp_path / "9_validation_score.parquet").touch()
    (tmp_path / "10_validation_score.parquet").write_bytes(b"PAR1 and no more")
    pq.write_table(pq.read_table(tmp_path / "0_validation_score.parquet").slice(0, 0),
                   tmp_path / "11_validation_score.parquet")  # fmt: skip
    pq.write_table(pa.table({"bpv_idx": pa.array([[1]]), "s": pa.array([[1, 2]])}),
                   tmp_path / "12_validation_score.parquet")  # fmt: skip
    found = read_scores(tmp_path)
    assert set(found.scores.column("base_id").to_pylist()) == {"0", "1"}
    assert [problem.split("_")[0] for problem in found.problems] == ["7", "8", "9", "10", "11", "12"]
    for problem, words in zip(found.problems, (
        "all its columns are empty", "only nulls", "the file is empty", "cannot be read as parquet", "has no rows",
        "not a pair",
    ), strict=True):  # fmt: skip
        assert words in problem
    with pytest.raises(InputError, match="3 names, but 2 validators"):
        read_scores(tmp_path, ["a", "b", "c"])
    for file in itertools.chain(tmp_path.glob("[01]_*")):
        file.unlink()
    with pytest.raises(InputError, match="none of its 6 score files can be used; 7_validation_score"):
        read_scores(tmp_path)


# Long tables


def test_a_long_table_is_read_from_csv_json_lines_and_parquet(tmp_path):
    rng, bases, planted, truth = world(3)
    table = scores_table({name: like(truth, rng) for name in "ab"}, bases, planted)
    wanted = panel_report(table)
    pq.write_table(table, tmp_path / "scores.parquet")
    rows = table.select(["base_id", "sample_id", "planted", "validator", "criterion", "expected"]).to_pylist()
    (tmp_path / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [",".join(rows[0]), *(",".join("" if v is None else str(v) for v in row.values()) for row in rows)]
    (tmp_path / "scores.csv").write_text("\n".join(lines) + "\n")
    for name in ("scores.parquet", "scores.jsonl", "scores.csv"):
        report = panel_report(read_scores(tmp_path / name).scores)
        assert report["agreement"]["alpha"] == wanted["agreement"]["alpha"], name
        assert report["panel"]["planted"] == wanted["panel"]["planted"], name


@pytest.mark.parametrize(("text", "words"), [
    ("base_id,validator,score\n1,a,3\n", "no column 'criterion'"),
    ("base_id,validator,criterion\n1,a,x\n", "no column 'expected' or 'level'"),
    ("base_id,validator,criterion,expected\n1,a,x,high\n", "'expected' is not double"),
    ("base_id,validator,criterion,expected\n1,,x,3\n", "'validator' has empty cells"),
])  # fmt: skip
def test_what_is_wrong_with_a_long_table_is_said_in_one_line(tmp_path, text, words):
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(InputError) as said:
        read_scores(tmp_path / "scores.csv")
    assert words in str(said.value)
    assert "\n" not in str(said.value)


def test_scores_off_the_scale_are_errors(tmp_path):
    (tmp_path / "s.csv").write_text("base_id,validator,criterion,expected\n1,a,x,0\n1,b,x,7\n1,c,x,\n2,a,x,4\n")
    rows = read_scores(tmp_path / "s.csv").scores.to_pylist()
    assert [(row["expected"], row["error"]) for row in rows] == [
        (None, "unread"), (None, "off the scale: 7"), (None, "unread"), (4.0, None)
    ]  # fmt: skip


def test_a_folder_without_scores_is_told_what_is_wanted(tmp_path):
    with pytest.raises(InputError, match="holds no scores; wanted are files such as 0_validation_score"):
        read_scores(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_scores(tmp_path / "nowhere")
