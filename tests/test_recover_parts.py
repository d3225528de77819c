"""What is known of each candidate, with exact answers in a world whose probabilities are known."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.crafts.recover.candidates import BANK, ZERO_SHOT, candidates_of
from promptmill.crafts.recover.config import RankConfig
from promptmill.crafts.recover.parts import Rater, can_score, reasons_of
from promptmill.crafts.recover.space import scs
from promptmill.crafts.recover.tables import DrawRow, PartRow
from promptmill.crafts.recover.traces import Group
from promptmill.errors import ModelError
from promptmill.model.cache import CallStore
from promptmill.model.chat import CallError, ScoreRequest, Scores
from promptmill.model.endpoint import EndpointBackend
from promptmill.model.gate import Model
from tests.recovering import (
    FIRST,
    GRAMS,
    LIKELY,
    REVERSE,
    TEXTS,
    UNLIKELY,
    UPPER,
    WORDING,
    Guesser,
    World,
    model,
    trace,
)
from tests.servers import Server, Serving

ONE = Group("t", (trace("t", UPPER),))
SEVERAL = Group("g", tuple(trace(f"t{at}", UPPER, text) for at, text in enumerate(TEXTS)))
GAIN = LIKELY - UNLIKELY


def rater(generator: Any = None, recoverer: Any = None, **config: Any) -> Rater:
    return Rater(GRAMS, RankConfig.model_validate(config), WORDING, lambda text: text, generator and model(generator),
                 recoverer and model(recoverer))  # fmt: skip


def rows_of(*texts: str) -> list[DrawRow]:
    return [DrawRow("g", ZERO_SHOT, "t", at, text) for at, text in enumerate(texts)]


def rated(by: Rater, group: Group = ONE, texts: Sequence[str] = (UPPER, REVERSE)) -> list[PartRow]:
    async def go() -> list[PartRow]:
        for one in (by.generator, by.recoverer):
            if one is not None:
                await one.__aenter__()
        rows = rows_of(*texts)
        return await by.parts(group, rows, candidates_of(rows, 99))

    return asyncio.run(go())


def test_likelihood_is_the_gain_for_each_token_over_the_generic_prompt() -> None:
    right, wrong = rated(rater(World()))
    assert (right.likelihood, wrong.likelihood) == (pytest.approx(GAIN), 0.0)
    assert (right.text, right.candidate_id, wrong.candidate_id, right.posterior, right.error) == (
        UPPER, 0, 1, None, None,
    )  # fmt: skip


def test_a_groups_likelihood_is_the_mean_over_its_first_traces() -> None:
    mixed = Group("g", (*SEVERAL.traces[:2], trace("x", REVERSE, TEXTS[2]), trace("y", REVERSE, TEXTS[3])))
    assert [row.likelihood for row in rated(rater(World()), mixed)] == [pytest.approx(GAIN / 2)] * 2
    assert [row.likelihood for row in rated(rater(World(), scored=2), mixed)] == [pytest.approx(GAIN), 0.0]


def test_a_text_alone_is_weighed_by_the_prompt_alone() -> None:
    right, wrong = rated(rater(World()), Group("t", (trace("t", UPPER, None),)))
    assert (right.likelihood, wrong.likelihood) == (pytest.approx(GAIN), 0.0)


def test_posterior_is_asked_in_one_request_for_each_trace() -> None:
    backend = Guesser(["x"], {UPPER: -1.0, REVERSE: -3.5})
    assert [row.posterior for row in rated(rater(None, backend), SEVERAL)] == [-1.0, -3.5]
    assert [one.continuations for one in backend.asked] == [(UPPER, REVERSE)] * 4


def test_what_is_switched_off_is_not_asked() -> None:
    backend = Guesser(["x"])
    (row, _) = rated(rater(World(), backend, likelihood=False, posterior=False))
    assert (row.likelihood, row.posterior, backend.asked) == (None, None, [])


def test_a_call_that_fails_is_no_score_and_its_reason_is_told() -> None:
    row, other = rated(rater(World(longest=5)))
    assert (row.likelihood, other.likelihood) == (None, None)
    assert row.error == other.error == "likelihood refused: the text is longer than the context"
    assert rated(rater(World(), Failing()))[0].likelihood == pytest.approx(GAIN)
    both = rated(rater(World(longest=5), Failing()))[0]
    assert reasons_of(both) == [
        "likelihood refused: the text is longer than the context", "posterior refused: no, not a word",
    ]  # fmt: skip


def test_traces_that_can_be_scored_count_where_others_cannot() -> None:
    group = Group("g", (SEVERAL.traces[0], trace("long", UPPER, "far too long a text for it")))
    right, wrong = rated(rater(World(longest=22)), group)
    assert (right.likelihood, wrong.likelihood) == (pytest.approx(GAIN), 0.0)
    assert right.error is not None


class Failing(Guesser):
    def __init__(self) -> None:
        super().__init__(["x"])

    async def score(self, request: ScoreRequest) -> Scores:
        raise CallError("refused", "no; not a word")


class Impossible(Guesser):
    def __init__(self) -> None:
        super().__init__(["x"])

    async def score(self, request: ScoreRequest) -> Scores:
        return Scores((-math.inf,) * len(request.continuations), (1,) * len(request.continuations))


def test_what_a_server_calls_impossible_is_not_known() -> None:
    assert [row.posterior for row in rated(rater(None, Impossible()))] == [None, None]


def test_a_candidate_that_fails_where_others_have_a_score_is_not_known() -> None:
    class Picky(World):
        async def score(self, request: ScoreRequest) -> Scores:
            if request.messages[0][1] == REVERSE:
                raise CallError("refused", "not this one")
            return await super().score(request)

    right, wrong = rated(rater(Picky()), SEVERAL)
    assert (right.likelihood, wrong.likelihood) == (pytest.approx(GAIN), None)


# Agreement


def test_consensus_is_the_mean_nearness_to_the_other_answers() -> None:
    texts = [UPPER, UPPER, FIRST]
    near = float(scs(GRAMS, [UPPER], [FIRST])[0])
    rows = rated(rater(), texts=texts)
    assert [(row.votes, row.consensus) for row in rows] == [
        (pytest.approx(2 / 3, abs=1e-5), pytest.approx((1 + near) / 2, abs=1e-5)),
        (pytest.approx(1 / 3, abs=1e-5), pytest.approx(near, abs=1e-5)),
    ]
    assert rated(rater(), texts=[UPPER])[0].consensus is None


def test_candidates_of_the_bank_are_held_against_what_was_drawn() -> None:
    rows = [*rows_of(UPPER, UPPER), DrawRow("g", BANK, "t", 0, FIRST, retrieved=0.3)]
    found = asyncio.run(rater().parts(ONE, rows, candidates_of(rows, 9)))
    assert [(row.votes, row.retrieved) for row in found] == [(1.0, None), (0.0, 0.3)]
    assert found[1].consensus == pytest.approx(float(scs(GRAMS, [FIRST], [UPPER])[0]), abs=1e-5)
    alone = [replace(rows[-1], text=text) for text in (UPPER, FIRST)]
    assert [row.votes for row in asyncio.run(rater().parts(ONE, alone, candidates_of(alone, 9)))] == [None, None]


def test_without_a_candidate_there_is_nothing_to_ask() -> None:
    assert asyncio.run(rater(World()).parts(ONE, [], [])) == []


@given(st.permutations([UPPER, UPPER, REVERSE, FIRST, FIRST, FIRST]))
def test_agreement_does_not_hang_on_the_order_of_answers(texts: list[str]) -> None:
    def by_text(order: Sequence[str]) -> dict[str, float | None]:
        rows = rows_of(*order)
        return dict(zip(order, rater().consensus(rows, order), strict=True))

    assert by_text(texts) == pytest.approx(by_text([UPPER, UPPER, REVERSE, FIRST, FIRST, FIRST]))


# Who can score


def test_a_model_is_asked_once_whether_it_scores(tmp_path: Any) -> None:
    backend = Guesser(["x"])
    with_record = model(backend, store=CallStore(tmp_path / "calls.sqlite", "run"))
    assert [asyncio.run(can_score(with_record)) for _ in range(2)] == [True, True]
    assert len(backend.asked) == 1
    assert asyncio.run(can_score(model(Failing()))) is False


@pytest.mark.parametrize("owner", ["tests", "vllm"])
async def test_a_chat_server_that_gives_no_logprobs_is_no_error(owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def models(_: Any) -> Any:
        from aiohttp import web

        return web.json_response({"data": [{"id": "mock", "owned_by": owner}]})

    server = Server()
    monkeypatch.setattr(server, "models", models)
    async with Serving(server) as (_, url):
        one = Model(EndpointBackend("mock", url), attempts=1)
        assert await can_score(one) is False
        assert server.calls == (1 if owner == "vllm" else 0)


async def test_a_server_in_trouble_is_an_error_for_a_run_must_not_go_two_ways() -> None:
    server = Server()
    server.script = ["500"]
    async with Serving(server) as (_, url):
        with pytest.raises(ModelError, match="could not be asked whether it scores"):
            await can_score(Model(EndpointBackend("mock", url, dialect="vllm"), attempts=1))


async def test_a_server_that_is_not_there_is_an_error(unused_port: int) -> None:
    with pytest.raises(ModelError, match="nobody answers"):
        await can_score(Model(EndpointBackend("mock", f"http://127.0.0.1:{unused_port}/v1"), attempts=1))


def test_a_candidate_says_who_brought_it() -> None:
    rows = rated(rater(), texts=[UPPER])
    assert rows == [PartRow("t", 0, UPPER, [ZERO_SHOT], 1.0, None, None, None, None, None)]
