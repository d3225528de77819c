"""What a recoverer learns from, what is chosen by, and what it is tested on."""

from __future__ import annotations

import pytest

from promptmill.crafts.recover.sets import GROUPED, KNOWN, TEST, alone, in_groups, sets_of
from promptmill.errors import InputError
from tests.recovering import FIRST, GRAMS, REVERSE, TEXTS, UPPER, lesson, settings, trace


def test_traces_are_cut_into_sets_and_some_of_trains_texts_are_kept_for_a_test() -> None:
    found = sets_of(lesson(), {}, settings(learn={"known": 0.3}), GRAMS, 0)
    assert {one.prompt for one in found.train} == {UPPER, REVERSE}
    assert {one.prompt for one in found.dev} == {FIRST}
    assert {one.prompt for one in found.known} <= {UPPER, REVERSE}
    assert found.sizes == {"train": 8 - len(found.known), "known": len(found.known), "dev": 4, "test": 8}
    assert 0 < len(found.known) < 8
    assert list(found.tests) == [TEST, KNOWN]
    assert list(found.units) == [TEST, KNOWN, f"{TEST}{GROUPED}"]
    assert [len(one.traces) for one in found.units[f"{TEST}{GROUPED}"]] == [4, 4]


def test_a_prompt_with_one_text_is_learned_from_and_not_tested_on() -> None:
    single = [one for one in lesson() if one.split != "train" or one.id.endswith("-0")]
    found = sets_of(single, {}, settings(learn={"known": 0.99}), GRAMS, 0)
    assert (len(found.train), found.known) == (2, [])


def test_other_sets_that_were_learned_from_are_told() -> None:
    others = {"mine": [trace("x", UPPER)], "new": [trace("x", "Sing a song about the sea.")]}
    found = sets_of(lesson(), others, settings(), GRAMS, 0)
    assert [line.split(":")[0] for line in found.warnings] == ["mine"]
    assert "1 of its prompts are like one that was learned from" in found.warnings[0]


@pytest.mark.parametrize("name", [TEST, KNOWN, f"mine{GROUPED}"])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="rename the file"):
        sets_of(lesson(), {name: [trace("x", UPPER)]}, settings(), GRAMS, 0)


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_a_set_that_is_empty_is_named(split: str) -> None:
    with pytest.raises(InputError, match=f"no trace is of the split {split}"):
        sets_of([one for one in lesson() if one.split != split], {}, settings(), GRAMS, 0)


def test_a_group_called_like_a_trace_gets_a_name_of_its_own() -> None:
    some = [trace("g", UPPER, group="g"), trace("h", UPPER, TEXTS[1], group="g"), trace("i", UPPER, TEXTS[2])]
    assert [one.id for one in alone(some)] == ["g", "h", "i"]
    assert [(one.id, len(one.traces)) for one in in_groups(some)] == [("g (group)", 2)]
