"""The local backend's pure parts: which calls go together, and how chats become text."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from promptmill.model.chat import CallError
from promptmill.model.local.chat import ChatTokenizer, ending_of, fold_system, leading_of, plain_text
from promptmill.model.local.plan import key_of, next_batch, shared
from tests.tiny import TEMPLATE, tiny_tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "[{{ m['role'] }}] {{ m['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)


@dataclass(frozen=True, eq=False)
class Unit:
    ids: tuple[int, ...]
    rows: int = 1
    kind: type = int
    key: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", key_of(self.ids))


def test_shared_counts_equal_tokens_at_the_beginning() -> None:
    rng = random.Random(0)
    for _ in range(300):
        a = [rng.choice([1, 256, 70000]) for _ in range(rng.randint(0, 9))]
        b = a[: rng.randint(0, 9)] + [rng.choice([1, 256, 70000]) for _ in range(rng.randint(0, 4))]
        wanted = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        assert shared(key_of(a), key_of(b)) == wanted


def test_a_batch_takes_the_calls_of_one_prompt_and_about_one_length() -> None:
    rng = random.Random(1)
    prompts = [tuple(rng.randrange(1000) for _ in range(100)) for _ in range(3)]
    waiting = [
        Unit((*p, *(rng.randrange(1000) for _ in range(rng.randint(1, 40))))) for p in prompts for _ in range(40)
    ]
    rng.shuffle(waiting)
    batch = next_batch(waiting, 16)
    assert waiting[0] in batch.units
    assert len(batch.units) == 16
    assert batch.shared >= 100
    lengths = [len(unit.ids) for unit in batch.units]
    assert max(lengths) - min(lengths) < 25


def test_small_groups_are_joined_rather_than_run_alone() -> None:
    waiting = [Unit((1, 2, prompt, *range(20), text)) for prompt in range(20) for text in range(2)]
    batch = next_batch(waiting, 32)
    assert (len(batch.units), batch.shared) == (32, 2)


def test_kinds_are_not_mixed_and_one_unit_always_fits() -> None:
    waiting = [Unit((1, 2, 3), rows=9), Unit((1, 2, 3), kind=str), Unit((1, 2, 3))]
    assert next_batch(waiting, 4).units == waiting[:1]
    assert next_batch(waiting[1:], 4).units == waiting[1:2]
    assert next_batch([Unit((5,)), Unit((5,))], 4).shared == 0  # a last token is never shared


@pytest.mark.parametrize(
    ("asked", "answered", "leading", "ending"),
    [
        ("<|a|>", "<|a|> answer<|end|>", " ", "<|end|>"),
        ("<s>a\n", "<s>a\nanswer</s>\n", "", "</s>\n"),
        ("<s>a\n", "<s>a\n<think>\n\n</think>answer</s>", "", "</s>"),
        ("ask:", "another answer", "", ""),
    ],
)
def test_the_space_before_an_answer(asked: str, answered: str, leading: str, ending: str) -> None:
    assert (leading_of(asked, answered), ending_of(asked, answered)) == (leading, ending)


def chat(template: str | None) -> ChatTokenizer:
    return ChatTokenizer(tiny_tokenizer(template=template), frozenset({1}))


MESSAGES: Any = (("system", "be brief"), ("user", "hello"))


def test_rendering() -> None:
    own, chatml, bare = chat(TEMPLATE), chat(CHATML), chat(None)
    assert (own.leading, own.end, chatml.leading, chatml.end, bare.leading) == (" ", 1, "", 1, "")
    assert own.render(MESSAGES, "so") == "<|system|> be brief<|end|><|user|> hello<|end|><|assistant|> so"
    assert chatml.render(MESSAGES, "so").endswith("<|im_start|>assistant\nso")
    assert bare.render(MESSAGES, "so") == plain_text(MESSAGES) + "so" == "be brief\n\nhello\n\nso"


def test_a_system_text_without_a_system_role_goes_into_the_first_user_turn() -> None:
    assert fold_system(MESSAGES) == (("user", "be brief\n\nhello"),)
    assert fold_system((("system", "a"),)) == (("user", "a"),)
    assert chat(NO_SYSTEM).render(MESSAGES) == "[user] be brief\n\nhello<|end|>[assistant]"


def test_a_template_that_refuses() -> None:
    picky = chat("{% if messages|length > 2 %}{{ raise_exception('too many') }}{% endif %}{{ messages[0]['content'] }}")
    with pytest.raises(CallError, match="too many"):
        picky.render((("user", "a"), ("assistant", "b"), ("user", "c")))


def test_continuations_keep_the_prompts_own_tokens() -> None:
    own = chat(TEMPLATE)
    ids, (yes, please) = own.continuations(MESSAGES, "", ("yes", "yes please"))
    assert [own.decode(ids + c) for c in (yes, please)] == [
        own.decode(ids) + " yes",
        own.decode(ids) + " yes please",
    ]
    ids, (rest,) = own.continuations(MESSAGES, "ye", ("s",))
    assert own.decode(rest) == "s"
    assert tuple(ids) == tuple(own.encode_chat(MESSAGES, "ye"))
