import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.errors import InputError
from promptmill.tasks.split import Fractions, content_hash

texts = st.dictionaries(st.sampled_from(["input", "context"]), st.text(max_size=20), min_size=1)


@given(texts, st.integers(0, 5))
def test_equal_content_falls_in_the_same_split_whatever_order_its_fields_have(fields, seed):
    fractions = Fractions(seed=seed)
    assert fractions.place(fields) == fractions.place(dict(reversed(fields.items())))


@given(texts)
def test_every_example_has_exactly_one_split_and_a_share_of_zero_stays_empty(fields):
    assert Fractions().place(fields) in ("train", "dev", "test")
    assert Fractions(1, 0, 0).place(fields) == "train"
    assert Fractions(0, 1, 0).place(fields) == "dev"
    assert Fractions(0, 0, 1).place(fields) == "test"
    assert Fractions(0.5, 0, 0.5).place(fields) != "dev"
    assert Fractions(0.5, 0.5, 0).place(fields) != "test"


def test_case_and_white_space_make_no_other_content():
    assert content_hash({"input": "A  cat\n"}) == content_hash({"input": "a cat"})
    assert content_hash({"input": "a cat"}) != content_hash({"input": "a cat"}, seed=1)
    assert content_hash({"a": "b"}) != content_hash({"b": "a"})


def test_the_shares_come_out_near_what_is_asked():
    rng = random.Random(0)
    places = [Fractions().place({"input": str(rng.random())}) for _ in range(4000)]
    for part, share in (("train", 0.4), ("dev", 0.2), ("test", 0.4)):
        assert places.count(part) / 4000 == pytest.approx(share, abs=0.03)


def test_only_the_proportions_of_shares_count():
    fields = [{"input": str(i)} for i in range(200)]
    assert [Fractions(4, 2, 4).place(f) for f in fields] == [Fractions().place(f) for f in fields]


def test_the_seed_moves_examples():
    fields = [{"input": str(i)} for i in range(50)]
    assert [Fractions(seed=1).place(f) for f in fields] != [Fractions().place(f) for f in fields]


@pytest.mark.parametrize("shares", [(0, 0, 0), (-0.1, 0.5, 0.6), (float("nan"), 1, 1), (float("inf"), 1, 1)])
def test_impossible_shares_are_refused(shares):
    with pytest.raises(InputError, match="shares"):
        Fractions(*shares)
