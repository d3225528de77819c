"""The panel report and its gate: on good judges, a broken one among them, judges at chance, and imported scores."""

from __future__ import annotations

import itertools
import json
import time
import warnings

import krippendorff
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from promptmill.errors import InputError
from promptmill.judge.imported import read_scores
from promptmill.judge.page import panel_page
from promptmill.judge.report import panel_report
from promptmill.judge.table import preferences_schema, scores_schema
from promptmill.judge.verdict import Gate, gate
from promptmill.report.html import render
from tests.judging import scores_table

BASES, EACH = 30, 5


def world(seed: int = 0):
    """Base prompts, planted kinds and true quality of answers: five real ones of each base prompt, two planted."""
    rng = np.random.default_rng(seed)
    bases = np.repeat(np.arange(BASES), EACH + 2)
    planted = np.array((["", "", "", "", "", "empty", "shuffled"]) * BASES)
    truth = np.where(planted == "", rng.uniform(2, 5, len(bases)), rng.uniform(1, 2, len(bases)))
    return rng, bases, planted, truth


def like(truth, rng, noise=0.4):
    return np.clip(truth + rng.normal(0, noise, len(truth)), 1, 5)


def chance(truth, rng):
    return rng.uniform(1, 5, len(truth))


def test_a_panel_of_three_good_judges_passes():
    rng, bases, planted, truth = world()
    scores = {name: like(truth, rng) for name in "abc"}
    report = panel_report(scores_table(scores, bases, planted))
    assert report["gate"]["passes"], report["verdict"]
    assert report["verdict"].startswith("The panel may be believed: alpha 0.")
    alpha = report["agreement"]["alpha"]
    real = planted == ""
    expected = krippendorff.alpha(np.stack([scores[n][real] for n in "abc"]), level_of_measurement="interval")
    assert alpha["value"] == pytest.approx(expected)
    assert alpha["lo"] < alpha["value"] < alpha["hi"]
    assert (report["answers"], report["bases"], report["planted"]) == (150, 30, {"empty": 30, "shuffled": 30})
    assert report["panel"]["planted"]["auc"] > 0.97
    assert all(judge["faults"] == [] for judge in report["judges"])
    assert 0.85 < report["agreement"]["reliability"] < 1
    assert report["agreement"]["needed"] <= 2
    assert report["agreement"]["same_order"] > 0.75
    assert report["notes"] == []
    json.dumps(report, allow_nan=False)  # plain data: no nan, no numpy


def test_one_broken_judge_in_three_is_named():
    rng, bases, planted, truth = world(1)
    report = panel_report(scores_table({"a": like(truth, rng), "broken": chance(truth, rng), "c": like(truth, rng)},
                                       bases, planted))  # fmt: skip
    faults = {judge["name"]: judge["faults"] for judge in report["judges"]}
    assert faults["a"] == faults["c"] == []
    assert any("cannot tell planted answers from real ones" in fault for fault in faults["broken"])
    assert any("does not order answers as the others do" in fault for fault in faults["broken"])
    assert "broken cannot tell planted" in report["verdict"]
    assert "without broken the others' alpha is 0.79" in report["verdict"]
    assert report["best"]["by_planted"] != "broken"
    assert report["best"]["by_agreement"] != "broken"
    assert not report["gate"]["passes"]


def test_judges_at_chance_do_not_pass_and_it_is_said_why():
    rng, bases, planted, truth = world(2)
    report = panel_report(scores_table({name: chance(truth, rng) for name in "abc"}, bases, planted))
    reasons = report["gate"]["reasons"]
    assert any("agree too little: alpha" in reason for reason in reasons)
    assert any("a coin orders 50 %" in reason for reason in reasons)
    assert any("above planted ones in" in reason for reason in reasons)
    assert report["verdict"].startswith("The panel must not be believed: ")
    assert report["agreement"]["effective"] > 2
    assert report["agreement"]["reliability"] < 0.3


def test_judges_who_agree_and_are_all_wrong_are_found_out_by_planted_answers():
    rng, bases, planted, truth = world(3)
    taste = rng.uniform(1, 5, len(truth))
    report = panel_report(scores_table({name: like(taste, rng) for name in "abc"}, bases, planted))
    assert report["agreement"]["alpha"]["value"] > 0.7
    assert [reason for reason in report["gate"]["reasons"] if "planted" in reason] == report["gate"]["reasons"] != []


def test_an_unreadable_judge_is_named_and_takes_no_part():
    rng, bases, planted, truth = world(4)
    good = {"a": like(truth, rng), "c": like(truth, rng)}
    report = panel_report(scores_table(good | {"mute": np.full(len(truth), np.nan)}, bases, planted))
    mute = next(judge for judge in report["judges"] if judge["name"] == "mute")
    assert (mute["readable"], mute["mean"], mute["planted"], mute["with_others"]) == (0, None, None, None)
    assert mute["errors"] == {"unread": 210}
    assert mute["faults"] == ["not one of its answers can be read"]
    assert report["gate"]["reasons"] == ["mute: only 0.0% of its answers can be read (at least 90%)"]
    alone = panel_report(scores_table(good, bases, planted))
    assert report["agreement"]["alpha"] == pytest.approx(alone["agreement"]["alpha"])
    assert report["panel"]["planted"] == alone["panel"]["planted"]
    assert len(report["agreement"]["pairs"]) == 1


def test_a_judge_who_always_says_five_is_named_and_counts_as_no_agreement():
    rng, bases, planted, truth = world(5)
    one = panel_report(scores_table({"a": like(truth, rng), "b": like(truth, rng), "five": np.full(len(truth), 5.0)},
                                    bases, planted))  # fmt: skip
    five = one["judges"][2]
    assert (five["ceiling"], five["sd"], five["faults"]) == (1.0, 0.0, ["gives every answer the same score (5.00)"])
    assert one["agreement"]["effective"] < 1.5  # two alike, and one who is no judge
    assert one["agreement"]["correlation"] < 0.35  # the pairs with him count as none
    assert {pair["ties"] for pair in one["agreement"]["pairs"]} == {0.0, 1.0}
    every = panel_report(scores_table({name: np.full(len(truth), 5.0) for name in "ab"}, bases))
    assert every["gate"]["reasons"] == ["all scores are equal: the judges tell nothing apart"]


def test_one_judge_or_one_base_prompt_is_told_and_does_not_pass():
    rng, bases, planted, truth = world(6)
    single = panel_report(scores_table({"a": like(truth, rng)}, bases, planted))
    assert single["gate"]["reasons"] == ["fewer than two judges could be read: there is no agreement to be seen"]
    assert single["agreement"]["reliability"] is None
    scores = {name: like(truth, rng)[:20] for name in "abc"}
    lone = panel_report(scores_table(scores, np.zeros(20, int), np.where(np.arange(20) % 5, "", "empty")))
    assert (lone["agreement"]["alpha"]["lo"], lone["bases"]) == (None, 1)
    assert any("only 1 base prompt" in reason for reason in lone["gate"]["reasons"])
    assert "there is one base prompt: no interval can be given, and nothing follows for others" in lone["notes"]
    json.dumps(lone, allow_nan=False)
    with pytest.raises(InputError, match="no rows"):
        panel_report(scores_schema().empty_table())


def test_a_judge_who_likes_long_answers_is_found_by_the_correlation_with_length():
    rng, bases, planted, truth = world(7)
    lengths = rng.integers(10, 500, len(truth))
    scores = {"a": like(truth, rng), "long": np.clip(1 + lengths / 125, 1, 5)}
    report = panel_report(scores_table(scores, bases, planted, lengths))
    assert abs(report["judges"][0]["length"]) < 0.3
    assert report["judges"][1]["length"] == pytest.approx(1)


def test_repeats_flips_and_settings_of_the_gate():
    rng, bases, _, truth = world(8)
    scores = {name: np.round(like(truth, rng)) for name in "abc"}
    first = scores_table(scores, bases)
    again = scores_table({"a": scores["a"], "b": chance(truth, rng)}, bases)
    again = again.set_column(again.schema.get_field_index("repeat"), "repeat",
                             pa.array([1] * again.num_rows, pa.int32())).cast(scores_schema())  # fmt: skip
    pairs = [{"base_id": "0", "validator": "a", "flipped": flip, "p": 0.5} for flip in (True, True, False, None)]
    report = panel_report(pa.concat_tables([first, again]),
                          preferences=pa.Table.from_pylist(pairs, schema=preferences_schema()))  # fmt: skip
    a, b, c = report["judges"]
    assert (a["repeats"]["alpha"], a["repeats"]["same_level"], a["repeats"]["questions"]) == (1.0, 1.0, 210)
    assert b["repeats"]["alpha"] < 0.4
    assert c["repeats"] is None
    assert a["flips"] == {"share": 2 / 3, "compared": 3}
    assert "changes its mind with the order in 67% of the comparisons" in a["faults"]
    strict = Gate(min_alpha=0.99, min_same_order=0.999, need_planted=True)
    assert len(gate(report, strict)) == 3
    assert gate(report, Gate(min_alpha=0.1, min_same_order=0.1)) == []


ROW = st.tuples(
    st.sampled_from("12"), st.integers(-1, 1), st.sampled_from([None, "empty"]), st.sampled_from("abc"),
    st.sampled_from("xy"), st.none() | st.integers(1, 5), st.integers(0, 9),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=25))
def test_any_table_has_a_report_in_plain_data_and_a_page(rows):
    table = pa.Table.from_pylist([
        {"base_id": base, "variation_id": variation, "input_id": 0, "sample_id": 0, "planted": planted, "repeat": 0,
         "validator": judge, "criterion": criterion, "expected": score, "level": score, "length": length,
         "error": None if score else "timeout: late"}
        for base, variation, planted, judge, criterion, score, length in rows
    ], schema=scores_schema())  # fmt: skip
    if not any(row[2] is None for row in rows):
        with pytest.raises(InputError, match="only of planted ones"):
            panel_report(table)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = panel_report(table)
    json.dumps(report, allow_nan=False)
    assert render(panel_page(report))


def test_a_hundred_thousand_rows_take_seconds():
    rng = np.random.default_rng(9)
    bases = np.repeat(np.arange(3334), 10)
    truth = rng.uniform(1, 5, len(bases))
    table = pa.table({
        "base_id": pa.array(np.tile(bases, 3).astype(str)), "variation_id": np.tile(np.tile(np.arange(10), 3334), 3),
        "validator": pa.array(np.repeat(["a", "b", "c"], len(bases))), "criterion": pa.array(["x"] * 3 * len(bases)),
        "expected": np.concatenate([like(truth, rng) for _ in range(3)]),
    })  # fmt: skip
    rows = {field.name: table.column(field.name).cast(field.type) if field.name in table.column_names
            else pa.nulls(table.num_rows, field.type) for field in scores_schema()}  # fmt: skip
    for name in ("input_id", "sample_id", "repeat", "prompt_tokens", "completion_tokens"):
        rows[name] = pa.array(np.zeros(table.num_rows, np.int32))
    rows["level"] = pa.array(np.round(table.column("expected").to_numpy()).astype(np.int8))
    started = time.monotonic()
    report = panel_report(pa.table(rows, schema=scores_schema()))
    assert time.monotonic() - started < 20
    assert report["answers"] == 33340
    assert report["agreement"]["compared"] == 3 * 3334 * 45


def test_the_page_shows_the_verdict_and_escapes_names():
    rng, bases, planted, truth = world(1)
    names = ("<b>a</b>", "broken", "c")
    scores = {name: chance(truth, rng) if name == "broken" else like(truth, rng) for name in names}
    report = panel_report(scores_table(scores, bases, planted))
    page = render(panel_page(report | {"name": "<i>x</i>", "problems": ["1_validation_score.parquet: empty"]}))
    assert "&lt;b&gt;a&lt;/b&gt;" in page
    assert "<b>a</b>" not in page
    assert "<i>x</i>" not in page
    for words in (
        "must not be believed",
        "Real answers above planted ones",
        "Two by two",
        "1_validation_score.parquet",
    ):
        assert words in page


# The original's files

SECTIONS = [f"section_{number}" for number in range(1, 6)]


def original(folder, bases=6, seed=0):
    """Score files of two validators, and the scores in them, [section, validator, row]."""
    rng = np.random.default_rng(seed)
    every = []
    for base in range(bases):
        truth = rng.integers(1, 6, (5, 1, 7))
        scores = np.clip(truth + rng.integers(-1, 2, (5, 2, 7)), 1, 5)
        every.append(scores)
        write_original(folder, base, scores)
    return np.concatenate(every, axis=2)


def write_original(folder, base, scores):
    keys = [[base, variation] for variation in range(-1, scores.shape[2] - 1)]
    columns = {"bpv_idx": pa.array(keys, pa.list_(pa.int64()))}
    for name, section in zip(SECTIONS, scores, strict=True):
        columns[name] = pa.array([list(map(int, row)) for row in section.T], pa.list_(pa.int64()))
        columns[f"{name}_avg"] = pa.array(section.mean(axis=0))
    columns["total_score"] = pa.array(scores.mean(axis=1).sum(axis=0))
    pq.write_table(pa.table(columns), folder / f"{base}_validation_score.parquet")


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


def test_an_interval_that_holds_a_coin_does_not_pass_whatever_the_share():
    judged = {"auc": 0.75, "lo": 0.45, "hi": 0.95}
    agreed = {"judges": 3, "alpha": {"value": 0.8, "lo": 0.7, "hi": 0.9}, "same_order": 0.9}
    report = {"judges": [], "agreement": agreed, "bases": 9, "panel": {"planted": judged}}
    assert ["by chance only" in reason for reason in gate(report)] == [True]
    assert gate(report | {"panel": {"planted": judged | {"lo": 0.6}}}) == []
