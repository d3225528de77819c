"""Values of prompts and their margins, from scores in long form."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.crafts.rewrite.tables import BASE
from promptmill.crafts.rewrite.values import LEAST_SE, Margin, Values
from tests.rewriting import panel_of, score_rows_of, values_of

PANEL = panel_of("a", "b")
UNIT = st.floats(0, 1, allow_nan=False)


def test_a_prompts_value_is_the_mean_over_answers_of_the_judges_weighted_mean():
    values = values_of(panel_of("a", "b", weights={"a": 3, "b": 1}), {0: [{"a": 1.0, "b": 0.0}, {"a": 0.5, "b": 0.5}]})
    assert values.mean("b", 0) == pytest.approx((0.75 + 0.5) / 2)
    assert values.by_place("b", 0) == {(0, 0): pytest.approx(0.75), (1, 0): pytest.approx(0.5)}
    assert dict(values.judge_means("b", 0)) == {"a": pytest.approx(0.75), "b": pytest.approx(0.25)}


def test_what_no_judge_could_read_and_planted_answers_have_no_value():
    values = Values(PANEL)
    values.add(score_rows_of("b", 0, [{"a": None, "b": None}, {"a": 1.0, "b": None}]))
    values.add(score_rows_of("b", 1, [{"a": 0.0, "b": 0.0}], planted="empty"))
    assert values.answers("b", 0) == {(1, 0): {"a": 1.0}}
    assert values.mean("b", 0) == 1.0
    assert values.variations("b") == [0]
    assert values.of("b") == {0: 1.0}
    assert values.mean("nobody", 0) is None


def test_a_margin_is_paired_by_answer_and_judge():
    values = values_of(PANEL, {
        BASE: [{"a": 0.2, "b": 0.4}, {"a": 0.1, "b": None}, {"a": 0.3, "b": 0.3}],
        0: [{"a": 0.4, "b": 0.6}, {"a": 0.7, "b": 1.0}, {"a": None, "b": None}],
    })  # fmt: skip
    margin = values.margin("b", 0)
    assert margin is not None
    assert (margin.mean, margin.n) == (pytest.approx((0.2 + 0.6) / 2), 2)
    assert margin.se == pytest.approx(stdev([0.2, 0.6]) / math.sqrt(2))


def test_with_one_answer_the_error_is_over_the_judges():
    margin = values_of(PANEL, {BASE: [{"a": 0.2, "b": 0.2}], 0: [{"a": 0.3, "b": 0.7}]}).margin("b", 0)
    assert margin is not None
    assert margin.se == pytest.approx(stdev([0.1, 0.5]) / math.sqrt(2))


def test_one_answer_and_one_judge_say_nothing_of_the_error():
    margin = values_of(PANEL, {BASE: [{"a": 0.0, "b": None}], 0: [{"a": 1.0, "b": 1.0}]}).margin("b", 0)
    assert margin is not None
    assert margin.se == math.inf
    assert not margin.believed(1.0, 0.05)


def test_answers_that_happen_to_agree_do_not_make_a_margin_certain():
    margin = values_of(PANEL, {BASE: [{"a": 0.0, "b": 0.0}] * 3, 0: [{"a": 0.5, "b": 0.5}] * 3}).margin("b", 0)
    assert margin == Margin(0.5, LEAST_SE, 3)


@pytest.mark.parametrize(("scores", "variation"), [
    ({0: [{"a": 1.0, "b": 1.0}]}, 0),
    ({BASE: [{"a": 1.0, "b": None}], 0: [{"a": None, "b": 1.0}]}, 0),
    ({BASE: [{"a": 1.0, "b": 1.0}]}, 3),
])  # fmt: skip
def test_without_a_judge_that_read_both_there_is_no_margin(scores, variation):
    assert values_of(PANEL, scores).margin("b", variation) is None


def test_a_margin_is_believed_above_its_noise_and_the_least():
    assert Margin(0.1, 0.05, 4).believed(1.0, 0.05)
    assert not Margin(0.1, 0.05, 4).believed(2.0, 0.05), "must be more than two errors"
    assert not Margin(0.04, 0.001, 4).believed(1.0, 0.05)
    assert not Margin(-0.5, 0.01, 4).believed(0.0, 0.0)


@given(st.lists(st.tuples(UNIT, UNIT, UNIT, UNIT), min_size=1, max_size=6))
def test_margins_have_two_sides(answers):
    values = values_of(PANEL, {
        BASE: [{"a": w, "b": x} for w, x, _, _ in answers], 0: [{"a": y, "b": z} for _, _, y, z in answers],
    })  # fmt: skip
    there, back = values.margin("b", 0), values.margin("b", BASE, 0)
    assert there is not None
    assert back is not None
    assert there.mean == pytest.approx(-back.mean, abs=1e-12)
    assert there.se == pytest.approx(back.se)
    assert there.se >= LEAST_SE
    assert there.mean == pytest.approx(fmean((y + z - w - x) / 2 for w, x, y, z in answers), abs=1e-9)
    assert not (there.believed(0, 0.01) and back.believed(0, 0.01))
