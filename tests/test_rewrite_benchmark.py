"""The benchmark of rewriters, at its smallest: its baseline with examples. The pipeline itself has tests of its own."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import rewrite_breed, rewrite_truth
from benchmarks.rewrite import figures, page_of
from benchmarks.rewrite_breed import bred, breed, on_their_inputs, part_of, write_task
from benchmarks.rewrite_prompts import FURTHER, SCORER, Held, further, held_out
from benchmarks.rewrite_truth import broken, measured_again
from embedded.transforms import apply
from promptmill.crafts.rewrite.config import RewriteConfig
from promptmill.model.chat import Request
from promptmill.model.gate import Model
from promptmill.model.scripted import ScriptedBackend
from promptmill.prompt import Prompt
from promptmill.tasks.load import load_task
from promptmill.tasks.split import content_hash
from promptmill.vary.wording import load_wording

UPPER = Held("upper", "medium", "case", "writing a text in capital letters", "Make it loud.",
             ("the cat sat", "a dog ran home"), ("THE CAT SAT", "A DOG RAN HOME"))  # fmt: skip
HINT = replace(UPPER, prompt="Bigger letters.")
BREEDS = {"calls": 1200, "tasks": 2, "share": 600, "used": 1100, "labelled": 80, "before": 0.5, "after": 0.75,
          "gain": 0.25, "lo": 0.125, "hi": 0.375, "p": 0.01}  # fmt: skip


def report_of(calls: int, scores: dict[str, float | None]) -> dict[str, Any]:
    """Of a rewrite: the scores of these prompts as they are."""
    rows = [{"prompt": prompt, "base_score": score} for prompt, score in scores.items()]
    return {"paid": {"calls": calls}, "test": {"rows": rows}}


def test_the_calls_are_divided_among_the_tasks_of_the_prompts_that_were_tested(tmp_path, monkeypatch):
    asked = []

    def bred_here(folder, start, calls, seed):
        asked.append((start.task, start.prompt, calls))
        return {"best_prompt": {"system": f"best {start.task}"}, "paid": {"calls": calls - 1}}

    def on_inputs(model, held, prompts):
        assert prompts == {task: Prompt(f"best {task}") for task in ("first", "upper")}
        return [1.0 if one.task == "upper" else 0.25 for one in held]

    monkeypatch.setattr(rewrite_breed, "breed", bred_here)
    monkeypatch.setattr(rewrite_breed, "on_their_inputs", on_inputs)
    other, untested = replace(UPPER, task="first", prompt="One word."), replace(UPPER, task="last", prompt="Not here.")
    report = report_of(2001, {"Make it loud.": 0.5, "Bigger letters.": 0.0, "One word.": 0.25, "No golds.": None})
    found = bred(tmp_path, [UPPER, HINT, other, untested], report, 1)
    assert asked == [("first", "One word.", 1000), ("upper", "Make it loud.", 1000)], "each from its first prompt"
    assert {key: found[key] for key in ("calls", "tasks", "share", "used", "labelled")} == {
        "calls": 2001, "tasks": 2, "share": 1000, "used": 1998, "labelled": 5 * 27,
    }  # fmt: skip
    assert (found["before"], found["after"], found["gain"]) == (0.25, 0.75, 0.5)
    assert found["lo"] <= found["gain"] <= found["hi"]
    assert found["by_task"] == {"first": 0.25, "upper": 1.0}


def test_a_breed_of_a_task_is_labelled_with_texts_that_the_test_does_not_have(tmp_path):
    start = next(one for one in held_out(20, 3) if one.tier == "clear")
    task = load_task(str(write_task(tmp_path / "a", start, 8, 1)))
    assert [len(task.split(name)) for name in ("train", "dev", "test")] == [16, 8, 16]
    examples = [one for name in ("train", "dev", "test") for one in task.split(name)]
    texts = [one.fields["input"] for one in examples]
    assert len({content_hash({"input": text}) for text in [*texts, *start.inputs]}) == 40 + len(set(start.inputs))
    assert [one.gold for one in examples] == [(apply(start.task, text),) for text in texts]
    assert (task.prompt.system, task.prompt.user, task.scorer) == (start.prompt, "{input}", SCORER)
    assert task.description == start.intent
    again = load_task(str(write_task(tmp_path / "b", start, 8, 1)))
    assert again.fingerprint == task.fingerprint
    assert load_task(str(write_task(tmp_path / "c", start, 8, 2))).fingerprint != task.fingerprint


def test_choosing_and_proof_take_a_quarter_of_the_calls_at_most():
    assert [part_of(calls) for calls in (36, 100, 2844, 2880, 10**6)] == [1, 2, 79, 80, 80]


def test_a_bred_prompt_is_scored_on_the_inputs_of_each_prompt_of_its_task():
    def answer(request: Request) -> str:
        (_, told), (_, text) = request.messages
        return text.upper() if told == "Capitals." else text

    other = replace(UPPER, golds=("the cat sat", "A DOG RAN HOME"))
    prompts = {"upper": Prompt("Capitals."), "same": Prompt("Say it.")}
    held = [UPPER, other, replace(UPPER, task="same")]
    assert on_their_inputs(Model(ScriptedBackend(answer)), held, prompts) == [1.0, 0.5, 0.0]


def test_a_breed_begins_with_the_prompt_keeps_its_calls_and_is_not_made_again(tmp_path, cli, monkeypatch):
    def in_this_process(command, **_):
        assert command[:3] == [sys.executable, "-m", "promptmill"]
        said = cli(*command[3:])
        assert said.code == 0, said.err

    monkeypatch.setattr(rewrite_breed, "subprocess", SimpleNamespace(run=in_this_process, DEVNULL=None))
    report = breed(tmp_path, UPPER, 120, 1)
    assert 0 < report["paid"]["calls"] <= report["budget"]["limits"]["calls"] == 120
    assert report["seed_prompt"]["system"] == UPPER.prompt
    assert (report["stopped"], report["dev"]["n"], report["test"]["examples"]) == (None, 3, 6)
    assert breed(tmp_path, UPPER, 120, 1) == report


@pytest.mark.parametrize("breeds", [None, BREEDS])
def test_the_page_has_a_row_of_breeds_where_there_are_any(breeds):
    found = dict.fromkeys(("before", "after", "best_known", "raw_after", "gain", "lo", "hi", "room_closed",
                           "left_alone", "guard_violations", "broken"), 0.5)  # fmt: skip
    found |= {"prompts": 4, "texts": 32, "good": 2}
    report = {
        "synthesize": {"dedup": {"kept": 24}},
        "rounds": [{"kept": True}],
        "cpu_seconds": 9.0,
        "wall_seconds": 8.0,
    }
    lines = page_of(found, report, {"given": 0.5, "before": 0.5, "after": 0.5, "lo": 0.0, "hi": 0.0}, 1, breeds)
    text = "\n".join(lines)
    row = "| breed, at the same number of calls | 0.750 (gain +0.125 to +0.375) |"
    assert (row in lines) == (breeds is not None)
    assert ("Breed needs labelled examples of each task" in text) == (breeds is not None)
    assert ("2 tasks" in text) == (breeds is not None)


def row_of(prompt: str, base: float | None, rewrite: str | None = None, after: float | None = None) -> dict[str, Any]:
    """Of a test's report."""
    return {"prompt": prompt, "base_score": base, "rewrite": rewrite, "rewrite_score": base if after is None else after,
            "raw": rewrite, "raw_score": after, "guard": None, "left_alone": rewrite is None,
            "cluster": prompt}  # fmt: skip


def test_further_texts_are_none_of_the_tests_and_have_the_right_results():
    held = held_out(6, 3)
    others = further(held, 3)
    assert [(one.task, one.prompt) for one in others] == [(one.task, one.prompt) for one in held]
    assert all(len(set(one.inputs)) == FURTHER for one in others)
    assert not any(set(one.inputs) & set(was.inputs) for one, was in zip(others, held, strict=True))
    assert all(one.golds == tuple(apply(one.task, case) for case in one.inputs) for one in others)
    assert further(held, 3) == others


def test_room_is_to_the_best_known_wording_and_a_prompt_that_it_does_not_better_is_a_good_one():
    rows = [row_of("a", 0.5, "A", 0.75), row_of("b", 1.0), row_of("c", 0.5), row_of("no golds", None),
            row_of("d", 0.97, "D", 1.0)]  # fmt: skip
    found = figures(rows, {"a": 1.0, "b": 0.75, "c": 1.0, "d": 0.98}, texts=32)
    assert (found["prompts"], found["good"], found["left_alone"]) == (4, 2, 0.5)
    assert found["gain"] == pytest.approx((0.25 + 0.03) / 4)
    assert found["room_closed"] == pytest.approx((0.25 + 0.03) / (0.5 + 0.5 + 0.01))
    assert found["lo"] <= found["gain"] <= found["hi"]


def test_scores_are_measured_on_further_texts_once(tmp_path, monkeypatch):
    held, path, asked = held_out(2, 3), tmp_path / "truth.json", []

    def scores_of(model, others, wanted):
        assert [one.inputs for one in others] == [one.inputs for one in further(held, 3)]
        asked.append(wanted)
        return {prompt: {text: len(text) / 100 for text in texts} for prompt, texts in wanted.items()}

    monkeypatch.setattr(rewrite_truth, "scores_of", scores_of)
    monkeypatch.setattr(rewrite_truth, "best_known", lambda model, others, seed: [0.5, 0.75])
    first, second = (one.prompt for one in held)
    rows = [row_of(first, 0.1, "Shorter.", 0.2), row_of(second, 0.1), row_of("no golds", None)]
    found, best = measured_again(rows, held, 3, path)
    assert best == {first: 0.5, second: 0.75}
    assert [(row["base_score"], row["rewrite_score"], row["raw_score"]) for row in found] == [
        (len(first) / 100, 0.08, 0.08), (len(second) / 100,) * 3,
    ]  # fmt: skip
    assert measured_again([*rows[1:], row_of(first, 0.1, "Other.")], held, 3, path)[1] == best
    assert asked[1] == {first: ["Other.", "Other."]}


def test_broken_rules_are_counted_on_first_answers_to_other_prompts(tmp_path, monkeypatch):
    asked = []

    def rewriter(request: Request) -> str:
        asked.append(request.messages[-1][1])
        return "Say it. " * 30 if len(asked) % 4 == 0 else "Say it well."

    finished = SimpleNamespace(rewriter=None, roles=SimpleNamespace(wording=load_wording()), config=RewriteConfig())
    monkeypatch.setattr(rewrite_truth, "finished_rewrite", lambda run: finished)
    monkeypatch.setattr(rewrite_truth, "open_backend", lambda kind: ScriptedBackend(rewriter))
    assert broken(tmp_path, 1, 20) == 0.25
    assert len(set(asked)) == 20
    assert not any(one.prompt in text for one in held_out(20, 1) for text in asked)
