"""A better prompt, or the word that it is better left alone, with rewriters that answer by rules."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from promptmill.crafts.rewrite.improve import improve
from promptmill.errors import ModelError
from promptmill.model.chat import CallError
from promptmill.model.gate import Model
from promptmill.model.scripted import ScriptedBackend
from promptmill.vary.wording import load_wording

PROMPT = "Say how a kite flies."
GOOD, BETTER = "Say how a kite flies, step by step.", "Say in plain words how a kite flies."
TOO_LONG = "Say how a kite flies. " * 40


def improved(*answers, prompt=PROMPT, **more):
    """What comes of a rewriter whose greedy answer is the first of these, the others after it."""

    def said(request):
        answer = answers[request.repeat % len(answers)]
        if answer is None:
            raise CallError("refused", "no")
        return answer

    async def go():
        async with Model(ScriptedBackend(said), attempts=1) as model:
            return await improve(model, load_wording(), prompt, count=len(answers), **more)

    return asyncio.run(go())


@dataclass
class Foretells:
    """Gains by the text."""

    worth: dict[str, float]
    margin: float = 0.1
    takes: str = "best"

    def gains(self, prompt, candidates):
        return [self.worth.get(one, 0.0) for one in candidates]


def test_without_a_predictor_the_rewriters_first_answer_is_taken():
    found = improved(GOOD, BETTER)
    assert (found.rewrite, found.raw, found.broken, found.better) == (GOOD, GOOD, (), GOOD)
    assert found.candidates == (GOOD, BETTER)


def test_what_breaks_a_rule_gives_way_to_the_next():
    found = improved(TOO_LONG, BETTER)
    assert found.rewrite == BETTER
    assert found.raw == TOO_LONG.strip()
    assert found.broken


def test_where_all_break_a_rule_the_prompt_stays():
    found = improved(TOO_LONG, TOO_LONG + "Again.")
    assert (found.rewrite, found.better, found.reason) == (None, PROMPT, "every rewrite breaks a rule")


def test_a_rewriter_that_gives_the_prompt_back_leaves_it_alone():
    assert improved(PROMPT, GOOD).reason == "the rewriter leaves it as it is"
    assert improved(PROMPT, PROMPT, predictor=Foretells({})).reason == "the rewriter leaves it as it is"


def test_the_predictor_takes_the_best_of_all():
    found = improved(GOOD, BETTER, predictor=Foretells({GOOD: 0.2, BETTER: 0.6}))
    assert (found.rewrite, found.expected) == (BETTER, 0.6)


def test_the_predictor_may_be_for_the_first_answer_alone():
    found = improved(GOOD, BETTER, predictor=Foretells({GOOD: 0.2, BETTER: 0.6}, takes="first"))
    assert (found.rewrite, found.expected) == (GOOD, 0.2)


def test_what_is_not_expected_to_gain_enough_is_left_alone():
    found = improved(GOOD, BETTER, predictor=Foretells({GOOD: 0.05, BETTER: 0.01}))
    assert (found.rewrite, found.expected) == (None, 0.05)


def test_an_answer_without_a_prompt_is_none():
    found = improved("", "")
    assert (found.rewrite, found.raw, found.reason) == (None, None, "the rewriter wrote no prompt")


def test_some_calls_may_fail():
    found = improved(None, GOOD)
    assert (found.rewrite, found.raw) == (GOOD, None)


def test_a_rewriter_that_gives_no_answer_at_all_is_an_error_and_not_a_prompt_left_alone():
    with pytest.raises(ModelError, match=r"no rewrite came \(refused: no\)"):
        improved(None, None)
