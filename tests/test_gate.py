"""The gate in front of a real HTTP server: what is sent, what is kept, what is retried, what it may cost."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from pathlib import Path

import pytest
from aiohttp import web

from promptmill.errors import BudgetSpent, InputError, ModelError
from promptmill.model.budget import Budget, Ledger, Price
from promptmill.model.cache import CallStore
from promptmill.model.chat import CallError, Completion, Failure, Request, Sampling
from promptmill.model.endpoint import EndpointBackend
from promptmill.model.gate import GIVE_UP_AFTER, Model
from promptmill.model.scripted import ScriptedBackend
from tests.servers import FAULTS, Server, Serving

QUICK = {"base_wait": 0.005, "longest_wait": 0.05}


def question(text: str, **more) -> Request:
    return Request((("user", text),), **more)


def endpoint(url: str, **more) -> EndpointBackend:
    return EndpointBackend("mock", url, **({"timeout": 5.0} | more))


async def ask_all(model: Model, requests: list[Request]) -> list[Completion | Failure]:
    async with model:
        return await asyncio.gather(*(model.ask(request) for request in requests))


async def test_answers_come_back_in_order_with_usage_and_record(tmp_path: Path):
    async with Serving(Server()) as (server, url):
        store = CallStore(tmp_path / "calls.sqlite", "run")
        model = Model(endpoint(url), store=store, price=Price(input=1.0, output=2.0))
        results = await ask_all(model, [question(f"add {i} and 2") for i in range(20)])
    numbers = [int(result.text.split()[-1]) for result in results]
    assert all(number in (i + 2, i + 3) for i, number in enumerate(numbers))
    rows = sqlite3.connect(tmp_path / "calls.sqlite").execute(
        "SELECT prompt_tokens, completion_tokens, cost FROM calls"
    )
    assert sorted(rows) == [(4, 4, 12e-6)] * 20
    assert model.ledger.summary()["calls"] == {"task": 20}
    assert server.calls == 20


async def test_a_second_model_is_answered_from_the_file_and_the_server_hears_nothing(tmp_path: Path):
    async with Serving(Server()) as (server, url):
        for _ in range(2):
            store = CallStore(tmp_path / "calls.sqlite", "run")
            results = await ask_all(
                Model(endpoint(url), store=store), [question("add 1 and 2", repeat=r) for r in (0, 1)]
            )
            store.close()
        assert server.calls == 2, "the repeat index makes another call, the second model makes none"
    assert all(isinstance(result, Completion) for result in results)


async def test_identical_calls_in_flight_are_joined():
    async with Serving(Server(latency=0.05)) as (server, url):
        model = Model(endpoint(url))
        results = await ask_all(model, [question(f"add {i % 10}") for i in range(80)])
        assert server.calls == 10
        assert model.ledger.joined + model.ledger.cached == 70
    assert len({result.text for result in results}) <= 11


async def test_a_joined_call_survives_the_cancelling_of_its_owner():
    async with Serving(Server(latency=0.05)) as (_, url), Model(endpoint(url)) as model:
        owner = asyncio.create_task(model.ask(question("add 4")))
        await asyncio.sleep(0.02)
        joined = asyncio.create_task(model.ask(question("add 4")))
        await asyncio.sleep(0)
        owner.cancel()
        assert isinstance(await joined, Completion)


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_fault_of_the_server_is_survived(fault: str):
    async with Serving(Server(hang=1.2)) as (server, url):
        server.script = [fault, fault]
        model = Model(endpoint(url, timeout=0.8), **QUICK)
        (result,) = await ask_all(model, [question("add 1")])
        assert isinstance(result, Completion), result
        assert server.calls == 3
        assert model.ledger.retries == 2


async def test_no_item_is_lost_when_a_fifth_of_all_calls_fail():
    async with Serving(Server(faults=0.2, hang=0.3)) as (server, url):
        model = Model(endpoint(url, timeout=0.15, concurrency=32), attempts=12, **QUICK)
        results = await ask_all(model, [question(f"add {i} step") for i in range(300)])
        assert server.calls > 300
    assert [result.text for result in results] == [f"The answer is {i}" for i in range(300)]


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_refused_question_is_not_sent_again(status: int):
    async with Serving(Server()) as (server, url):
        server.script = [lambda: web.json_response({"error": {"message": "context too long"}}, status=status)]
        (result,) = await ask_all(Model(endpoint(url)), [question("add 1")])
        assert result == Failure("refused", f"HTTP {status}: context too long", 1)
        assert server.calls == 1


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refused_key_or_unknown_model_ends_the_run_in_one_line(status: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    async with Serving(Server()) as (server, url):
        server.script = [lambda: web.json_response({"error": {"message": "bad key sk-very-secret"}}, status=status)]
        with pytest.raises(ModelError) as caught:
            await ask_all(Model(endpoint(url)), [question("add 1")])
    assert "\n" not in str(caught.value)
    assert "sk-very-secret" not in str(caught.value)


async def test_the_key_is_sent_but_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    async with Serving(Server()) as (server, url):
        store = CallStore(tmp_path / "calls.sqlite", "run")
        await ask_all(Model(endpoint(url, api_key_env="MY_KEY"), store=store), [question("add 1")])
        assert server.headers[0]["Authorization"] == "Bearer sk-very-secret"
    store.close()
    assert all(b"sk-very-secret" not in path.read_bytes() for path in tmp_path.iterdir())


async def test_nobody_at_the_address_is_one_clear_line(unused_port: int):
    with pytest.raises(ModelError, match=r"nobody answers at http://127\.0\.0\.1"):
        await ask_all(Model(endpoint(f"http://127.0.0.1:{unused_port}/v1")), [question("add 1")])


async def test_a_server_that_dies_stops_the_run_instead_of_failing_every_item():
    async with Serving(Server()) as (server, url):
        server.script = ["500"] * 1000
        model = Model(endpoint(url, concurrency=4), attempts=2, **QUICK)
        with pytest.raises(ModelError, match="in a row failed"):
            await ask_all(model, [question(f"add {i}") for i in range(100)])
        assert GIVE_UP_AFTER <= server.calls < 150, "all would be 200"


async def test_failures_are_recorded_and_tried_again_by_the_next_session(tmp_path: Path):
    async with Serving(Server()) as (server, url):
        server.script = ["500"]
        store = CallStore(tmp_path / "calls.sqlite", "run")
        (first,) = await ask_all(Model(endpoint(url), store=store, attempts=1), [question("add 1")])
        (second,) = await ask_all(Model(endpoint(url), store=store, attempts=1), [question("add 1")])
    assert isinstance(first, Failure)
    assert first.kind == "server_error"
    assert isinstance(second, Completion)
    rows = list(sqlite3.connect(tmp_path / "calls.sqlite").execute("SELECT kind, attempts FROM failures"))
    assert rows == [("server_error", 1)]


async def test_a_budget_of_calls_is_never_passed():
    async with Serving(Server(latency=0.01)) as (server, url):
        model = Model(endpoint(url), ledger=Ledger(Budget(calls=7)))
        async with model:
            results = await asyncio.gather(
                *(model.ask(question(f"add {i}")) for i in range(30)), return_exceptions=True
            )
        assert server.calls == 7
    assert sum(isinstance(result, Completion) for result in results) == 7
    assert sum(isinstance(result, BudgetSpent) for result in results) == 23


@pytest.mark.parametrize("budget", [Budget(tokens=300), Budget(cost=300e-6)])
async def test_a_budget_of_tokens_or_money_is_never_passed_and_nearly_used(budget: Budget):
    async with Serving(Server(latency=0.005)) as (_, url):
        model = Model(endpoint(url), ledger=Ledger(budget), price=Price(1.0, 1.0))
        requests = [question(f"add {i}", sampling=Sampling(max_tokens=30)) for i in range(100)]
        async with model:
            results = await asyncio.gather(*(model.ask(request) for request in requests), return_exceptions=True)
    used = sum(result.usage.prompt + result.usage.completion for result in results if isinstance(result, Completion))
    assert 240 < used <= 300
    assert any(isinstance(result, BudgetSpent) for result in results)


async def test_a_continued_run_goes_on_from_what_it_has_paid(tmp_path: Path):
    async with Serving(Server()) as (server, url):
        for _ in range(2):
            store = CallStore(tmp_path / "calls.sqlite", "run")
            model = Model(endpoint(url), store=store, ledger=Ledger(Budget(calls=5)))
            async with model:
                await asyncio.gather(*(model.ask(question(f"add {i}")) for i in range(9)), return_exceptions=True)
            store.close()
            assert model.ledger.summary()["calls"] == {"task": 5}
        assert server.calls == 5


def test_a_budget_of_zero_and_a_cost_without_price_are_refused():
    with pytest.raises(InputError, match="--budget-calls must be more than 0"):
        Budget(calls=0)


async def test_a_throttling_server_lowers_what_is_in_flight():
    async with Serving(Server(latency=0.01)) as (server, url):
        server.script = ["429"] * 8
        backend = endpoint(url, concurrency=16)
        model = Model(backend, **QUICK)
        await ask_all(model, [question(f"add {i}") for i in range(60)])
        assert 1 <= model.limiter.window < 16
        assert server.answered == 60


def test_blocking_use_works_inside_a_running_loop():
    model = Model(ScriptedBackend(lambda request: "yes"))

    async def notebook() -> str:
        (result,) = model.complete([question("?")])
        assert isinstance(result, Completion)
        return result.text

    assert asyncio.run(notebook()) == "yes"
    (again,) = model.complete([question("?")])
    assert isinstance(again, Completion)
    assert again.text == "yes"


def test_errors_of_a_script_reach_the_caller_of_the_blocking_form():
    def broken(request: Request) -> str:
        raise RuntimeError("a bug is not swallowed")

    with pytest.raises(RuntimeError, match="a bug"):
        Model(ScriptedBackend(broken)).complete([question("?")])


def test_a_call_error_that_cannot_be_retried_is_a_failure():
    def refuse(request: Request) -> str:
        raise CallError("refused", "no")

    (result,) = Model(ScriptedBackend(refuse)).complete([question("?")])
    assert result == Failure("refused", "no", 1)


def test_a_file_that_is_no_database_is_refused_in_one_line(tmp_path: Path):
    path = tmp_path / "calls.sqlite"
    path.write_text(json.dumps({"not": "a database"}) * 100)
    with pytest.raises(InputError, match="cannot be used as a store"):
        CallStore(path)
    assert os.path.getsize(path) == len(json.dumps({"not": "a database"})) * 100


async def test_cancelling_the_owner_and_those_who_joined_it_sends_nothing_more():
    async with Serving(Server(latency=0.05)) as (server, url), Model(endpoint(url)) as model:

        async def work(texts: list[str]) -> None:
            for text in texts:
                await model.ask(question(text))

        tasks = [asyncio.create_task(work(["add 1"])), asyncio.create_task(work(["add 1", "add 2", "add 3"]))]
        await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.1)
        assert server.calls == 1
    assert [type(one) for one in done] == [asyncio.CancelledError] * 2


async def test_a_model_can_be_used_again_after_an_error():
    async with Serving(Server()) as (server, url):
        server.script = [lambda: web.json_response({"error": {"message": "no such key"}}, status=401)]
        model = Model(endpoint(url))
        with pytest.raises(ModelError, match="no such key"):
            await ask_all(model, [question("add 1"), question("add 2")])
        results = await asyncio.wait_for(ask_all(model, [question("add 1"), question("add 2")]), 5)
    assert all(isinstance(result, Completion) for result in results)


async def test_a_model_entered_twice_stays_open_until_the_last_has_left():
    async with Serving(Server()) as (_, url), Model(endpoint(url)) as model:
        async with model:
            await model.ask(question("add 1"))
        assert isinstance(await model.ask(question("add 2")), Completion)


async def test_models_on_one_server_share_its_limiter_and_its_pushbacks():
    small, large = (Model(endpoint("http://127.0.0.1:1/v1", concurrency=n)) for n in (2, 64))
    small.limiter.pushback(5.0)
    assert small.limiter is large.limiter
    assert large.limiter.window < 64


def test_threads_with_models_of_their_own_on_one_server_do_not_wait_for_each_other():
    async def serve_and_ask() -> list[list[Completion | Failure]]:
        async with Serving(Server(latency=0.005)) as (_, url):
            models = [Model(endpoint(url, concurrency=2)) for _ in range(3)]
            work = [
                asyncio.to_thread(m.complete, [question(f"add {i} {k}") for i in range(30)])
                for k, m in enumerate(models)
            ]
            return await asyncio.wait_for(asyncio.gather(*work), 30)

    assert all(isinstance(one, Completion) for results in asyncio.run(serve_and_ask()) for one in results)


async def test_answers_that_were_paid_for_but_cannot_be_used_count_against_the_budget(tmp_path: Path):
    filtered = {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 1}}  # fmt: skip
    async with Serving(Server()) as (server, url):
        server.script = [lambda: web.json_response(filtered)] * 30
        for calls in (4, 6):
            store = CallStore(tmp_path / "calls.sqlite", "run")
            model = Model(endpoint(url), store=store, ledger=Ledger(Budget(calls=calls)))
            async with model:
                results = await asyncio.gather(
                    *(model.ask(question(f"add {i}")) for i in range(9)), return_exceptions=True
                )
            store.close()
            assert server.calls == calls
    assert sum(isinstance(result, BudgetSpent) for result in results) == 7


async def test_a_server_that_counts_no_tokens_is_held_to_the_budget_by_an_estimate():
    silent = {"choices": [{"message": {"content": "x" * 300}}], "usage": None}
    async with Serving(Server()) as (server, url):
        server.script = [lambda: web.json_response(silent)] * 99
        model = Model(endpoint(url, concurrency=1), ledger=Ledger(Budget(tokens=2000)))
        async with model:
            await asyncio.gather(*(model.ask(question(f"add {i}")) for i in range(60)), return_exceptions=True)
        assert server.calls < 20


async def test_a_redirect_is_told_with_the_address_to_use():
    async with Serving(Server()) as (server, url):
        server.script = [lambda: web.Response(status=307, headers={"Location": "http://elsewhere/v1"})]
        with pytest.raises(ModelError, match="elsewhere"):
            await ask_all(Model(endpoint(url)), [question("add 1")])


@pytest.mark.parametrize("bad", ["http://me:hunter2@127.0.0.1/v1", "http://[::1/v1"])
def test_an_address_with_a_password_or_none_at_all_is_refused(bad: str):
    with pytest.raises(ModelError, match="--base-url") as caught:
        EndpointBackend("m", bad)
    assert "hunter2" not in str(caught.value)


def test_a_key_given_as_the_name_of_its_variable_is_refused_and_not_repeated():
    with pytest.raises(ModelError, match="not a key") as caught:
        EndpointBackend("m", "http://127.0.0.1/v1", api_key_env="sk-SECRET")
    assert "SECRET" not in str(caught.value)
