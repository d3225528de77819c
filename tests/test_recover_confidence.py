"""Confidence in a recovered prompt: calibrated where it can be, and told where it cannot."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.crafts.recover.confidence import (
    FEWEST,
    SIGNS,
    Calibration,
    Signs,
    cross_fitted,
    fit_calibration,
    reliability,
    risk_coverage,
)
from promptmill.crafts.recover.rank.folds import cluster_folds, even_weights

GROUPS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def planted(count: int, seed: int = 0) -> tuple[list[Signs], list[bool], list[float]]:
    """Scores that are far too sure, beside a consensus that tells; the truth is drawn by known probabilities."""
    draw = np.random.default_rng(seed)
    signs: list[Signs] = []
    right, probability = [], []
    for _ in range(count):
        logit, consensus = 3 * draw.standard_normal(), draw.random()
        true = sigmoid(0.5 * logit + 4 * (consensus - 0.5))
        signs.append({"score": sigmoid(logit), "consensus": consensus, "candidates": float(draw.integers(1, 9))})
        right.append(bool(draw.random() < true))
        probability.append(true)
    return signs, right, probability


def test_planted_probabilities_are_recovered():
    signs, right, _ = planted(4000)
    told = fit_calibration(signs, right)
    assert told.calibrated
    each = {name: value / scale for name, value, scale in zip(told.names, told.values, told.scale, strict=True)}
    assert each["score"] == pytest.approx(0.5, abs=0.08)
    assert each["consensus"] == pytest.approx(4, abs=0.4)
    assert each["candidates"] == pytest.approx(0, abs=0.15)
    assert (each["likelihood"], each["posterior"]) == (0, 0)  # known of none
    fresh, _, probability = planted(200, seed=1)
    said = [told.confidence(one) for one in fresh]
    np.testing.assert_allclose(said, probability, atol=0.08)


def test_logistic_regression_is_that_of_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    signs, right, _ = planted(80)
    names = ("consensus", "candidates")
    told = fit_calibration(signs, right, names, shrink=2.0)
    made = np.array([[one["consensus"], math.log(one["candidates"] or 1)] for one in signs])
    made = (made - made.mean(axis=0)) / made.std(axis=0)
    theirs = linear.LogisticRegression(C=0.5, tol=1e-10, max_iter=1000).fit(made, right)
    assert told.values == pytest.approx(theirs.coef_[0].tolist(), abs=1e-4)
    assert told.constant == pytest.approx(float(theirs.intercept_[0]), abs=1e-4)


def test_calibration_mends_scores_that_are_too_sure():
    signs, right, _ = planted(600)
    folds = cluster_folds([str(at // 3) for at in range(600)], 5, 0)
    raw = reliability([one["score"] or 0 for one in signs], right)
    mended = reliability(cross_fitted(signs, right, folds).tolist(), right)
    assert mended.ece < 0.5 * raw.ece
    assert mended.brier < raw.brier
    assert mended.brier < mended.constant_brier


def test_what_carries_no_sign_is_as_sure_as_the_share_that_is_right():
    told = fit_calibration([{"score": 0.5}] * 40, [True] * 30 + [False] * 10)
    assert told.calibrated
    assert told.confidence({"score": 0.5}) == pytest.approx(0.75, abs=1e-6)
    assert told.confidence({"score": 0.99}) == pytest.approx(0.75, abs=1e-6)


def test_a_sign_that_is_not_known_counts_as_its_mean():
    signs, right, _ = planted(100)
    told = fit_calibration(signs, right)
    mean = dict(zip(told.names, told.mean, strict=True))["consensus"]
    plain = {"score": 0.7, "candidates": 3.0}
    assert told.confidence(plain) == pytest.approx(told.confidence({**plain, "consensus": mean}))
    assert told.confidence(plain) == told.confidence({**plain, "consensus": None, "critic": 0.3})


@pytest.mark.parametrize(
    ("right", "reason"),
    [
        ([True, False] * (FEWEST // 2 - 1), f"only {FEWEST - 2} groups"),
        ([True] * FEWEST, f"all of {FEWEST} groups are right"),
        ([False] * FEWEST, f"none of {FEWEST} groups are right"),
        ([], "only 0 groups"),
    ],
)
def test_what_cannot_be_calibrated_says_so_and_gives_the_score(right: list[bool], reason: str):
    told = fit_calibration([{"score": 0.3, "consensus": 0.5}] * len(right), right)
    assert not told.calibrated
    assert told.reason.startswith(reason)
    assert told.confidence({"score": 0.37, "consensus": 0.9}) == 0.37
    assert Calibration().confidence({"score": 0.37}) == 0.37


def test_confidence_rises_with_the_score():
    signs, right, _ = planted(400)
    told = fit_calibration(signs, right)
    said = [told.confidence({"score": score, "consensus": 0.5}) for score in (0.0, 0.01, 0.5, 0.99, 1.0)]
    assert said == sorted(said)
    assert 0 < said[0] < said[-1] < 1


def test_a_held_out_fold_is_not_seen():
    signs, right, _ = planted(120)
    folds = [at % 4 for at in range(120)]
    first = cross_fitted(signs, right, folds)
    turned = [one != (fold == 2) for one, fold in zip(right, folds, strict=True)]
    second = cross_fitted(signs, turned, folds)
    here = np.array(folds) == 2
    np.testing.assert_array_equal(first[here], second[here])
    assert not np.allclose(first[~here], second[~here])
    np.testing.assert_array_equal(cross_fitted(signs, right, folds), first)


def test_a_fold_without_which_nothing_can_be_fitted_gets_its_scores():
    signs: list[Signs] = [{"score": at / 40} for at in range(40)]
    folds = [int(at >= 20) for at in range(40)]
    found = cross_fitted(signs, [at >= 20 and at % 2 == 0 for at in range(40)], folds)
    np.testing.assert_allclose(found[20:], [at / 40 for at in range(20, 40)])  # all others are wrong


def test_reliability_of_known_groups():
    said = [0.05, 0.05, 0.62, 0.64, 0.66, 1.0]
    found = reliability(said, [False, True, True, True, False, True])
    assert [(one.n, one.right) for one in found.bins] == [(2, 0.5), (3, pytest.approx(2 / 3)), (1, 1.0)]
    assert found.bins[1].confidence == pytest.approx(0.64)
    assert found.ece == pytest.approx((2 * 0.45 + 3 * abs(0.64 - 2 / 3)) / 6)
    assert found.constant_brier == pytest.approx(4 / 6 * 2 / 6)
    assert found.brier == pytest.approx((0.05**2 + 0.95**2 + 0.38**2 + 0.36**2 + 0.66**2) / 6)
    assert all(one.lo <= one.right <= one.hi for one in found.bins)


@given(GROUPS, st.integers(1, 12))
def test_all_groups_stand_in_the_bins_and_errors_are_bounded(groups: list[tuple[float, bool]], bins: int):
    said, right = [one for one, _ in groups], [one for _, one in groups]
    found = reliability(said, right, bins)
    assert sum(one.n for one in found.bins) == len(groups)
    assert len(found.bins) <= bins
    assert 0 <= found.ece <= 1
    assert sum(one.right * one.n for one in found.bins) == pytest.approx(sum(right))
    assert found.ece**2 <= found.brier + 1e-9  # by Jensen's inequality, whatever the bins


def test_abstaining_of_the_least_sure_buys_accuracy():
    said = [0.9, 0.8, 0.7, 0.2, 0.1]
    rows = risk_coverage(said, [True, True, True, False, False])
    assert [(one.coverage, one.accuracy) for one in rows] == [
        (0.2, 1.0), (0.4, 1.0), (pytest.approx(0.6), 1.0), (0.8, 0.75), (1.0, pytest.approx(0.6)),
    ]  # fmt: skip
    assert rows[2].least == 0.7


def test_groups_of_one_confidence_come_in_together():
    rows = risk_coverage([0.5] * 4 + [0.9], [True, False, False, False, True])
    assert [(one.n, one.accuracy) for one in rows] == [(1, 1.0), (5, pytest.approx(0.4))]


@given(GROUPS, st.integers(1, 30))
def test_the_last_row_answers_everything(groups: list[tuple[float, bool]], points: int):
    said, right = [one for one, _ in groups], [one for _, one in groups]
    rows = risk_coverage(said, right, points)
    assert len(rows) <= points
    assert rows[-1].coverage == 1
    assert rows[-1].accuracy == pytest.approx(np.mean(right))
    assert [one.n for one in rows] == sorted({one.n for one in rows})
    for one in rows:
        kept = [hit for sure, hit in groups if sure >= one.least]
        assert (one.n, one.accuracy) == (len(kept), pytest.approx(np.mean(kept)))


def test_a_calibration_survives_json_and_a_broken_one_does_not():
    signs, right, _ = planted(50)
    told = fit_calibration(signs, right)
    again = json.loads(json.dumps(asdict(told)))
    assert Calibration(**again) == told
    assert Calibration(**json.loads(json.dumps(asdict(Calibration())))) == Calibration()
    for broken in ({"values": [1.0]}, {"constant": math.inf}, {"names": []}):
        with pytest.raises(ValueError, match="do not fit together"):
            Calibration(**{**again, **broken})


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match="signs of 1 groups, but 2"):
        fit_calibration([{}], [True, False])
    with pytest.raises(ValueError, match="1 groups, 1 right or wrong, 2 folds"):
        cross_fitted([{}], [True], [0, 1])
    for bad in ([], [1.5], [math.nan]):
        with pytest.raises(ValueError, match="confidences"):
            reliability(bad, [True] * len(bad))
    with pytest.raises(ValueError, match="confidences"):
        risk_coverage([0.5], [True, False])


def test_the_signs_are_those_that_a_group_has():
    assert SIGNS == ("score", "consensus", "likelihood", "posterior", "candidates")


@given(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=50), st.integers(1, 6), st.integers(0, 9))
def test_a_cluster_lies_in_one_fold_and_folds_are_even(clusters: list[str], folds: int, seed: int):
    fold_n = cluster_folds(clusters, folds, seed)
    homes = {name: set(fold_n[np.array(clusters) == name].tolist()) for name in clusters}
    assert all(len(home) == 1 for home in homes.values())
    sizes = [sum(home == {fold} for home in homes.values()) for fold in range(folds)]
    assert max(sizes) - min(sizes) <= 1
    weights = even_weights(clusters)
    assert weights.mean() == pytest.approx(1)
    sums = {name: weights[np.array(clusters) == name].sum() for name in clusters}
    assert len({round(value, 9) for value in sums.values()}) == 1
