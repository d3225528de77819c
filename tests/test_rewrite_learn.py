"""What pairs teach a rewriter, on a model of a few thousand weights."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from promptmill.crafts.rewrite.config import LearnConfig
from promptmill.crafts.rewrite.learn import Learner, Lesson
from promptmill.crafts.rewrite.rewriter import request_of
from promptmill.crafts.rewrite.tables import PairRow
from promptmill.errors import InputError
from promptmill.model.local import LocalBackend, load
from promptmill.store.manifest import sha256_of
from promptmill.vary.wording import load_wording
from tests.tiny import WORDS

TRAIN = {"epochs": 4, "rate": 0.01, "warmup_steps": 0, "batch_items": 2}


def pair(number: int, kind: str = "best_base") -> PairRow:
    words = [WORDS[(number + at) % len(WORDS)] for at in range(4)]
    prompt = " ".join(words)
    return PairRow(
        f"b{number}", 1, "words", kind, prompt, f"{prompt} {words[0]}", f"{words[1]} {words[1]}", 0.3, 0.1, 0.8
    )


PAIRS = [pair(at) for at in range(6)]


@pytest.fixture
def learner(tiny_folder: Path, tmp_path: Path):
    def make(name: str = "round", seed: int = 0, **settings):
        config = LearnConfig.model_validate({"train": TRAIN, "lora": {"rank": 2}} | settings)
        return Learner(LocalBackend(str(tiny_folder), device="cpu"), load_wording(), config, tmp_path / name, seed)

    return make


def weights(made) -> str:
    return sha256_of(made.folder / "adapter_model.safetensors")


def test_a_rewrite_is_learned_as_the_answer_to_the_rewriters_request_with_its_end(learner):
    one = learner()
    said = one.chosen([replace(PAIRS[0], prompt="say it", chosen="say it well")])
    (item,) = one.teaching.items(said).items
    chat = one.backend.chat
    assert item.context == chat.encode_chat(request_of(one.wording, "say it"))
    assert item.answer[-1] == chat.end
    assert chat.decode(list(item.answer[:-1])).strip() == "say it well"


@pytest.mark.parametrize("settings", [
    {}, {"loss": "sft"}, {"contrast": 0.5}, {"kl": 0.5},
], ids=["preferences", "fine-tuning", "contrast", "kl"])  # fmt: skip
def test_the_same_lesson_makes_the_same_adapter_and_a_loss_that_falls(learner, settings):
    lesson = Lesson(
        PAIRS, PAIRS[:2], kept=[("a b", "b a")], contrasts=[("a b", ["a b c"], ["c"]), ("b", ["b b"], ["a"])]
    )
    first, again = (learner(name, **settings).learn(lesson).outcome for name in ("one", "two"))
    assert weights(first) == weights(again)
    assert (first.steps, first.ended) == (again.steps, again.ended)
    losses = [row["loss"] for row in first.rows if row.get("loss") is not None]
    assert losses[-1] < losses[0]


def test_what_is_finished_is_not_trained_again_and_another_lesson_is_refused_its_folder(learner):
    done = learner().learn(Lesson(PAIRS)).outcome
    before = weights(done)
    again = learner().learn(Lesson(PAIRS)).outcome
    assert (weights(again), again.steps, again.rows) == (before, done.steps, done.rows)
    with pytest.raises(InputError):
        learner().learn(Lesson(PAIRS[:3]))


@pytest.fixture
def no_weights(monkeypatch):
    """From now on no model can be loaded."""

    def refused(*_):
        raise AssertionError("a model was loaded")

    return lambda: monkeypatch.setattr(load, "load_model", refused)


def test_a_later_session_reads_the_outcome_without_a_model_and_tells_the_same_metrics(learner, no_weights):
    lesson, told = Lesson(PAIRS, PAIRS[:2], kept=[("a b", "b a")]), []
    first, done = learner(), []
    taught = replace(first, on_row=done.append).learn(lesson)
    assert taught.more["kl_old"] is not None
    no_weights()
    assert replace(learner(), on_row=told.append).learn(lesson) == taught
    assert tuple(told) == tuple(done) == taught.outcome.rows


@pytest.mark.parametrize("change", [{"seed": 1}, {"beta": 0.2}, {"sft": 0.5}, {"train": TRAIN | {"rate": 0.02}}],
                         ids=["seed", "loss", "share", "rate"])  # fmt: skip
def test_a_training_that_was_another_is_never_taken_for_this_one(learner, change):
    learner().learn(Lesson(PAIRS))
    with pytest.raises(InputError, match="begun with"):
        learner(**change).learn(Lesson(PAIRS))


def test_other_words_to_the_rewriter_are_another_training(learner):
    learner().learn(Lesson(PAIRS))
    worded = load_wording().model_copy(update={"refine": "Make it better: {prompt}"})
    with pytest.raises(InputError, match="begun with"):
        replace(learner(), wording=worded).learn(Lesson(PAIRS))


def test_a_finished_training_may_be_given_more_epochs(learner):
    done = learner().learn(Lesson(PAIRS)).outcome
    more = learner(train=TRAIN | {"epochs": 6}).learn(Lesson(PAIRS)).outcome
    assert more.steps == done.steps * 6 // 4
    assert more.rows[: len(done.rows)] == done.rows


@pytest.mark.parametrize("name", ["adapter", "outcome.json"])
def test_what_is_lost_of_a_finished_training_is_made_again_from_its_last_checkpoint(learner, name):
    done = learner().learn(Lesson(PAIRS, PAIRS[:2]))
    before, path = weights(done.outcome), done.outcome.folder.parent / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = learner().learn(Lesson(PAIRS, PAIRS[:2]))
    assert (again, weights(again.outcome)) == (done, before)
    assert path.exists()


def test_a_prompt_that_is_best_answered_in_one_way_is_one_sample(learner):
    assert len(learner().chosen([PAIRS[0], PAIRS[0], pair(0, "best_worst"), PAIRS[1]])) == 2


def test_a_second_round_in_half_precision_trains_the_adapter_of_the_first_one_further(learner):
    lesson = Lesson(PAIRS, kept=[("a b", "b a")])
    half = LocalBackend(str(learner().backend.folder), device="cpu", dtype="bfloat16")
    first = replace(learner("one"), backend=half).learn(lesson)
    assert (len(first.adapters), first.more["kl_old"] is None) == (1, False)
    later = LocalBackend(str(half.folder), device="cpu", dtype="bfloat16", adapters=list(first.adapters))
    second = replace(learner("two"), backend=later).learn(lesson)
    assert second.adapters == (second.outcome.folder,), "it holds what both rounds have taught"
    assert second.more["kl_old"] is None, "the rewriter before the round cannot be asked any more"
    with pytest.raises(InputError, match=r"rewrite\.learn\.kl: .* dtype float32"):
        replace(learner("three", kl=0.5), backend=later).learn(lesson)


@pytest.mark.parametrize("settings", [{}, {"loss": "sft"}, {"contrast": 0.5}, {"kl": 0.5}],
                         ids=["preferences", "fine-tuning", "contrast", "kl"])  # fmt: skip
def test_what_the_rewriters_context_does_not_hold_is_left_out_and_counted(learner, settings):
    long = " ".join(WORDS * 40)
    too_long = [replace(PAIRS[0], prompt=long), replace(PAIRS[1], rejected=long, chosen=long + " a")]
    contrasts, kept = [("a b", ["a b c"], ["c"]), (long, ["b b"], ["a"])], [("a b", "b a"), (long, "a")]
    taught = learner("some", **settings).learn(Lesson([*PAIRS, *too_long], too_long, kept, contrasts))
    assert taught.more["left_out"] == 4
    plain = learner("none", **settings).learn(Lesson(PAIRS, (), kept[:1], contrasts[:1]))
    assert weights(taught.outcome) == weights(plain.outcome)
    with pytest.raises(InputError, match=r"all of 2 examples are longer than the context of .* tokens"):
        learner("all", **settings).learn(Lesson(too_long))


def test_a_lesson_without_pairs_is_none(learner):
    with pytest.raises(InputError, match="nothing to learn"):
        learner().learn(Lesson([]))


def test_a_lesson_is_known_by_all_that_it_teaches():
    lessons = [Lesson(PAIRS), Lesson(PAIRS[:5]), Lesson(PAIRS, PAIRS[:1]), Lesson(PAIRS, kept=[("a", "b")]),
               Lesson(PAIRS, contrasts=[("a", ["b"], ["c"])])]  # fmt: skip
    assert len({one.digest for one in lessons}) == len(lessons)
    assert Lesson(PAIRS).digest == Lesson(list(PAIRS)).digest
