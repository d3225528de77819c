"""One judge: rubric, the three ways in which it is asked, and what becomes of an answer that cannot be read."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.errors import InputError
from promptmill.judge.judge import RATED, YES_NO, Subject
from promptmill.judge.rubric import Rubric, load_rubric
from promptmill.judge.weigh import Weighing
from promptmill.model.embedded import embedded_backend
from promptmill.model.endpoint import EndpointBackend
from promptmill.model.scripted import ScriptedBackend
from promptmill.model.serve import serve
from tests.judging import RUBRIC, WORDING, JudgeServer, Weighted, asked, judge_of
from tests.servers import Serving

SUBJECT = Subject("Write the text in uppercase.", "the dog ran", "THE DOG RAN")
LEVELS = "{1: none, 2: bad, 3: fair, 4: good, 5: best}"


def rated(judge, subject=SUBJECT):
    return asked(judge, lambda one: one.judge(subject, "correctness"))


# Rubric


def rubric_in(folder: Path, text: str) -> Rubric:
    (folder / "rubric.yaml").write_text(text)
    return load_rubric(folder / "rubric.yaml")


def test_a_rubric_is_read_in_both_forms(tmp_path):
    long = rubric_in(tmp_path, f"criteria:\n  depth: {{levels: {LEVELS}, weight: 2}}\n  tone: {{levels: {LEVELS}}}\n")
    assert long.weights == {"depth": 2, "tone": 1}
    assert long.criteria["tone"].levels[5] == "best"
    for short in (f"depth: {LEVELS}\n", f"criteria:\n  depth: {LEVELS}\n"):
        assert rubric_in(tmp_path, short).criteria["depth"].levels == long.criteria["depth"].levels
    assert load_rubric().names == tuple(WORDING.criteria)


@pytest.mark.parametrize(("text", "words"), [
    ("depth: how deep it is\n", ("depth", "no anchors", "levels 1 to 5")),
    ("criteria: {depth: {levels: {}}}\n", ("depth", "no anchors")),
    ("depth: {1: a, 2: b, 3: c, 5: e}\n", ("depth", "level 4 has no text")),
    ("depth: {1: a, 2: b, 3: c, 4: ' ', 5: e}\n", ("level 4 has no text",)),
    ("depth: {0: x, 1: a, 2: b, 3: c, 4: d, 5: e}\n", ("no level 0",)),
    (f"criteria: {{a: {{levels: {LEVELS}, weight: 0}}, b: {{levels: {LEVELS}, weight: 0}}}}\n", ("all weights are 0",)),
    (f"criteria: {{a: {{levels: {LEVELS}, weight: -1}}}}\n", ("0 or more",)),
    ("criteria: {}\n", ("has no criteria",)),
    (f"criteria: {{a: {LEVELS}}}\nweigths: {{a: 2}}\n", ("unknown key 'weigths'",)),
])  # fmt: skip
def test_what_is_wrong_with_a_rubric_is_said_in_one_line(tmp_path, text, words):
    with pytest.raises(InputError) as said:
        rubric_in(tmp_path, text)
    assert "\n" not in str(said.value)
    for word in (*words, "rubric.yaml"):
        assert word in str(said.value)


# Exactly


def test_the_score_is_the_expectation_over_the_levels():
    found = rated(judge_of(Weighted(lambda text: {"5": 0.5, "4": 0.2, "1": 0.1})))
    assert found.expected == pytest.approx((5 * 0.5 + 4 * 0.2 + 0.1) / 0.8)
    assert (found.level, found.how, found.error) == (5, "exact", None)
    assert found.mass == pytest.approx(0.8)
    shares = [0.5 / 0.8, 0.2 / 0.8, 0.1 / 0.8]
    assert found.entropy == pytest.approx(-sum(p * math.log(p) for p in shares), abs=1e-6)
    assert found.usage.prompt == 10


def test_yes_and_no_are_the_ends_of_the_scale_in_all_their_spellings():
    found = rated(judge_of(Weighted(lambda text: {"yes": 0.3, "Yes": 0.3, "no": 0.2}), ask="yes_no"))
    assert found.expected == pytest.approx(1 + 4 * 0.75)
    assert found.level == 5


def test_the_questions_are_those_of_the_wording():
    rate = judge_of(ScriptedBackend(lambda request: "5")).build_messages(SUBJECT, "correctness")[0][1]
    assert "Criterion: correctness" in rate
    assert "5: exactly what the instruction asks for\n4:" in rate
    yes_no = judge_of(ScriptedBackend(lambda request: "yes"), ask="yes_no").build_messages(SUBJECT, "correctness")[0][1]
    assert yes_no.startswith("Does the output follow the instruction?")
    braces = Subject("Write {input} here", "{output}", "{x}")
    assert "Write {input} here\nInput: {output}\nOutput: {x}" in judge_of(None, ask="yes_no").build_messages(
        braces, "correctness")[0][1]  # fmt: skip


def test_an_unread_answer_has_a_reason_and_a_cost_and_no_score():
    found = rated(judge_of(Weighted(lambda text: {"3": 0.01, "well": 0.99})))
    assert (found.expected, found.level, found.value) == (None, None, None)
    assert found.error is not None
    assert found.error.startswith("unread: only 1%")
    assert found.usage.prompt == 10
    assert rated(judge_of(ScriptedBackend(lambda request: "I would rather not say"))).error.startswith("unread")


@pytest.mark.parametrize("how", ["exact", "sampled"])
def test_a_refused_call_is_told_by_its_kind(how):
    from promptmill.model.chat import CallError, Usage

    def refuse(request):
        raise CallError("refused", "not wanted", usage=Usage(3, 1))

    found = rated(judge_of(ScriptedBackend(refuse), weighing=Weighing(how=how, samples=2)))
    assert found.error == "refused: not wanted"
    assert found.expected is None
    assert found.usage.prompt == (3 if how == "exact" else 6)


def test_a_judge_that_cannot_be_asked_is_refused_in_one_line():
    with pytest.raises(InputError, match="no criterion 'depth' \\(it has: correctness, form, completeness"):
        judge_of(None, criteria=("depth",))
    with pytest.raises(InputError, match="yes_no asks one question"):
        judge_of(None, ask="yes_no", criteria=("correctness", "form"))
    assert judge_of(None, criteria=()).criteria == RUBRIC.names
    assert judge_of(None, ask="yes_no", criteria=()).criteria == ("correctness",)


# Reading words


@pytest.mark.parametrize(("text", "wanted"), [
    ("4", "4"), (" 4.", "4"), ("**4**", "4"), ("4/5", "4"), ("4 out of 5", "4"), ("Rating: 3", "3"),
    ("On a scale from 1 to 5: 2", "2"), ("On a scale of 1-5, I say 2.", "2"), ("It has 2 faults, so 3", "3"),
    ("4 - it has 2 faults", "4"), ("4.5", None), ("0", None), ("6", None), ("15", None), ("good", None), ("", None),
    ("1 to 5", None), ("level4", None),
])  # fmt: skip
def test_a_level_is_read_from_words(text, wanted):
    found = RATED.read(text)
    assert (found and found[0]) == wanted


@pytest.mark.parametrize(("text", "wanted"), [
    ("yes", "yes"), ("Yes.", "yes"), ("NO", "no"), ("No, yes would be wrong", "no"), ("I say yes", "yes"),
    ("either yes or no", None), ("nothing", None), ("maybe", None),
])  # fmt: skip
def test_yes_or_no_is_read_from_words(text, wanted):
    found = YES_NO.read(text)
    assert (found and found[0]) == wanted


@given(st.text(max_size=40))
def test_reading_any_text_gives_an_option_or_nothing(text):
    for options in (RATED, YES_NO):
        found = options.read(text)
        assert found is None or found[0] in options.names


# Servers


def on_server(said, work, **more):
    server = JudgeServer(said)

    async def go():
        async with Serving(server) as (_, url):
            judge = judge_of(EndpointBackend("mock", url), **more)
            async with judge.model:
                return await work(judge)

    return asyncio.run(go()), server


def test_a_servers_top_logprobs_are_weighed_at_the_token_that_gives_the_answer():
    def said(body):
        tops = {"4": 0.6, " 5": 0.2, "3": 0.1, "5": 0.05, "the": 0.05}
        return "Rating: 4", [("Rating", {"Rating": 0.9, "5": 0.1}), (":", {":": 1.0}), ("4", tops)]

    found, server = on_server(said, lambda judge: judge.judge(SUBJECT, "correctness"))
    assert found.how == "top_logprobs"
    assert found.expected == pytest.approx((4 * 0.6 + 5 * 0.25 + 3 * 0.1) / 0.95)
    assert found.mass == pytest.approx(0.95)
    assert (found.raw, found.usage.prompt, found.usage.completion) == ("Rating: 4", 7, 2)
    assert server.calls == 2  # the probe, and the question
    assert server.bodies[1]["top_logprobs"] == 20


def test_a_server_without_logprobs_is_sampled():
    def said(body):
        return ("5" if body.get("seed", 0) % 4 else "2"), None

    async def twice(judge):
        return [await judge.judge(SUBJECT, "correctness", repeat) for repeat in (0, 0, 1)]

    (first, again, repeated), server = on_server(said, twice, weighing=Weighing(samples=8))
    assert (first.how, first.level, first.mass) == ("sampled", 5, 1.0)
    assert first.expected == pytest.approx((6 * 5 + 2 * 2) / 8)
    assert first.usage.prompt == 8 * 7
    assert again == first
    assert repeated.expected == first.expected
    assert (
        server.calls == 2 + 8 + 8
    )  # two probes (20 alternatives, and 5), then the samples; what is known is not asked
    assert {body["temperature"] for body in server.bodies[2:]} == {1.0}


def test_samples_that_cannot_be_read_take_no_part_and_too_few_are_no_answer():
    def said(body):
        return ("4" if body.get("seed", 0) % 2 else "Sure!"), None

    half, _ = on_server(said, lambda judge: judge.judge(SUBJECT, "correctness"))
    assert (half.expected, half.mass, half.error) == (4, 0.5, None)
    strict, _ = on_server(said, lambda judge: judge.judge(SUBJECT, "correctness"), weighing=Weighing(min_mass=0.6))
    assert (strict.expected, strict.error) == (None, "unread: only 50% lies on 1, 2, 3, 4, 5 (min_mass 0.6)")
    none, _ = on_server(lambda body: ("Sure!", None), lambda judge: judge.judge(SUBJECT, "correctness"))
    assert none.expected is None
    assert none.error == "unread: 'Sure!' is none of 1, 2, 3, 4, 5"
    assert none.usage.completion == 16


def test_a_served_model_gives_the_same_score_as_the_model_itself():
    backend = embedded_backend("embedded-small")

    async def go():
        here = judge_of(backend)
        async with here.model:
            exact = await here.judge(SUBJECT, "correctness")
        address = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(serve({"small": backend}, port=0, ready=address.set_result))
        try:
            await asyncio.wait({task, address}, return_when=asyncio.FIRST_COMPLETED)
            there = judge_of(EndpointBackend("small", address.result()))
            async with there.model:
                return exact, await there.judge(SUBJECT, "correctness")
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    exact, served = asyncio.run(go())
    assert (exact.how, served.how) == ("exact", "top_logprobs")
    assert served.expected == pytest.approx(exact.expected, abs=1e-3)
    assert served.level == exact.level


# Two outputs


def compared(shares):
    judge = judge_of(Weighted(shares))
    return asked(judge, lambda one: one.compare("Say hello.", "", "good", "bad"))


def test_a_preference_is_the_mean_over_both_orders():
    found = compared(lambda text: {"A": 0.9, "B": 0.1} if "A: good" in text else {"A": 0.3, "B": 0.7})
    assert found.p == pytest.approx(0.8)
    assert (found.flipped, found.error) == (False, None)
    assert found.orders == (pytest.approx(0.9), pytest.approx(0.7))
    assert found.usage.prompt == 20


def test_a_judge_who_takes_the_first_whichever_it_is_is_flipped():
    found = compared(lambda text: {"A": 0.8, "B": 0.2})
    assert found.p == pytest.approx(0.5)
    assert found.flipped is True


def test_a_preference_that_cannot_be_read_in_one_order_is_none():
    found = compared(lambda text: {"A": 0.8, "B": 0.2} if "A: good" in text else {"hm": 1.0})
    assert (found.p, found.flipped) == (None, None)
    assert found.error is not None
    assert found.error.startswith("unread")
    assert found.usage.prompt == 20
