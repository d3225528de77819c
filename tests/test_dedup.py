"""Which texts say the same: sketches find what comparing all with all finds, and nothing else."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from promptmill.vary.alike import likeness_of
from promptmill.vary.dedup import clusters, copies, exactly
from promptmill.vary.sketches import Sketches, band_width, dice, packed

WORDS = "write a short guide on how the old moon sings to bread makers in seven simple steps without any hurry".split()


def several(seed: int, count: int = 30) -> list[str]:
    """Sentences of which many are another one with a word or a letter changed."""
    rng = random.Random(seed)
    texts: list[str] = []
    while len(texts) < count:
        words = [rng.choice(WORDS) for _ in range(rng.randint(1, 14))]
        if texts and rng.random() < 0.7:
            words = rng.choice(texts).split()
            for _ in range(rng.randint(0, 2)):
                words[rng.randrange(len(words))] = rng.choice(WORDS)
            if rng.random() < 0.3:
                words[0] += rng.choice("sx!")
        texts.append(" ".join(words))
    return texts


seeds = st.integers(0, 10**9)
bounds = st.sampled_from([0.5, 0.75, 0.9, 1.0])


@given(st.text(max_size=40), st.text(max_size=40))
def test_likeness_is_that_of_vary_alike(a: str, b: str):
    assert dice(packed(a), packed(b)) == pytest.approx(likeness_of(a, b))


@given(seeds, bounds, st.integers(1, 29))
def test_the_first_stays_whatever_comes_after_it(seed: int, bound: float, cut: int):
    texts = several(seed)
    kept, gone, _ = copies(texts, bound)
    before, _, _ = copies(texts[:cut], bound)
    assert before == [at for at in kept if at < cut]
    assert sorted([*kept, *(one.at for one in gone)]) == list(range(len(texts)))


@given(seeds, bounds)
def test_nothing_falls_away_twice(seed: int, bound: float):
    kept, _, _ = copies(several(seed), bound)
    texts = [several(seed)[at] for at in kept]
    assert copies(texts, bound)[0] == list(range(len(texts)))


@given(seeds, bounds)
def test_what_falls_away_is_like_an_earlier_one_that_stays(seed: int, bound: float):
    texts = several(seed)
    kept, gone, _ = copies(texts, bound)
    for one in gone:
        assert one.of < one.at
        assert one.of in kept
        if one.why == "near":
            assert one.likeness == pytest.approx(likeness_of(texts[one.at], texts[one.of]))
            assert one.likeness >= bound
        elif exactly(texts[one.at]) != exactly(texts[one.of]):  # a copy of a copy, which says nearly the same
            assert likeness_of(texts[one.at], texts[one.of]) >= bound


@pytest.mark.parametrize("bound", [0.4, 0.6, 0.75, 0.9, 0.97])
def test_as_much_is_found_as_by_comparing_all_with_all(bound: float):
    found = missed = 0
    for seed in range(25):
        texts = list(dict.fromkeys(several(seed, 40)))
        kept, gone, _ = copies(texts, bound)
        found += len(gone)
        missed += sum(likeness_of(texts[a], texts[b]) >= bound for a in kept for b in kept if b < a)
    assert found > 10
    assert missed <= 0.05 * (found + missed)


def _components(texts: Sequence[str], bound: float) -> list[set[int]]:
    parts: list[set[int]] = []
    for at, text in enumerate(texts):
        near = [part for part in parts if any(likeness_of(text, texts[other]) >= bound for other in part)]
        parts = [part for part in parts if part not in near] + [{at}.union(*near)]
    return parts


@settings(max_examples=50)
@given(seeds, bounds)
def test_clusters_part_the_texts_and_join_no_strangers(seed: int, bound: float):
    texts = several(seed)
    first = clusters(Sketches(texts), bound)
    assert all(first[root] == root <= at for at, root in enumerate(first))
    home = {at: number for number, part in enumerate(_components(texts, bound)) for at in part}
    assert all(home[at] == home[root] for at, root in enumerate(first))


def test_clusters_are_those_of_comparing_all_with_all():
    joined = together = 0
    for seed in range(25):
        texts = several(seed, 40)
        first = clusters(Sketches(texts), 0.75)
        pairs = [(a, b) for part in _components(texts, 0.75) for a in part for b in part if b < a]
        together += len(pairs)
        joined += sum(first[a] == first[b] for a, b in pairs)
    assert together > 200
    assert joined >= 0.95 * together


def test_texts_of_one_mark_are_in_one_cluster_and_their_neighbours_with_them():
    texts = ["bake bread", "sing a song", "bake  BREAD now", "count the stars", "swim"]
    assert clusters(Sketches(texts), 0.7, ["a", "b", None, "b", None]) == [0, 1, 0, 1, 4]
    assert clusters(Sketches([]), 0.7) == []


def test_case_and_spacing_make_no_other_text_and_no_letters_are_lost():
    kept, gone, _ = copies(["Add it  up.", "add IT up.", "加法を解く", "加法を解け", ""], 0.9)
    assert kept == [0, 2, 3, 4]
    assert [(one.at, one.of, one.why) for one in gone] == [(1, 0, "exact")]


ANGLES = {"Add it up.": 0.0, "Find the sum.": 0.2, "Say hello.": 1.4, "Greet.": 1.5, "Subtract.": 0.5}


def by_angle(texts: Sequence[str]) -> NDArray[np.float32]:
    return np.array([[np.cos(ANGLES[text]), np.sin(ANGLES[text])] for text in texts], dtype=np.float32)


def test_with_vectors_the_same_meaning_in_other_words_falls_away():
    texts = list(ANGLES)
    kept, gone, sketches = copies(texts, 0.95, by_angle)
    assert kept == [0, 2, 4]
    assert [(one.at, one.of, one.why) for one in gone] == [(1, 0, "embedding"), (3, 2, "embedding")]
    assert gone[0].likeness == pytest.approx(np.cos(0.2))
    assert clusters(sketches, 0.75) == [0, 1, 0]
    assert copies(texts, 0.95)[0] == [0, 1, 2, 3, 4]


def test_vectors_at_the_bound_are_found():
    rng = np.random.default_rng(1)
    unit = rng.standard_normal((300, 64)).astype(np.float32)
    unit[150:] = unit[:150] + 0.4 * rng.standard_normal((150, 64)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    places = {f"{at:x} {at * at} {'abcdefgh'[at % 8] * 5}": at for at in range(300)}
    _, gone, _ = copies(list(places), 0.9, lambda texts: unit[[places[text] for text in texts]])
    near = sum(float(unit[at] @ unit[at - 150]) >= 0.9 for at in range(150, 300))
    assert near > 50
    assert sum(one.why == "embedding" for one in gone) >= 0.95 * near


@given(st.floats(0.05, 1.0))
def test_bands_meet_at_the_bound(chance: float):
    width = band_width(chance, 128)
    assert 1 - (1 - chance**width) ** (128 // width) >= 0.98


def test_memory_and_comparisons_grow_with_the_number_of_texts():
    # All of one template: nearly alike, not quite, which is where comparing all with all would begin.
    rng = random.Random(0)
    texts = [
        f"Write a guide on {rng.choice(WORDS)} number {rng.randrange(10**6)} for {rng.choice(WORDS)} of {rng.random()}"
        for _ in range(2400)
    ]

    def peak(count: int) -> int:
        tracemalloc.start()
        _, _, sketches = copies(texts[:count], 0.97)
        clusters(sketches, 0.95)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(2400) < 4.5 * peak(600) + 1_000_000
