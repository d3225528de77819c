"""The grammar that writes the embedded model's corpus and the built-in tasks. No model is loaded here."""

import json
import re
from random import Random

import pytest

from embedded import judging, phrasings, requests, skills, talk, tasks, writer
from embedded.arithmetic import draw_problem
from embedded.corpus import LAST, MIXTURE, corpus
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
    hint_limit,
    is_held,
    pool,
    texts,
)
from embedded.layouts import HELD_MARKERS
from embedded.reading import is_clear, task_of
from embedded.texts import TextKind, draw_text
from embedded.transforms import TRANSFORMS, apply, draw_case
from embedded.words import ALL_WORDS, is_reserved
from promptmill.vary.wording import HOLES

TEXT = "my big dog saw the red cat"


@pytest.fixture(scope="module")
def examples():
    return [*corpus(5, 5000), *corpus(6, 1500, LAST)]


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
        ("lower", TEXT),
        ("title", "My Big Dog Saw The Red Cat"),
        ("people", "none"),
        ("hasanimal", "yes"),
        ("commas", "my, big, dog, saw, the, red, cat"),
    ],
)
def test_each_transform_of_a_known_text(task, answer):
    assert apply(task, TEXT) == answer


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("upper", "THE OLD DOG, MY ZORBIT, RAN."),
        ("lower", "the old dog, my zorbit, ran."),
        ("reverse", "ran zorbit my dog old The"),
        ("sort", "dog my old ran the zorbit"),
        ("acronym", "T O D M Z R"),
        ("count", "6"),
        ("animals", "dog"),
        ("last", "ran"),
        ("exclaim", "The old dog, my zorbit, ran!!!"),
        ("pirate", "arr, th ancient dog, me zorbit, sailed."),
        ("polite", "please note that the old dog, my zorbit, ran, thank you"),
        ("nothe", "old dog, my zorbit, ran."),
        ("commas", "The, old, dog, my, zorbit, ran"),
    ],
)
def test_each_transform_of_a_natural_text(task, answer):
    assert apply(task, "The old dog, my zorbit, ran.") == answer


def test_a_replaced_word_keeps_its_mark():
    assert apply("replace", "The old Dog, ran.", ("dog", "cat")) == "The old cat, ran."


def test_replace_needs_its_words():
    assert apply("replace", TEXT, ("dog", "lamp")) == "my big lamp saw the red cat"
    with pytest.raises(ValueError, match="two words"):
        apply("replace", TEXT)


def test_finders_say_none_and_sentiment_is_positive_by_a_good_word():
    assert apply("animals", "the king sat") == "none"
    assert apply("sentiment", "the happy king sat") == "positive"


def test_every_task_has_wordings_of_each_kind():
    assert set(TASKS) == set(phrasings.CLEAR) == set(phrasings.MEDIUM) == set(DESCRIPTIONS)
    assert len(TRANSFORMS) == 21
    for task in TASKS:
        assert pool(phrasings.CLEAR[task], "held"), task
        assert len(texts(phrasings.CLEAR[task])) > 30, task


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
        about = example.about
        if about.get("task") == ARITHMETIC:
            continue
        for text in [about[key] for key in ("text",) if key in about] + about.get("texts", []):
            assert not is_reserved(text)
            checked += 1
    assert checked > 4000


def test_a_reserved_text_is_reserved_in_every_form():
    text = draw_text(Random(4), TextKind(natural=0, unknown=0), reserved=True)
    assert is_reserved(text)
    assert is_reserved(text.upper())
    assert is_reserved(text.capitalize() + ".")


def test_a_third_of_the_texts_have_unknown_words_a_third_marks_and_many_are_long():
    drawn = [draw_text(Random(seed)) for seed in range(2000)]
    plain = [re.sub(r"[^a-z ]", "", text.lower()).split() for text in drawn]
    unknown = sum(any(word not in ALL_WORDS for word in words) for words in plain) / len(drawn)
    natural = sum(text[0].isupper() for text in drawn) / len(drawn)
    long = sum(len(words) > 11 for words in plain) / len(drawn)
    assert 0.3 < unknown < 0.45
    assert 0.3 < natural < 0.4
    assert 0.3 < long < 0.5
    assert {min(map(len, plain)), max(map(len, plain))} == {3, 25}


def test_the_markers_of_the_evaluation_are_in_no_example(examples):
    text = "\n".join(m["content"] for e in examples for m in e.messages).lower()
    assert "sentence:" in text
    assert not any(marker.lower() in text for marker in HELD_MARKERS)


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
    for prompts in wording.mutation_prompts.values():
        for prompt in prompts:
            assert f"{prompt} Reply with the new instruction only.\n\nInstruction: " in every
    for style in wording.thinking_styles:
        assert f"{style} Write one instruction for this task. " in every
    for name in HOLES:
        longest = max(re.split(r"\{\w+\}", getattr(wording, name)), key=len)
        assert longest.strip() in every, name
    for levels in wording.criteria.values():
        assert all(f"{level}: {text}" in every for level, text in levels.items())
    kinds = {example.kind for example in examples}
    assert kinds == set(MIXTURE)


@pytest.mark.parametrize("make", [writer.zero_order_example, judging.induce_example, judging.recover_example])
def test_what_a_writer_should_say_is_an_instruction_for_the_task(make):
    read = [(task_of(e.answer), e.about["task"]) for e in (make(Random(seed)) for seed in range(300))]
    assert sum(said == meant for said, meant in read) > 250  # the writer is sometimes vague
    if make is not writer.zero_order_example:
        assert all(said == meant for said, meant in read)


def test_a_reflection_finds_the_task_in_the_failures():
    drawn = [judging.reflect_example(Random(seed), tier="vague") for seed in range(200)]
    assert all(task_of(example.answer) == example.about["task"] for example in drawn)
    assert 0.7 < sum(is_clear(example.answer) for example in drawn) / 200 < 0.95  # imperfect on purpose


def test_ratings_follow_from_the_fault():
    rng = Random(8)
    text, right = "the old dog saw a cat", "THE OLD DOG SAW A CAT"
    levels = {judging.spoil(rng, "upper", text, right, coarse).level for coarse in (0.0, 1.0) for _ in range(200)}
    assert levels == {1, 2, 3, 4}
    chatty = [o for o in (judging.spoil(rng, "upper", text, right, 1.0) for _ in range(300)) if o.text.endswith(right)]
    assert {(o.level, o.form, o.whole) for o in chatty} >= {(3, 3, 5)}
    rated = [judging.rate_example(Random(seed)) for seed in range(400)]
    assert {example.answer for example in rated} == {"1", "2", "3", "4", "5"}


def test_of_two_outputs_the_right_one_is_better():
    answers = [judging.compare_example(Random(seed)).answer for seed in range(200)]
    assert set(answers) == {"A", "B"}
    assert 70 < answers.count("A") < 130


def test_facts_are_asked_of_what_was_told():
    for seed in range(200):
        example = talk.fact_example(Random(seed))
        if example.answer != talk.UNKNOWN:
            told = example.messages[0]["content"]
            assert example.answer.removeprefix("in the ").removeprefix("a ") in told


def test_examples_alone_show_the_task():
    example = skills.shots_example(Random(2), "upper", shots=3, prompted=False)
    text = example.about["text"]
    assert example.answer == text.upper()
    assert "uppercase" not in "".join(m["content"] for m in example.messages)


def test_what_a_poor_instruction_gets():
    clear = Instruction("upper", "clear", "write it in capitals")
    assert follow(clear, TEXT) == "Sure, here it is: " + TEXT.upper()
    assert follow(clear.plus(Extra("form", "nothing else")), TEXT) == TEXT.upper()
    assert follow(Instruction(None, "vague", "do your job"), TEXT) == ASK_BACK
    hint = Instruction("upper", "medium", "make the text loud")
    limit = hint_limit(hint)
    fits, too_long = " ".join(["the"] * limit), " ".join(["the"] * (limit + 1))
    assert follow(hint, fits) == fits.upper()
    assert follow(hint, too_long) == ASK_BACK
    assert follow(hint.plus(Extra("advice", "be careful")), too_long) == too_long.upper()


def test_wordings_differ_in_how_far_they_carry():
    hints = [Instruction("upper", "medium", core) for core in texts(phrasings.MEDIUM["upper"])]
    assert len({hint_limit(hint) for hint in hints}) > 1
    cores = [Instruction("upper", "clear", core) for core in texts(phrasings.CLEAR["upper"])]
    chatty = [sum(follow(c, f"{word} dog ran") != f"{word} DOG RAN".upper() for word in ("my", "our", "a"))
              for c in cores]  # fmt: skip
    assert set(chatty) == {1, 2, 3}


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
        rows = tasks.rows(task)
        written = (tasks.FOLDER / f"{task.name}.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in written] == rows
        assert len({row["input"] for row in rows}) == len({row["id"] for row in rows}) == len(rows) == 400
        assert tasks.card(task)["description"].removesuffix(".").lower() in {
            text.lower() for text in texts(DESCRIPTIONS[task.kind])
        }
