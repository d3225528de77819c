"""What recovered prompts are worth: known answers, intervals over clusters, and baselines that do not flatter."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.crafts.recover.config import CONSTANT
from promptmill.crafts.recover.measures import (
    CONSTANT_ARM,
    OTHER_ARM,
    SELF_ARM,
    Truth,
    arms,
    baselines,
    columns,
    interval_of,
    is_exact,
    measured,
    others,
    scs_column,
)
from promptmill.crafts.recover.space import Grams

SPACE = Grams()
TRUTHS = [
    Truth("Make it a poem.", "poem"),
    Truth("Turn it into a poem.", "poem"),
    Truth("Write it in capital letters.", "capitals"),
    Truth("Name all the colours.", "colours"),
    Truth("Say it in French.", "french"),
]


@pytest.mark.parametrize(
    ("guess", "same"),
    [
        ("make it  a POEM", True),
        ("Make it a poem .", True),
        (" Make it a\npoem.", True),
        ("Make it a poem!", False),
        ("Make a poem.", False),
        ("", False),
    ],
)
def test_exact_leaves_case_spacing_and_a_final_stop_aside(guess: str, same: bool):
    assert is_exact(guess, "Make it a poem.") is same


def test_every_column_of_the_truth_itself_is_one():
    row = measured([one.prompt for one in TRUTHS], TRUTHS, SPACE)
    assert (row["n"], row["unanswered"], row["clusters"]) == (5, 0, 4)
    for name in columns(SPACE):
        mean, lo, hi = row[name]
        assert mean == pytest.approx(1, abs=1e-6), name
        assert lo < 1 or name == "BLEU", name  # four clusters do not prove that it is always so
        assert hi == pytest.approx(1, abs=1e-6), name


def test_known_values_of_a_guess():
    row = measured(["make a poem of it"], TRUTHS[:1], SPACE)
    assert row["exact"][0] == 0
    assert row["token F1"][0] == pytest.approx(2 * 3 / (4 + 3))  # articles are no words
    assert row["ROUGE-L"][0] == pytest.approx(2 * 3 / (5 + 4))  # make a poem
    cosine = float(SPACE.vectors(["make a poem of it"])[0] @ SPACE.vectors(["Make it a poem."])[0])
    assert row["scs (n-grams)"][0] == pytest.approx(cosine**3, abs=1e-5)


def test_bleu_is_that_of_all_guesses_together():
    sacrebleu = pytest.importorskip("sacrebleu")
    guesses = [
        "Make it into a poem.",
        "Turn it into a poem.",
        "Write it all in capital letters.",
        "Name it.",
        "Say it.",
    ]
    found = measured(guesses, TRUTHS, SPACE)["BLEU"]
    expected = sacrebleu.corpus_bleu(guesses, [[one.prompt for one in TRUTHS]]).score / 100
    assert found[0] == pytest.approx(expected, abs=1e-9)
    assert found[1] <= found[0] <= found[2]


def test_the_space_stands_in_the_columns_name():
    assert scs_column(SPACE) == "scs (n-grams)"
    assert "scs (n-grams)" in columns(SPACE)
    assert "scs" not in columns(SPACE)


def test_no_answer_is_no_score_and_is_counted():
    row = measured([None, "Make it a poem.", None, None, None], TRUTHS, SPACE)
    assert (row["n"], row["unanswered"]) == (1, 4)
    nothing = measured([None] * 5, TRUTHS, SPACE)
    assert (nothing["n"], nothing["exact"], nothing["scs (n-grams)"]) == (0, None, None)
    with pytest.raises(ValueError, match="1 guesses for 5 truths"):
        measured(["a"], TRUTHS, SPACE)


def test_a_measure_of_ones_own_gets_its_column():
    row = measured(["poem", "poem", "x", "y", "z"], TRUTHS, SPACE, more={"says poem": lambda guess, _: guess == "poem"})
    assert row["says poem"][0] == pytest.approx(0.4)
    assert list(row)[-1] == "says poem"


def test_the_interval_is_wider_where_many_items_are_of_few_clusters():
    values = [float(at // 10 % 2) for at in range(100)]
    mean, lo, hi = interval_of(values, [str(at // 10) for at in range(100)])
    _, alone_lo, alone_hi = interval_of(values, [str(at) for at in range(100)])
    assert mean == 0.5
    assert hi - lo > 2 * (alone_hi - alone_lo)


@given(st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 4)), min_size=1, max_size=30))
def test_the_mean_lies_in_its_interval_and_that_within_bounds(rows: list[tuple[float, int]]):
    mean, lo, hi = interval_of([value for value, _ in rows], [str(cluster) for _, cluster in rows])
    low = -1 if any(value < 0 for value, _ in rows) else 0
    assert low - 1e-9 <= lo <= hi <= 1 + 1e-9
    if len({cluster for _, cluster in rows}) == 1:
        assert lo - 1e-9 <= mean <= hi + 1e-9


def test_equal_values_below_zero_have_an_interval_around_them():
    mean, lo, hi = interval_of([-0.5] * 8, list("abcdefgh"))
    assert -1 < lo < mean == -0.5 < hi < 0.5


@given(st.lists(st.integers(0, 5), min_size=2, max_size=40), st.integers(0, 20))
def test_the_other_prompt_is_of_another_cluster_where_there_is_one(clusters: list[int], seed: int):
    truths = [Truth(f"prompt {at}", str(cluster)) for at, cluster in enumerate(clusters)]
    home = {truth.prompt: truth.cluster for truth in truths}
    given_ = others(truths, seed)
    assert given_ == others(truths, seed)
    for truth, other in zip(truths, given_, strict=True):
        assert other is not None
        assert other != truth.prompt
        assert home[other] != truth.cluster or len(set(clusters)) == 1
    largest = Counter(clusters).most_common(1)[0][1]
    if 2 * largest <= len(clusters) or len(set(clusters)) == 1:
        assert sorted(map(str, given_)) == sorted(home)  # each once


def test_other_prompts_differ_by_seed_and_one_group_has_none():
    truths = [Truth(f"prompt {at}", str(at)) for at in range(20)]
    assert others(truths, 0) != others(truths, 1)
    assert others(truths[:1]) == [None]
    assert others([]) == []


def test_baselines_stand_first_and_the_constant_is_what_it_is_said_to_be():
    rows = arms({"mine": ["Make it a poem."] * 5}, TRUTHS, SPACE)
    assert [row["arm"] for row in rows] == [CONSTANT_ARM, OTHER_ARM, SELF_ARM, "mine"]
    by_name = {row["arm"]: row for row in rows}
    assert by_name[SELF_ARM]["exact"][0] == 1
    assert by_name[OTHER_ARM]["exact"][0] == 0
    assert by_name["mine"]["exact"][0] == pytest.approx(0.2)
    assert baselines(TRUTHS)[CONSTANT_ARM] == [CONSTANT] * 5
    assert by_name[CONSTANT_ARM] == {"arm": CONSTANT_ARM, **measured([CONSTANT] * 5, TRUTHS, SPACE)}


def test_a_table_is_the_same_when_made_again():
    picks = {"mine": ["Make it a poem.", None, "a", "b", "c"]}
    assert arms(picks, TRUTHS, SPACE, seed=3) == arms(picks, TRUTHS, SPACE, seed=3)
    assert np.isfinite([value for row in arms(picks, TRUTHS, SPACE) for value in row["exact"]]).all()
