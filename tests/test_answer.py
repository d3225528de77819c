"""One turn, two turns, a script: what is sent for an example, and which answer counts."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from promptmill.measure.answer import Ask, requests
from promptmill.measure.evaluate import evaluate, evaluate_async
from promptmill.model.chat import CallError, Request
from promptmill.model.gate import Model
from promptmill.model.script import Hole, Script
from promptmill.model.scripted import ScriptedBackend
from promptmill.prompt import Prompt
from promptmill.score.scorer import make_scorer
from promptmill.tasks.task import Example, Task

TWO = Prompt("Reason.", "{question}", then="So what is it?")


def sums(choices: tuple[str, ...] | None = None) -> Task:
    examples = tuple(Example(str(i), {"question": f"{i} and 1"}, (str(i + 1),)) for i in range(6))
    return Task("sums", "sums", TWO, make_scorer("exact"), choices, (), (), examples)


def in_two_turns(request: Request) -> str:
    """Says the sum in the second turn only, and only to those who have written a working out."""
    if len(request.messages) == 2:
        first, _, second = request.messages[1][1].split()
        return f"{first} plus {second}"
    assert request.messages[3] == ("user", "So what is it?")
    first, _, second = request.messages[2][1].split()
    return str(int(first) + int(second))


def test_with_two_task_prompts_the_second_answer_counts():
    seen: list[Request] = []

    def watching(request: Request) -> str:
        seen.append(request)
        return in_two_turns(request)

    found = evaluate(Model(ScriptedBackend(watching)), sums(), TWO)
    assert (found.score, found.answered) == (1.0, 6)
    assert len(seen) == 12
    assert Ask(repeat=2).calls(TWO) == 4


def test_the_working_out_is_free_and_the_decision_is_held_to_the_choices():
    seen: list[Request] = []
    choices = tuple(str(number) for number in range(1, 7))

    def watching(request: Request) -> str:
        seen.append(request)
        return in_two_turns(request)

    assert evaluate(Model(ScriptedBackend(watching)), sums(choices), TWO, constrain=True).score == 1.0
    assert {(len(request.messages), request.constraint) for request in seen} == {(2, None), (4, choices)}


async def test_a_second_turn_that_fails_is_a_failure_and_no_score_of_zero():
    def refusing(request: Request) -> str:
        if len(request.messages) > 2 and request.messages[1][1] == "3 and 1":
            raise CallError("refused", "no")
        return in_two_turns(request)

    model = Model(ScriptedBackend(refusing))
    async with model:
        found = await evaluate_async(model, sums(), TWO, sums().test)
    assert (found.score, found.answered, dict(found.failures)) == (1.0, 5, {"refused": 1})


@dataclass(frozen=True)
class Verdict:
    """A form whose prompt's prefix opens the reasoning."""

    digest: str = "x"

    def script(self, prompt: Prompt) -> Script:
        hole = Hole("ANSWER", ("yes", "no"))
        return Script(f"{prompt.prefix} [WHY]\nAnswer: [ANSWER]", (hole,), Prompt(prompt.system, "Is it {question}?"))

    def as_prompt(self, prompt: Prompt) -> Prompt:
        return Prompt(prompt.system, "Is it {question}?", prompt.prefix)


async def test_a_form_is_asked_hole_by_hole_and_its_last_hole_is_the_answer():
    seen: list[Request] = []

    def watching(request: Request) -> str:
        seen.append(request)
        return "because" if request.constraint is None else "yes"

    task = Task(
        "t", "t", TWO, make_scorer("exact"), ("yes", "no"), (), (), (Example("1", {"question": "so"}, ("yes",)),)
    )
    model, ask = Model(ScriptedBackend(watching)), Ask(form=Verdict())
    said = []
    async with model:
        found = await evaluate_async(model, task, Prompt("Judge.", "", "Well,"), task.test, ask,
                                     on_answer=lambda example, came, score: said.append(came.said))  # fmt: skip
    assert found.score == 1.0
    assert said == ["Well, because\nAnswer:\nyes"]
    assert [request.messages[-1] for request in seen] == [("user", "Is it so?")] * 2
    assert ask.calls(Prompt("Judge.", "", "Well,")) == 2
    assert next(requests(task, Prompt("Judge.", "", "Well,"), task.test, ask)) == seen[0]


def test_an_example_is_shown_without_any_prompt():
    assert Example("1", {"text": "a cat"}, ("x",)).shown == "a cat"
    assert Example("1", {"text": "a cat", "question": "Who?"}, ("x",)).shown == "text: a cat\nquestion: Who?"


@pytest.mark.parametrize("constrain", [False, True])
def test_one_turn_asks_once(constrain: bool):
    model = Model(ScriptedBackend(lambda request: "1"))
    evaluate(model, sums(("1", "2")), Prompt("Add.", "{question}"), constrain=constrain)
    assert model.ledger.total.calls == 6
