"""Breeding by a day care: how its prompts are asked, and the operators that write by its queries."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptmill.crafts.breed.daycare.breeder_file import MUTATIONS, read_breeder_file
from promptmill.crafts.breed.daycare.folder import DayCare
from promptmill.crafts.breed.daycare.form import Form
from promptmill.crafts.breed.daycare.operators import WRITTEN_BY
from promptmill.measure.answer import Ask
from promptmill.measure.evaluate import Evaluation, evaluate_async
from promptmill.model.chat import Request, Sampling, Usage
from promptmill.model.gate import Model, run_blocking
from promptmill.model.script import Filled, Script
from promptmill.model.scripted import ScriptedBackend
from promptmill.prompt import Demo, Prompt
from promptmill.vary.operators import PAPER
from promptmill.vary.scene import Child, Genome, Member, Scene, Working
from tests.daycare import BREEDER, describe, make_day_care, read, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_day_care(tmp_path)


# The form.

FIELDS = {"text": "the {text} [X]", "question": "why?"}


def asked(form: Form, prompt: Prompt) -> tuple[dict[str, str], str]:
    """The turns of a script for FIELDS, and the answer's text with its holes."""
    made = form.script(prompt)
    parts, tail = made.parts(FIELDS)
    return dict(made.prompt.render(FIELDS)), "".join(f"{text}<{hole.name}>" for text, hole in parts) + tail


def test_a_query_is_the_form_of_a_prompt(folder: Path):
    form = read(folder).form
    turns, answer = asked(form, Prompt("Judge.", "Good?"))
    assert turns == {"system": "Judge.", "user": "T: the {text} [X]\nQ: why?\nGood?"}
    assert answer == "<ANSWER>"
    turns, answer = asked(form, Prompt("", "Good?", "I think"))
    assert (turns.get("system"), answer) == (None, "I think <WHY>\nSo: <ANSWER>")
    why, last = form.script(Prompt("", "Good?", "I think")).holes
    assert (why.sampling.max_tokens, last.constraint, last.sampling) == (49, ("Yes", "No"), Sampling(0.7))


def test_without_queries_the_form_is_a_plain_one(folder: Path):
    (folder / "breeder.lmql").unlink()
    made = read(folder)
    assert made.operators is None
    assert made.parts == ("system", "user", "prefix")
    turns, answer = asked(made.form, Prompt("Judge.", "Good?", "I think"))
    assert turns == {"system": "Judge.", "user": "Text: the {text} [X]\nQuestion: why?\n\nGood?"}
    assert answer == "I think<REASONING>\nFinal answer: <ANSWER>"
    assert asked(made.form, made.prompt)[1] == "<ANSWER>"
    assert made.form.script(Prompt("", "q", "r")).holes[0].sampling == Sampling(0.7, max_tokens=500)


def test_the_nearest_prompt_has_the_fields_as_holes_and_what_stands_before_the_first_gap(folder: Path):
    near = read(folder).form.as_prompt(Prompt("Judge {x}.", "Good [Y]?", "I think [Z]"))
    assert near == Prompt("Judge {{x}}.", "T: {text}\nQ: {question}\nGood [Y]?", "I think [Z] ")
    assert near.holes == {"text", "question"}
    assert read(folder).task.prompt == Prompt("", "T: {text}\nQ: {question}\nIs the question good?")


def test_demos_are_kept(folder: Path):
    demo = Demo.of(FIELDS, "Yes")
    messages = read(folder).form.script(Prompt("", "Good?", demos=(demo,))).prompt.render(FIELDS)
    assert [role for role, _ in messages] == ["user", "assistant", "user"]


BITS = ["{text}", "[WHY]", "[[", "]]", "{{", "}}", "[/INST]", "<<SYS>>", "{:user}", " ", "\n"]
PARTS = st.lists(st.sampled_from(BITS) | st.characters(codec="utf-8"), max_size=8).map("".join)


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> list[Form]:
    """One by a query, and the plain one."""
    path = tmp_path_factory.mktemp("form") / "breeder.lmql"
    write(path, BREEDER)
    return [Form(("text", "question"), ("Yes", "No"), query) for query in (read_breeder_file(path).fitness, None)]


@settings(max_examples=150)
@given(system=PARTS, user=PARTS.filter(str.strip), prefix=PARTS)
def test_the_parts_of_a_prompt_come_through_whatever_they_contain(
    forms: list[Form], system: str, user: str, prefix: str
):
    for form in forms:
        made = form.script(Prompt(system, user, prefix))
        turns = dict(made.prompt.render(FIELDS))
        assert turns.get("system", "").strip() == system.strip()
        assert turns["user"].strip().endswith(user.strip())
        assert made.parts(FIELDS)[0][0][0].strip() == prefix.strip()
        assert made.names[-1] == "ANSWER"


def test_examples_are_asked_by_the_form(folder: Path):
    seen: list[Request] = []

    def say(request: Request) -> str:
        seen.append(request)
        return "Yes" if request.constraint else "it is so."

    made = read(folder)

    async def ask() -> Evaluation:
        async with Model(ScriptedBackend(say)) as model:
            return await evaluate_async(
                model, made.task, Prompt("", "Good?", "I think"), made.task.train, Ask(form=made.form)
            )

    found = run_blocking(ask())
    assert found.answered == len(made.task.train)
    assert found.failures == {}
    assert {request.prefix for request in seen} == {"I think ", "I think it is so.\nSo: "}


# The operators.


def scene(made: DayCare) -> Scene:
    parent = Member(Genome(Prompt("Judge.", "Is it good?", "I think"), "Shorten this."), 0.5)
    other = Member(Genome(Prompt("", "Would you call it {good}?")), 0.9)
    working = Working("a", (("text", "t"),), "text: t", "Yes", "Yes")
    return Scene("Is the question good?", made.wording, parent, (parent, other), ("First?", "Second?"), (), (working,))


def drive(made: DayCare, name: str, *values: dict[str, str] | None, seen: Scene | None = None, seed: int = 0):
    """(scripts, child) of an operator whose writer fills the holes so; by default each with its own name."""
    assert made.operators is not None
    steps, scripts, left = made.operators[name](seen or scene(made), random.Random(seed)), [], list(values)
    answer: Filled | None = None
    while True:
        try:
            script = steps.send(answer)
        except StopIteration as end:
            return scripts, end.value
        assert isinstance(script, Script)
        scripts.append(script)
        filled = {hole: f" {hole.lower()} \n" for hole in script.names}
        given = left.pop(0) if left else filled
        answer = None if given is None else Filled(filled | given, "", Usage())


def user(script: Script) -> str:
    """What the writer is asked; all fields are filled in already."""
    return script.prompt.render({})[-1][1]


REQUESTS = {
    "zero_order": ["Shorten this.\nThink.\nIs the question good?\n\\INST:"],
    "first_order": ["Shorten this.\nIs it good?\n\\INST:"],
    "eda": ["Any\n0: Is it good?\n1: Would you call it {good}?"],
    "eda_ranked": ["The last of 2 is the best\n0: Is it good?\n1: Would you call it {good}?"],
    "lineage": ["Upwards\n0: First?\n1: Second?"],
    "lamarckian": ["Input: text: t\nOutput: Yes\nIt was: Is it good?"],
    "hyper_zero": ["Think. Is the question good?", "mutation_prompt\nIs it good?\n\\INST:"],
    "hyper_first": ["Improve Shorten this.", "better\nIs it good?\n\\INST:"],
}


@pytest.mark.parametrize("name", PAPER)
def test_every_operator_asks_by_its_query_and_makes_a_child_of_what_is_written(folder: Path, name: str):
    scripts, made = drive(read(folder), name, seed=3)
    assert [user(script) for script in scripts] == REQUESTS[name]
    assert isinstance(made, Child)
    whole = Prompt("system_prompt", "task_prompt", "reasoning_prompt")
    rest = {"eda": Prompt("Judge.", "task_prompt", "I think"), "lamarckian": replace(whole, system="Judge.")}
    assert made.genome.prompt == rest.get({"eda_ranked": "eda", "lineage": "eda"}.get(name, name), whole)


def test_a_new_mutation_prompt_is_the_last_hole_and_the_child_keeps_it(folder: Path):
    _, made = drive(read(folder), "hyper_zero", {"REMARK": "well", "MUTATION_PROMPT": " Be bold.\n"})
    assert made is not None
    assert (made.genome.mutation_prompt, made.drawn) == ("Be bold.", "Be bold.")
    assert drive(read(folder), "hyper_zero", {"MUTATION_PROMPT": " \n"})[1] is None


def test_a_parent_without_a_mutation_prompt_draws_one(folder: Path):
    made = read(folder)
    seen = scene(made)
    orphan = replace(seen, parent=Member(replace(seen.parent.genome, mutation_prompt="")))
    drawn = {user(drive(made, "first_order", seen=orphan, seed=seed)[0][0]).split("\n")[0] for seed in range(9)}
    assert drawn == {"Shorten this.", "Say it {again}."}


@pytest.mark.parametrize("name", PAPER)
def test_there_is_no_child_where_no_answer_or_no_task_prompt_came(folder: Path, name: str):
    made = read(folder)
    first = [{}] if name.startswith("hyper") else []
    assert drive(made, name, None)[1] is None
    assert drive(made, name, *first, None)[1] is None
    assert drive(made, name, *first, {"TASK_PROMPT": " \n"})[1] is None


@pytest.mark.parametrize("name", ["eda", "eda_ranked", "lineage", "lamarckian"])
def test_operators_without_material_ask_nothing(folder: Path, name: str):
    made = read(folder)
    bare = replace(scene(made), population=(), elites=(), workings=())
    assert drive(made, name, seen=bare) == ([], None)


def test_a_fixed_system_prompt_stays(folder: Path):
    describe(folder, fixed_system_prompt="You judge.")
    _, made = drive(read(folder), "first_order")
    assert made is not None
    assert made.genome.prompt == Prompt("Judge.", "task_prompt", "reasoning_prompt")


def test_a_prompt_that_copies_a_shown_example_is_no_child(folder: Path):
    made = read(folder)
    seen = scene(made)
    long = replace(seen.workings[0], shown="a text that is long enough to be told from any other one")
    copied = {"TASK_PROMPT": f"Say Yes to {long.shown}"}
    assert drive(made, "lamarckian", copied, seen=replace(seen, workings=(long,)))[1] is None


@pytest.mark.parametrize("query", MUTATIONS)
def test_operators_whose_query_is_missing_are_left_out(folder: Path, query: str):
    write(folder / "breeder.lmql", BREEDER.replace(f'"{query}"', '"not_there"'))
    operators = read(folder).operators or {}
    assert set(operators) == {name for name, needed in WRITTEN_BY.items() if query not in needed}
