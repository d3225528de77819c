from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.errors import InputError
from promptmill.prompt import Demo, Prompt, fill, holes

texts = st.text(st.characters(codec="utf-8"), max_size=40)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


def test_renders_system_demos_and_question_in_order():
    prompt = Prompt("Be {tone}.", "Q: {q}", demos=(Demo.of({"q": "1+1"}, "2"),))
    assert prompt.render({"q": "2+2", "tone": "brief"}) == (
        ("system", "Be brief."), ("user", "Q: 1+1"), ("assistant", "2"), ("user", "Q: 2+2"),
    )  # fmt: skip


def test_no_system_message_where_the_system_is_empty():
    assert Prompt().render({"input": "x"}) == (("user", "x"),)


def test_braces_that_are_no_hole_stay_as_they_are():
    assert (
        fill('{"a": 1} {0} { x } {x.y} {x!r} {{name}}', {"x": "no", "name": "no"})
        == '{"a": 1} {0} { x } {x.y} {x!r} {name}'
    )


@given(texts)
def test_a_value_is_put_in_untouched_whatever_it_holds(value: str):
    assert fill("<{x}>", {"x": value}) == f"<{value}>"


@given(st.dictionaries(names, texts, min_size=1, max_size=4))
def test_every_hole_is_filled_once(fields: dict[str, str]):
    template = "|".join("{" + name + "}" for name in fields)
    assert holes(template) == set(fields)
    assert fill(template, fields) == "|".join(fields.values())


def test_a_hole_without_a_field_names_both():
    with pytest.raises(InputError, match=r"hole \{text\}.*it has: input, q"):
        fill("{text}", {"q": "", "input": ""})


def test_a_rewrite_that_loses_or_invents_a_hole_is_refused():
    prompt = Prompt(user="Translate {text} to {language}")
    assert prompt.with_instruction("To {language}: {text}").user == "To {language}: {text}"
    for bad in ("Translate {text}", "Translate {text} to {language} or {other}"):
        with pytest.raises(InputError, match="changes the holes"):
            prompt.with_instruction(bad)


@given(texts, texts, texts, texts, st.lists(st.tuples(names, texts, texts), max_size=3))
def test_a_prompt_survives_its_dictionary(
    system: str, user: str, prefix: str, then: str, demos: list[tuple[str, str, str]]
):
    shown = tuple(Demo.of({name: value}, answer) for name, value, answer in demos)
    prompt = Prompt(system, user, prefix, shown, then)
    assert Prompt.from_dict(prompt.to_dict()) == prompt


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"sytem": "x"}, "unknown key 'sytem'"),
        ({"system": 3}, "system must be text"),
        ({"demos": [1]}, "each demo must be"),
    ],
)
def test_a_wrong_shape_is_named(data: dict, said: str):
    with pytest.raises(InputError, match=said):
        Prompt.from_dict(data)


def test_the_second_task_prompt_follows_the_first_answer():
    prompt = Prompt("Reason.", "{question}", then="So what is the answer to {question}?")
    assert prompt.follow({"question": "1 + 1"}, "One and one make two.") == (
        ("system", "Reason."), ("user", "1 + 1"), ("assistant", "One and one make two."),
        ("user", "So what is the answer to 1 + 1?"),
    )  # fmt: skip


def test_any_part_of_a_prompt_can_be_rewritten_and_keeps_its_holes():
    prompt = Prompt("Reason.", "{question}", "Well,", then="Answer {question}.")
    assert prompt.with_part("prefix", "So,") == Prompt("Reason.", "{question}", "So,", then="Answer {question}.")
    assert prompt.with_part("instruction", "Think.").system == "Think."
    with pytest.raises(InputError, match="changes the holes"):
        prompt.with_part("then", "Answer.")
