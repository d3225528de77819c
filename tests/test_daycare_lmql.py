"""Queries in LMQL's language: how they are read, and the scripts that come of them."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptmill.crafts.breed.daycare.nodes import Field, Gap, Query, Said, Words
from promptmill.crafts.breed.daycare.parse import parse_query
from promptmill.crafts.breed.daycare.place import Place
from promptmill.crafts.breed.daycare.template import opening, template
from promptmill.crafts.breed.daycare.turns import check_query, script_of
from promptmill.crafts.breed.daycare.walk import Argument
from promptmill.errors import InputError
from promptmill.model.chat import GREEDY, Sampling
from promptmill.model.script import NAMED, Script
from promptmill.prompt import Prompt, fill
from tests.daycare import complaint

PLACE = Place("breeder.lmql", "ask", 11)
BITS = ["[X]", "{x}", "[GAP]", "{name}", "[/INST]", "<<SYS>>", "{:user}", *"{}[]xX_ \n\\\"'/"]
ANYTHING = st.lists(st.sampled_from(BITS) | st.characters(), max_size=10).map("".join)


def query(*lines: str) -> Query:
    """The query of these statements, under the task's decoder."""
    return parse_query(
        "ask", "\n".join(["{decoder_options}", *(f"    {line}" for line in lines), "from", "    m"]), PLACE
    )


def script(*lines: str, **arguments: Argument) -> Script:
    return script_of(query(*lines), arguments, GREEDY)


def said(made: Script) -> tuple[str, str]:
    """The user's turn and the answer's text."""
    return made.prompt.user, made.text


# Strings.


def test_strings_follow_each_other_without_anything_between():
    assert said(script('"a"', '"b\\n"', '"c" " d"', '"[X]"')) == ("ab\nc d", "[X]")


def test_doubled_brackets_and_braces_are_the_signs_themselves():
    made = script('"[[x]] {{y}} {{{a}}} [[Y]]: [X]"', a="1")
    assert made.prompt.render({})[-1][1] == "[x] {y} {1} [Y]:"


def test_an_escape_that_python_does_not_know_stays_as_it_is():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert said(script(r'"\I \d \n[X]"'))[0] == r"\I \d"


def test_names_and_lengths_of_lists_are_put_in():
    lines = ['"of " + str(len(them)) + " not " + str(len(them)-1) + ": " + one + str(one)', '"[X]"']
    assert said(script(*lines, them=("a", "b", "c"), one="v"))[0] == "of 3 not 2: vv"


def test_a_name_in_small_letters_is_a_gap_too():
    assert script('"q [why]\\n"', '"so [Answer]" where answer in ["a", "b"]').names == ["WHY", "ANSWER"]


def test_a_text_in_three_quotation_marks_may_say_from_at_the_beginning_of_a_line():
    made = script_of(parse_query("ask", 'argmax\n    """a\nfrom where\n[X]"""\nfrom\n    "m"', PLACE), {}, GREEDY)
    assert said(made)[0] == "a\nfrom where"


# Statements.

BRANCHES = [
    'if style == "short":', '    "be short"', 'elif style:', '    "be {style}"', "else:", '    "be"',
    "# a remark", "if not shown:", '    " plain"', '"[X]"',
]  # fmt: skip


@pytest.mark.parametrize(
    ("style", "shown", "want"), [("short", True, "be short"), ("calm", True, "be calm"), ("", False, "be plain")]
)
def test_the_branch_whose_condition_holds_is_said(style: str, shown: bool, want: str):
    assert said(script(*BRANCHES, style=style, shown=shown))[0] == want


def test_loops_say_their_body_for_each_item():
    lines = ["for i, one in enumerate(them):", '    "{i}: {one}\\n"', "for one in them:", '    one + "\\n"', '"[X]"']
    assert said(script(*lines, them=("{a}", "[B]")))[0] == "0: {{a}}\n1: [B]\n{{a}}\n[B]"


def test_a_loops_variable_goes_before_an_argument_of_its_name():
    assert said(script("for a in them:", '    "{a}"', '" {a}[X]"', them=("1", "2"), a="3"))[0] == "12 3"


# Constraints.


def hole(*lines: str):
    (only,) = script(*lines).holes
    return only


def test_constraints_become_rules_of_the_hole():
    line = '"q[X]" where STOPS_BEFORE(X, "\\n") and STOPS_AT(X, ".") and STOPS_BEFORE(X, "\\n") and len(TOKENS(X)) < 9'
    made = hole(line)
    assert (made.stops_before, made.stops_at, made.sampling.max_tokens) == (("\n",), (".",), 8)
    assert hole('"q[X]" where len(TOKENS(X)) <= 9').sampling.max_tokens == 9


@pytest.mark.parametrize("listed", ['set(["a", "b"])', '["a", "b"]', '("a", "b")', '{"a", "b"}'])
def test_a_list_of_texts_is_a_choice(listed: str):
    assert hole(f'"q[X]" where X in {listed} and STOPS_AT(X, "c")').constraint == ("a", "b")


def test_the_space_of_a_choice_goes_into_the_text_before_it():
    lines = ['"q{:assistant}so:[X]" where X in [" a", " b"]', '" and: [Y]" where Y in [" c"]']
    assert said(script(*lines))[1] == "so: [X] and: [Y]"
    assert [made.constraint for made in script(*lines).holes] == [("a", "b"), ("c",)]
    assert script('"q[X]" where X in [" a", " b"]').text == "[X]"


def test_a_constraint_beside_another_gap_applies_to_the_gap_that_it_names():
    lines = ['"q[X]\\n" where STOPS_BEFORE(X, "a")', '"[Y]" where STOPS_BEFORE(X, "b") and STOPS_AT(Y, "c")']
    x, y = script(*lines).holes
    assert (x.stops_before, y.stops_before, y.stops_at) == (("a", "b"), (), ("c",))


def test_constraints_after_from_apply_to_gaps_anywhere():
    text = (
        'sample(temperature=0.5)\n    "q[X]\\n[Y]"\nfrom\n    "gpt"\nwhere\n    len(TOKENS(X)) < 5 and\n    Y in ["a"]'
    )
    made = parse_query("ask", text, PLACE)
    x, y = script_of(made, {}, GREEDY).holes
    assert (x.sampling, y.constraint, made.model) == (Sampling(0.5, max_tokens=4), ("a",), "gpt")


def test_a_stop_of_a_gap_that_there_is_not_is_told_and_does_nothing():
    made = query('"q[X]" where STOPS_BEFORE(Z, "b")')
    assert made.warnings == (
        "breeder.lmql, line 12: query ask: a constraint of [Z], which the query does not have (it has: [X]), does "
        "nothing",
    )


@pytest.mark.parametrize(
    ("expression", "model"),
    [('"local:gpt2"', "local:gpt2"), ('lmql.model("a/b", cuda=True)', "a/b"), ("{model_name_or_path}", None),
     ("lmql.model({model_name_or_path}, x={y(z[\"q\"].items())}, t=\"b\")", None), ('"{model_name_or_path}"', None)],
)  # fmt: skip
def test_a_model_that_is_named_is_known(expression: str, model: str | None):
    assert parse_query("ask", f'{{decoder_options}}\n    "q[X]"\nfrom\n    {expression}', PLACE).model == model


# What cannot be read.

UNREADABLE = [
    (['"q[X]"', "x = 1"], 13, "x = 1 cannot be read"),
    (['"q[X]"', "import os"], 13, "import os cannot be read"),
    (['"q[X]"', "while a:", '    "b"'], 13, "cannot be read"),
    (['"q[X]"', "print(a)"], 13, "print(a) cannot be read"),
    (['"q[X]"', "str(len(a)-b)"], 13, "cannot be read"),
    (['"q[X]"', "1 + 2"], 13, ": 1 cannot be read"),
    (['"q[X]"', 'f"{a}"'], 13, "cannot be read"),
    (['"q[X]"', '"a" or "b"'], 13, "join constraints by and"),
    (['"q[X]" where X in ["a"] or X in ["b"]'], 12, "join constraints by and"),
    (['"q"', "", '"[X]" where len(X) < 5'], 14, "the constraint len(X) < 5 cannot be read"),
    (['"q[X]" where X in ["a", 1]'], 12, "the choices of [X] must be texts"),
    (['"q[X]" where len(TOKENS(X)) < 1'], 12, "room for one token"),
    (['"q[X]" where Z in ["a"]'], 12, "choices for [Z], but there is no such gap (it has: [X])"),
    (['"q[X]"', "if len(a) > 3:", '    "b"'], 13, "the condition len(a) > 3 is none of"),
    (['"q[X]"', 'if a == "b" and c:', '    "b"'], 13, "is none of"),
    (["for a in b:", '    "[X]"'], 13, "a gap within for"),
    (['"q[X]"', "for a, b in c:", '    "b"'], 13, "cannot be read"),
    (['"q[X]"', '"[no gap]"'], 13, "write [[ for the sign [ itself"),
    (['"q[X]"', '"{a.b}"'], 13, "write {{ for the sign { itself"),
    (['"q[X]"', '"{:robot}"'], 13, "there is no turn {:robot}"),
    (['"q[X]"', '"open'], 13, "cannot be read ("),
    (['"q[X]"', "if a:", '"b"'], 14, "cannot be read ("),
    (['"no gap"'], 11, "has no gap for the model to fill"),
]


@pytest.mark.parametrize(("lines", "line", "message"), UNREADABLE, ids=[str(at) for at in range(len(UNREADABLE))])
def test_what_cannot_be_read_is_told_with_its_line_in_the_file(lines: list[str], line: int, message: str):
    with pytest.raises(InputError) as error:
        query(*lines)
    told = str(error.value)
    assert told.startswith(f"breeder.lmql, line {line}: query ask: ")
    assert message in told
    assert "\n" not in told


KINDS: dict[str, Argument] = {"a": "text", "them": ("text",), "flag": True, "shown": Field("shown")}


@pytest.mark.parametrize(
    ("lines", "message"),
    [(['"{b}[X]"'], "line 12: query ask: there is nothing called b here (there is: a, them, flag, shown)"),
     (['"q"', '"{them}[X]"'], "line 13: query ask: them is a list, where a text is needed"),
     (['"{flag}[X]"'], "flag is a flag, where a text is needed"),
     (["for x in a:", '    "{x}"', '"[X]"'], "a is a text, where a list is needed"),
     (["if shown:", '    "{a}"', '"[X]"'], "shown is a field of the examples, which is not known yet"),
     (["if a:", '    "q[X]"', "else:", '    "q"'], "query ask: there is no gap for the model to fill (with a = '')"),
     (['"[X]"'], "query ask: nothing is asked before the first gap"),
     (['"q [X] w [X]"'], "query ask: the script has two holes [X]"),
     (['"{:user}q{:assistant}a{:user}b[X]"'], "query ask: a turn begins after the answer has begun"),
     (['"[[INST]]q[X][[/INST]] a [Y]"'], "query ask: a turn begins after the answer has begun")],
)  # fmt: skip
def test_what_would_fail_in_a_search_is_told_before_it_begins(lines: list[str], message: str):
    with pytest.raises(InputError) as error:
        check_query(query(*lines), KINDS)
    assert message in str(error.value)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(ANYTHING, st.sampled_from(['"q[X]"', "if a:", "    ", "from", " where ", "for x in y:"])),
                max_size=6).map("\n".join))  # fmt: skip
def test_any_text_is_a_query_or_an_input_error_in_one_line(text: str):
    assert "\n" not in complaint(lambda: parse_query("ask", text, PLACE))


# Turns.


@pytest.mark.parametrize(
    "lines",
    [['"[[INST]] <<SYS>>"', '"{s}"', '"<</SYS>>\\n\\n"', '"U {u}\\n"', '"q[[/INST]] so [X]\\n"'],
     ['"<s>[[INST]] <<SYS>>{s}<</SYS>>"', '"U {u}\\nq[[\\INST]]so [X]"'],
     ['"{:system}{s}{:user}U {u}\\n"', '"q"', '"{:assistant}so [X] w{:user}more"'],
     ['"{:system}"', '"{s}"', '"{:user} U {u}\\n"', '"q "', '"{:assistant} so [X]"']],
)  # fmt: skip
def test_markup_is_read_as_turns(lines: list[str]):
    made = script(*lines, s="S", u="V")
    assert (made.prompt.system, *said(made)) == ("S", "U V\nq", "so [X]")


def test_without_signs_around_the_question_it_ends_at_the_first_gap():
    made = script('"<<SYS>>{s}<</SYS>>\\n\\n"', '"q\\n so: [X]\\n"', '"then [Y]"', s="S")
    assert (made.prompt.system, *said(made)) == ("S", "q\n so:", "[X]\nthen [Y]")


def test_markup_in_an_argument_is_text():
    made = script('"{:user}{a}{:assistant}{a} [X]"', a="<<SYS>> [/INST] {:user} {x}")
    assert made.prompt.render({})[-1][1] == "<<SYS>> [/INST] {:user} {x}"
    assert made.parts({})[0][0][0] == "<<SYS>> [/INST] {:user} {x} "


# Literals come through whatever they contain.


@settings(max_examples=300)
@given(ANYTHING, ANYTHING, ANYTHING)
def test_arguments_come_through_whatever_they_contain(system: str, asked: str, answer: str):
    made = script('"{:system}{s}{:user}q {u}{:assistant}a {v}[X]"', '"{v}{v}[Y]"', s=system, u=asked, v=answer)
    rendered = dict(made.prompt.render({}))
    assert rendered.get("system", "") == system.strip()
    assert rendered["user"] == f"q {asked}".strip()
    (before, _), (between, _) = made.parts({})[0]
    # between the signs [ and ] a gap can only stand with a space before it
    assert before == (f"a {answer} " if answer[:1] == "]" and answer[-1:] == "[" else f"a {answer}")
    assert between == answer * 2


@settings(max_examples=300)
@given(ANYTHING, ANYTHING)
def test_a_field_between_texts_is_filled_and_the_texts_are_kept(before: str, after: str):
    made = template([Said(before), Field("name"), Said(after)])
    assert fill(made, {"name": "VALUE"}) in (f"{before}VALUE{after}", f"{before} VALUE{after}")


@settings(max_examples=300)
@given(ANYTHING, ANYTHING)
def test_a_gap_between_texts_is_a_gap_and_the_texts_are_kept(before: str, after: str):
    made = Script(template([Words("("), Said(before), Gap("GAP"), Said(after), Gap("LAST")], gaps=True))
    assert made.names == ["GAP", "LAST"]
    (one, _), (two, _) = made.parts({})[0]
    assert (one, two) in ((f"({before}", after), (f"({before} ", after))


@given(ANYTHING)
def test_the_opening_of_a_script_is_its_plain_text(text: str):
    made = Script(template([Words("a"), Said(text), Words("."), Gap("GAP")], gaps=True), prompt=Prompt("", "q"))
    assert opening(made) == f"a{text}."
    assert NAMED.search(made.text)


def test_a_decoder_in_a_query_goes_before_the_tasks():
    made = parse_query("ask", 'sample(temperature=0.3)\n    "q[X]"\nfrom\n    m', PLACE)
    assert script_of(made, {}, GREEDY).holes[0].sampling == Sampling(0.3)
