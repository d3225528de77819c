"""The record of calls: what is kept comes back as it was, and a key stands for one question only."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptmill.errors import InputError
from promptmill.model.cache import CallStore, Record, canonical, decode, encode, key_of
from promptmill.model.chat import Answer, Completion, Request, Sampling, ScoreRequest, Scores, TokenLogprob, Usage

texts = st.text(max_size=20)
logs = st.floats(-1e4, 0)
tokens = st.builds(TokenLogprob, texts, logs, st.lists(st.tuples(texts, logs), max_size=2).map(tuple))
answers = st.builds(
    Answer, texts, st.sampled_from(["stop", "length"]), st.none() | st.lists(tokens, max_size=3).map(tuple)
)
usages = st.builds(Usage, st.integers(0, 10**6), st.integers(0, 10**6))
completions = st.builds(Completion, st.lists(answers, min_size=1, max_size=3).map(tuple), usages)
scores = st.integers(1, 3).flatmap(
    lambda n: st.builds(
        Scores,
        st.lists(logs, min_size=n, max_size=n).map(tuple),
        st.lists(st.integers(0, 99), min_size=n, max_size=n).map(tuple),
        usages,
    )
)
messages = st.lists(st.tuples(st.sampled_from(["system", "user"]), texts), min_size=1, max_size=3).map(tuple)
requests = st.builds(
    Request,
    messages,
    st.builds(Sampling, st.floats(0, 2), st.floats(0.1, 1), st.integers(1, 99), st.lists(texts, max_size=2).map(tuple)),
    texts,
    st.none() | st.lists(texts, min_size=1, max_size=3).map(tuple),
    st.integers(1, 4),
    st.integers(0, 9),
)


@given(completions | scores)
def test_a_result_comes_back_as_it_was(result: Completion | Scores):
    assert decode(encode(result), result.usage) == result


@given(requests, requests)
def test_two_requests_share_a_key_only_if_they_are_equal(a: Request, b: Request):
    assert (canonical("f", a) == canonical("f", b)) == (a == b)
    assert canonical("f", a) != canonical("g", a)


CHANGES = (
    {"prefix": "x"},
    {"constraint": ("a",)},
    {"n": 2},
    {"repeat": 1},
    {"logprobs": 0},
    {"response_format": {"type": "text"}},
    {"sampling": Sampling(seed=1)},
    {"sampling": Sampling(stop=("x",))},
    {"messages": (("system", "q"),)},
)


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_decides_the_answer_is_in_the_key(change: dict):
    plain = Request((("user", "q"),))
    assert key_of(canonical("f", plain)) != key_of(canonical("f", dataclasses.replace(plain, **change)))


def test_scores_and_completions_of_the_same_words_are_two_calls():
    asked = (("user", "q"),)
    assert canonical("f", Request(asked)) != canonical("f", ScoreRequest(asked, ()))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), completions), max_size=30), st.integers(1, 7))
def test_the_file_holds_the_first_result_of_each_key_and_sums_what_was_paid(rows: list, group: int):
    first: dict[int, Completion] = {}
    for key, result in rows:
        first.setdefault(key, result)

    async def fill(store: CallStore) -> None:
        for start in range(0, len(rows), group):
            part = rows[start : start + group]
            await asyncio.gather(*(store.put(Record(str(k), "task", "m", "{}", r, None, 0.0, 1)) for k, r in part))

    store = CallStore(None, "run")
    asyncio.run(fill(store))
    for key, result in first.items():
        found = store.get(str(key))
        assert found is not None
        assert decode(found[0], found[2]) == result
    calls, prompt, completion, cost = store.paid()
    assert calls == len(first)
    assert prompt == sum(result.usage.prompt for result in first.values())
    assert completion == sum(result.usage.completion for result in first.values())
    assert cost == 0


def test_two_runs_share_a_file_and_each_pays_for_its_own(tmp_path: Path):
    async def pay(run: str, keys: list[str]) -> tuple[int, int, int, float]:
        store = CallStore(tmp_path / "shared.sqlite", run)
        for key in keys:
            await store.put(Record(key, "task", "m", "{}", Completion((Answer("x"),), Usage(2, 1)), 0.5, 0.0, 1))
        paid = store.paid()
        store.close()
        return paid

    assert asyncio.run(pay("a", ["1", "2"])) == (2, 4, 2, 1.0)
    assert asyncio.run(pay("b", ["2", "3"])) == (2, 4, 2, 1.0)
    assert asyncio.run(pay("a", [])) == (2, 4, 2, 1.0)


def test_a_run_meets_its_own_answer_again_though_another_run_shares_the_file(tmp_path: Path):
    async def answer(run: str) -> str:
        store = CallStore(tmp_path / "shared.sqlite", run)
        await store.put(Record("1", "task", "m", "{}", Completion((Answer(f"of {run}"),)), None, 0.0, 1))
        found = store.get("1")
        store.close()
        assert found is not None
        return found[0]

    assert [asyncio.run(answer(run)) for run in "abab"] == ['[["of a", "stop", null]]', '[["of b", "stop", null]]'] * 2


def test_a_record_that_cannot_be_written_is_told_to_every_waiting_call(tmp_path: Path):
    async def pay(store: CallStore) -> list[object]:
        records = [Record(str(i), "task", "m", "{}", Completion((Answer("x"),)), None, 0.0, 1) for i in range(3)]
        return await asyncio.gather(*(store.put(record) for record in records), return_exceptions=True)

    store = CallStore(tmp_path / "calls.sqlite", "run")
    store._db.execute("PRAGMA query_only=ON")  # as on a full disk: reading works, writing does not
    results = asyncio.run(pay(store))
    assert [type(result) for result in results] == [InputError] * 3
    assert "calls.sqlite: cannot be written" in str(results[0])
    store._db.execute("PRAGMA query_only=OFF")
    assert asyncio.run(pay(store)) == [None] * 3
