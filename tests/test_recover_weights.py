"""Weights of a candidate's parts: what was planted is found, what says nothing gets nothing."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from promptmill.crafts.recover.weights import (
    DEFAULTS,
    FEWEST,
    NAMES,
    Parts,
    Weights,
    _Loss,
    default_weights,
    fit_weights,
    held_out_scores,
)

THREE = ("likelihood", "consensus", "votes")
TRUE = np.array([2.0, 5.0, 0.0])
FLOATS = st.floats(-20, 20, allow_nan=False)
CANDIDATES = st.lists(st.fixed_dictionaries({name: st.none() | FLOATS for name in THREE}), min_size=1, max_size=8)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    found = np.exp(logits - logits.max())
    return found / found.sum()


def planted(
    groups: int, seed: int = 0, temperature: float = 0.1
) -> tuple[list[list[Parts]], list[NDArray[np.float64]]]:
    """Groups of 2 to 9 candidates whose targets are just what the true weights make of them."""
    draw = np.random.default_rng(seed)
    candidates, nearness = [], []
    for _ in range(groups):
        parts = draw.standard_normal((int(draw.integers(2, 10)), 3)) * [1.0, 0.3, 2.0] + draw.standard_normal(3) * 10
        candidates.append([dict(zip(THREE, row, strict=True)) for row in parts.tolist()])
        nearness.append(temperature * np.log(softmax(parts @ TRUE)))
    return candidates, nearness


def test_weights_that_the_targets_were_made_with_are_recovered():
    told = fit_weights(*planted(200), names=THREE, shrink=0.0)
    assert told.fitted
    assert told.groups == 200
    assert [told.each[name] for name in THREE] == pytest.approx(TRUE.tolist(), abs=1e-3)
    assert told.loss is not None
    assert told.even_loss is not None
    assert told.loss < told.even_loss


def test_weights_are_recovered_from_single_right_answers_too():
    """One candidate of each group is right, drawn by the model's own probabilities."""
    candidates, nearness = planted(2000, seed=1)
    draw = np.random.default_rng(2)
    chosen = []
    for near in nearness:
        one = np.zeros(len(near))
        one[draw.choice(len(near), p=softmax(near / 0.1))] = 1.0
        chosen.append(one)
    told = fit_weights(candidates, chosen, THREE, temperature=0.05, shrink=0.0)
    assert [told.each[name] for name in THREE] == pytest.approx(TRUE.tolist(), abs=0.35)


def test_a_part_that_says_nothing_gets_next_to_nothing():
    told = fit_weights(*planted(200), names=THREE)
    scaled = dict(zip(told.names, told.values, strict=True))
    assert abs(scaled["votes"]) < 0.02 * abs(scaled["likelihood"])


def test_what_is_known_of_none_or_never_differs_gets_no_weight():
    candidates, nearness = planted(40)
    blank = [[{**one, "consensus": None, "votes": 7.0} for one in group] for group in candidates]
    told = fit_weights(blank, nearness, (*THREE, "critic"))
    assert told.each["likelihood"] > 0.5
    assert (told.each["consensus"], told.each["votes"], told.each["critic"]) == (0, 0, 0)


def test_a_missing_part_counts_as_the_mean_of_its_group():
    weights = Weights(("critic",), (3.0,), (1.0,))
    gap = weights.scores([{"critic": 0.2}, {"critic": None}, {"critic": 0.6}])
    filled = weights.scores([{"critic": 0.2}, {"critic": 0.4}, {"critic": 0.6}])
    np.testing.assert_allclose(gap, filled)
    np.testing.assert_allclose(weights.scores([{}, {}, {}, {}]), 0.25)


@given(CANDIDATES)
def test_scores_add_up_to_one(candidates: list[Parts]):
    scores = default_weights(THREE).scores(candidates)
    assert scores.shape == (len(candidates),)
    assert (scores >= 0).all()
    assert scores.sum() == pytest.approx(1)


@given(CANDIDATES, st.randoms(use_true_random=False))
def test_scores_do_not_hang_on_the_order_of_the_candidates(candidates: list[Parts], random):
    order = random.sample(range(len(candidates)), len(candidates))
    weights = default_weights(THREE)
    shuffled = weights.scores([candidates[at] for at in order])
    np.testing.assert_allclose(shuffled, weights.scores(candidates)[order], atol=1e-9)


@given(CANDIDATES, st.lists(FLOATS, min_size=3, max_size=3))
def test_what_is_added_to_a_part_of_all_candidates_changes_nothing(candidates: list[Parts], added: list[float]):
    more = dict(zip(THREE, added, strict=True))
    moved = [{name: None if value is None else value + more[name] for name, value in one.items()} for one in candidates]
    weights = default_weights(THREE)
    np.testing.assert_allclose(weights.scores(moved), weights.scores(candidates), atol=1e-9)


def test_no_candidates_have_no_scores_and_one_has_all():
    assert default_weights().scores([]).shape == (0,)
    assert default_weights().scores([{"likelihood": -1000.0}]).tolist() == [1.0]


def test_few_groups_leave_the_defaults_with_the_reason():
    told = fit_weights(*planted(FEWEST - 1), names=THREE)
    assert not told.fitted
    assert told.each == {name: DEFAULTS[name] for name in THREE}
    assert told.reason.startswith(f"only {FEWEST - 1} groups")
    assert fit_weights(*planted(FEWEST), names=THREE).fitted


def test_groups_without_a_choice_teach_nothing():
    candidates, nearness = planted(FEWEST)
    alone: list[list[Parts]] = [[{"likelihood": 1.0}]] * 10
    told = fit_weights(candidates[1:] + alone, [*nearness[1:], *[np.array([1.0])] * 10], THREE)
    assert told.groups == FEWEST - 1
    same = fit_weights(candidates, [np.full(len(near), 0.3) for near in nearness], THREE)
    assert (same.groups, same.fitted) == (0, False)


def test_the_penalty_makes_weights_smaller():
    groups = planted(50)
    free, shrunk = (fit_weights(*groups, names=THREE, shrink=shrink) for shrink in (0.0, 1.0))
    assert np.linalg.norm(shrunk.values) < 0.7 * np.linalg.norm(free.values)


def test_the_gradient_is_that_of_the_loss():
    draw = np.random.default_rng(0)
    sizes = [2, 5, 3]
    target = np.concatenate([softmax(draw.standard_normal(size)) for size in sizes])
    loss = _Loss(draw.standard_normal((10, 4)), target, np.repeat([0, 1, 2], sizes), 3, 0.3)
    at, step = draw.standard_normal(4), 1e-6
    _, slope = loss(at)
    for place in range(4):
        aside = np.eye(4)[place] * step
        assert slope[place] == pytest.approx((loss(at + aside)[0] - loss(at - aside)[0]) / (2 * step), abs=1e-6)


def test_held_out_scores_see_nothing_of_their_fold():
    candidates, nearness = planted(60)
    folds = [at % 3 for at in range(60)]
    first = held_out_scores(candidates, nearness, folds, THREE)
    turned = [-near if fold == 1 else near for near, fold in zip(nearness, folds, strict=True)]
    second = held_out_scores(candidates, turned, folds, THREE)
    assert all(scores.sum() == pytest.approx(1) for scores in first)
    for fold, before, after in zip(folds, first, second, strict=True):
        assert np.array_equal(before, after) == (fold == 1)


def test_weights_survive_json_and_broken_ones_do_not():
    told = fit_weights(*planted(30), names=THREE)
    again = json.loads(json.dumps(asdict(told)))
    assert Weights(**again) == told
    for broken in ({"values": [1.0]}, {"scale": [0.0, 1.0, 1.0]}, {"values": [math.nan, 0.0, 0.0]}):
        with pytest.raises(ValueError, match="do not fit together"):
            Weights(**{**again, **broken})


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match="1 groups of candidates, but 2"):
        fit_weights([[{}]], [[1.0], [2.0]])
    with pytest.raises(ValueError, match="group 0: 1 candidates need as many finite"):
        fit_weights([[{}]], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="infinite"):
        default_weights().scores([{"likelihood": -math.inf}, {}])
    with pytest.raises(ValueError, match="as many folds"):
        held_out_scores([[{}]], [[1.0]], [])


def test_the_defaults_name_every_part():
    assert set(NAMES) == {"likelihood", "posterior", "consensus", "votes", "critic", "retrieved"}
    assert default_weights((*NAMES, "new")).each["new"] == 0
