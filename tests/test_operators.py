"""Every operator without a model: what it asks for, and what it makes of the answers."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from promptmill.prompt import Demo, Prompt
from promptmill.vary.alike import Diversity, likeness_of
from promptmill.vary.operators import OPERATORS, PAPER
from promptmill.vary.operators.contexts import crossover, shuffle_contexts
from promptmill.vary.scene import Child, Genome, Member, Scene, Working
from promptmill.vary.wording import load_wording

WORDING = load_wording()
PARENT = Member(Genome(Prompt("Add the numbers.", "{question}"), "Shorten this instruction."), 0.5)
OTHERS = (
    Member(Genome(Prompt("Sum up all that is there.", "{question}")), 0.9),
    Member(Genome(Prompt("Work out the total step by step.", "{question}")), 0.7),
)
WRONG = Working("a", (("question", "2 and 2"),), "2 and 2", "5", "4")
RIGHT = Working("b", (("question", "1 and 2"),), "1 and 2", "3", "3")
SCENE = Scene("sums of two numbers", WORDING, PARENT, (PARENT, *OTHERS), ("Add.", "Add the numbers."), (WRONG,),
              (RIGHT,), 2)  # fmt: skip


def drive(name: str, *answers: str | None, scene: Scene = SCENE, seed: int = 0) -> tuple[list[str], Child | None]:
    """(requests, child) of an operator whose writer answers so."""
    steps, requests = OPERATORS[name](scene, random.Random(seed)), []
    answer, left = None, list(answers)
    while True:
        try:
            requests.append(steps.send(answer))
        except StopIteration as end:
            return requests, end.value
        answer = left.pop(0)


def test_the_paper_has_nine_operators():
    # eight that are drawn, and crossover with context shuffling that happens after any of them
    assert len(PAPER) == 8


@pytest.mark.parametrize("name", [name for name in OPERATORS if name != "add_demos"])
def test_every_operator_makes_a_child_of_the_writers_instruction(name: str):
    answers = ("Ask for more.", "Give the sum.") if name.startswith("hyper") else ("Give the sum.",)
    requests, made = drive(name, *answers)
    assert made is not None
    assert made.genome.prompt == Prompt("Give the sum.", "{question}")
    assert len(requests) == len(answers)


@pytest.mark.parametrize("name", [name for name in OPERATORS if name != "add_demos"])
@pytest.mark.parametrize("answer", [None, "", "Give the sum of {what}."])
def test_no_child_where_the_answer_is_no_prompt_for_the_task(name: str, answer: str | None):
    answers = ("Ask for more.", answer) if name.startswith("hyper") else (answer,)
    assert drive(name, *answers)[1] is None


@pytest.mark.parametrize("name", list(OPERATORS))
def test_the_same_seed_asks_the_same(name: str):
    assert drive(name, "One.", "Two.", seed=3) == drive(name, "One.", "Two.", seed=3)


def test_zero_order_shows_the_description_and_no_instruction():
    (request,), made = drive("zero_order", "Give the sum.")
    assert request.endswith("Task: sums of two numbers")
    assert made is not None
    assert request.startswith(made.drawn)
    assert made.drawn in WORDING.thinking_styles
    assert PARENT.instruction not in request


def test_first_order_applies_the_units_own_mutation_prompt():
    (request,), made = drive("first_order", "Give the sum.")
    assert request.startswith("Shorten this instruction.")
    assert request.endswith("Instruction: Add the numbers.")
    assert made is not None
    assert made.genome.mutation_prompt == "Shorten this instruction."


def test_hyper_mutation_lives_on_in_the_child():
    (first, second), made = drive("hyper_first", "Make it rhyme.", "Give the sum.")
    assert "Request: Shorten this instruction." in first
    assert second.startswith("Make it rhyme.")
    assert made is not None
    assert made.genome.mutation_prompt == "Make it rhyme."
    (first, _), _ = drive("hyper_zero", "Make it rhyme.", "Give the sum.")
    assert first.endswith("Task: sums of two numbers")


def test_eda_shows_the_population_and_ranked_the_worst_first():
    (request,), _ = drive("eda", "Give the sum.")
    assert all(f". {member.instruction}" in request for member in SCENE.population)
    (request,), _ = drive("eda_ranked", "Give the sum.")
    assert "1. Add the numbers.\n2. Work out the total step by step.\n3. Sum up all that is there." in request


def test_eda_leaves_out_what_is_nearly_the_same():
    long = "Read the question with care, find all the numbers in it, add them up one by one and give the sum"
    twins = tuple(Member(Genome(Prompt(long + end, "{question}")), 0.5) for end in (".", "!"))
    scene = replace(SCENE, parent=twins[0], population=(*twins, *OTHERS))
    texts = [drive("eda", "x", scene=scene, seed=seed)[0][0] for seed in range(9)]
    assert all((long + "." in text) + (long + "!" in text) == 1 for text in texts)
    kept = Diversity(0.8)
    assert [kept.add(text) for text in ("Add the numbers.", "add  the numbers", "Say hello.")] == [True, False, True]
    assert likeness_of("Add it.", "add  it.") == 1


def test_lineage_shows_the_elites_in_the_order_of_their_finding():
    (request,), _ = drive("lineage", "Give the sum.")
    assert request.endswith("1. Add.\n2. Add the numbers.")
    assert drive("lineage", scene=replace(SCENE, elites=("Add.",))) == ([], None)


def test_lamarck_shows_correct_workings_only_and_reflection_failures_only():
    (request,), _ = drive("lamarckian", "Give the sum.")
    assert request.endswith("Input: 1 and 2\nOutput: 3")
    (request,), _ = drive("reflect", "Give the sum.")
    assert request.endswith("Instruction: Add the numbers.\n\nInput: 2 and 2\nOutput: 5\nWanted: 4")
    assert drive("lamarckian", scene=replace(SCENE, workings=())) == ([], None)
    assert drive("reflect", scene=replace(SCENE, failures=())) == ([], None)


def test_a_reflection_that_copies_a_train_example_is_refused():
    long = Working("c", (), "Anna had forty-two apples and gave half of them to her brother Tom.", "5", "21")
    scene = replace(SCENE, failures=(long,))
    assert drive("reflect", f"Give the sum. For example: {long.shown} It is 21.", scene=scene)[1] is None
    assert drive("reflect", "Give the sum. Half of forty-two is 21.", scene=scene)[1] is not None


def test_merge_shows_the_parent_and_another():
    (request,), _ = drive("merge", "Give the sum.")
    assert "Add the numbers." in request
    assert sum(other.instruction in request for other in OTHERS) == 1


def test_demos_come_from_correct_workings_and_no_writer_is_asked():
    requests, made = drive("add_demos")
    assert requests == []
    assert made is not None
    assert made.genome.prompt.demos == (Demo((("question", "1 and 2"),), "3"),)
    assert drive("add_demos", scene=replace(SCENE, most_demos=0)) == ([], None)


def test_crossover_takes_the_instruction_of_a_fit_member_and_keeps_the_own_mutation_prompt():
    rng = random.Random(1)
    made = [crossover(PARENT.genome, SCENE.population, rng) for _ in range(4000)]
    changed = [genome for genome in made if genome != PARENT.genome]
    assert 0.06 < len(changed) / 4000 < 0.12  # one in ten, and now and then it draws itself
    assert all(genome.mutation_prompt == "Shorten this instruction." for genome in changed)
    counts = [sum(genome.prompt.system == other.instruction for genome in changed) for other in OTHERS]
    assert counts[0] > counts[1] > 0


def test_contexts_are_shuffled_only_where_there_are_any():
    rng, demo = random.Random(1), Demo((("question", "9 and 9"),), "18")
    assert shuffle_contexts(PARENT.genome, [RIGHT], rng) == PARENT.genome
    shown = replace(PARENT.genome, prompt=replace(PARENT.genome.prompt, demos=(demo,)))
    assert shuffle_contexts(shown, [RIGHT], rng).prompt.demos == (Demo((("question", "1 and 2"),), "3"),)


def test_a_short_input_copied_whole_is_a_copy_and_an_answer_to_choose_from_is_none():
    short = replace(SCENE, failures=(replace(WRONG, shown="the cat sat down", output="positive thing"),))
    assert drive("reflect", "Add. For example, the cat sat down.", scene=short)[1] is None
    assert drive("reflect", "Say positive thing or negative thing.", scene=short)[1] is not None
    worked = replace(SCENE, workings=(replace(RIGHT, shown="the dog ran away"),))
    assert drive("lamarckian", "Do it as in the dog ran away.", scene=worked)[1] is None


def test_a_rewrite_without_the_holes_is_followed_by_them():
    template = "Read this well.\nText: {text}\nAnswer this question with one word: {question}"
    scene = replace(SCENE, parent=Member(Genome(Prompt(user=template))))
    _, made = drive("mutate", "Answer in a word.", scene=scene)
    assert made is not None
    assert made.genome.prompt.user == "Answer in a word.\n\nText: {text}\n{question}"
    assert drive("mutate", "Answer {other} in a word.", scene=scene)[1] is None


def test_any_part_of_a_prompt_can_be_the_one_that_is_changed():
    genome = Genome(Prompt("Add.", "{question}", then="So?"), part="then")
    _, made = drive("mutate", "So what is the sum?", scene=replace(SCENE, parent=Member(genome)))
    assert made is not None
    assert made.genome.prompt == Prompt("Add.", "{question}", then="So what is the sum?")


def test_merge_takes_the_one_that_gets_right_what_the_parent_does_not():
    parent = replace(PARENT, right=frozenset("abc"))
    alike, other = (
        replace(member, right=frozenset(right)) for member, right in zip(OTHERS, ("abc", "xy"), strict=True)
    )
    (request,), _ = drive("merge", "Both.", scene=replace(SCENE, parent=parent, population=(parent, alike, other)))
    assert "step by step" in request


def test_demos_are_told_of_so_that_nobody_is_chosen_on_them():
    _, made = drive("add_demos")
    assert made is not None
    assert made.used == (RIGHT.id,)


def test_a_list_of_contexts_is_filled_up_to_its_length():
    genome = Genome(Prompt("Add.", "{question}"))
    other = replace(RIGHT, id="c", output="4")
    grown = shuffle_contexts(genome, (RIGHT,), random.Random(0), most=2, chance=0)
    assert len(grown.prompt.demos) == 1
    full = shuffle_contexts(grown, (other,), random.Random(0), most=2, chance=0)
    assert len(full.prompt.demos) == 2
    assert (
        len(shuffle_contexts(full, (replace(other, output="5"),), random.Random(0), most=2, chance=0).prompt.demos) == 2
    )


def test_a_long_gold_or_a_whole_field_copied_is_a_copy():
    gold = "the quick brown fox jumps over the lazy dog at noon"
    fields = (("text", "Anna ran home."), ("question", "What is the capital of France?"))
    scene = replace(SCENE, failures=(replace(WRONG, fields=fields, shown="x", gold=gold),))
    assert drive("reflect", f"Say {gold}.", scene=scene)[1] is None
    assert drive("reflect", "Answer questions such as: What is the capital of France?", scene=scene)[1] is None


def test_braces_in_a_prompt_that_is_no_template_are_text():
    genome = Genome(Prompt("", "Mark the {evidence}."), part="user", literal=True)
    _, made = drive("mutate", "Mark every word.", scene=replace(SCENE, parent=Member(genome)))
    assert made is not None
    assert made.genome.prompt.user == "Mark every word."
