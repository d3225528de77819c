"""What predictions are worth where the truth is known; answers that did not come flatter nobody and damn nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from promptmill.crafts.recover.config import RankConfig
from promptmill.crafts.recover.evaluation import SHOWN, counted, evaluated, examples, right_ones
from promptmill.crafts.recover.page import recover_page
from promptmill.crafts.recover.ranking import Prediction, Ranked
from promptmill.crafts.recover.synthesize.clean import MARK
from promptmill.crafts.recover.traces import Group
from promptmill.report.html import render
from promptmill.store.run import Run
from tests.recovering import (
    FIRST,
    GRAMS,
    REVERSE,
    TWICE,
    UPPER,
    Guesser,
    World,
    model,
    predictor_of,
    settings,
    trace,
)

PROMPTS = [UPPER, REVERSE, FIRST, TWICE]
GROUPS = [Group(f"g{at}", (trace(f"t{at}", prompt),)) for at, prompt in enumerate(PROMPTS)]


def told(prompt: str | None, confidence: float = 0.5, abstained: bool = False, **picks: str) -> Prediction:
    ranked = () if prompt is None else (Ranked(prompt, confidence, {}),)
    return Prediction("g", ranked, confidence, abstained, {} if prompt is None else {"all": prompt, **picks})


def report_of(folder: Path, groups: list[Group], predicted: list[Prediction], **more: Any) -> dict[str, Any]:
    async def go() -> dict[str, Any]:
        with Run(folder, "recover", {}) as run:
            predictor = await predictor_of(run, model(Guesser(["x"])), model(World()), settings())
            async with predictor.open():
                return await evaluated(predictor, "pairs", groups, predicted, 0, **more)

    return asyncio.run(go())


def test_ways_of_choosing_stand_beside_the_baselines(tmp_path: Path) -> None:
    found = report_of(tmp_path, GROUPS, [told(one, 0.9, **{"zero-shot": UPPER}) for one in PROMPTS])
    rows = {row["arm"]: row for row in found["arms"]}
    assert list(rows) == ["constant", "another's prompt", "itself", "zero-shot", "all"]
    assert (rows["all"]["exact"][0], rows["zero-shot"]["exact"][0], rows["constant"]["exact"][0]) == (1.0, 0.25, 0.0)
    assert rows["itself"]["scs (n-grams)"][0] == pytest.approx(1)
    assert (found["groups"], found["traces"], found["clusters"], found["told"]) == (4, 4, 4, 4)
    assert found["right"][0] == 1.0
    assert found["right"][1] < 1.0
    assert {row["prompt"]: row["same"] for row in found["behaviour"]} == {
        "predicted": 1.0, "true": 1.0, "constant": 0.0, "other": 0.0,
    }  # fmt: skip


def test_a_group_without_a_candidate_is_in_no_figure_and_is_counted(tmp_path: Path) -> None:
    predicted = [told(UPPER, 0.9), told(UPPER, 0.4), told(None, 0.0, True), told(None, 0.0, True)]
    found = report_of(tmp_path, GROUPS, predicted)
    (ours,) = [row for row in found["arms"] if row["arm"] == "all"]
    assert (ours["n"], ours["unanswered"], ours["exact"][0]) == (2, 2, 0.5)
    assert (found["told"], found["right"][0]) == (2, 0.5)
    assert found["coverage"][-1]["n"] == 2
    assert counted(predicted) == {"groups": 4, "told": 2, "cannot_tell": 0, "no_candidate": 2}


def test_without_any_candidate_the_baselines_are_left_and_the_page_says_so(tmp_path: Path) -> None:
    found = report_of(tmp_path, GROUPS, [told(None, 0.0, True)] * 4)
    assert [row["arm"] for row in found["arms"]] == ["constant", "another's prompt", "itself"]
    assert (found["told"], found["right"], found["reliability"], found["coverage"]) == (0, None, None, [])
    page = render(recover_page({"name": "n", "model": "m", "tests": [{**found, "examples": []}]}))
    assert "no candidate came for any of 4 prompts" in page


def test_one_group_has_no_other_prompt_to_be_held_against(tmp_path: Path) -> None:
    found = report_of(tmp_path, GROUPS[:1], [told(REVERSE)])
    rows = {row["arm"]: row for row in found["arms"]}
    assert (rows["another's prompt"]["n"], rows["another's prompt"]["exact"]) == (0, None)
    assert [row["prompt"] for row in found["behaviour"]] == ["predicted", "true", "constant"]
    render(recover_page({"name": "n", "model": "m", "tests": [{**found, "examples": []}]}))


def test_measures_of_ones_own_get_a_column(tmp_path: Path) -> None:
    found = report_of(tmp_path, GROUPS, [told(UPPER)] * 4, more={"right task": lambda guess, truth: guess == truth})
    assert [row["right task"][0] for row in found["arms"] if row["arm"] in ("all", "itself")] == [1.0, 0.25]


def test_right_is_what_comes_near_enough_by_the_sharpened_cosine() -> None:
    predicted = [told(UPPER), told(None), told("Give the first word, alone."), told(UPPER)]
    config = RankConfig(right=0.25)
    assert right_ones(GROUPS, predicted, GRAMS, config) == [True, False, True, False]


def test_what_cannot_tell_is_counted_apart_from_what_has_no_candidate() -> None:
    predicted = [told(UPPER), told(UPPER, 0.1, True), told(None, 0.0, True)]
    assert counted(predicted) == {"groups": 3, "told": 1, "cannot_tell": 1, "no_candidate": 1}


def test_an_example_shows_the_ends_of_a_long_text() -> None:
    long = Group("g", (trace("t", UPPER, "a" * SHOWN + "b" * 100_000 + "c" * SHOWN),))
    (found,) = examples([long], [told(UPPER)])
    assert found["original"] == "a" * SHOWN + MARK + "c" * SHOWN
    (bare,) = examples([Group("g", (trace("t", UPPER, None),))], [told(None)])
    assert (bare["original"], bare["candidates"]) == (None, [])
