"""The panel report and its gate: on good judges, a broken one among them, judges at chance."""

from __future__ import annotations

import json
import time
import warnings

import krippendorff
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptmill.errors import InputError
from promptmill.judge.page import panel_page
from promptmill.judge.report import panel_report
from promptmill.judge.table import preferences_schema, scores_schema
from promptmill.judge.verdict import Gate, gate
from promptmill.report.html import render
from tests.judging import scores_table
from tests.panels import chance, like, world


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


def test_an_interval_that_holds_a_coin_does_not_pass_whatever_the_share():
    judged = {"auc": 0.75, "lo": 0.45, "hi": 0.95}
    agreed = {"judges": 3, "alpha": {"value": 0.8, "lo": 0.7, "hi": 0.9}, "same_order": 0.9}
    report = {"judges": [], "agreement": agreed, "bases": 9, "panel": {"planted": judged}}
    assert ["by chance only" in reason for reason in gate(report)] == [True]
    assert gate(report | {"panel": {"planted": judged | {"lo": 0.6}}}) == []
