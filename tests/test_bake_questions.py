"""The questions on which a prompt is baked, and the contexts with and without it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from promptmill.crafts.bake.config import AS_ORIGINAL, BakeSampleConfig
from promptmill.crafts.bake.contexts import bakeable, contexts, unprompted_in
from promptmill.crafts.bake.questions import (
    Question,
    joined,
    questions_of,
    read_questions,
    task_questions,
    written_questions,
)
from promptmill.errors import InputError
from promptmill.model.chat import Request
from promptmill.model.endpoint import EndpointBackend
from promptmill.model.gate import Model
from promptmill.model.local import LocalBackend
from promptmill.model.local.loaded import Loaded
from promptmill.model.scripted import ScriptedBackend
from promptmill.prompt import Demo, Prompt
from promptmill.settings import checked
from promptmill.tasks.load import load_task
from promptmill.vary.wording import load_wording
from tests.baking import PROMPT, config_of
from tests.tiny import TEMPLATE, tiny_model

NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}" + TEMPLATE[32:]
)


@pytest.fixture(scope="module")
def loaded(tiny_folder: Path) -> Loaded:
    return LocalBackend(str(tiny_folder), device="cpu").loaded()


# Questions


def test_a_question_keeps_its_split_whatever_stands_beside_it():
    texts = [f"what is {i} plus 7 ?" for i in range(300)]
    whole = {one.id: one for one in questions_of(texts, 0.2)}
    part = questions_of(reversed(texts[50:200]), 0.2)
    assert all(whole[one.id] == one for one in part)
    assert 30 < sum(one.split == "validation" for one in whole.values()) < 90
    assert len(questions_of([*texts, "What  is 3 plus 7 ?"])) == 300


def test_neither_split_is_empty_where_there_are_two_questions():
    for share in (0.01, 0.99):
        assert {one.split for one in questions_of(["a", "b"], share)} == {"train", "validation"}
    assert [one.split for one in questions_of(["a"], 0.5)] == ["train"]
    assert [one.split for one in questions_of(["a", "b", "c"], 0.0)] == ["train"] * 3
    both = joined(questions_of(["a", "b"], split="train"), questions_of(["b", "c"], split="validation"))
    assert [(one.text, one.split) for one in both] == [("a", "train"), ("b", "validation"), ("c", "validation")]


def test_questions_come_from_a_file_and_a_row_without_one_is_named(tmp_path: Path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "who ?"}\n\n{"question": "what ?", "answer": "this"}\n')
    assert [one.text for one in read_questions(path)] == ["who ?", "what ?"]
    for row, said in (
        ('{"input": "x"}', "keys: input"),
        ('{"question": " "}', "no text"),
        ('{"question": 3}', "no text"),
    ):
        path.write_text('{"question": "who ?"}\n' + row + "\n")
        with pytest.raises(InputError, match=f"line 2: the key 'question'.*{said}"):
            read_questions(path)
    with pytest.raises(InputError, match="no file"):
        read_questions(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="no questions"):
        questions_of([])


def test_a_task_gives_the_user_turns_of_its_train_examples():
    task = load_task("uppercase")
    asked = task_questions(task, limit=20)
    assert [one.text for one in asked] == [example.fields["input"] for example in task.split("train")[:20]]


def test_a_model_writes_questions_that_differ():
    def say(request: Request) -> str:
        asked = request.messages[-1][1]
        if asked.startswith("Name one topic"):
            return ["sea", "moon", "bread"][request.repeat % 3] if "pirate" in asked else ""
        if "Topic: bread" in asked:
            return "Here is the instruction: Bake bread."
        if "Task: Add" in asked:
            return ["2 and 3", "4 and 5"][request.repeat % 2]
        return "How far is the moon?" if "moon" in asked else f"Tell me of {' ' * request.repeat}the sea."

    async def write(about: str, **given: Any) -> list[str]:
        async with Model(ScriptedBackend(say)) as model:
            return [one.text for one in await written_questions(model, load_wording(), about, 3, **given)]

    assert sorted(asyncio.run(write("a pirate"))) == ["Bake bread.", "How far is the moon?", "Tell me of the sea."]
    assert sorted(asyncio.run(write("Add the numbers.", kind="inputs"))) == ["2 and 3", "4 and 5"]
    with pytest.raises(InputError, match=r"has written no question about 'a cat' \(its answers cannot be read\)"):
        asyncio.run(write("a cat"))


# Contexts


def texts(loaded: Loaded, prompt: Prompt, **changes: Any) -> tuple[str, str]:
    """Both contexts of one question, as text."""
    (context,) = contexts(loaded, prompt, [Question("1", "my cat", "train")], config_of(**changes))
    decode = loaded.chat.tokenizer.decode
    return decode(context.prompted), decode(context.bare)


def test_the_bare_context_has_no_system_turn_an_empty_one_or_another_prompt(loaded: Loaded):
    user, bare = "<|user|> my cat<|end|><|assistant|>", "<|user|> my cat<|end|><|assistant|>"
    prompt = Prompt(system="be a dog")
    assert texts(loaded, prompt) == (f"<|system|> be a dog<|end|>{user}", bare)
    assert texts(loaded, prompt, unprompted="empty")[1] == f"<|system|> <|end|>{user}"
    assert texts(loaded, prompt, unprompted="be a cat")[1] == f"<|system|> be a cat<|end|>{user}"
    assert texts(loaded, prompt, unprompted="please {input}")[1] == "<|user|> please my cat<|end|><|assistant|>"


def test_every_part_of_a_prompt_stands_in_the_prompted_context_only(loaded: Loaded):
    demos = (Demo.of({"question": "the dog"}, "yes"),)
    prompt = Prompt(user="say {question} please", prefix="So ", demos=demos)
    prompted, bare = texts(loaded, prompt)
    assert prompted == (
        "<|user|> say the dog please<|end|><|assistant|> yes<|end|><|user|> say my cat please<|end|><|assistant|> So"
    )
    assert bare == "<|user|> my cat<|end|><|assistant|>"


def test_what_cannot_be_baked_is_told_in_one_line(loaded: Loaded):
    for prompt, words in (
        (Prompt(), "the prompt to bake is empty"),
        (Prompt(system="a", then="b {input}"), "second turn"),
        (Prompt(system="a {text}"), r"has the hole \{text\}"),
        (Prompt(user="a"), "without the question; write {input}"),
    ):
        with pytest.raises(InputError, match=words):
            texts(loaded, prompt)
    with pytest.raises(InputError, match=r"\(unprompted\) has the hole"):
        texts(loaded, PROMPT, unprompted="a {b}")
    server = EndpointBackend("gpt", "http://127.0.0.1:9/v1")
    with pytest.raises(InputError, match="gpt cannot be baked: its weights are not here"):
        bakeable(server)


def test_a_prompt_longer_than_the_context_is_refused_and_never_cut(loaded: Loaded):
    room = loaded.context - len(contexts(loaded, PROMPT, [Question("1", "my cat", "train")], config_of())[0].prompted)
    texts(loaded, PROMPT, max_new_tokens=room)
    with pytest.raises(InputError, match=rf"'my cat' has {loaded.context - room} tokens .* up to {room + 1}.* is 256"):
        texts(loaded, PROMPT, max_new_tokens=room + 1)


def test_a_template_without_a_system_role_asks_for_the_user_turn(tmp_path: Path):
    loaded = LocalBackend(str(tiny_model(tmp_path, template=NO_SYSTEM)), device="cpu").loaded()
    with pytest.raises(InputError, match=r"no system role; put the prompt in the user turn: write \{input\}"):
        texts(loaded, PROMPT)
    assert "be a dog" in texts(loaded, Prompt(user="be a dog: {input}"))[0]
    for other in ("empty", "be a cat"):
        with pytest.raises(InputError, match=r"unprompted=.*no system role; take unprompted=none"):
            texts(loaded, Prompt(user="be a dog: {input}"), unprompted=other)


def test_a_model_without_a_template_reads_prompt_and_question_as_plain_text(tmp_path: Path):
    loaded = LocalBackend(str(tiny_model(tmp_path, template=None)), device="cpu").loaded()
    assert texts(loaded, Prompt(system="be a dog")) == ("be a dog\n\nmy cat\n\n", "my cat\n\n")


def test_settings_that_contradict_each_other_are_told():
    for given, words in (
        ({"min_new_tokens": 20, "max_new_tokens": 10}, "min_new_tokens=20 is more than max_new_tokens=10"),
        ({"temperature": 0, "sequences": 4}, "at temperature 0 all 4 sequences are alike"),
        ({"top-p": 0.9}, "unknown key 'top-p'"),
    ):
        with pytest.raises(InputError, match=words):
            checked(BakeSampleConfig, given, "bake")
    assert checked(BakeSampleConfig, AS_ORIGINAL).top_k == 50


@pytest.mark.parametrize(("form", "told"), [("none", "none"), ("empty", "empty"), ("be a cat", None)])
def test_what_stood_in_the_prompts_place_is_known_again(loaded: Loaded, form: str, told: str | None):
    (made,) = contexts(loaded, PROMPT, [Question("", "my cat", "train")], config_of(unprompted=form))
    assert unprompted_in(loaded, "my cat", made.bare) == told
