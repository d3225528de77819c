"""From groups to predictions: tables that go on where they were, answers that failed, and what is told of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from promptmill.crafts.recover.bench import Bench
from promptmill.crafts.recover.candidates import FEW_SHOT, TOGETHER, ZERO_SHOT
from promptmill.crafts.recover.config import RecoverConfig
from promptmill.crafts.recover.missing import warnings_of
from promptmill.crafts.recover.predicting import first_picks, line_of
from promptmill.crafts.recover.ranking import Prediction, Ranked, Ranker
from promptmill.crafts.recover.space import space_of
from promptmill.crafts.recover.tables import DrawRow
from promptmill.crafts.recover.traces import Group, groups_of
from promptmill.errors import BudgetSpent
from promptmill.model.budget import Budget, Ledger
from promptmill.model.cache import CallStore
from promptmill.model.chat import CallError, Request
from promptmill.store.run import Run
from tests.recovering import (
    FIRST,
    GRAMS,
    REVERSE,
    TASKS,
    TEXTS,
    TWICE,
    UPPER,
    WORDING,
    Guesser,
    World,
    model,
    predictor_of,
    settings,
    trace,
    traces,
)

GUESSES = [FIRST, UPPER, REVERSE, TWICE]
"""What the recoverer says, whatever it is asked: each once."""


def predicted(
    folder: Path, groups: Sequence[Group], said: Any = GUESSES, world: Any = None, config: RecoverConfig | None = None,
    **ledger: Any,
) -> tuple[list[Prediction], dict[str, Any], Guesser]:  # fmt: skip
    """The predictions, what did not come, and the recoverer."""
    backend = Guesser(said)

    async def go() -> tuple[list[Prediction], dict[str, Any]]:
        with Run(folder, "recover", {}) as run:
            store = CallStore(run.calls_path, run.id, shared=False)
            books = {"store": store, "ledger": Ledger(**ledger)}
            predictor = await predictor_of(
                run,
                model(backend, **books),
                model(world or World(), **books),
                config or settings(candidates={"draws": 4}),
            )
            try:
                async with predictor.open():
                    return await predictor.predict("pairs", groups), await predictor.missing("pairs", groups)
            finally:
                store.close()

    return *asyncio.run(go()), backend


def stages(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("stages/*/*"))}


def test_the_likelihood_of_the_true_generator_finds_every_prompt(tmp_path: Path) -> None:
    groups = groups_of(traces(tuple(TASKS), each=2))
    found, missing, _ = predicted(tmp_path, groups)
    assert [one.prompt for one in found] == [group.prompt for group in groups]
    assert all(one.picks["likelihood"] == one.prompt for one in found)
    assert {one.picks["zero-shot"] for one in found} == {FIRST}
    assert missing == {"asked": 32, "no_answer": {}, "no_prompt": {}, "groups": 8, "unscored": {}, "such_as": {}}
    assert warnings_of(missing) == []


def test_texts_alone_and_groups_of_both_kinds_are_told_too(tmp_path: Path) -> None:
    group = Group("g", (trace("a", UPPER, TEXTS[0]), trace("b", UPPER, None), trace("c", UPPER, TEXTS[2])))
    alone = Group("t", (trace("t", REVERSE, None),))
    found, _, _ = predicted(tmp_path, [group, alone], config=settings(candidates={"draws": 4, "together": 4}))
    assert [one.prompt for one in found] == [UPPER, REVERSE]
    line = line_of(group, found[0])
    assert (line["id"], line["traces"], line["abstained"]) == ("g", ["a", "b", "c"], False)
    assert line["candidates"][0]["prompt"] == UPPER
    assert set(line["candidates"][0]["parts"]) == {
        "likelihood", "posterior", "consensus", "votes", "critic", "retrieved",
    }  # fmt: skip
    assert "traces" not in line_of(alone, found[1])


def test_a_second_run_asks_nothing_and_finds_the_same(tmp_path: Path) -> None:
    groups = groups_of(traces(each=3))
    found, missing, first = predicted(tmp_path, groups)
    tables = stages(tmp_path)
    again, missed, second = predicted(tmp_path, groups)
    assert (again, missed, stages(tmp_path)) == (found, missing, tables)
    assert first.asked
    assert second.asked == []


def test_another_setting_that_decides_makes_other_tables_and_one_that_does_not_the_same(tmp_path: Path) -> None:
    groups = groups_of(traces())
    predicted(tmp_path, groups)
    before = set(stages(tmp_path))
    predicted(tmp_path, groups, config=settings(candidates={"draws": 4}, rank={"abstain": 0.9, "kept": 1}))
    assert set(stages(tmp_path)) == before
    predicted(tmp_path, groups, config=settings(candidates={"draws": 3}))
    assert len(stages(tmp_path)) == 2 * len(before)
    predicted(tmp_path, [replace(one, traces=(replace(one.traces[0], rewritten="X"),)) for one in groups])
    assert len(stages(tmp_path)) == 3 * len(before)


def test_a_run_whose_budget_ends_goes_on_where_it_was(tmp_path: Path) -> None:
    groups = groups_of(traces(tuple(TASKS), each=20))
    whole, _, _ = predicted(tmp_path / "whole", groups)
    with pytest.raises(BudgetSpent):
        predicted(tmp_path / "broken", groups, budget=Budget(calls=300))
    found, _, _ = predicted(tmp_path / "broken", groups)
    assert found == whole
    assert list(stages(tmp_path / "broken").values()) == list(stages(tmp_path / "whole").values())


# What fails


def test_calls_that_fail_are_counted_and_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    def say(request: Request) -> str:
        if TEXTS[1] in request.messages[0][1]:
            raise CallError("refused", "the prompt has 2,000 tokens, the context 1,024")
        return [*GUESSES[:3], "lucrarea"][request.repeat]

    groups = groups_of(traces(each=3))
    found, missing, _ = predicted(tmp_path, groups, say, World(longest=20))
    assert [one.prompt is None for one in found] == [False, True, False] * 2
    assert missing["asked"] == 24
    assert (missing["no_answer"], missing["no_prompt"]) == ({"refused": 8}, {"attack": 4})
    assert (missing["groups"], missing["unscored"]) == (4, {"likelihood refused": 2})
    assert warnings_of(missing, "test") == [
        "test: 8 of 24 answers did not come (refused: the prompt has 2,000 tokens, the context 1,024)",
        "test: no likelihood for some texts of 2 of 4 prompts "
        "(likelihood refused: the text is longer than the context)",
    ]
    assert line_of(groups[1], found[1]) == {"id": "t1", "candidates": [], "confidence": 0.0, "abstained": True}


def test_where_every_answer_is_refused_there_is_no_candidate_and_no_error(tmp_path: Path) -> None:
    found, missing, _ = predicted(tmp_path, groups_of(traces()), ["lucrarea", "?!", "<think>", "go go go"])
    assert [one.prompt for one in found] == [None] * 4
    assert missing["no_prompt"] == {"gibberish": 8, "attack": 4, "unreadable": 4}
    assert missing["groups"] == 0


def test_a_model_that_does_not_score_is_done_without_and_that_is_said(tmp_path: Path) -> None:
    class Mute(Guesser):
        async def score(self, request: Any) -> Any:
            raise CallError("refused", "no logprobs")

    async def go() -> tuple[list[Prediction], list[str]]:
        with Run(tmp_path, "recover", {}) as run:
            one, config = model(Mute(GUESSES)), settings(candidates={"draws": 4})
            bench = Bench(run, config, WORDING, GRAMS, one)
            predictor = await bench.predictor(one, Ranker.plain(config.rank))
            async with predictor.open():
                return await predictor.predict("pairs", groups_of(traces())), bench.warnings

    found, warnings = asyncio.run(go())
    assert [one.prompt is None for one in found] == [False] * 4
    assert found[0].candidates[0].parts["likelihood"] is found[0].candidates[0].parts["posterior"] is None
    assert warnings == [
        "guesser does not tell how likely a given text is: candidates have no likelihood",
        "guesser does not tell how likely a given text is: candidates have no posterior",
    ]


# What is told


def test_a_line_is_json_with_its_candidates() -> None:
    told = Prediction("g", (Ranked('say "a"\n', 0.75, {"votes": 1.0}),), 0.75, False, {"all": "x"})
    assert json.loads(json.dumps(line_of(Group("g", (trace("t", UPPER),)), told))) == {
        "id": "g", "traces": ["t"], "candidates": [{"prompt": 'say "a"\n', "score": 0.75, "parts": {"votes": 1.0}}],
        "confidence": 0.75, "abstained": False,
    }  # fmt: skip


def test_each_way_of_asking_has_its_first_answer() -> None:
    rows = [
        DrawRow("g", ZERO_SHOT, "t", 0, "a"), DrawRow("g", FEW_SHOT, "t", 1, None, "attack: x"),
        DrawRow("g", ZERO_SHOT, "t", 2, "b"), DrawRow("g", FEW_SHOT, "t", 3, "c"), DrawRow("g", TOGETHER, "t", 0, "d"),
    ]  # fmt: skip
    assert first_picks(rows) == {"zero-shot": "a", "together": "d"}


def test_a_text_has_one_vector_whatever_is_embedded_beside_it() -> None:
    pytest.importorskip("sentence_transformers")
    texts = [f"{text} and then {'on ' * at}" for at, text in enumerate(TEXTS * 3)]
    together = space_of("minilm").vectors(texts)
    several = space_of("minilm")
    apart = [several.vectors(texts[at : at + 1 + at % 3])[0] for at in reversed(range(len(texts)))][::-1]
    assert (together == apart).all()
