import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from promptmill.measure.statistics import (
    bootstrap_interval,
    mcnemar_exact,
    paired_bootstrap,
    paired_interval,
    score_interval,
    wilson,
)
from promptmill.score.overlap import FBeta, TokenF1
from promptmill.score.scorer import make_scorer

counts = st.integers(0, 60)


def mean(sums, n):
    return sums[..., -1] / n


@given(st.integers(1, 200), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_agrees_with_scipy(n, data, level):
    k = data.draw(st.integers(0, n))
    expected = reference.binomtest(k, n).proportion_ci(level, method="wilson")
    assert wilson(k, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_nothing_knows_nothing():
    assert wilson(0, 0) == (0, 1)
    with pytest.raises(ValueError, match="3 successes in 2"):
        wilson(3, 2)
    with pytest.raises(ValueError, match="level"):
        wilson(1, 2, 1.0)


@given(counts, counts)
def test_mcnemar_agrees_with_the_binomial_test_of_scipy(b, c):
    expected = reference.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar_exact(b, c) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_stays_exact_for_thousands_of_pairs():
    assert mcnemar_exact(5200, 4800) == pytest.approx(reference.binomtest(4800, 10000).pvalue, rel=1e-6)


def test_tangos_interval_of_published_tables():
    # Cavo et al. 2012 and Bentur et al. 2009, as worked out in Fagerland, Lydersen & Laake, "Statistical Analysis of
    # Contingency Tables", chapter 8.
    assert paired_interval(6, 16, 161) == pytest.approx((-0.1240, -0.0054), abs=6e-5)
    assert paired_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=6e-4)


@given(counts, counts, st.integers(0, 200))
def test_tangos_interval_holds_the_gain_has_width_and_mirrors(b, c, concordant):
    n = b + c + concordant
    lo, hi = paired_interval(b, c, n)
    assert -1 <= lo < hi <= 1
    if n:
        assert lo <= (b - c) / n + 1e-9
        assert hi >= (b - c) / n - 1e-9
    assert paired_interval(c, b, n) == pytest.approx((-hi, -lo), abs=1e-9)


@given(counts, counts, st.integers(0, 100))
def test_where_mcnemar_shows_a_difference_tangos_interval_leaves_out_zero(b, c, concordant):
    lo, hi = paired_interval(b, c, b + c + concordant)
    if mcnemar_exact(b, c) < 0.05:
        assert lo > 0 or hi < 0


def test_tangos_interval_ends_where_the_score_statistic_is_z():
    for b, c, n in ((3, 9, 30), (0, 4, 25), (12, 0, 12)):
        lo, hi = paired_interval(b, c, n)
        wide_lo, wide_hi = paired_interval(b, c, n, 0.999)
        assert wide_lo <= lo <= hi <= wide_hi


def test_the_bootstrap_agrees_with_the_normal_interval_on_many_items():
    values = np.random.default_rng(1).random(3000)
    lo, hi = bootstrap_interval(values, mean)
    half = 1.96 * values.std() / math.sqrt(3000)
    assert (lo, hi) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 6)


def test_the_bootstrap_agrees_with_scipys():
    values = np.random.default_rng(2).beta(0.5, 0.5, 60)
    expected = reference.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=0).confidence_interval
    assert bootstrap_interval(values, mean, draws=4000) == pytest.approx(tuple(expected), abs=0.015)


@settings(max_examples=25)
@given(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=1, max_size=30), st.integers(0, 3))
def test_the_bootstrap_is_repeatable_stays_in_range_and_does_not_mind_order(values, seed):
    interval = bootstrap_interval(values, mean, seed=seed, draws=200)
    assert interval == bootstrap_interval(values[::-1], mean, seed=seed, draws=200)
    assert 0 <= interval.lo <= interval.hi <= 1


def test_degenerate_samples_get_wide_intervals_instead_of_sure_ones():
    assert bootstrap_interval([], mean) == (0, 1)
    assert bootstrap_interval([1.0], mean) == pytest.approx(wilson(1, 1))
    assert bootstrap_interval([1.0] * 8, mean) == pytest.approx(wilson(8, 8))
    assert bootstrap_interval([0.5] * 8, mean).lo < 0.5 < bootstrap_interval([0.5] * 8, mean).hi


def test_score_interval_takes_wilson_for_counts_and_the_bootstrap_else():
    exact = make_scorer("exact")
    assert score_interval([(1.0,), (0.0,), (1.0,)], exact) == pytest.approx((2 / 3, *wilson(2, 3)))
    # means over repeats are no counts
    score, lo, hi = score_interval([(0.5,), (1.0,), (0.0,), (0.5,)], exact)
    assert (score, lo < 0.5 < hi) == (0.5, True)
    assert math.isnan(score_interval([], exact)[0])


def test_the_bootstrap_of_f_beta_resamples_items_not_scores():
    scorer = FBeta("yes")
    rows = [(1, 0, 0, 1), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)] * 25
    score, lo, hi = score_interval(rows, scorer)
    assert score == pytest.approx(0.5)
    assert 0.3 < lo < 0.5 < hi < 0.7


def test_paired_bootstrap_sees_a_small_steady_gain_that_unpaired_intervals_hide():
    a = np.random.default_rng(0).random(200) * 0.9
    b = a + np.random.default_rng(1).normal(0.02, 0.02, 200)
    found = paired_bootstrap(a, b, mean)
    assert found.p < 0.01
    assert 0 < found.lo < found.gain < found.hi < 0.05
    t_test = reference.ttest_rel(b, a).confidence_interval()
    assert (found.lo, found.hi) == pytest.approx((t_test.low, t_test.high), abs=0.002)


def test_paired_bootstrap_is_antisymmetric_and_finds_nothing_between_equals():
    rng = np.random.default_rng(3)
    a, b = rng.random(50), rng.random(50)
    there, back = paired_bootstrap(a, b, mean), paired_bootstrap(b, a, mean)
    assert there.gain == pytest.approx(-back.gain)
    assert there.lo == pytest.approx(-back.hi, abs=0.03)
    assert paired_bootstrap(a, a, mean).p == 1.0
    assert paired_bootstrap(a, a, mean).gain == 0


def test_two_lucky_pairs_prove_nothing():
    assert paired_bootstrap([0.1, 0.2], [0.9, 0.8], mean).p >= 0.5
    assert paired_bootstrap([], [], mean)[1:] == (-1, 1, 1)
    one = paired_bootstrap([0.0], [1.0], mean)
    assert one.p == 1.0
    assert one.lo < 0


def test_false_alarms_are_as_rare_as_promised():
    rng = np.random.default_rng(5)
    alarms = sum(
        paired_bootstrap(rng.random(40), rng.random(40), TokenF1().total, seed=i, draws=400).p < 0.05
        for i in range(300)
    )
    assert alarms <= 30  # 5 % of 300 is 15; the percentile bootstrap of 40 pairs is known to be a little bold


def test_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        paired_bootstrap([0.1], [0.1, 0.2], mean)


# Whole groups drawn

VALUE = st.sampled_from([0.0, 0.1, 0.25, 0.7, 1.0])
EXACT = st.sampled_from([0.0, 0.125, 0.25, 0.75, 1.0])
"""Of which no sum is rounded: whether a draw's gain is 0 decides p."""


@settings(max_examples=40)
@given(st.lists(st.tuples(VALUE, VALUE), min_size=1, max_size=20), st.integers(0, 3))
def test_groups_of_one_item_each_are_drawn_as_items_are(pairs, seed):
    a, b = ([pair[at] for pair in pairs] for at in (0, 1))
    own = [f"group {at}" for at in range(len(pairs))]
    assert paired_bootstrap(a, b, mean, seed, draws=200, groups=own) == paired_bootstrap(a, b, mean, seed, draws=200)
    assert bootstrap_interval(a, mean, seed, draws=200, groups=own) == bootstrap_interval(a, mean, seed, draws=200)


@settings(max_examples=40)
@given(st.lists(st.tuples(EXACT, EXACT), min_size=2, max_size=12), st.integers(2, 5))
def test_an_item_that_is_counted_many_times_in_one_group_is_one_item(pairs, times):
    a, b = ([pair[at] for pair in pairs] for at in (0, 1))
    names = [at for at in range(len(pairs)) for _ in range(times)]
    many = [[one for one in values for _ in range(times)] for values in (a, b)]
    once = paired_bootstrap(a, b, mean, draws=200)
    assert paired_bootstrap(*many, mean, draws=200, groups=names) == pytest.approx(once, abs=1e-9)
    assert bootstrap_interval(many[1], mean, draws=200, groups=names) == pytest.approx(
        bootstrap_interval(b, mean, draws=200), abs=1e-9
    )


def test_groups_of_unequal_sizes_have_the_interval_of_all_draws_there_can_be():
    """Four groups can be drawn in 4^4 ways, each as likely as the others; all of them are gone through here."""
    gains, groups = [0.1, 0.3, 0.8, -0.2, 0.0, 0.4, 0.5], list("aabcccd")
    by_group = [[gain for gain, name in zip(gains, groups, strict=True) if name == wanted] for wanted in "abcd"]
    every = []
    for drawn in itertools.product(by_group, repeat=4):
        items = [gain for group in drawn for gain in group]
        every.append(sum(items) / len(items))
    found = paired_bootstrap([0.0] * 7, gains, mean, draws=40_000, groups=groups)
    assert found.gain == pytest.approx(np.mean(gains))
    assert (found.lo, found.hi) == pytest.approx(tuple(np.quantile(every, [0.025, 0.975])), abs=0.02)
    share = sum(one <= 0 for one in every) / len(every)
    assert found.p == pytest.approx(max(2 ** (1 - 4), 2 * share), abs=0.01)


def test_many_groups_have_the_normal_interval_of_a_ratio():
    rng = np.random.default_rng(4)
    sizes = rng.integers(1, 6, 800)
    groups = np.repeat(np.arange(800), sizes)
    values = 0.5 + rng.normal(0, 0.1, 800)[groups] + rng.normal(0, 0.05, len(groups))
    lo, hi = bootstrap_interval(values, mean, groups=groups.tolist())
    off = np.bincount(groups, values - values.mean())
    half = 1.96 * math.sqrt((off**2).sum()) / len(groups)
    assert (lo, hi) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 6)
    alone = bootstrap_interval(values, mean)
    assert hi - lo > 1.3 * (alone.hi - alone.lo), "items of a group say the same, so they are fewer than they seem"


def test_one_group_proves_nothing_however_many_items_it_has():
    found = paired_bootstrap([0.1] * 30, np.linspace(0.2, 0.9, 30), mean, groups=["one"] * 30)
    assert found.p == 1.0
    assert found.lo < 0 < found.gain < found.hi
    assert bootstrap_interval([0.2, 0.9] * 20, mean, groups=["one"] * 40) == pytest.approx(
        bootstrap_interval([0.55], mean)
    )


def test_groups_must_be_as_many_as_items():
    with pytest.raises(ValueError, match="2 items need as many groups, not 1"):
        paired_bootstrap([0.1, 0.2], [0.3, 0.4], mean, groups=["a"])
