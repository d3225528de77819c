"""From messages and answers to an adapter, on a random model of a few thousand weights."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from promptmill.errors import InputError
from promptmill.model.load import ModelConfig
from promptmill.model.local import LocalBackend, load
from promptmill.train.answers import Answered, Preferred, Teaching, trainable
from promptmill.train.settings import LoraSettings, TrainSettings
from tests.tiny import TEMPLATE, WORDS, ask, direct, question, reference, texts_of, tiny_model

TRAIN = {"epochs": 3, "rate": 0.01, "warmup_steps": 0, "batch_items": 2, "checkpoint_seconds": 0.0}


def words(at: int, count: int) -> str:
    return " ".join(WORDS[(at + step) % len(WORDS)] for step in range(count))


ANSWERED = [Answered((("user", words(at, 6)),), words(3 * at, 1 + at), 0.5 + at) for at in range(5)]
PREFERRED = [Preferred((("user", words(at, 6)),), words(3 * at, 2 + at), words(5 * at + 1, 3)) for at in range(5)]


@pytest.fixture
def teaching(tiny_folder: Path, tmp_path: Path):
    def make(name: str = "one", *, rank: int = 2, seed: int = 0, more: Any = None, model: Any = None, **settings: Any):
        backend = LocalBackend(str(tiny_folder), device="cpu", **model or {})
        chosen = TrainSettings(**TRAIN | settings)
        return Teaching(backend, LoraSettings(rank=rank, targets="all"), chosen, tmp_path / name, seed, **more or {})

    return make


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def killed(teaching: Teaching, step: int) -> Teaching:
    """As if the process had ended at that step."""

    def stop(course: Any) -> None:
        if course.step == step:
            raise KeyboardInterrupt

    return replace(teaching, on_step=stop)


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch):
    """From here on nothing may load one."""

    def forbid() -> None:
        monkeypatch.setattr(load, "load_model", lambda *args: pytest.fail("a model was loaded"))

    return forbid


def test_only_the_answers_tokens_and_the_turns_end_are_learned_by_weight(teaching, tiny_folder: Path) -> None:
    one = teaching(epochs=1)
    model, chat = reference(tiny_folder), one.backend.chat
    nats = tokens = 0.0
    for told in ANSWERED:
        answer = " " + told.answer
        nats -= told.weight * direct(one.backend, model, chat.render(told.messages), answer, end=True)
        tokens += told.weight * (len(chat.encode(answer)) + 1)
    found = one.on_answers(ANSWERED[:2], held=ANSWERED)
    assert found.outcome.first == pytest.approx(nats / tokens, rel=1e-5)


def test_what_is_taught_is_learned_and_answered(teaching, tiny_folder: Path) -> None:
    messages, answer = question("say it").messages, "red apples"
    one = teaching(epochs=30, rate=0.03)
    found = one.on_answers([Answered(messages, answer)])
    losses = [row["loss"] for row in found.outcome.rows if "loss" in row]
    assert losses[-1] < 0.1 < losses[0]
    assert found.adapters == (one.folder / "adapter",)
    taught = LocalBackend(str(tiny_folder), device="cpu", adapters=[str(path) for path in found.adapters])
    assert texts_of(ask(taught, [question("say it")])) == [[answer]]


@pytest.mark.parametrize("kind", ["answers", "preferences"])
def test_killed_and_continued_equals_unbroken(teaching, kind: str) -> None:
    def run(one: Teaching):
        if kind == "answers":
            return one.on_answers(ANSWERED, ANSWERED[:2])
        return one.on_preferences(PREFERRED, PREFERRED[:2], beta=0.1, sft=1.0)

    whole = run(teaching("whole"))
    for step in (1, 4):
        with pytest.raises(KeyboardInterrupt):
            run(killed(teaching("broken"), step))
    told: list[Any] = []
    broken = run(teaching("broken", more={"on_row": told.append}))
    assert weights(broken.outcome.folder) == weights(whole.outcome.folder)
    assert list(broken.outcome.rows) == list(whole.outcome.rows) == told


def test_a_finished_training_is_read_without_the_model_and_tells_its_rows_again(teaching, no_model) -> None:
    done = teaching().on_answers(ANSWERED, ANSWERED[:2])
    before = weights(done.outcome.folder)
    no_model()
    told: list[Any] = []
    assert teaching(more={"on_row": told.append}).on_answers(ANSWERED, ANSWERED[:2]) == done
    assert (tuple(told), weights(done.outcome.folder)) == (done.outcome.rows, before)


@pytest.mark.parametrize("changed", [
    {"seed": 1}, {"rank": 3}, {"rate": 0.02}, {"more": {"identity": {"wording": "other"}}}, {"lesson": ANSWERED[1:]},
    {"lesson": [replace(ANSWERED[0], weight=2.0), *ANSWERED[1:]]},
    {"lesson": [replace(ANSWERED[0], messages=(("user", "?"),)), *ANSWERED[1:]]},
])  # fmt: skip
def test_another_training_is_refused_the_folder_of_one(teaching, changed: dict[str, Any]) -> None:
    teaching(epochs=1).on_answers(ANSWERED)
    lesson = changed.pop("lesson", ANSWERED)
    with pytest.raises(InputError, match="this training was begun with"):
        teaching(epochs=1, **changed).on_answers(lesson)


def test_more_epochs_go_on_from_what_was_finished(teaching) -> None:
    first = teaching(epochs=1, schedule="constant").on_answers(ANSWERED)
    more = teaching(epochs=3, schedule="constant").on_answers(ANSWERED)
    unbroken = teaching("whole", epochs=3, schedule="constant").on_answers(ANSWERED)
    assert more.outcome.rows[: len(first.outcome.rows)] == first.outcome.rows
    assert weights(more.outcome.folder) == weights(unbroken.outcome.folder)


# Preferences


def test_preferences_begin_at_the_model_as_it_is_with_its_adapters_merged(teaching) -> None:
    first = teaching("sft").on_answers(ANSWERED).adapters
    found = teaching("dpo", model={"adapters": list(map(str, first))}).on_preferences(
        PREFERRED, PREFERRED, beta=0.5, sft=1.0
    )
    checks = [row for row in found.outcome.rows if "validation" in row]
    # The margin is 0 to begin with, by what the adapter before has made of the model; and sft does not count in it.
    assert checks[0]["validation"] == pytest.approx(math.log(2), abs=1e-5)
    assert checks[-1]["validation_margin"] > 0.05 > abs(checks[0]["validation_margin"])
    assert found.adapters == (*first, found.outcome.folder)


def test_without_float32_the_one_adapter_is_trained_further_and_takes_its_place(teaching, no_model) -> None:
    half = {"dtype": "bfloat16"}
    first = teaching("sft", model=half, rate=0.05).on_answers(ANSWERED).adapters
    given = {**half, "adapters": list(map(str, first))}

    def run():
        return teaching("dpo", model=given).on_preferences(PREFERRED, PREFERRED, beta=0.5)

    found = run()
    assert found.adapters == (found.outcome.folder,)
    assert found.outcome.first == pytest.approx(math.log(2), abs=1e-3)  # so the reference has the adapter
    assert found.outcome.best < found.outcome.first
    still = teaching("still", model=given, rate=1e-9, epochs=1).on_answers(ANSWERED).outcome.folder
    assert _tensors(still) == pytest.approx(_tensors(first[0]), abs=1e-6)
    no_model()
    assert run() == found


def _tensors(folder: Path) -> dict[str, float]:
    """Of each factor the sum of its numbers' sizes."""
    from safetensors.torch import load_file

    return {name: one.abs().sum().item() for name, one in load_file(folder / "adapter_model.safetensors").items()}


def test_without_float32_an_adapter_of_another_shape_or_several_are_refused(teaching) -> None:
    half = {"dtype": "bfloat16"}
    first = teaching("sft", model=half, epochs=1).on_answers(ANSWERED).adapters
    given = {**half, "adapters": list(map(str, first))}
    with pytest.raises(InputError, match="its own rank"):
        teaching("other", rank=3, model=given).on_answers(ANSWERED)
    with pytest.raises(InputError, match="its 2 adapters stay beside"):
        teaching("other", model={**half, "adapters": [str(first[0])] * 2}).on_answers(ANSWERED)


def test_a_pair_of_the_same_tokens_is_left_out_and_nothing_else_is_nothing_to_learn(teaching) -> None:
    alike = replace(PREFERRED[0], rejected=PREFERRED[0].chosen)
    with_it = teaching(epochs=1).on_preferences([alike, *PREFERRED], beta=0.1)
    without = teaching("two", epochs=1).on_preferences(PREFERRED, beta=0.1)
    assert weights(with_it.outcome.folder) == weights(without.outcome.folder)
    with pytest.raises(InputError, match="nothing to learn"):
        teaching("three").on_preferences([alike], beta=0.1)


# What else may be asked


def test_what_is_to_be_known_of_the_trained_model_is_asked_once_and_kept(teaching, no_model) -> None:
    from promptmill.train.answers import Built
    from promptmill.train.distil import Samples

    one = teaching(epochs=1)
    build = lambda model, head: Built(one.items(ANSWERED), None, Samples(head))  # noqa: E731
    found = one.fit({"kind": "own"}, build, lambda model, head: {"words": head.vocabulary})
    no_model()
    again = one.fit({"kind": "own"}, build, lambda model, head: pytest.fail("asked again"))
    assert found.more == again.more == {"words": one.backend.chat.tokenizer.vocab_size, "left_out": 0}


def test_a_model_whose_weights_are_elsewhere_cannot_be_trained(tiny_folder: Path) -> None:
    with pytest.raises(InputError, match=r"^recover train: .* cannot be trained"):
        trainable(ModelConfig(name="x", base_url="http://localhost:1/v1"), LoraSettings(), "recover train")
    with pytest.raises(InputError, match="no linear layer"):
        trainable(ModelConfig(name=str(tiny_folder)), LoraSettings(targets=["nonsense"]))
    assert trainable(ModelConfig(name=str(tiny_folder)), LoraSettings()).folder == tiny_folder


def test_messages_that_the_template_does_not_take_are_named(tmp_path: Path) -> None:
    template = "{% if messages[0]['role'] == 'tool' %}{{ raise_exception('no tools') }}{% endif %}" + TEMPLATE
    backend = LocalBackend(str(tiny_model(tmp_path / "m", template=template)), device="cpu")
    one = Teaching(backend, LoraSettings(), TrainSettings(), tmp_path / "out")
    with pytest.raises(InputError, match=r"cannot be put to m: .*no tools"):
        one.on_answers([Answered((("tool", "x"),), "y")])


def test_nothing_to_learn_is_an_input_error(teaching) -> None:
    with pytest.raises(InputError, match="nothing to train on"):
        teaching().on_answers([])
