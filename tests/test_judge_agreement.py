"""Figures of agreement, against the usual libraries and against answers worked out by hand."""

from __future__ import annotations

import math

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from promptmill.judge.agreement import (
    correlation,
    correlations,
    effective_judges,
    judges_needed,
    krippendorff_alpha,
    orders,
    quadratic_kappa,
    ranked_above,
    ranks_within,
    reliability,
    spearman,
)

ONE = np.zeros(1000, np.int64)


def tables(lowest: int = 1, missing: bool = True):
    score = st.integers(lowest, 5)
    cell = st.none() | score if missing else score
    return st.integers(2, 4).flatmap(lambda judges: st.lists(
        st.lists(cell, min_size=judges, max_size=judges), min_size=2, max_size=12))  # fmt: skip


def array(rows) -> np.ndarray:
    return np.array([[math.nan if cell is None else cell for cell in row] for row in rows], float)


@settings(max_examples=60, deadline=None)
@given(tables(), st.sampled_from(["nominal", "ordinal", "interval"]))
def test_alpha_agrees_with_the_library(rows, scale):
    scores = array(rows)
    shared = scores[(~np.isnan(scores)).sum(axis=1) >= 2]
    assume(len(np.unique(shared[~np.isnan(shared)])) > 1)
    expected = krippendorff.alpha(scores.T, level_of_measurement=scale)
    assert krippendorff_alpha(scores, scale=scale).value == pytest.approx(expected, abs=1e-9)


def test_alpha_of_krippendorffs_own_example():
    # Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", part C: four observers, missing data.
    nan = math.nan
    given = np.array([
        [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan], [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
        [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan], [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
    ]).T  # fmt: skip
    for scale, wanted in (("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)):
        assert krippendorff_alpha(given, scale=scale).value == pytest.approx(wanted, abs=6e-4)


def test_alpha_is_one_where_all_agree_and_unknown_where_nothing_varies():
    agreed = np.repeat(np.arange(1.0, 6.0)[:, None], 3, axis=1)
    assert krippendorff_alpha(agreed, np.arange(5)) == (1.0, 1.0, 1.0, 5)
    for scale in ("nominal", "ordinal", "interval"):
        assert math.isnan(krippendorff_alpha(np.full((9, 3), 5.0), scale=scale).value)
    assert math.isnan(krippendorff_alpha(np.array([[1.0, math.nan], [math.nan, 2.0]])).value)


def test_alphas_interval_is_drawn_by_base_prompt():
    rng = np.random.default_rng(0)
    truth = rng.normal(3, 1, 40)
    one = truth[:, None] + rng.normal(0, 1, (40, 3))
    apart = krippendorff_alpha(one, np.arange(40))
    many = krippendorff_alpha(np.repeat(one, 10, axis=0), np.repeat(np.arange(40), 10))
    assert apart.lo < apart.value < apart.hi
    assert many.hi - many.lo == pytest.approx(apart.hi - apart.lo, rel=0.15)  # ten copies of an answer tell no more
    alone = krippendorff_alpha(one, np.zeros(40, np.int64))
    assert (math.isnan(alone.lo), math.isnan(alone.hi)) == (True, True)


def test_many_base_prompts_are_drawn_in_blocks_with_the_same_interval():
    rng = np.random.default_rng(1)
    scores = rng.normal(3, 1, (6000, 1)) + rng.normal(0, 1, (6000, 2))
    found = krippendorff_alpha(scores, np.arange(6000))
    assert found.lo < found.value < found.hi
    assert found.hi - found.lo == pytest.approx(4 * 0.75 / math.sqrt(6000), rel=0.3)  # as of a correlation of 0.5


@settings(max_examples=50, deadline=None)
@given(tables(missing=False))
def test_kappa_agrees_with_scikit_learn(rows):
    x, y = array(rows)[:, :2].T
    assume(len(set(x) | set(y)) > 1)
    expected = cohen_kappa_score(x.astype(int), y.astype(int), weights="quadratic", labels=[1, 2, 3, 4, 5])
    assert quadratic_kappa(x, y) == pytest.approx(expected, abs=1e-9)


def test_kappa_within_a_group_is_kappa_of_that_group_and_blind_to_what_lies_between():
    x = np.array([1.0, 2, 1, 2, 5, 4, 5, 4])
    y = np.array([2.0, 1, 2, 1, 4, 5, 4, 5])
    groups = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert quadratic_kappa(x, y) == pytest.approx(0.8)
    assert quadratic_kappa(x, y, groups) == pytest.approx(quadratic_kappa(x[:4], y[:4]))
    assert quadratic_kappa(x, y, groups) < 0
    assert math.isnan(quadratic_kappa(np.full(4, 5.0), np.full(4, 5.0)))


@settings(max_examples=50, deadline=None)
@given(tables(missing=False))
def test_rank_correlation_of_one_group_agrees_with_scipy(rows):
    x, y = array(rows)[:, :2].T
    assume(len(set(x)) > 1 and len(set(y)) > 1)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)
    assert correlation(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-9)


def test_correlation_within_groups_is_blind_to_their_means():
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(50), 8)
    shared = rng.normal(0, 5, 50)[groups]
    x, y = shared + rng.normal(0, 1, 400), shared + rng.normal(0, 1, 400)
    assert correlation(x, y) > 0.9
    assert abs(correlation(x, y, groups)) < 0.15
    assert math.isnan(spearman(shared, y, groups))  # x does not vary within any group


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=30))
def test_ranks_within_groups_are_scipys_ranks_of_each(rows):
    groups, column = (np.array(part) for part in zip(*rows, strict=True))
    ranks = ranks_within(column.astype(float), groups)
    for group in set(groups):
        assert ranks[groups == group].tolist() == stats.rankdata(column[groups == group]).tolist()


@settings(max_examples=40, deadline=None)
@given(tables(), st.data())
def test_orders_count_as_a_loop_over_all_pairs_does(rows, data):
    scores = array(rows)
    groups = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows))))
    same = other = tied = 0
    for i in range(len(rows)):
        for j in range(i):
            a, b = scores[i] - scores[j], groups[i] == groups[j]
            if b and not np.isnan(a[:2]).any():
                same, other, tied = same + (a[0] * a[1] > 0), other + (a[0] * a[1] < 0), tied + (a[0] * a[1] == 0)
    found = orders(scores, groups)[0, 1]
    assert found.pairs == same + other + tied
    if same + other:
        assert found.same == pytest.approx(same / (same + other))
    if found.pairs:
        assert found.ties == pytest.approx(tied / found.pairs)


def test_a_huge_group_is_stood_for_by_a_part_of_it():
    rng = np.random.default_rng(3)
    scores = rng.normal(0, 1, (3000, 2))
    found = orders(scores, np.zeros(3000, np.int64))[0, 1]
    assert found.pairs == 500 * 499 // 2
    assert found.same == pytest.approx(0.5, abs=0.05)


def test_effective_judges_of_copies_is_one_and_of_strangers_all():
    assert effective_judges(np.ones((5, 5))) == 1
    assert effective_judges(np.eye(5)) == 5
    assert effective_judges(np.array([[1, 0.5], [0.5, 1]])) == pytest.approx(4 / 3)
    assert effective_judges(np.array([[1, -0.9], [-0.9, 1]])) == 2  # never more than there are
    scores = np.random.default_rng(4).normal(0, 1, (2000, 3))
    assert effective_judges(correlations(scores, np.repeat(np.arange(200), 10))) > 2.7


def test_spearman_and_brown():
    assert reliability(0.5, 2) == pytest.approx(2 / 3)
    assert reliability(0.041, 2) == pytest.approx(0.0788, abs=1e-4)
    assert judges_needed(0.5) == 4
    assert judges_needed(0.041) == 94
    assert judges_needed(1.0) == 1
    assert judges_needed(0.0) is None
    assert judges_needed(math.nan) is None
    for mean in (0.1, 0.3, 0.7):
        needed = judges_needed(mean)
        assert needed is not None
        assert reliability(mean, needed) >= 0.8 - 1e-9
        assert reliability(mean, needed - 1) < 0.8


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5)), min_size=4, max_size=30))
def test_ranked_above_in_one_group_is_the_area_under_the_curve(rows):
    good, scores = (np.array(part) for part in zip(*rows, strict=True))
    assume(good.any() and not good.all())
    one = np.zeros(len(rows), np.int64)
    found = ranked_above(scores.astype(float), good, one, one)
    assert found.value == pytest.approx(roc_auc_score(good, scores))
    assert found.n == good.sum() * (~good).sum()


def test_ranked_above_compares_within_groups_alone():
    # Each group's good item is above its bad one; the second group's bad one is above the first group's good one.
    scores = np.array([2.0, 1, 5, 4, math.nan])
    good = np.array([True, False, True, False, True])
    codes = np.array([0, 0, 1, 1, 2])
    assert ranked_above(scores, good, codes, codes)[:3] == (1.0, 1.0, 1.0)
    assert math.isnan(ranked_above(scores[:1], good[:1], codes[:1], codes[:1]).value)
