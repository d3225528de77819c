"""Whether a prompt does what the true one did."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from promptmill.crafts.recover.behaviour import CONSTANT, OTHER, PREDICTED, TRUE, Behaviour, behaviour_of
from promptmill.crafts.recover.config import CONSTANT as GENERIC
from promptmill.crafts.recover.config import BehaviourConfig, RankConfig
from promptmill.crafts.recover.parts import Rater
from promptmill.crafts.recover.ranking import Prediction, Ranked
from promptmill.crafts.recover.tables import AgainRow
from promptmill.crafts.recover.traces import Group
from promptmill.model.chat import CallError, Request
from promptmill.store.run import Run
from tests.recovering import (
    GRAMS,
    LIKELY,
    REVERSE,
    TEXTS,
    UNLIKELY,
    UPPER,
    WORDING,
    Guesser,
    World,
    made_by,
    model,
    predictor_of,
    settings,
    trace,
)

GROUP = Group("g", tuple(trace(f"t{at}", UPPER, text) for at, text in enumerate(TEXTS)))
PROMPTS = {PREDICTED: REVERSE, TRUE: UPPER, CONSTANT: GENERIC}


def again(world: Any, prompts: dict[str, str] = PROMPTS, texts: int = 2, scores: bool = True) -> list[AgainRow]:
    async def go() -> list[AgainRow]:
        one = model(world)
        rater = Rater(GRAMS, RankConfig(), WORDING, str, one if scores else None)
        async with one:
            return await Behaviour(rater, one, BehaviourConfig(texts=texts)).of(GROUP, prompts)

    return asyncio.run(go())


def test_the_true_prompt_writes_the_very_text_again_and_another_does_not() -> None:
    rows = again(World())
    assert [(row.name, row.trace_id) for row in rows] == [
        (name, f"t{at}") for name in PROMPTS for at in range(2)
    ]  # fmt: skip
    found = {row.name: row for row in rows if row.trace_id == "t0"}
    assert (found[TRUE].text, found[TRUE].same, found[TRUE].rouge_l) == (made_by(UPPER, TEXTS[0]), True, 1.0)
    assert found[TRUE].likelihood == pytest.approx(LIKELY - UNLIKELY)
    assert (found[PREDICTED].text, found[PREDICTED].same) == (made_by(REVERSE, TEXTS[0]), False)
    assert (found[PREDICTED].likelihood, found[CONSTANT].likelihood) == (0.0, 0.0)


def test_a_generator_that_does_not_score_is_asked_for_texts_all_the_same() -> None:
    rows = again(World(), scores=False)
    assert {row.likelihood for row in rows} == {None}
    assert [row.same for row in rows if row.name == TRUE] == [True, True]


def test_a_call_that_fails_is_no_score_of_zero() -> None:
    def say(request: Request) -> str:
        if TEXTS[1] == request.messages[-1][1]:
            raise CallError("refused", "not this one")
        return "some other text"

    rows = again(Guesser(say), scores=False)
    failed = [row for row in rows if row.trace_id == "t1"]
    assert {(row.text, row.rouge_l, row.same, row.error) for row in failed} == {
        (None, None, None, "refused: not this one")
    }
    (predicted, true, constant) = behaviour_of(rows)
    assert (true["prompt"], true["groups"], true["failed"], true["same"], true["gain"]) == (TRUE, 1, 1, 0.0, None)
    assert predicted["failed"] == constant["failed"] == 1


def test_nothing_is_asked_where_no_text_is_wanted() -> None:
    assert again(World(), texts=0) == again(World(), prompts={}) == []


def test_means_are_over_groups_and_texts_and_what_is_not_known_is_in_none() -> None:
    def row(group: str, name: str, gain: float | None, rouge: float | None, same: bool | None) -> AgainRow:
        return AgainRow(group, name, "t", gain, None if rouge is None else "x", rouge, same)

    rows = [row("a", PREDICTED, 1.0, 0.5, False), row("a", PREDICTED, 1.0, 1.0, True),
            row("b", PREDICTED, 3.0, None, None),
            row("c", PREDICTED, None, 0.6, False), row("a", OTHER, None, None, None)]  # fmt: skip
    assert behaviour_of(rows) == [
        {"prompt": PREDICTED, "groups": 3, "gain": 2.0, "rouge_l": pytest.approx(0.7), "same": pytest.approx(1 / 3),
         "failed": 1},
        {"prompt": OTHER, "groups": 1, "gain": None, "rouge_l": None, "same": None, "failed": 1},
    ]  # fmt: skip


def test_each_group_is_tried_under_its_prompts_and_once_for_all(tmp_path: Path) -> None:
    groups = [Group("a", (trace("a", UPPER),)), Group("b", (trace("b", REVERSE, TEXTS[1]),))]
    told = Prediction("a", (Ranked(UPPER, 1.0, {}),), 1.0, False, {})
    none = Prediction("b", (), 0.0, True, {})
    world = World()

    async def go() -> list[AgainRow]:
        with Run(tmp_path, "recover", {}) as run:
            predictor = await predictor_of(run, model(Guesser(["x"])), model(world), settings())
            async with predictor.open():
                return await predictor.again("pairs", groups, [told, none], [REVERSE, None])

    rows = asyncio.run(go())
    assert [(row.group_id, row.name) for row in rows] == [
        ("a", PREDICTED), ("a", TRUE), ("a", CONSTANT), ("a", OTHER), ("b", TRUE), ("b", CONSTANT),
    ]  # fmt: skip
    assert [row.same for row in rows] == [True, True, False, False, True, False]
    world.script = lambda request: pytest.fail("asked again")
    assert asyncio.run(go()) == rows
