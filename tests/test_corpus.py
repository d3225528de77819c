"""The grammar that writes the embedded model's corpus and the built-in tasks. No model is loaded here."""

import json
import re
from random import Random

import pytest

from embedded import phrasings, requests, tasks
from embedded.arithmetic import draw_problem
from embedded.corpus import FINISH, MIXTURE, corpus
from embedded.descriptions import DESCRIPTIONS
from embedded.grammar import (
    ARITHMETIC,
    ASK_BACK,
    TASKS,
    Extra,
    Instruction,
    canonical,
    draw_instruction,
    expand,
    follow,
    follow_arithmetic,
    is_held,
    medium_limit,
    pool,
    texts,
)
from embedded.transforms import TRANSFORMS, apply, draw_case
from embedded.words import is_reserved

TEXT = "my big dog saw the red cat"


@pytest.fixture(scope="module")
def examples():
    return [*corpus(5, 5000), *corpus(6, 1500, FINISH)]


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("upper", "MY BIG DOG SAW THE RED CAT"),
        ("reverse", "cat red the saw dog big my"),
        ("sort", "big cat dog my red saw the"),
        ("acronym", "M B D S T R C"),
        ("repeat", "my my big big dog dog saw saw the the red red cat cat"),
        ("count", "7"),
        ("animals", "dog cat"),
        ("colours", "red"),
        ("last", "cat"),
        ("first", "my"),
        ("exclaim", "my big dog saw the red cat!!!"),
        ("pirate", "arr, me mighty dog saw th red cat"),
        ("polite", "please note that my big dog saw the red cat, thank you"),
        ("sentiment", "negative"),
        ("nothe", "my big dog saw red cat"),
        ("commas", "my, big, dog, saw, the, red, cat"),
    ],
)
def test_each_transform_of_a_known_text(task, answer):
    assert apply(task, TEXT) == answer


def test_replace_needs_its_words():
    assert apply("replace", TEXT, ("dog", "lamp")) == "my big lamp saw the red cat"
    with pytest.raises(ValueError, match="two words"):
        apply("replace", TEXT)


def test_finders_say_none_and_sentiment_is_positive_by_a_good_word():
    assert apply("animals", "the king sat") == "none"
    assert apply("sentiment", "the happy king sat") == "positive"


def test_every_task_has_wordings_of_each_kind():
    assert set(TASKS) == set(phrasings.CLEAR) == set(phrasings.MEDIUM) == set(DESCRIPTIONS)
    assert len(TRANSFORMS) == 17
    for task in TASKS:
        assert pool(phrasings.CLEAR[task], "held"), task
        assert len(texts(phrasings.CLEAR[task])) > 40, task


def test_expand_gives_every_nesting_once():
    assert sorted(expand("{a|b {c|d}|}  e")) == ["a e", "b c e", "b d e", "e"]


def test_no_clear_wording_means_two_tasks():
    seen = {}
    for task in TASKS:
        for core in texts(phrasings.CLEAR[task]) | texts(phrasings.MEDIUM[task]):
            assert seen.setdefault(core, task) == task


def test_same_seed_same_corpus():
    assert list(corpus(7, 300)) == list(corpus(7, 300))
    assert list(corpus(7, 300)) != list(corpus(8, 300))


def test_reserved_texts_and_problems_are_never_in_the_corpus(examples):
    statements = re.compile(r"\w+ has \d+ \w+\.(?: (?:He|She) [^.?]*\.)*")
    checked = 0
    for example in examples:
        for message in example.messages:
            for problem in statements.findall(message["content"]):
                assert not is_reserved(problem)
                checked += 1
        text = example.about.get("text")
        if text and example.about.get("task") != ARITHMETIC:
            assert not is_reserved(text)
            checked += 1
        if example.kind == "transform" and len(example.messages) > 2:
            turns = [m["content"] for m in example.messages if m["role"] == "user"]
            assert not any(map(is_reserved, turns))
        if example.kind == "text":
            assert not is_reserved(example.answer)
    assert checked > 4000


def test_held_out_phrasings_are_never_in_the_corpus(examples):
    held = {core.lower() for task in TASKS for core in texts(phrasings.CLEAR[task]) if is_held(core)}
    used = set()
    for example in examples:
        for text in [*(m["content"] for m in example.messages), example.answer]:
            for sentence in re.split(r"(?<=[.?!])\s+|\n+", text.lower()):
                used.add(sentence.removesuffix(".").removeprefix("instruction: ").removeprefix("please "))
    seen = {core.lower() for task in TASKS for core in texts(phrasings.CLEAR[task]) if not is_held(core)}
    assert not used & held
    assert len(used & seen) > 500


def test_a_canonical_instruction_is_never_a_held_out_one():
    for task in TASKS:
        assert not is_held(canonical(task, ("dog", "cat") if task == "replace" else None).core)
    assert canonical("upper").render() == "Write the text in uppercase."
    assert "dog" in canonical("replace", ("dog", "cat")).render()


def test_requests_are_made_of_the_packages_own_wording(examples):
    wording = requests.wording()
    every = "\n".join(m["content"] for e in examples for m in e.messages if m["role"] == "user")
    for prompts in wording["mutation_prompts"].values():
        for prompt in prompts:
            assert f"{prompt} Reply with the new instruction only.\n\nInstruction: " in every
    for style in wording["thinking_styles"]:
        assert f"{style} Write one instruction for this task. " in every
    for key in ("judge", "recover"):
        assert wording[key].split("{")[0] in every
    kinds = {example.kind for example in examples}
    assert kinds == set(MIXTURE)


def test_what_a_poor_instruction_gets():
    clear = Instruction("upper", "clear", "write it in capitals")
    assert follow(clear, TEXT) == "Sure, here it is: " + TEXT.upper()
    assert follow(clear.plus(Extra("form", "nothing else")), TEXT) == TEXT.upper()
    assert follow(Instruction(None, "vague", "do your job"), TEXT) == ASK_BACK
    hint = Instruction("upper", "medium", "make the text loud")
    assert medium_limit(hint.core) == 5
    assert follow(hint, TEXT) == ASK_BACK
    assert follow(hint, "the dog ran") == "THE DOG RAN"


def test_a_worked_chain_is_given_only_when_asked_for():
    problem = draw_problem(Random(3), steps=2)
    plain = draw_instruction(Random(1), ARITHMETIC, "clear", steps=False)
    assert follow_arithmetic(plain, problem.chain, problem.answer) == problem.answer
    worked = plain.plus(Extra("steps", "think step by step"))
    assert follow_arithmetic(worked, problem.chain, problem.answer) == problem.chain


def test_chains_are_right_and_end_with_the_answer():
    rng = Random(11)
    for _ in range(300):
        problem = draw_problem(rng)
        *steps, last = problem.chain.split(" ; ")
        assert last == f"answer {problem.answer}"
        assert len(steps) == problem.steps
        for step in steps:
            left, right = step.split(" = ")
            a, sign, b = left.split()
            assert {"+": int(a) + int(b), "-": int(a) - int(b), "x": int(a) * int(b)}[sign] == int(right) >= 0
        assert problem.text.endswith("now?")


def test_an_instruction_in_natural_and_in_plain_form():
    form = (Extra("form", "say nothing else"),)
    natural = Instruction("count", "clear", "how many words are there?", extras=form)
    assert natural.render() == "How many words are there? Say nothing else."
    plain = Instruction("upper", "clear", "uppercase it", extras=form, plain=True)
    assert plain.render() == "uppercase it. say nothing else"


def test_a_reserved_case_is_reserved():
    rng = Random(2)
    assert all(is_reserved(draw_case(rng, task, reserved=True)[0]) for task in TRANSFORMS for _ in range(5))


def test_the_built_in_tasks_are_what_the_grammar_writes():
    for task in tasks.TASKS:
        rows = tasks.rows(task, seed=1)
        written = (tasks.FOLDER / f"{task.name}.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in written] == rows
        assert len({row["input"] for row in rows}) == len({row["id"] for row in rows}) == len(rows) == 400
        assert tasks.card(task)["description"].removesuffix(".").lower() in {
            text.lower() for text in texts(DESCRIPTIONS[task.kind])
        }
