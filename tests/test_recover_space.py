"""The space of a recovery: unit vectors by n-grams or an embedder, and the sharpened cosine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.crafts.recover.space import GRAMS, WIDTH, Grams, scs, sharpened, space_of
from promptmill.errors import InputError
from promptmill.model.embedder import installed

texts = st.text(st.characters(codec="utf-8"), max_size=60)
needs_embedder = pytest.mark.skipif(not installed(), reason="the extra `embed` is not installed")


@given(st.lists(texts, min_size=1, max_size=5))
def test_vectors_of_n_grams_have_unit_length_whatever_the_text(several: list[str]):
    vectors = Grams().vectors(several)
    assert vectors.shape == (len(several), WIDTH)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@given(st.lists(texts, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_a_texts_vector_does_not_hang_on_what_stands_beside_it(several: list[str], random):
    shuffled = random.sample(several, len(several))
    by_text = dict(zip(shuffled, Grams().vectors(shuffled), strict=True))
    for text, vector in zip(several, Grams().vectors(several), strict=True):
        np.testing.assert_array_equal(vector, by_text[text])


def test_an_empty_text_has_a_vector_and_no_texts_have_none():
    assert np.linalg.norm(Grams().vectors([""])[0]) == pytest.approx(1)
    assert Grams().vectors([]).shape == (0, WIDTH)


def test_case_and_spacing_do_not_count_among_n_grams():
    first, second = Grams().vectors(["Make it a poem", " make  IT\na poem "])
    np.testing.assert_array_equal(first, second)


def test_what_shares_words_is_nearer():
    poem, verse, revenue = Grams().vectors(["Turn it into a poem", "Turn this into a short poem", "Quarterly revenue"])
    assert poem @ verse > 0.5 > 0.2 > poem @ revenue


def test_the_sharpened_cosine_is_the_cube_with_its_sign():
    assert sharpened(np.array([0.5, -0.5, 0.0, 1.0, -1.0, 1 + 1e-7])).tolist() == [0.125, -0.125, 0, 1, -1, 1]


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20))
def test_sharpening_keeps_the_order(cosines: list[float]):
    values = np.sort(np.array(cosines))
    assert (np.diff(sharpened(values)) >= 0).all()


class Plane:
    """Texts that name the angle at which they lie."""

    name = fingerprint = "plane"

    def vectors(self, several):
        angles = np.radians([float(text) for text in several])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_scs_of_known_angles():
    assert scs(Plane(), ["60", "120", "0"], ["0", "0", "0"]) == pytest.approx([0.125, -0.125, 1], abs=1e-6)


def test_guesses_and_truths_must_be_as_many_and_may_be_none():
    assert scs(Grams(), [], []).shape == (0,)
    with pytest.raises(InputError, match="2 guesses for 1 truths"):
        scs(Grams(), ["a", "b"], ["a"])


def test_n_grams_are_taken_by_name_and_say_so():
    space = space_of("none")
    assert (space.name, space.fingerprint) == (GRAMS, "n-grams-1")


def test_an_embedder_that_is_not_there_is_one_clear_line():
    with pytest.raises(InputError) as raised:
        space_of("./no-such-folder")
    assert "\n" not in str(raised.value)


@needs_embedder
def test_a_text_is_itself_in_the_default_space():
    space = space_of("auto")
    assert space.name == "minilm"
    prompts = ["Rewrite this as a poem.", "Make it shorter.", "x"]
    assert scs(space, prompts, prompts) == pytest.approx(np.ones(3), abs=1e-5)
    assert scs(space, ["Turn the text into verse"], ["Rewrite this as a poem"])[0] == pytest.approx(0.524**3, abs=0.01)
