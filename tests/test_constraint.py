"""Constrained answers: what meets a constraint, and that models held to one always answer so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.errors import InputError
from promptmill.model.chat import CallError, Completion, Request, Sampling
from promptmill.model.constraint import Constraint, JsonSchema, Regex, framed, literal, met
from promptmill.model.embedded import embedded_backend
from promptmill.model.local import LocalBackend
from promptmill.model.schema import object_of
from promptmill.model.scripted import ScriptedBackend
from promptmill.model.wire import chat_payload, read_completion
from promptmill.model.wire_text import text_payload
from tests.conftest import SHIPPED
from tests.tiny import ask, question, questions, texts_of, tiny_model

ASK = (("user", "Is it?"),)
PROPERTIES = {
    "name": {"type": "string", "maxLength": 8},
    "age": {"type": "integer", "minimum": 0, "maximum": 120},
    "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
}
PERSON = JsonSchema.of(object_of(PROPERTIES))
NULLS = JsonSchema.of({"$defs": {"n": {"type": "null"}}, "type": "array", "items": {"$ref": "#/$defs/n"}})
PATTERNS = ["yes|no", "[0-9]{1,3}", "(?:red|blue) fox(?:es)?", "[a-z ]{5,9}[.!]", " ?x", "ü{2}", "a\nb/\"'c"]


def bare(folder: Path, target: Path) -> Path:
    """The same model with a tokenizer that cannot merge: whole words and single bytes, as the embedded models have."""
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    data = json.loads((target / "tokenizer.json").read_text())
    data["model"] |= {"merges": [], "ignore_merges": True}
    (target / "tokenizer.json").write_text(json.dumps(data))
    return target


# What meets a constraint


@given(st.text(max_size=20))
def test_a_literal_matches_itself_and_nothing_else(text: str):
    assert re.fullmatch(literal(text), text)
    assert not re.fullmatch(literal(text), text + "x")


@pytest.mark.parametrize(
    ("constraint", "text", "found"),
    [
        (("yes", "no"), " yes\n", "yes"),
        (("yes", "no"), "maybe", None),
        (Regex("[0-9]+"), " 12", "12"),
        (Regex(" [0-9]+"), " 12", " 12"),
        (Regex("[0-9]+"), "12 apples", None),
        (PERSON, ' {"tags": [], "name": "ann", "age": 3}', '{"tags": [], "name": "ann", "age": 3}'),
        (PERSON, '{"name": "ann", "age": 3}', None),
        (PERSON, '{"name": "ann", "age": 3.5, "tags": []}', None),
        (PERSON, '{"name": "ann", "age": true, "tags": []}', None),
        (PERSON, '{"name": "ann", "age": 300, "tags": []}', None),
        (PERSON, '{"name": "ann", "age": 3, "tags": ["c"]}', None),
        (PERSON, '{"name": "ann", "age": 3, "tags": [], "more": 1}', None),
        (PERSON, '{"name": "ann"', None),
        (PERSON, "[" * 100000, None),
        (NULLS, "[1]", None),
        (NULLS, "[null]", "[null]"),
        (JsonSchema.of({"anyOf": [{"const": 1}, {"type": "string", "pattern": "^a"}]}), '"ab"', '"ab"'),
        (JsonSchema.of({"anyOf": [{"const": 1}, {"type": "string", "pattern": "^a"}]}), '"ba"', None),
    ],
)  # fmt: skip
def test_what_meets_a_constraint(constraint: Constraint, text: str, found: str | None):
    assert met(constraint, text) == found


def test_a_frame_goes_around_choices_and_expressions():
    assert framed(("a", "b"), " ", ".") == (" a.", " b.")
    assert framed(Regex("a|b"), " ", ".") == Regex(r" (?:a|b)\.")
    assert framed(PERSON, " ", ".") == PERSON


@pytest.mark.parametrize(
    "make",
    [
        lambda: Regex("("),
        lambda: JsonSchema("{"),
        lambda: JsonSchema("[1]"),
        lambda: JsonSchema.of({"type": "strin"}),
        lambda: JsonSchema.of({"type": {"a": 1}}),
        lambda: JsonSchema.of({"type": "object", "properties": {"a": 3}}),
        lambda: JsonSchema.of({"properties": []}),
        lambda: JsonSchema.of({"pattern": "("}),
        lambda: JsonSchema.of({"$ref": "#/$defs/none"}),
        lambda: JsonSchema.of({"enum": {1, 2}}),
    ],
)
def test_what_is_no_constraint_is_said_in_one_line(make: Any):
    with pytest.raises(InputError) as caught:
        make()
    assert "\n" not in str(caught.value)


# Local models


@pytest.mark.parametrize("kind", ["llama", "mistral", "gpt2"])
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_random_model_always_answers_as_it_must(kind: str, temperature: float, tmp_path: Path):
    backend = LocalBackend(str(tiny_model(tmp_path, kind)), device="cpu", batch_size=8)
    constraints = [*map(Regex, PATTERNS), PERSON]
    requests = [
        question("the sky", constraint=constraint, prefix=prefix, n=3 if temperature else 1, temperature=temperature,
                 max_tokens=200)
        for constraint in constraints
        for prefix in ("", "the answer: ", "so\n")
    ]  # fmt: skip
    for request, answer in zip(requests, ask(backend, requests), strict=True):
        assert isinstance(answer, Completion), (request.constraint, answer)
        for one in answer.answers:
            assert one.finish == "stop"
            if isinstance(request.constraint, Regex):
                assert re.fullmatch(request.constraint.pattern, one.text)
            else:
                assert met(PERSON, one.text) == one.text


@pytest.mark.parametrize("name", SHIPPED)
def test_an_embedded_model_always_answers_as_it_must(name: str):
    pairs: list[tuple[Constraint, str]] = [
        (Regex("[0-9]{2}|none"), ""),
        (PERSON, ""),
        (Regex("[a-z]{3,6}"), "It is a "),
    ]
    requests = [Request(ASK, Sampling(0.8, max_tokens=120), prefix, constraint) for constraint, prefix in pairs]
    for request, answer in zip(requests, ask(embedded_backend(name), requests), strict=True):
        assert request.constraint is not None
        assert met(request.constraint, answer.text) == answer.text


def test_a_tokenizer_without_merges_can_be_constrained(tiny_folder: Path, tmp_path: Path):
    backend = LocalBackend(str(bare(tiny_folder, tmp_path)), device="cpu")
    requests = [question("x", constraint=Regex(pattern), max_tokens=60) for pattern in PATTERNS]
    for pattern, answer in zip(PATTERNS, ask(backend, requests), strict=True):
        assert re.fullmatch(pattern, answer.text)


def test_constrained_and_free_rows_of_one_batch_say_what_they_say_alone(tiny_folder: Path):
    free = questions(12, temperature=1.0, n=2, logprobs=1)
    held = questions(12, temperature=1.0, n=2, constraint=Regex("[a-z]{2,7}( [a-z]{2,7}){0,3}"), max_tokens=40)
    mixed = [request for pair in zip(free, held, strict=True) for request in pair]
    together = LocalBackend(str(tiny_folder), device="cpu", batch_size=8)
    alone = LocalBackend(str(tiny_folder), device="cpu", batch_size=2)
    answers = ask(together, mixed)
    assert together._engine is not None
    assert together._engine._prefixes
    assert texts_of(answers[::2]) == texts_of(ask(alone, free))
    assert texts_of(answers[1::2]) == texts_of([ask(alone, [request])[0] for request in held])


def test_the_space_before_an_answer_is_the_prompts(tiny_backend: LocalBackend):
    spaced, plain = ask(
        tiny_backend, [question("a pear", prefix=prefix, constraint=Regex("[a-z]{2,5}!")) for prefix in ("it ", "it")]
    )
    assert not spaced.text.startswith(" ")
    assert re.fullmatch("[a-z]{2,5}!", spaced.text)
    assert re.fullmatch("[a-z]{2,5}!", plain.text)
    free, bound = ask(tiny_backend, [question("a pear", prefix="it "), question("a pear", prefix="it", max_tokens=16)])
    assert free.text == bound.text.lstrip()


def test_a_suffix_ends_the_answer_and_is_no_part_of_it(tiny_backend: LocalBackend):
    request = question(
        "x", prefix="there are ", constraint=Regex("[0-9]+"), suffix=" apples", max_tokens=200, logprobs=0
    )
    answers = ask(tiny_backend, [request, question("x", constraint=("yes", "no"), suffix="\nand", logprobs=0)])
    assert re.fullmatch("[0-9]+", answers[0].text)
    told = answers[0].answers[0].logprobs
    assert "".join(token.token for token in told).strip() == answers[0].text
    assert answers[1].text in ("yes", "no")


def test_an_answer_that_cannot_be_completed_is_a_failure_with_the_reason(tiny_backend: LocalBackend):
    requests = [
        question("x", constraint=Regex("[a-z]{50}"), max_tokens=5),
        question("x", constraint=Regex(r"(a)\1")),
        question("x", constraint=JsonSchema.of({"type": "string", "not": {"const": "a"}})),
        question("x", constraint=Regex("[a-z]{4,9}"), stop=("a", "e", "i", "o", "u"), max_tokens=30),
        question("x"),
    ]
    *failed, free = ask(tiny_backend, requests)
    assert [error.kind for error in failed[:3]] == ["constraint"] * 3
    assert "cut after 5 tokens" in failed[0].detail
    assert failed[0].usage.completion == 5
    assert "backreferences are not supported" in failed[1].detail
    assert 'Unimplemented keys: ["not"]' in failed[2].detail
    assert all("\n" not in error.detail for error in failed[:3])
    assert isinstance(failed[3], CallError) or re.fullmatch("[a-z]{4,9}", failed[3].text)
    assert free.text == ask(tiny_backend, [question("x")])[0].text


# Servers and scripts


def test_vllm_gets_the_constraint_with_the_space_that_it_must_begin_with():
    def outputs(**fields: Any) -> tuple[Any, Any]:
        payload = chat_payload("m", Request(ASK, **fields), vllm=True)
        return payload["structured_outputs"], payload["messages"][-1]["content"]

    assert outputs(constraint=Regex("a|b")) == ({"regex": "a|b"}, "Is it?")
    assert outputs(constraint=Regex("a|b"), prefix="So: ", suffix=".") == ({"regex": r" (?:a|b)\."}, "So:")
    assert outputs(constraint=("a", "b"), prefix="So: ", suffix=".") == ({"choice": [" a.", " b."]}, "So:")
    assert outputs(constraint=PERSON, prefix="So: ") == ({"json": PERSON.schema}, "So: ")
    request = Request(ASK, constraint=Regex("a|b"), prefix="So: ", suffix=".")
    assert text_payload("m", request, vllm=True)["prompt"] == "Is it?\n\nSo:"
    with pytest.raises(CallError, match="cannot be constrained"):
        text_payload("m", request, vllm=False)


def test_other_servers_get_a_json_schema_of_an_object():
    def schema(constraint: Constraint) -> Any:
        told = chat_payload("m", Request(ASK, constraint=constraint), vllm=False)["response_format"]["json_schema"]
        assert told["strict"] is True
        return told["schema"]

    assert schema(Regex("a|b"))["properties"] == {"answer": {"type": "string", "pattern": "^(?:a|b)$"}}
    assert schema(PERSON) == PERSON.schema
    listed = schema(NULLS)
    assert listed["properties"] == {"answer": {"type": "array", "items": {"$ref": "#/$defs/n"}}}
    assert listed["$defs"] == {"n": {"type": "null"}}


def answered(text: str, **fields: Any) -> str:
    data = {"choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}], "usage": None}
    return read_completion(data, Request(ASK, **fields)).text


def test_answers_of_servers_are_read_bare_or_wrapped_and_checked():
    assert answered(" 12.", constraint=Regex("[0-9]+"), prefix="So: ", suffix=".") == "12"
    assert answered('{"answer": "12"}', constraint=Regex("[0-9]+")) == "12"
    assert answered('{"answer": [1]}', constraint=JsonSchema.of({"type": "array"})) == "[1]"
    assert answered('{"n": 1}', constraint=JsonSchema.of({"type": "object"})) == '{"n": 1}'
    assert answered("  yes", prefix="So: ") == "yes"
    for said, constraint in (("12 apples", Regex("[0-9]+")), ("{}", PERSON), ("sure", PERSON)):
        with pytest.raises(CallError) as caught:
            answered(said, constraint=constraint)
        assert (caught.value.kind, caught.value.retryable) == ("constraint", False)


def test_a_script_must_answer_as_the_constraint_says():
    backend = ScriptedBackend(lambda request: "12")
    good, bad, worse = ask(backend, [Request(ASK, constraint=c) for c in (Regex("[0-9]+"), Regex("[a-z]+"), PERSON)])
    assert good.text == "12"
    assert (bad.kind, worse.kind) == ("constraint", "constraint")
    assert "does not match" in bad.detail
