import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.measure.compare import compare_paired
from promptmill.measure.statistics import mcnemar_exact, paired_interval
from promptmill.score.scorer import make_scorer

EXACT, F1 = make_scorer("exact"), make_scorer("token_f1")
sides = st.dictionaries(st.sampled_from([f"e{i}" for i in range(12)]), st.sampled_from([(0.0,), (1.0,)]))


def rows(values):
    return {f"e{i}": (float(v),) for i, v in enumerate(values)}


def test_a_clear_gain_is_called_better_and_the_reverse_worse():
    a, b = rows([0] * 30 + [1] * 30), rows([1] * 25 + [0] * 5 + [1] * 30)
    found = compare_paired(a, b, EXACT)
    assert (found.verdict, found.wins, found.losses, found.n) == ("better", 25, 0, 60)
    assert found.gain == pytest.approx(25 / 60)
    assert (found.lo, found.hi) == paired_interval(25, 0, 60)
    assert found.p == mcnemar_exact(25, 0)
    assert compare_paired(b, a, EXACT).verdict == "worse"


def test_a_gain_that_may_be_luck_is_no_difference_shown():
    found = compare_paired(rows([0, 0, 0, 1, 1]), rows([1, 1, 1, 1, 1]), EXACT)
    assert found.gain == pytest.approx(0.6)
    assert found.verdict == "no difference shown"


def test_examples_that_one_side_misses_are_counted_and_never_zeroed():
    a, b = rows([1, 1, 1, 0]), rows([1, 1])
    b["other"] = (0.0,)
    found = compare_paired(a, b, EXACT)
    assert (found.n, found.only_a, found.only_b, found.score_a, found.score_b) == (2, 2, 1, 1, 1)


def test_nothing_in_common_is_said_plainly():
    found = compare_paired(rows([1]), {"x": (1.0,)}, EXACT)
    assert (found.n, found.verdict, found.p) == (0, "no difference shown", 1)
    assert math.isnan(found.gain)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["gain"] is None


def test_scores_between_0_and_1_are_bootstrapped():
    a = {f"e{i}": (0.3 + i % 7 / 100,) for i in range(60)}
    b = {key: (value + 0.05 + i % 3 / 100,) for i, (key, (value,)) in enumerate(a.items())}
    found = compare_paired(a, b, F1)
    assert (found.verdict, found.wins, found.losses) == ("better", 60, 0)
    assert "bootstrap" in found.method


def test_means_over_repeats_of_a_binary_scorer_are_bootstrapped_too():
    found = compare_paired(rows([0.5] * 20), rows([1, 0.5] * 10), EXACT)
    assert "bootstrap" in found.method


def test_f_beta_is_compared_by_its_corpus_score():
    scorer = make_scorer("f_beta:positive=yes")
    right, missed, alarm = (1.0, 0.0, 0.0, 1.0), (0.0, 0.0, 1.0, 0.0), (0.0, 1.0, 0.0, 0.0)
    a = {f"e{i}": row for i, row in enumerate([right] * 20 + [missed] * 40)}
    b = {f"e{i}": row for i, row in enumerate([right] * 20 + [right] * 35 + [missed] * 5)}
    b["e0"] = alarm
    found = compare_paired(a, b, scorer)
    assert found.score_a == pytest.approx(0.5)
    assert found.score_b == pytest.approx(2 * 54 / (2 * 54 + 5 + 1))
    assert (found.wins, found.losses, found.verdict) == (35, 1, "better")


@given(sides, sides)
def test_swapping_the_sides_mirrors_the_comparison(a, b):
    there, back = compare_paired(a, b, EXACT), compare_paired(b, a, EXACT)
    assert (there.n, there.p, there.wins, there.only_a) == (back.n, back.p, back.losses, back.only_b)
    assert there.lo == pytest.approx(-back.hi, abs=1e-9)
    if there.n:
        assert there.gain == pytest.approx(-back.gain)


@given(sides)
def test_the_order_of_examples_plays_no_part(a):
    assert compare_paired(a, dict(reversed(a.items())), EXACT).p == 1.0
