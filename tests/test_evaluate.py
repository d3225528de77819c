"""Scores over a real server: nothing lost, nothing zeroed, memory-friendly shards, honest intervals."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from promptmill.errors import InputError
from promptmill.measure.answer import Ask
from promptmill.measure.evaluate import answers_schema, evaluate, evaluate_async
from promptmill.model.budget import Budget, Ledger
from promptmill.model.chat import CallError, Request, Sampling
from promptmill.model.endpoint import EndpointBackend
from promptmill.model.gate import Model
from promptmill.model.scripted import ScriptedBackend
from promptmill.prompt import Prompt
from promptmill.score.scorer import make_scorer
from promptmill.store.stage import Stage
from promptmill.tasks.task import Example, Task
from tests.servers import Server, Serving


def sums(count: int, scorer: str = "number", choices: tuple[str, ...] | None = None) -> Task:
    examples = tuple(Example(str(i), {"question": f"Add {i} and 7."}, (str(i + 7),)) for i in range(count))
    return Task("sums", "sums", Prompt("Add.", "{question}"), make_scorer(scorer, choices), choices, (), (), examples)


def scripted(script, **more) -> Model:
    return Model(ScriptedBackend(script), attempts=1, **more)


async def test_every_answer_is_scored_and_stored_over_http(tmp_path: Path):
    task = sums(2500)
    async with Serving(Server()) as (_, url), Model(EndpointBackend("mock", url)) as model:
        stage = Stage(tmp_path / "answers", answers_schema())
        careful = Prompt("Think step by step.", "{question}")
        result = await evaluate_async(model, task, careful, task.test, Ask(), stage=stage)
    assert (result.score, result.answered, result.unparsed, result.failures) == (1.0, 2500, 0, {})
    assert result.hi == 1.0
    assert result.lo is not None
    assert result.lo > 0.99
    assert [pq.read_metadata(path).num_rows for path in stage.shards()] == [1000, 1000, 500]
    rows = list(stage.rows())
    assert [row["id"] for row in rows] == [example.id for example in task.test], (
        "rows stand in the order of the examples"
    )
    assert rows[3]["answer"] == "The answer is 10"
    assert (rows[3]["parsed"], rows[3]["score"]) == ("10", 1.0)


async def test_a_fifth_of_calls_failing_changes_no_score():
    task = sums(200)
    async with Serving(Server(faults=0.2, hang=0.3)) as (_, url):
        model = Model(EndpointBackend("mock", url, timeout=0.15), attempts=12, base_wait=0.005, longest_wait=0.05)
        async with model:
            result = await evaluate_async(model, task, Prompt("step", "{question}"), task.test)
    assert (result.score, result.answered, result.failures) == (1.0, 200, {})


def test_a_failed_call_is_in_no_score_and_is_told_by_kind():
    def every_fourth(request: Request) -> str:
        number = int(request.messages[-1][1].split()[1])
        if number % 4 == 0:
            raise CallError("refused", "too long")
        return f"{number + 7}"

    result = evaluate(scripted(every_fourth), sums(100))
    assert result.score == 1.0
    assert (result.answered, result.failures) == (75, {"refused": 25})
    assert len(result.stats) == 75


def test_an_answer_from_which_nothing_can_be_read_scores_zero_and_is_counted():
    result = evaluate(scripted(lambda request: "no idea"), sums(10))
    assert (result.score, result.unparsed) == (0.0, 10)


def test_no_answer_at_all_is_no_score():
    def refuse(request: Request) -> str:
        raise CallError("refused", "no")

    result = evaluate(scripted(refuse), sums(5))
    assert (result.score, result.lo, result.hi) == (None, None, None)


def test_repeats_are_separate_calls_and_an_example_counts_once():
    seen = []

    def half(request: Request) -> str:
        seen.append(request.repeat)
        number = int(request.messages[-1][1].split()[1])
        return str(number + 7 + request.repeat % 2)

    result = evaluate(scripted(half), sums(30), repeat=4, sampling=Sampling(temperature=1.0))
    assert sorted(seen) == sorted([0, 1, 2, 3] * 30)
    assert (result.examples, result.answered, result.score) == (30, 120, 0.5)
    assert set(result.stats.values()) == {(0.5,)}


def test_a_spent_budget_ends_the_evaluation_with_what_it_has():
    model = scripted(lambda request: "7", ledger=Ledger(Budget(calls=12)))
    result = evaluate(model, sums(40))
    assert result.stopped is not None
    assert "12 of 12 calls" in result.stopped
    assert result.answered == 12


def test_constrained_answers_are_held_to_the_choices():
    choices = tuple(str(i) for i in range(7, 17))
    asked = []

    def remember(request: Request) -> str:
        asked.append(request.constraint)
        return "7"

    result = evaluate(scripted(remember), sums(10, "choice", choices), constrain=True)
    assert asked == [choices] * 10
    assert result.score == 0.1


def test_a_hole_without_a_field_is_said_before_any_call():
    def never(request: Request) -> str:
        raise AssertionError("no call may be made")

    with pytest.raises(InputError, match=r"hole \{text\}"):
        evaluate(scripted(never), sums(3), Prompt(user="{text}"))


def test_thinking_aloud_is_not_scored():
    result = evaluate(scripted(lambda request: "<think>is it 3? or 9999?</think>\n7"), sums(1))
    assert result.score == 1.0


def test_corpus_level_scores_are_not_means_of_items():
    golds = ["yes"] * 4 + ["no"] * 16
    examples = tuple(Example(str(i), {"question": f"{i}"}, (gold,)) for i, gold in enumerate(golds))
    scorer = make_scorer("f_beta:beta=1,positive=yes", ("yes", "no"))
    task = Task("t", "", Prompt("", "{question}"), scorer, ("yes", "no"), (), (), examples)
    said = {str(i): "yes" if i < 2 or i >= 18 else "no" for i in range(20)}  # 2 hits, 2 misses, 2 false alarms
    result = evaluate(scripted(lambda request: said[request.messages[-1][1]]), task)
    assert result.score == pytest.approx(0.5)
    assert json.dumps(result.to_dict())
