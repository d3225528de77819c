"""From parts to one ranked list with a confidence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.crafts.recover.confidence import fit_calibration
from promptmill.crafts.recover.config import RankConfig
from promptmill.crafts.recover.ranking import RANKER, Ranker, features, picks_of, signs
from promptmill.crafts.recover.tables import PartRow
from promptmill.crafts.recover.traces import Group
from promptmill.crafts.recover.weights import NAMES, fit_weights
from promptmill.errors import InputError
from tests.recovering import UPPER, trace

GROUP = Group("g", (trace("t", UPPER),))
PLAIN = Ranker.plain(RankConfig())
known = st.none() | st.floats(-5, 5).map(lambda value: round(value, 3))


def row(at: int, text: str = "", **parts: float | None) -> PartRow:
    return PartRow("g", at, text or f"candidate {at}", ["zero_shot"], **{**dict.fromkeys(NAMES), **parts})  # type: ignore[arg-type]


def test_the_best_parts_come_first_and_shares_sum_to_one() -> None:
    rows = [row(0, likelihood=0.0, votes=0.2), row(1, likelihood=0.5, votes=0.2), row(2, likelihood=0.2, votes=0.6)]
    found = PLAIN.predicted(GROUP, rows)
    assert [one.prompt for one in found.candidates] == ["candidate 1", "candidate 2", "candidate 0"]
    assert sum(one.score for one in found.candidates) == pytest.approx(1, abs=1e-3)
    assert found.candidates[0].parts["likelihood"] == 0.5
    assert found.confidence < found.candidates[0].score  # the generic prompt is a rival too
    assert (found.abstained, found.prompt) == (False, "candidate 1")


def test_without_a_candidate_it_cannot_tell() -> None:
    found = PLAIN.predicted(GROUP, [])
    assert (found.candidates, found.prompt, found.confidence, found.abstained, found.picks) == ((), None, 0, True, {})


def test_below_the_bound_it_says_that_it_cannot_tell_and_keeps_what_it_has() -> None:
    rows = [row(0), row(1)]
    assert PLAIN.predicted(GROUP, rows).abstained is False
    careful = replace(PLAIN, abstain=0.6)
    assert careful.predicted(GROUP, rows).abstained is True
    assert careful.predicted(GROUP, rows).prompt == "candidate 0"
    assert careful.predicted(GROUP, [row(0, likelihood=1.0), row(1, likelihood=0.0)]).abstained is False


def test_only_the_best_ones_are_told() -> None:
    rows = [row(at, votes=at / 10) for at in range(5)]
    told = Ranker.plain(RankConfig(kept=2)).predicted(GROUP, rows).candidates
    assert [one.prompt for one in told] == ["candidate 4", "candidate 3"]


@given(st.lists(st.tuples(known, known, known), min_size=1, max_size=6))
def test_any_parts_give_shares_in_order_and_of_equals_the_first(parts: list[tuple[float | None, ...]]) -> None:
    rows = [row(at, likelihood=a, posterior=b, votes=c) for at, (a, b, c) in enumerate(parts)]
    found = PLAIN.predicted(GROUP, rows)
    scores = [one.score for one in found.candidates]
    assert scores == sorted(scores, reverse=True)
    assert 0 <= found.confidence <= 1
    if len({tuple(one) for one in parts}) == 1:
        assert [one.prompt for one in found.candidates] == [one.text for one in rows]


def test_each_part_alone_has_a_choice_and_mbr_chooses_among_what_was_said() -> None:
    rows = [
        row(0, votes=0.5, consensus=0.2, likelihood=0.1, posterior=-2.0),
        row(1, votes=0.5, consensus=0.3, likelihood=0.1, posterior=-1.0),
        row(2, votes=0.0, consensus=0.9, likelihood=0.7, retrieved=0.4, critic=0.1),
        row(3, votes=0.0, consensus=0.8, retrieved=0.5, critic=None),
    ]
    assert picks_of(rows, [0.1, 0.2, 0.4, 0.3]) == {
        "all": "candidate 2", "mbr": "candidate 1", "likelihood": "candidate 2", "posterior": "candidate 1",
        "critic": "candidate 2", "retrieval": "candidate 3",
    }  # fmt: skip
    assert picks_of([row(0)], [1.0]) == {"all": "candidate 0"}
    drawn_by_none = [replace(one, votes=None) for one in rows[2:]]
    assert picks_of(drawn_by_none, [0.5, 0.5])["mbr"] == "candidate 2"


def test_other_ways_of_choosing_are_told_beside_this_one() -> None:
    found = PLAIN.predicted(GROUP, [row(0)], {"zero-shot": "said first", "all": "never"})
    assert found.picks == {"zero-shot": "said first", "all": "candidate 0"}


def test_signs_are_those_of_the_best_candidate() -> None:
    rows = [row(0, likelihood=0.1), row(1, likelihood=0.4, votes=0.5)]
    found = signs(rows, [0.3, 0.7])
    assert (found["score"], found["likelihood"], found["votes"], found["candidates"]) == (0.7, 0.4, 0.5, 2.0)
    assert found["posterior"] is None


def fitted() -> Ranker:
    """Weights that follow the likelihood, and a confidence that was fitted with them."""
    near = [[0.9, 0.1], [0.2, 0.8]] * 15
    rows = [[row(0, likelihood=a), row(1, likelihood=b)] for a, b in near]
    weights = fit_weights([[features(one) for one in some] for some in rows], near)
    scores = [weights.scores([features(one) for one in some]).tolist() for some in rows]
    seen = [signs(some, each) for some, each in zip(rows, scores, strict=True)]
    return Ranker(weights, fit_calibration(seen, [at % 3 > 0 for at in range(30)]), abstain=0.1, kept=3)


def test_a_fitted_ranker_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    one = fitted()
    assert one.weights.fitted
    assert one.calibration.calibrated
    one.save(tmp_path)
    again = Ranker.load(tmp_path, RankConfig(abstain=0.1, kept=3))
    assert again == one
    rows = [row(0, likelihood=0.2), row(1, likelihood=0.3, votes=1.0)]
    assert again.predicted(GROUP, rows) == one.predicted(GROUP, rows)
    assert again.predicted(GROUP, rows).confidence != again.predicted(GROUP, rows).candidates[0].score


@pytest.mark.parametrize(("text", "words"), [
    (None, "train the recoverer to its end"),
    ("{", "cannot be read"),
    ("[]", "cannot be read"),
    ('{"weights": {}, "calibration": {}}', "cannot be read"),
    ('{"weights": {"names": ["a"], "values": [], "scale": [1]}, "calibration": {}}', "cannot be read"),
    ('{"weights": {"names": [], "values": [], "scale": [], "more": 1}, "calibration": {}}', "cannot be read"),
])  # fmt: skip
def test_a_ranker_that_is_none_is_named(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / RANKER).write_text(text)
    with pytest.raises(InputError, match=words):
        Ranker.load(tmp_path, RankConfig())
