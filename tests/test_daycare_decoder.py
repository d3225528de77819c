"""LMQL's decoder strings, as our sampling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.crafts.breed.daycare.decoder import read_decoder
from promptmill.errors import InputError
from promptmill.model.chat import GREEDY, Sampling
from tests.daycare import complaint


@pytest.mark.parametrize(
    ("text", "sampling", "repeat"),
    [("argmax", GREEDY, 1), (" argmax() ", GREEDY, 1), ("beam(n=4)", GREEDY, 1), ("sample", Sampling(1.0), 1),
     ("sample(n=2, temperature=0.7, top_p=0.7, top_k=0)", Sampling(0.7, 0.7), 2),
     ("sample(temperature=0, max_tokens=40)", Sampling(0.0, max_tokens=40), 1),
     ("beam_sample(n=3,\n temperature=0.5)", Sampling(0.5), 3)],
)  # fmt: skip
def test_a_decoder_is_a_way_to_sample(text: str, sampling: Sampling, repeat: int):
    read = read_decoder(text, "here")
    assert (read.sampling, read.repeat) == (sampling, repeat)


@pytest.mark.parametrize(
    ("text", "warned"),
    [("argmax", []), ("sample(n=2, temperature=0.7, top_k=0, repetition_penalty=1.0)", []),
     ("sample(top_k=5, repetition_penalty=1.1)", ["here: top_k, repetition_penalty is not sent to the model"]),
     ("beam(n=2)", ["here: there is no beam search here, so with beam answers are greedy"]),
     ("beam_sample(x=-1)", ["here: there is no beam search here, so with beam_sample answers are drawn by sampling",
                            "here: x is not sent to the model"])],
)  # fmt: skip
def test_what_of_a_decoder_is_lost_is_told(text: str, warned: list[str]):
    told = read_decoder(text, "here").warnings
    assert len(told) == len(warned)
    assert all(one.startswith(want) for one, want in zip(told, warned, strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "the decoder '' cannot be read"), ("sample(", "cannot be read"), ("sample(0.5)", "cannot be read"),
     ("sample(n=x)", "cannot be read"), ("sample(**x)", "cannot be read"), ("a.b()", "cannot be read"),
     ("sample(n=__import__('os').getpid())", "cannot be read"), 
     ("best_k(n=2)", "unknown decoder 'best_k' (known: argmax"),
     ("sample(n=0)", "n must be a whole number"), ("sample(n=True)", "n must be a whole number"),
     ("sample(temperature=-1)", "temperature must be a number, 0 or more"),
     ("sample(temperature='hot')", "temperature must be a number"), ("sample(temperature=1e999)", "must be a number"),
     ("sample(top_p=0)", "top_p must be a number, above 0"), ("sample(max_tokens=1.5)", "max_tokens must be a whole")],
)  # fmt: skip
def test_a_decoder_that_cannot_be_used_is_told(text: str, message: str):
    with pytest.raises(InputError, match=r"^here: .*") as error:
        read_decoder(text, "here")
    assert message in str(error.value)


@given(st.text(max_size=30))
def test_any_text_is_a_decoder_or_an_input_error(text: str):
    assert "\n" not in complaint(lambda: read_decoder(text, "here"))
