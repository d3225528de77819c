"""Scripts: holes filled in order, each under its own rules, on models that continue a prefix and on others."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.errors import InputError
from promptmill.model.budget import Budget, Ledger
from promptmill.model.cache import CallStore
from promptmill.model.chat import Failure, Request, Sampling
from promptmill.model.constraint import JsonSchema, Regex
from promptmill.model.embedded import embedded_backend
from promptmill.model.endpoint import EndpointBackend
from promptmill.model.gate import Model
from promptmill.model.local import LocalBackend
from promptmill.model.script import Filled, Hole, Script, fill, fill_all
from promptmill.model.scripted import ScriptedBackend
from promptmill.prompt import Prompt
from tests.conftest import SHIPPED
from tests.servers import Server, Serving
from tests.tiny import tiny_model

ASKED = Prompt("Be brief.", "{question}")
SCRIPT = Script(
    "Because [WHY]\nAnswer: [ANSWER], [N] times.",
    (Hole("ANSWER", ("yes", "no")), Hole("N", Regex("[0-9]{1,2}"))),
    ASKED,
)
FIELDS = {"question": "Is the sky [BLUE]?"}


def scripted(*answers: str, **settings: Any) -> tuple[Model, list[Request]]:
    """A model that gives these answers in their order, and what it was asked."""
    asked: list[Request] = []

    def say(request: Request) -> str:
        asked.append(request)
        return answers[len(asked) - 1]

    return Model(ScriptedBackend(say), **settings), asked


def test_holes_are_filled_in_order_each_after_what_was_written_before():
    model, asked = scripted("it is.", "yes", "12")
    (filled,) = fill_all(model, SCRIPT, [FIELDS])
    assert isinstance(filled, Filled)
    assert filled.values == {"WHY": "it is.", "ANSWER": "yes", "N": "12"}
    assert filled.text == "Because it is.\nAnswer: yes, 12 times."
    assert [request.prefix for request in asked] == [
        "Because ", "Because it is.\nAnswer: ", "Because it is.\nAnswer: yes, ",
    ]  # fmt: skip
    assert {request.messages for request in asked} == {(("system", "Be brief."), ("user", FIELDS["question"]))}
    assert [request.constraint for request in asked] == [None, ("yes", "no"), Regex("[0-9]{1,2}")]
    assert [request.suffix for request in asked] == ["", ",", " times."]
    assert asked[0].sampling.stop == ("\nAnswer:",)
    assert filled.usage.completion == 4


def test_each_call_goes_through_the_gate():
    model, asked = scripted("it is.", "yes", "12", ledger=Ledger(Budget(calls=3)))
    first, again = fill_all(model, SCRIPT, [FIELDS])[0], fill_all(model, SCRIPT, [FIELDS])[0]
    assert first == again
    assert len(asked) == 3
    assert model.ledger.cached == 3


def test_fields_fill_the_text_and_are_never_holes():
    script = Script("[[A]] {x} {{y}} [1] [A]{x}", prompt=ASKED)
    model, _ = scripted("b")
    (filled,) = fill_all(model, script, [{"x": "[B] {z}", "question": "?"}])
    assert isinstance(filled, Filled)
    assert filled.text == "[A] [B] {z} {y} [1] b[B] {z}"
    assert filled.values == {"A": "b"}
    with pytest.raises(InputError, match="no such field"):
        fill_all(model, script, [{"question": "?"}])


names = st.lists(st.from_regex("[A-Z][A-Z0-9_]{0,4}", fullmatch=True), min_size=1, max_size=4, unique=True)
plain = st.text(st.characters(exclude_characters="[]{}", codec="utf-8"), max_size=6)


@given(
    names.flatmap(lambda all: st.tuples(st.just(all), st.lists(plain, min_size=len(all) + 1, max_size=len(all) + 1)))
)
def test_the_parts_of_a_script_make_it_again(drawn: tuple[list[str], list[str]]):
    holes, between = drawn
    text = between[0] + "".join(f"[{name}]{after}" for name, after in zip(holes, between[1:], strict=True))
    parts, tail = Script(text).parts({})
    assert "".join(f"{before}[{hole.name}]" for before, hole in parts) + tail == text
    assert [hole.name for _, hole in parts] == holes


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Script("no hole [a] [1]"), "no hole"),
        (lambda: Script("[A] [A]"), r"two holes \[A\]"),
        (lambda: Script("[A]", (Hole("A"), Hole("A"))), r"two holes \[A\]"),
        (lambda: Script("[A]", (Hole("B"),)), r"\[B\] but no such hole \(it has: A\)"),
        (lambda: Hole("A", ("x",), stops_at=(".",)), "takes no stop texts"),
        (lambda: Hole("A", ()), "no choices"),
        (lambda: Hole("A", sampling=Sampling(stop=(".",))), "stops_before or stops_at"),
    ],
)
def test_a_script_that_cannot_be_filled_is_said_at_once(make: Any, said: str):
    with pytest.raises(InputError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_failure_comes_back_with_the_hole_and_the_reason():
    model, asked = scripted("it is.", "perhaps")
    (failed,) = fill_all(model, SCRIPT, [FIELDS])
    assert isinstance(failed, Failure)
    assert failed.kind == "constraint"
    assert failed.detail == "hole [ANSWER]: the script's answer 'perhaps' is none of the choices"
    assert len(asked) == 2


# Local models


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LocalBackend:
    return LocalBackend(str(tiny_model(tmp_path_factory.mktemp("model") / "llama")), device="cpu", batch_size=8)


def test_a_random_model_fills_every_hole_as_it_must(tiny: LocalBackend):
    item = JsonSchema.of({"enum": [{"a": 1}, {"a": 2}]})
    script = Script(
        "So [WHY]. It is [N] and [WHICH], as {question}: [JSON] [LAST]",
        (Hole("WHY", sampling=Sampling(1.0, max_tokens=5)), Hole("N", Regex("[0-9]{1,3}"), sampling=Sampling(1.0)),
         Hole("WHICH", ("red", "blue")), Hole("JSON", item), Hole("LAST", Regex("[a-z]{2,5}"))),
        ASKED,
    )  # fmt: skip
    for filled in fill_all(Model(tiny), script, [{"question": word} for word in "fox dog cat pear sky".split()]):
        assert isinstance(filled, Filled), filled
        assert re.fullmatch("[0-9]{1,3}", filled.values["N"])
        assert filled.values["WHICH"] in ("red", "blue")
        assert json.loads(filled.values["JSON"])["a"] in (1, 2)
        assert re.fullmatch("[a-z]{2,5}", filled.values["LAST"])
        wanted = r"So (.*)\. It is \d+ and (red|blue), as \w+: \{.*\} [a-z]+"
        assert re.fullmatch(wanted, filled.text, re.DOTALL)


def test_stops_end_a_hole_and_are_kept_or_left_out(tiny: LocalBackend):
    free = fill_all(Model(tiny), Script("[A]", prompt=ASKED), [FIELDS])[0]
    assert isinstance(free, Filled)
    text = free.values["A"]
    stop = next(letter for letter in text[3:] if letter.isalpha() and letter not in text[:3])
    end = text.index(stop)
    for hole, value in ((Hole("A", stops_before=(stop,)), text[:end]), (Hole("A", stops_at=(stop,)), text[: end + 1])):
        filled = fill_all(Model(tiny), Script("[A]|[B]", (hole,), ASKED), [FIELDS])[0]
        assert isinstance(filled, Filled)
        assert filled.values["A"] == value
        assert filled.text.startswith(value + "|")
    store = CallStore(None)
    twice = [
        fill_all(Model(tiny, store=store), Script("[A]", (Hole("A", stops_at=(stop,)),), ASKED), [FIELDS]) for _ in "ab"
    ]
    assert twice[0] == twice[1]  # the stop text is in the record too


@pytest.mark.parametrize("name", SHIPPED)
def test_an_embedded_model_reasons_freely_and_decides_within_bounds(name: str):
    script = Script(
        "[STEPS]\nThe answer is [N].",
        (Hole("STEPS", stops_before=("\n",), sampling=Sampling(max_tokens=40)), Hole("N", Regex("[0-9]{1,3}"))),
        Prompt(user="{question}\n\nSolve the problem. Think step by step."),
    )
    (filled,) = fill_all(Model(embedded_backend(name)), script, [{"question": "3 + 4"}])
    assert isinstance(filled, Filled)
    assert re.fullmatch(r".*\nThe answer is \d{1,3}\.", filled.text, re.DOTALL)


# Servers


def serving(script: Script, answer: str, dialect: str) -> tuple[Any, Server]:
    """What a server that always answers so makes of a script, and the server."""

    async def run() -> tuple[Any, Server]:
        async with Serving(Server(lambda messages: answer)) as (server, url):
            model = Model(EndpointBackend("mock", url, dialect=dialect))
            async with model:
                return await fill(model, script, FIELDS), server

    return asyncio.run(run())


def test_a_server_that_continues_is_asked_for_each_hole():
    script = Script("So [A] or [B]", (Hole("A", Regex("[a-z]+")), Hole("B", ("yes", "no"))), ASKED)
    filled, server = serving(script, " yes", "vllm")
    assert filled.values == {"A": "yes", "B": "yes"}
    assert filled.text == "So yes or yes"
    assert [body["messages"][-1]["content"] for body in server.bodies] == ["So", "So yes or"]
    assert [body["structured_outputs"] for body in server.bodies] == [
        {"regex": " (?:[a-z]+) or"}, {"choice": [" yes", " no"]},
    ]  # fmt: skip


@pytest.mark.parametrize("dialect", ["openai", "auto"])
def test_a_server_that_cannot_continue_is_asked_once_for_json(dialect: str):
    item = JsonSchema.of({"type": "object", "properties": {"a": {"type": "integer"}}})
    script = Script(
        "Because [WHY]\nAnswer: [ANSWER] [N] [JSON]",
        (Hole("WHY", stops_at=(".",)), Hole("ANSWER", ("yes", "no")), Hole("N", Regex("[0-9]+")), Hole("JSON", item)),
        ASKED,
    )
    said = {"WHY": "it is. Or not.", "ANSWER": "no", "N": "7", "JSON": {"a": 1}}
    filled, server = serving(script, json.dumps(said), dialect)
    assert filled.values == {"WHY": "it is.", "ANSWER": "no", "N": "7", "JSON": '{"a": 1}'}
    assert filled.text == 'Because it is.\nAnswer: no 7 {"a": 1}'
    (body,) = server.bodies
    asked = body["messages"][-1]["content"]
    assert asked.startswith(FIELDS["question"])
    assert asked.endswith("Because [WHY]\nAnswer: [ANSWER] [N] [JSON]")
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["WHY", "ANSWER", "N", "JSON"]
    assert schema["properties"] == {
        "WHY": {"type": "string"}, "ANSWER": {"type": "string", "enum": ["yes", "no"]},
        "N": {"type": "string", "pattern": "^(?:[0-9]+)$"}, "JSON": item.schema,
    }  # fmt: skip


@pytest.mark.parametrize("said", ["I would rather not", '{"A": "maybe"}', "{}", '{"A": "yes", "B": 1}'])
def test_json_that_does_not_fill_the_script_is_a_failure(said: str):
    failed, _ = serving(Script("[A]", (Hole("A", ("yes", "no")),), ASKED), said, "openai")
    assert isinstance(failed, Failure)
    assert (failed.kind, failed.attempts) == ("constraint", 1)


def test_what_the_record_holds_needs_no_server(tmp_path: Path):
    async def run() -> list[Any]:
        results = []
        async with Serving(Server(lambda messages: '{"A": "yes"}')) as (_, url):
            for _ in range(2):
                model = Model(EndpointBackend("mock", url), store=CallStore(tmp_path / "calls.sqlite"))
                async with model:
                    results.append(await fill(model, Script("[A]", prompt=ASKED), FIELDS))
        model = Model(EndpointBackend("mock", url), store=CallStore(tmp_path / "calls.sqlite"))
        async with model:
            results.append(await fill(model, Script("[A]", prompt=ASKED), FIELDS))
        return results

    first, second, without = asyncio.run(run())
    assert first.values == second.values == without.values == {"A": "yes"}
