"""Gains, win rates, and what learning one domain after another has kept, against numbers reckoned by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.crafts.rewrite.measures import continual, gain, win_rate


def test_a_gain_is_the_mean_of_paired_differences_with_its_interval():
    found = gain([0.2, 0.4, 0.6], [0.5, 0.7, 0.9])
    assert (found["n"], found["before"], found["after"]) == (3, pytest.approx(0.4), pytest.approx(0.7))
    assert found["gain"] == pytest.approx(0.3)
    assert found["lo"] == pytest.approx(0.3)
    assert found["hi"] == pytest.approx(0.3)


def test_prompts_of_one_cluster_are_one_witness():
    before, after = [0.2] * 12, [0.5, 0.6, 0.7, 0.4] * 3
    alone, together = gain(before, after), gain(before, after, clusters=[f"c{at % 2}" for at in range(12)])
    assert (alone["n"], alone["clusters"], together["n"], together["clusters"]) == (12, 12, 12, 2)
    assert together["gain"] == pytest.approx(alone["gain"])
    assert alone["p"] < 0.05
    assert together["p"] >= 0.5, "two clusters prove nothing"
    wins = win_rate([0.9, 0.1] * 6, [(5, 5)] * 12, clusters=["a", "b"] * 6)
    assert (wins["lo"], wins["hi"]) == (0.0, 1.0), "both of one cluster may have been drawn"
    assert win_rate([0.9, 0.1] * 6, [(5, 5)] * 12)["lo"] > 0


def test_nothing_measured_is_no_gain_of_zero():
    assert set(gain([], []).values()) == {0, None}
    assert set(win_rate([], []).values()) == {0, None}


def test_ties_are_half_a_win():
    found = win_rate([0.9, 0.5, 0.1, 0.6], [(5, 5)] * 4)
    assert found["rate"] == found["controlled"] == 0.625
    assert found["lo"] <= 0.625 <= found["hi"]


def test_wins_that_length_explains_are_no_wins_at_equal_length():
    longer, shorter = [(10, 20)] * 6, [(20, 10)] * 2
    found = win_rate([0.9] * 6 + [0.1] * 2, [*longer, *shorter])
    assert found["rate"] == 0.75
    assert found["controlled"] == pytest.approx(0.5)


def test_wins_that_length_does_not_explain_stay():
    found = win_rate([0.9] * 4, [(10, 20), (20, 10), (10, 10), (15, 15)])
    assert found["rate"] == found["controlled"] == 1.0


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=20))
def test_a_controlled_rate_is_a_rate(rows):
    found = win_rate([one for one, _, _ in rows], [(a, b) for _, a, b in rows])
    assert 0 <= found["controlled"] <= 1


def test_what_learning_one_domain_after_another_has_kept():
    before = {"a": 0.1, "b": 0.2, "c": 0.3}
    after = [{"a": 0.6, "b": 0.3, "c": 0.3}, {"a": 0.5, "b": 0.8, "c": 0.5}, {"a": 0.4, "b": 0.9, "c": 0.7}]
    found = continual(after, ["a", "b", "c"], before)
    assert found["acc"] == pytest.approx((0.4 + 0.9 + 0.7) / 3)
    assert found["bwt"] == pytest.approx(((0.4 - 0.6) + (0.9 - 0.8)) / 2)
    assert found["forgetting"] == pytest.approx(((0.6 - 0.4) + (0.8 - 0.9)) / 2)
    assert found["fwt"] == pytest.approx(((0.3 - 0.2) + (0.5 - 0.3)) / 2)


def test_forgetting_counts_from_the_best_that_a_domain_ever_was():
    after = [{"a": 0.5, "b": 0.0}, {"a": 0.9, "b": 0.5}, {"a": 0.4, "b": 0.5}]
    assert continual(after, ["a", "b", "b"], {"a": 0.0, "b": 0.0})["forgetting"] == pytest.approx(0.9 - 0.4)


def test_one_domain_has_nothing_to_forget():
    assert continual([{"a": 0.5}], ["a"], {"a": 0.1}) == {"acc": 0.5, "bwt": None, "forgetting": None, "fwt": None}


def test_a_domain_that_is_learned_again_counts_from_the_last_time():
    after = [{"a": 0.5, "b": 0.1}, {"a": 0.2, "b": 0.6}, {"a": 0.7, "b": 0.4}]
    found = continual(after, ["a", "b", "a"], {"a": 0.0, "b": 0.0})
    assert found["bwt"] == pytest.approx(0.4 - 0.6), "only b was learned before the end"
