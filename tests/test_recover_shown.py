"""Long texts are shown without their middle, so that a request fits the model that is asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from promptmill.crafts.recover import shown
from promptmill.crafts.recover.candidates import request_of
from promptmill.crafts.recover.shown import LEAST, shortener
from promptmill.crafts.recover.synthesize.clean import MARK
from promptmill.crafts.recover.traces import Trace
from promptmill.model.chat import Completion, Request, Sampling
from promptmill.model.local import LocalBackend
from tests.recovering import WORDING, Guesser, model

LONG = " ".join(f"word{at}" for at in range(4000))


def test_without_a_tokenizer_words_are_counted() -> None:
    shorten = shortener(model(Guesser(["x"])), longest=10, answer=10_000, texts=50)
    assert shorten("a b c") == "a b c"
    assert len(shorten(LONG).split()) == 10
    assert shorten(LONG).startswith("word0 word1 ")
    assert shorten(LONG).endswith(" word3999")


@pytest.mark.parametrize("texts", [2, 6])
def test_a_text_gets_what_the_context_leaves_room_for(tiny_backend: LocalBackend, texts: int) -> None:
    one = model(tiny_backend)  # 256 tokens of context
    cut = shortener(one, longest=1000, answer=20, texts=texts)(LONG)
    assert MARK.strip() in cut
    assert len(tiny_backend.chat.encode(cut)) <= max(LEAST, (256 - 20 - shown.ROOM) // texts)
    assert shortener(one, longest=1000, answer=20, texts=texts)("the quick fox") == "the quick fox"


def test_no_text_is_shown_with_less_than_a_few_words(tiny_backend: LocalBackend) -> None:
    cut = shortener(model(tiny_backend), longest=1000, answer=250)(LONG)
    assert LEAST // 2 < len(tiny_backend.chat.encode(cut)) <= LEAST


@pytest.mark.parametrize(("config", "context"), [
    ('{"max_position_embeddings": 64}', 64), ('{"n_positions": 32}', 32), ('{"text_config": {"n_positions": 16}}', 16),
    ('{"model_type": "mamba"}', None),
])  # fmt: skip
def test_the_context_is_read_from_the_config(tmp_path: Path, config: str, context: int | None) -> None:
    (tmp_path / "config.json").write_text(config)
    assert shown._context(tmp_path) == context


def test_the_embedded_model_answers_however_long_the_texts_are() -> None:
    from promptmill.model.embedded import embedded_backend

    one = model(embedded_backend("embedded-small"))
    messages = request_of(WORDING, Trace("t", LONG, LONG.upper()), shortener(one, 480, answer=96))

    async def go() -> object:
        async with one:
            return await one.ask(Request(messages, Sampling(max_tokens=4)))

    assert isinstance(asyncio.run(go()), Completion)
