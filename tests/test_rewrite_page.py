"""The page of a rewrite: all of the report is on it, in tables that a window of 1100 pixels holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from promptmill.crafts.rewrite.measures import gain, win_rate
from promptmill.crafts.rewrite.page import rewrite_page
from promptmill.judge.report import panel_report
from promptmill.report.blocks import Table
from promptmill.report.html import render
from tests.judging import scores_table
from tests.panels import like, world

MADE = {"dedup": {"kept": 4, "texts": 5}, "splits": {"train": 2}, "clusters": {"count": 3}, "variations": 2,
        "inputs": 6}  # fmt: skip
MOST = 10
"""Columns of figures that a page has room for."""


def figures(scored: bool) -> dict[str, Any]:
    """Of two prompts."""
    value, nothing = gain([0.2, 0.4], [0.5, 0.6], 0), gain([], [], 0)
    return {"value": value, "raw": value, "score": value if scored else nothing, "wins": win_rate([1.0], [(2, 3)], 0),
            "violations": 0.25, "left_alone": 0.5, "good_left_alone": None, "good": 0}  # fmt: skip


def report(scored: bool = True, intents: Sequence[Sequence[str]] = (("words", "letters"),) * 2) -> dict[str, Any]:
    one = figures(scored)
    rounds = [{"round": at, **one} for at in (0, 1, 2)]
    domains = [{"domain": name, "round": at, **one} for at in (0, 1, 2) for name in ("words", "letters")]
    pairs = {"best_base": 41, "best_worst": 113, "guard": 4, "restraint": 10}
    learned = [{"round": at, "domains": list(names), "bases": 68, "pairs": pairs, "replayed": 9, "steps": 33,
                "kl_old": 0.0123, "rows": []} for at, names in enumerate(intents, 1)]  # fmt: skip
    cell = {"rewriter": "untrained", "model": "tuned", "value": one["value"], "score": one["score"]}
    return {
        "name": "words", "synthesize": MADE, "rounds": learned, "tuned": [cell], "tuning": {"answers": 3, "steps": 9},
        "test": {"rounds": rounds, "offered": one, "domains": domains, "rows": []},
        "transfer": {"model": "another/model-7B", "rounds": [rounds[-1]]},
    }  # fmt: skip


def panel() -> dict[str, Any]:
    rng, bases, planted, truth = world()
    return panel_report(scores_table({name: like(truth, rng) for name in "abc"}, bases, planted))


def tables(told: dict[str, Any]) -> list[Table]:
    return [block for block in rewrite_page(told).blocks if isinstance(block, Table)]


def table(told: dict[str, Any], title: str) -> Table:
    return next(one for one in tables(told) if one.title == title)


@pytest.mark.parametrize("intents", [(("words", "letters"),) * 2, (("words",), ("letters",))], ids=["all", "stream"])
def test_no_table_has_more_columns_than_a_page_has_room_for(intents: Any) -> None:
    found = tables(report(intents=intents) | {"panel": panel()})
    assert len(found) > 10
    assert max(len(one.columns) for one in found) <= MOST
    assert all(len(row) == len(one.columns) for one in found for row in one.rows)


def test_an_interval_is_never_broken_into_two_lines() -> None:
    cells = [cell for one in tables(report()) for row in one.rows for cell in row if "[" in str(cell)]
    assert len(cells) == 2 * (4 + 2 + 1 + 1)
    assert all(" " not in str(cell).partition("[")[2] for cell in cells)


def test_what_was_gained_and_what_was_done_with_the_prompts_stand_one_below_the_other() -> None:
    blocks = rewrite_page(report()).blocks
    at = next(at for at, block in enumerate(blocks) if block.title == "On prompts that it has never seen")
    gained, done = blocks[at : at + 2]
    assert isinstance(gained, Table)
    assert isinstance(done, Table)
    assert [row[0] for row in gained.rows] == [row[0] for row in done.rows] == [0, 1, 2, "offered"]
    assert gained.columns[1:3] == ["value before", "after"]
    assert list(done.rows[0][1:]) == [1.0, 1.0, "50%", None, "25%"]


def test_true_scores_have_columns_only_where_there_are_any() -> None:
    title = "On prompts that it has never seen"
    assert "score before" in table(report(), title).columns
    assert "score before" not in table(report(scored=False), title).columns
    assert "score before" not in render(rewrite_page(report(scored=False)))


def test_intents_that_all_rounds_have_are_told_once_and_others_round_by_round() -> None:
    same, stream = (table(report(**told), "What was learned") for told in ({}, {"intents": (("words",), ("letters",))}))
    assert "intents" not in same.columns
    assert same.note.endswith("Of each round: words, letters.")
    assert [row[1] for row in stream.rows] == ["words", "letters"]
    assert "Of each round" not in stream.note


def test_the_judges_and_those_of_the_test_are_shown_with_whether_they_may_be_believed() -> None:
    page = rewrite_page(report() | {"panel": panel(), "test_panel": panel()})
    titles = [block.title for block in page.blocks]
    first, other = (titles.index(f"Whether the judges {of}may be believed") for of in ("", "of the test "))
    assert first < other
    assert titles.count("The judges") == 1
    assert "test_panel.json" in render(page)
    assert not any("of the test may" in block.title for block in rewrite_page(report() | {"panel": panel()}).blocks)


def test_a_round_that_was_not_kept_is_shown_with_the_reason() -> None:
    told = report()
    assert not [one for one in tables(told) if one.title == "Whether a round was worth it"]
    told["rounds"][0] |= {"dev": None, "kept": True}
    told["rounds"][1] |= {"dev": {"before": 0.75, "after": 0.5, "se": 0.125, "broken": 0.0625}, "kept": False}
    assert table(told, "Whether a round was worth it").rows == [[2, 0.75, 0.5, 0.125, "6%", "no"]]
    told["rounds"][0] |= {"kept": False}
    assert table(told, "Whether a round was worth it").rows[0] == [1, None, None, None, None, "no"]
