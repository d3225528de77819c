"""Fitness sharing: what a crowd divides, and what a loner keeps."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.crafts.breed.sharing import shared
from promptmill.errors import InputError

scores = st.lists(st.floats(0, 100), min_size=1, max_size=8)
places = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1)), min_size=1, max_size=8)


def on_a_line(at: Sequence[float]) -> Callable[[int, int], float]:
    return lambda i, j: 1 - abs(at[i] - at[j])


def test_hand_computed_niches():
    # distances 0.1, 0.4 and 0.3 with radius 0.4: sh = 0.75, 0, 0.25
    found = shared([1.0, 2.0, 3.0], on_a_line([0.0, 0.1, 0.4]), radius=0.4)
    assert found == pytest.approx([1 / 1.75, 2 / 2, 3 / 1.25])


def test_the_default_radius_is_a_half():
    assert shared([1.0, 1.0], on_a_line([0.0, 0.25])) == pytest.approx([1 / 1.5] * 2)
    assert shared([1.0, 1.0], on_a_line([0.0, 0.5])) == [1.0, 1.0]


@given(scores)
def test_loners_keep_their_fitness(fitness: list[float]):
    assert shared(fitness, lambda _i, _j: 0.0) == fitness


@given(scores)
def test_clones_divide_evenly(fitness: list[float]):
    assert shared(fitness, lambda _i, _j: 1.0) == pytest.approx([value / len(fitness) for value in fitness])


@given(places, st.floats(0.01, 2))
def test_a_clone_of_a_loner_halves_it(units: list[tuple[float, float]], radius: float):
    fitness, at = [value for value, _ in units], [place for _, place in units]
    alone = [*fitness, 7.0, 7.0]
    found = shared(alone, on_a_line([*at, 9.0, 9.0]), radius)
    assert found[-2:] == [3.5, 3.5]
    assert found[:-2] == shared(fitness, on_a_line(at), radius)


@given(places, st.floats(0.01, 2), st.randoms(use_true_random=False))
def test_the_order_of_the_units_does_not_matter(units: list[tuple[float, float]], radius: float, rng: random.Random):
    order = rng.sample(range(len(units)), len(units))
    found = shared([value for value, _ in units], on_a_line([place for _, place in units]), radius)
    mixed = [units[at] for at in order]
    again = shared([value for value, _ in mixed], on_a_line([place for _, place in mixed]), radius)
    assert again == [found[at] for at in order]


@given(places, st.floats(0.01, 2))
def test_nobody_gains_by_sharing(units: list[tuple[float, float]], radius: float):
    fitness = [value for value, _ in units]
    found = shared(fitness, on_a_line([place for _, place in units]), radius)
    assert all(after <= value for value, after in zip(fitness, found, strict=True))
    assert all(after * len(units) >= value - 1e-9 for value, after in zip(fitness, found, strict=True))


def test_rounding_and_opposite_meanings_stay_within_bounds():
    assert shared([1.0, 1.0], lambda _i, _j: 1.0000001) == [0.5, 0.5]
    assert shared([1.0, 1.0], lambda _i, _j: -0.3) == [1.0, 1.0]
    assert shared([], lambda _i, _j: 1.0) == []


@pytest.mark.parametrize(
    ("fitness", "radius", "said"),
    [
        ([1.0], 0.0, "radius must be above 0"),
        ([1.0], float("nan"), "radius must be above 0"),
        ([1.0, -0.5], 0.5, "unit 1 has -0.5"),
        ([float("nan")], 0.5, "unit 0 has nan"),
    ],
)
def test_what_cannot_be_shared_is_refused(fitness: list[float], radius: float, said: str):
    with pytest.raises(InputError, match=said):
        shared(fitness, lambda _i, _j: 1.0, radius)
