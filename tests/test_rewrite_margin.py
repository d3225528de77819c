"""From which foretold gain on a prompt is changed: few that nothing improves, and as much of the gain as may be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from promptmill.crafts.rewrite.predictor.heldout import HeldOut, choose_margin
from promptmill.crafts.rewrite.predictor.ridge import Data


def held(gains: Sequence[float], folds: Sequence[int]) -> HeldOut:
    array = np.array(gains)
    return HeldOut(array, array, array, 1.0, np.array(folds))


def gains_of(gains: Sequence[float], groups: Sequence[int]) -> Data:
    empty = np.zeros((len(gains), 1))
    return Data(empty, empty, empty, np.array(gains), np.array(groups))


def test_at_the_margin_few_hopeless_prompts_are_changed():
    """100 base prompts, every other hopeless; what is expected of them overlaps with what is expected of the others."""
    draw = np.random.default_rng(0)
    good = np.arange(100) % 2 == 0
    real, expected = np.where(good, 0.3, -0.3), np.where(good, 0.2, -0.1) + 0.15 * draw.standard_normal(100)
    folds = np.arange(100) // 20
    data, told = gains_of(real, range(100)), held(expected, folds)
    margin = choose_margin(data, told, 0.1, 0.0)
    assert margin.hopeless == 50
    assert (expected[~good] >= margin.margin).sum() == 5
    assert margin.changed is not None
    assert margin.changed <= 0.2
    assert margin.of_best is not None
    assert 0.5 < margin.of_best < 1
    strict = choose_margin(data, told, 0.0, 0.0)
    assert strict.margin > expected[~good].max() >= margin.margin
    assert strict.mean_gain is not None
    assert margin.mean_gain is not None
    assert strict.mean_gain < margin.mean_gain
    assert choose_margin(data, told, 0.9, 0.0).margin == 0  # never below: no loss is taken knowingly


def test_the_margin_is_of_the_best_candidate_of_each_prompt():
    data = gains_of([0.1, -0.2, -0.3, -0.1], [0, 0, 1, 1])
    margin = choose_margin(data, held([0.5, 0.6, 0.2, 0.1], [0, 0, 1, 1]), 0.0, 0.0)
    assert margin.hopeless == 1
    assert 0.2 < margin.margin < 0.2 + 1e-9
    assert margin.kept_share is None  # the best expected candidates make things worse: no gain to keep a share of


def test_without_hopeless_prompts_whatever_is_expected_to_gain_is_taken():
    margin = choose_margin(gains_of([0.1, 0.2], [0, 1]), held([0.1, 0.3], [0, 1]), 0.1, 0.0)
    assert (margin.margin, margin.changed, margin.of_best) == (0.0, None, pytest.approx(1.0))
