"""Texts of which none is too much like another: by n-grams, or by vectors where a model gives them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from promptmill.vary.alike import Diversity, likeness_of

MEANINGS = {"Add it up.": 0.0, "Find the sum.": 0.2, "Say hello.": 1.4, "Greet.": 1.5}
"""By angle in radians: two senses, two wordings of each."""


def vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    return np.array([[np.cos(MEANINGS[text]), np.sin(MEANINGS[text])] for text in texts], dtype=np.float32)


def test_with_vectors_the_same_meaning_in_other_words_is_too_much_alike():
    kept = Diversity(vectors=vectors)
    assert [kept.add(text) for text in MEANINGS] == [True, False, True, False]
    assert kept.texts == ["Add it up.", "Say hello."]


def test_without_vectors_only_the_letters_count():
    kept = Diversity()
    assert all(kept.add(text) for text in MEANINGS)
    assert not kept.takes("add  it UP.")


def test_texts_that_were_there_before_count_too():
    assert not Diversity(texts=["Add it up."]).takes("add it up.")
    assert not Diversity(texts=["Add it up."], vectors=vectors).takes("Find the sum.")


@pytest.mark.parametrize("bound", [0.5, 0.99, 1.0])
def test_the_bound_is_on_the_cosine_and_itself_allowed(bound: float):
    kept = Diversity(bound, vectors=vectors)
    kept.add("Add it up.")
    assert kept.takes("Find the sum.") == (np.cos(0.2) <= bound)
    assert kept.takes("Add it up.") == (bound == 1.0)


def test_asking_keeps_nothing():
    kept = Diversity(vectors=vectors)
    assert kept.takes("Add it up.")
    assert kept.takes("Add it up.")
    assert kept.texts == []


def test_likeness_is_the_share_of_common_n_grams():
    # " ab " has {" ab", "ab "}, " abc " has {" ab", "abc", "bc "}: one in common of five
    assert likeness_of("ab", "abc") == pytest.approx(2 * 1 / 5)
    assert likeness_of("AB", "ab") == 1
