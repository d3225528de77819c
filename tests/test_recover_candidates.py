"""What the recoverer is asked, and what of its answers is a candidate."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.crafts.recover.bank import Bank, make_bank
from promptmill.crafts.recover.candidates import (
    BANK,
    FEW_SHOT,
    TOGETHER,
    ZERO_SHOT,
    Drawer,
    candidates_of,
    drawn_rows,
    no_answer,
    per_trace,
    request_of,
    voters,
    whole_answer,
)
from promptmill.crafts.recover.config import CandidatesConfig
from promptmill.crafts.recover.rank.known import Known
from promptmill.crafts.recover.tables import DrawRow
from promptmill.crafts.recover.traces import Group, Trace
from promptmill.model.chat import CallError, Request
from promptmill.model.gate import Model
from tests.recovering import GRAMS, REVERSE, TASKS, TEXTS, UPPER, WORDING, Guesser, made_by, model, trace

ONE = Group("t", (trace("t", UPPER),))
SEVERAL = Group("g", tuple(trace(f"t{at}", REVERSE, text) for at, text in enumerate(TEXTS)))


def drawer(recoverer: Model, of: Bank | None = None, seed: int = 0, **config: Any) -> Drawer:
    """of: where it looks prompts up."""
    return Drawer(recoverer, WORDING, CandidatesConfig.model_validate(config), lambda text: text, of, seed)


def drawn(said: Any, group: Group = ONE, **more: Any) -> tuple[list[DrawRow], list[Request]]:
    """The rows, and the requests in the order of the rows."""
    backend = Guesser(said)

    async def go() -> list[DrawRow]:
        recoverer = model(backend)
        async with recoverer:
            return await drawer(recoverer, **more).draw(group)

    return asyncio.run(go()), backend.asked  # type: ignore[return-value]


def bank(*prompts: str) -> Bank:
    """Each with a text that it has made."""
    known = [Known(one, f"c{at}", trace(f"b{at}", one, TEXTS[1])) for at, one in enumerate(prompts)]
    return make_bank(known, GRAMS)


# What is asked


def test_the_first_answer_is_greedy_and_the_others_take_temperatures_and_openings_in_turn() -> None:
    rows, asked = drawn(list("abcdef"), draws=6, temperatures=[0.5, 1.0], openings=["", "Make", "Write"], seed=7)
    assert [row.draw for row in rows] == list(range(6))
    assert [one.sampling.temperature for one in asked] == [0.0, 0.5, 1.0, 0.5, 1.0, 0.5]
    assert [one.prefix for one in asked] == ["", "", "Make", "Write", "", "Make"]
    assert [one.sampling.seed for one in asked] == [None, 7, 7, 7, 7, 7]
    assert len({one.repeat for one in asked}) == 6


def test_a_trace_is_asked_about_with_the_text_before_and_one_without_by_its_result_alone() -> None:
    (one,) = request_of(WORDING, ONE.traces[0], str)
    assert TEXTS[0] in one[1]
    assert TEXTS[0].upper() in one[1]
    (alone,) = request_of(WORDING, replace(ONE.traces[0], original=None), str)
    assert TEXTS[0] not in alone[1]
    assert TEXTS[0].upper() in alone[1]


@pytest.mark.parametrize("text", ["{original} {result} {", "{{x}} {0} {result!r}", "a } b", "\\1 {examples}"])
def test_braces_in_a_text_stand_as_they_are(text: str) -> None:
    before, after = f"before {text}", f"after {text}"
    (single,) = request_of(WORDING, Trace("t", before, after), str)
    assert before in single[1]
    assert after in single[1]
    group = Group("g", tuple(Trace(f"t{at}", before, after) for at in range(2)))
    _, asked = drawn(["Say it."], group, draws=1, together=1)
    assert asked[-1].messages[0][1].count(before) == asked[-1].messages[0][1].count(after) == 2


def test_a_group_is_asked_about_one_by_one_and_together() -> None:
    rows, asked = drawn(["Reverse it."], SEVERAL, draws=4, together=3, shown=2)
    assert per_trace(4, 4) == 2
    assert [row.source for row in rows] == [ZERO_SHOT] * 8 + [TOGETHER] * 3
    first, *others = asked[8:]
    assert first.sampling.temperature == 0
    assert {one.sampling.temperature for one in others} == {1.0}
    assert [text in first.messages[0][1] for text in TEXTS] == [True, True, False, False]
    assert all(sum(text in one.messages[0][1] for text in TEXTS) == 2 for one in others)


def test_a_trace_without_the_text_before_is_not_shown_with_others() -> None:
    bare = [replace(one, original=None) for one in SEVERAL.traces]
    rows, asked = drawn(["Reverse it."], Group("g", (bare[0], *SEVERAL.traces[1:])), draws=2, together=2, shown=4)
    assert {row.source for row in rows} == {ZERO_SHOT, TOGETHER}
    assert all(bare[0].rewritten not in one.messages[0][1] for one in asked[-2:])
    rows, _ = drawn(["Reverse it."], Group("g", (*bare[:3], SEVERAL.traces[3])), draws=2, together=2)
    assert {row.source for row in rows} == {ZERO_SHOT}


def test_only_so_many_traces_of_a_group_are_looked_at() -> None:
    rows, _ = drawn(["Reverse it."], SEVERAL, draws=2, together=0, pooled=3)
    assert {row.trace_id for row in rows} == {"t0", "t1", "t2"}


def test_every_second_answer_is_shown_solved_examples_and_both_ways_begin_greedily() -> None:
    rows, asked = drawn(["Write it large."], of=bank(*(one for one in TASKS if one != UPPER)), draws=4, few_shot=2,
                        bank=0)  # fmt: skip
    assert [row.source for row in rows] == [ZERO_SHOT, FEW_SHOT, ZERO_SHOT, FEW_SHOT]
    assert [one.sampling.temperature for one in asked] == [0.0, 0.0, 1.0, 1.0]
    for one in asked[1::2]:
        *solved, last = one.messages
        assert [role for role, _ in solved] == ["user", "assistant"] * 2
        assert {text for role, text in solved if role == "assistant"} <= set(TASKS) - {UPPER}
        assert last == asked[0].messages[-1]


def test_texts_that_stand_together_are_shortened_by_how_many_they_are() -> None:
    heard: list[int] = []

    def crowded(texts: int):
        heard.append(texts)
        return lambda text: text[:4]

    backend = Guesser(["Reverse it."])

    async def go() -> None:
        recoverer = model(backend)
        async with recoverer:
            await replace(drawer(recoverer, draws=1, together=1, shown=3), crowded=crowded).draw(SEVERAL)

    asyncio.run(go())
    assert heard == [6]
    assert TEXTS[0] not in backend.asked[-1].messages[0][1]
    assert TEXTS[0] in backend.asked[0].messages[0][1]


def test_without_draws_only_the_bank_speaks() -> None:
    (row,), asked = drawn(["Never said."], SEVERAL, of=bank(UPPER, REVERSE), draws=0, bank=1)
    assert (row.source, row.text in TASKS, row.error) == (BANK, True, None)
    assert row.retrieved is not None
    assert asked == []


# What is made of answers


def test_what_comes_is_read_refused_or_told_as_a_failure() -> None:
    def say(request: Request) -> str:
        if request.repeat == 3:
            raise CallError("refused", "the prompt has 2,000 tokens\n\x1b[31m and more")
        return ['Instruction: "Write it large."', "<think>", "Do it lucrarea"][request.repeat]

    rows, _ = drawn(say, draws=4)
    assert [row.text for row in rows] == ["Write it large.", None, None, None]
    assert [row.error and row.error.partition(":")[0] for row in rows] == [None, "unreadable", "attack", "refused"]
    assert rows[3].error == "refused: the prompt has 2,000 tokens \ufffd[31m and more"
    assert [no_answer(row) for row in rows] == [False, False, False, True]


def test_an_answer_about_several_texts_may_be_none_of_them() -> None:
    rows, _ = drawn([made_by(REVERSE, TEXTS[2])], SEVERAL, draws=2, together=1, shown=4)
    assert rows[-1].source == TOGETHER
    assert rows[-1].error == "copied: it is the rewritten text"


@pytest.mark.parametrize(("opening", "text", "continues", "whole"), [
    ("", "Write it.", True, "Write it."),
    ("Write", " it.", True, "Write it."),
    ("Write", "Write it.", True, "Write it."),
    ("Write it as ", "Shakespeare would.", True, "Write it as Shakespeare would."),
    ("Write", " it.", False, "Write it."),
    ("Write ", "it.", False, "Write it."),
    ("Write", "Say it.", False, "Say it."),
])  # fmt: skip
def test_an_opening_is_put_before_what_goes_on_from_it(opening: str, text: str, continues: bool, whole: str) -> None:
    assert whole_answer(opening, text, continues) == whole


# Candidates


def rows_of(*texts: str, source: str = ZERO_SHOT) -> list[DrawRow]:
    return [DrawRow("g", source, "t", at, text) for at, text in enumerate(texts)]


def test_one_sense_is_one_candidate_in_its_usual_form() -> None:
    rows = rows_of("write it large.", "Write it large.", "Reverse it.", "Write  it large.", "Write it large.")
    found = candidates_of([*rows, DrawRow("g", BANK, "t", 0, "WRITE IT LARGE.", retrieved=0.5)], 8)
    assert [(one.text, one.votes, one.retrieved, one.sources) for one in found] == [
        ("Write it large.", 4, 0.5, (ZERO_SHOT, BANK)), ("Reverse it.", 1, None, (ZERO_SHOT,)),
    ]  # fmt: skip


def test_of_too_many_those_stay_that_the_bank_gave_or_that_came_most_often() -> None:
    rows = [*rows_of("a", "b", "b", "c", "d"), *rows_of("e", source=BANK)]
    rows[-1] = replace(rows[-1], retrieved=0.1)
    assert [one.text for one in candidates_of(rows, 3)] == ["a", "b", "e"]
    assert candidates_of([DrawRow("g", ZERO_SHOT, "t", 0, None, "attack: x")], 3) == []


def test_where_nothing_was_drawn_the_bank_votes() -> None:
    said, found = rows_of("a"), rows_of("b", source=BANK)
    assert (drawn_rows(said + found), voters(said + found), voters(found)) == (said, said, found)


@given(st.lists(st.sampled_from(["a", "A", "b", "c c", "c  C"]), max_size=12), st.integers(1, 4))
def test_votes_add_up_and_no_sense_comes_twice(texts: list[str], most: int) -> None:
    found = candidates_of(rows_of(*texts), most)
    senses = [" ".join(one.text.lower().split()) for one in found]
    assert len(found) == len(set(senses)) <= most
    if most >= 3:
        assert sum(one.votes for one in found) == len(texts)
    assert all(one.text in texts for one in found)


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_group_gets_two_answers_for_each_trace_and_twice_as_many_as_one_alone(draws: int, count: int) -> None:
    each = per_trace(draws, count)
    assert each >= (draws if count == 1 else 2)
    assert count == 1 or each * count < 2 * draws + 2 * count
    assert per_trace(0, count) == 0
