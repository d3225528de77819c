"""What goes over the wire, and what is read from it."""

from __future__ import annotations

import json
import math

import pytest

from promptmill.model.chat import CallError, Request, Sampling, ScoreRequest, Usage
from promptmill.model.endpoint import _retry_after
from promptmill.model.wire import chat_payload, chosen, read_choice_logprobs, read_completion, read_scores

ASK = (("system", "Be brief."), ("user", "Is it?"))


def answer(*texts: str, **more) -> dict:
    rows = [{"index": i, "message": {"content": text}, "finish_reason": "stop"} | more for i, text in enumerate(texts)]
    return {"choices": rows, "usage": {"prompt_tokens": 5, "completion_tokens": 2}}


def test_only_what_differs_from_the_defaults_is_sent():
    assert chat_payload("m", Request(ASK), vllm=False) == {
        "model": "m", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is it?"}],
        "temperature": 0.0, "max_tokens": 512,
    }  # fmt: skip


def test_sampling_is_sent_and_repeats_get_seeds_of_their_own():
    sampling = Sampling(0.7, 0.9, 50, ("\n", "END"), seed=3)
    payload = chat_payload("m", Request(ASK, sampling, n=4, repeat=2, logprobs=5), vllm=False)
    expected = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 50, "stop": ["\n", "END"], "seed": 5, "n": 4,
                "logprobs": True, "top_logprobs": 5}  # fmt: skip
    assert {key: payload[key] for key in expected} == expected


def test_a_prefix_is_continued_by_vllm_and_asked_for_elsewhere():
    request = Request(ASK, prefix="Let us think:")
    vllm = chat_payload("m", request, vllm=True)
    assert vllm["messages"][-1] == {"role": "assistant", "content": "Let us think:"}
    assert (vllm["continue_final_message"], vllm["add_generation_prompt"]) == (True, False)
    other = chat_payload("m", request, vllm=False)
    assert other["messages"][-1] == {"role": "user", "content": "Is it?\n\nBegin your answer with: Let us think:"}
    assert read_completion(answer("Let us think: yes"), request).text == " yes"
    assert read_completion(answer(" yes"), request).text == " yes"


def test_choices_are_structured_output_on_both_kinds_of_server():
    request = Request(ASK, constraint=("yes", "no"))
    assert chat_payload("m", request, vllm=True)["structured_outputs"] == {"choice": ["yes", "no"]}
    schema = chat_payload("m", request, vllm=False)["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["properties"]["answer"]["enum"] == ["yes", "no"]
    assert read_completion(answer("yes"), request).text == "yes"
    assert read_completion(answer('{"answer": "no"}'), request).text == "no"


@pytest.mark.parametrize("said", ["maybe", '{"answer": "maybe"}', '{"answ', ""])
def test_an_answer_outside_the_choices_is_a_failure_not_a_guess(said: str):
    with pytest.raises(CallError) as caught:
        read_completion(answer(said), Request(ASK, constraint=("yes", "no")))
    assert (caught.value.kind, caught.value.retryable) == ("constraint", False)


@pytest.mark.parametrize(
    "data", [{}, {"choices": []}, {"choices": [{}]}, {"choices": None}, {"choices": [{"message": 3}]}]
)
def test_what_is_no_completion_is_worth_another_try(data: dict):
    with pytest.raises(CallError) as caught:
        read_completion(data, Request(ASK))
    assert (caught.value.kind, caught.value.retryable) == ("bad_response", True)


def test_a_refusal_and_a_content_filter_are_failures_with_the_reason():
    refusal = {"choices": [{"message": {"content": None, "refusal": "I cannot"}, "finish_reason": "stop"}]}
    with pytest.raises(CallError, match="I cannot"):
        read_completion(refusal, Request(ASK))
    with pytest.raises(CallError, match="content_filter"):
        read_completion(answer("half", finish_reason="content_filter"), Request(ASK))


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "half \ud83d"}, "half \ufffd"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "image"}]}, "a"),
    ],
)
def test_odd_contents_become_texts(message: dict, text: str):
    assert read_completion({"choices": [{"message": message}]}, Request(ASK)).text == text


def test_tokens_spent_on_thinking_alone_are_an_empty_answer_not_a_failure():
    data = {"choices": [{"message": {"content": None, "reasoning_content": "hm"}, "finish_reason": "length"}]}
    completion = read_completion(data, Request(ASK))
    assert (completion.text, completion.answers[0].finish) == ("", "length")


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": float("inf"), "completion_tokens": 1}, {"prompt_tokens": -1}]
)
def test_tokens_that_are_not_counted_are_estimated(usage: object):
    completion = read_completion(answer("yes") | {"usage": usage}, Request(ASK))
    assert 0 < completion.usage.prompt < 50
    assert 0 < completion.usage.completion < 100


def test_logprobs_and_n_answers_are_read_in_order():
    rows = {"content": [{"token": "yes", "logprob": -0.1, "top_logprobs": [{"token": "no", "logprob": -2.3}]}]}
    data = answer("yes", "no", logprobs=rows)
    data["choices"].reverse()
    completion = read_completion(data, Request(ASK, n=2, logprobs=1))
    assert [one.text for one in completion.answers] == ["yes", "no"]
    (token,) = completion.answers[0].logprobs or ()
    assert (token.token, token.logprob, token.top) == ("yes", -0.1, (("no", -2.3),))
    assert (completion.usage.prompt, completion.usage.completion) == (5, 2)


def position(token: str, logprob: float) -> dict:
    return {"17": {"logprob": logprob, "rank": 1, "decoded_token": token}}


def test_scores_sum_the_tokens_that_spell_the_continuation():
    shared = [None, position("Is", -9.0), position(" it?", -9.0)]
    yes = {"prompt_logprobs": [*shared, position(" ye", -0.5), position("s", -0.25)], "usage": {"prompt_tokens": 5}}
    no = {"prompt_logprobs": [*shared, position(" no", -2.0)], "usage": {"prompt_tokens": 4}}
    scores = read_scores([yes, no], ScoreRequest(ASK, ("yes", "no")))
    assert scores.logprobs == (-0.75, -2.0)
    assert scores.tokens == (2, 1)
    with pytest.raises(CallError, match="does not end in"):
        read_scores([no], ScoreRequest(ASK, ("yes",)))


def first_token(*tops: tuple[str, float]) -> dict:
    rows = [{"token": token, "logprob": math.log(share)} for token, share in tops]
    return {"choices": [{"logprobs": {"content": [{"token": tops[0][0], "logprob": 0.0, "top_logprobs": rows}]}}]}


def test_choices_are_weighed_by_the_first_token_where_texts_cannot_be_scored():
    data = first_token(("yes", 0.5), (" yes", 0.1), ("n", 0.2), ("maybe", 0.1))
    logprobs = read_choice_logprobs(data, ("yes", "no", "unsure"))
    assert [math.exp(one) for one in logprobs] == pytest.approx([0.6, 0.2, 0.1])
    request = Request(ASK, constraint=("yes", "no", "unsure"), logprobs=0)
    completion = chosen(request, logprobs, Usage(3, 1))
    assert completion.text == "yes"
    (token,) = completion.answers[0].logprobs or ()
    assert dict(token.top)["no"] == pytest.approx(math.log(0.2 / 0.9))


def test_a_first_token_that_begins_two_choices_weighs_for_neither():
    with pytest.raises(CallError, match="none of the choices"):
        read_choice_logprobs(first_token(("no", 0.9)), ("north", "nowhere"))
    with pytest.raises(CallError, match="top_logprobs"):
        read_choice_logprobs({"choices": [{"logprobs": None}]}, ("a", "b"))


def test_choices_are_drawn_by_their_share_and_by_the_seed():
    logprobs = (math.log(0.7), math.log(0.3))
    requests = [Request(ASK, Sampling(1.0, seed=1), constraint=("a", "b"), repeat=r) for r in range(2000)]
    drawn = [chosen(request, logprobs, Usage()).text for request in requests]
    assert drawn == [chosen(request, logprobs, Usage()).text for request in requests]
    assert 0.66 < drawn.count("a") / 2000 < 0.74


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({}, None), ({"Retry-After": "2"}, 2.0), ({"retry-after-ms": "150"}, 0.15), ({"Retry-After": "soon"}, None),
     ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0), ({"Retry-After": "99999"}, 600.0)],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_date(headers: dict, seconds: float | None):
    assert _retry_after(headers) == seconds


def test_payloads_are_json():
    request = Request(
        ASK, Sampling(stop=("x",)), prefix="p", constraint=("a",), logprobs=0, response_format={"type": "text"}
    )
    assert json.loads(json.dumps(chat_payload("m", request, vllm=True)))["top_logprobs"] == 0
    assert math.isclose(json.loads(json.dumps(chat_payload("m", request, vllm=False)))["temperature"], 0)
