"""The embedded models by name, and how far a text lies outside the world that they know. Their real tokenizers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from promptmill.errors import ModelError
from promptmill.measure.answer import Ask, requests
from promptmill.model.chat import Request
from promptmill.model.embedded import embedded_path
from promptmill.model.load import ModelConfig, load_model, open_backend
from promptmill.model.world import SAMPLE, TOO_MANY_UNKNOWN, spread, unknown_share, warnings_for
from promptmill.tasks.load import load_task
from tests.conftest import SHIPPED

SCHOOL_SUMS = (
    "Priscilla's orchard yielded 84 kilograms of apricots on Wednesday. Neighbourhood volunteers purchased a quarter "
    "of the harvest, and Priscilla donated 15 kilograms to charity. How many kilograms remain?",
    "A subscription to the gymnasium costs $45 monthly, with a 20% discount for undergraduates. Calculate the amount "
    "that Demetrius, an undergraduate, spends annually.",
    "The freight train departs Philadelphia at 9 a.m. travelling at 70 miles per hour. Determine its distance from "
    "Philadelphia at noon, assuming no interruptions.",
)


def asked(*texts: str) -> list[Request]:
    return [Request((("system", "Write the text in uppercase."), ("user", text))) for text in texts]


@pytest.mark.parametrize("name", SHIPPED)
def test_school_sums_in_natural_language_are_warned_of(name: str):
    (warning,) = warnings_for(ModelConfig(name=name), asked(*SCHOOL_SUMS))
    assert f"unknown to the {name} model" in warning
    assert "\n" not in warning


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("task", ["uppercase", "arithmetic"])
def test_built_in_tasks_are_not_warned_of(name: str, task: str):
    known = load_task(task)
    sent = list(requests(known, known.prompt, spread(known.test), Ask()))
    assert warnings_for(ModelConfig(name=name), sent) == []
    assert unknown_share(name, [text for request in sent for _, text in request.messages]) < TOO_MANY_UNKNOWN / 2


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("12 + 7 = 19 ; 3.5 %", 0.0),
        ("the", 0.0),
        ("the zyxwvut", 0.5),
        ("the the zyxwvut the", 0.25),
        ("zyxwvut, the!", 0.5),
        ("the dog\nzyxwvut", 1 / 3),
        ("naïveté", 1.0),
        ("東京の天気", 1.0),
    ],
)
def test_the_share_counts_words_of_letters_and_nothing_else(name: str, text: str, share: float):
    assert unknown_share(name, [text]) == pytest.approx(share)


def test_the_share_is_of_all_texts_together_and_repeats_count():
    assert unknown_share("embedded", ["the dog", "the dog", "zyxwvut"]) == pytest.approx(0.2)
    assert unknown_share("embedded", []) == 0.0


def test_what_stands_before_the_answer_counts_too():
    request = Request((("user", "the"),), prefix="zyxwvut qponmlk jihgfed")
    assert len(warnings_for(ModelConfig(), [request])) == 1


@pytest.mark.parametrize(
    "other", [{"name": "some/model"}, {"name": "scripted:rules.yaml"}, {"base_url": "http://localhost:8000/v1"}]
)
def test_other_models_are_not_judged_by_these_words(other: dict[str, str]):
    assert warnings_for(ModelConfig(**other), asked(*SCHOOL_SUMS)) == []


def test_a_sample_comes_from_all_over_the_task():
    items = range(1000)
    sample = spread(items)
    assert len(sample) <= SAMPLE
    assert max(sample) > 900
    assert list(spread(range(SAMPLE + 1))) == list(range(0, SAMPLE + 1, 2))
    assert list(spread(range(7))) == list(range(7))
    assert list(spread([])) == []


def test_words_are_looked_up_without_torch_or_transformers():
    code = (
        "import sys\nfrom promptmill.model.world import unknown_share\nunknown_share('embedded', ['the dog'])\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", SHIPPED)
def test_every_embedded_model_answers_under_its_own_name(name: str):
    model = load_model(name)
    assert model.name == name
    (answer,) = model.complete(asked("the dog"))
    assert answer.text


def test_an_embedded_model_whose_folder_is_gone_is_named(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("promptmill.model.embedded.files", lambda package: tmp_path)
    with pytest.raises(ModelError, match=r"the embedded-small model is missing at .*; reinstall promptmill"):
        open_backend(ModelConfig(name="embedded-small"))
    with pytest.raises(ModelError, match="the embedded model is missing"):
        embedded_path()
