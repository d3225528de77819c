"""The training loop on tiny random models: what is taught is learned, and a broken run ends as an unbroken one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from promptmill.errors import InputError
from promptmill.model.local import LocalBackend
from promptmill.train.batches import Item, Items, collate
from promptmill.train.checkpoint import checkpoints
from promptmill.train.distil import Distil, Loss, OnPolicy, Samples, WithRehearsal, sampling_rollout
from promptmill.train.head import head_of
from promptmill.train.loop import Outcome, Trainer, learning_rate
from promptmill.train.settings import TrainSettings
from promptmill.train.targets import (
    set_training,
    trained,
    unfreeze,
)
from promptmill.train.teacher import OnlineTeacher, capture
from tests.tiny import ask, question, reference, texts_of, tiny_model
from tests.training import KINDS, awake, base, hard, items, quick, student


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: tiny_model(tmp_path_factory.mktemp("models") / kind, kind) for kind in (*KINDS, "mistral")}


@pytest.mark.parametrize(
    ("kind", "taught"), [("llama", "online"), ("gpt2", "online"), ("llama", "topk"), ("gpt2", "hidden")]
)
def test_the_prompt_is_learned_and_its_first_token_too(
    folders: dict[str, Path], tmp_path: Path, kind: str, taught: Any
) -> None:
    model = student(folders[kind])
    teacher = OnlineTeacher(model)
    rows = items(16)
    if taught != "online":
        rows, _ = capture(teacher, rows, taught, k=64)
    settings = quick(gradient_checkpointing=taught == "hidden", epochs=24, validate_every=16)
    data = Items(rows)
    out = Trainer(model, Distil(teacher.head, teacher), data, tmp_path, settings, validation=data, base="b").fit()
    checks = [row for row in out.rows if "validation" in row]
    assert out.first is not None
    assert out.best is not None
    assert out.first > 0.5
    assert out.best < 0.4 * out.first
    assert checks[-1]["validation_first"] < 0.4 * checks[0]["validation_first"]
    assert checks[0] == {"step": 0, "epoch": 0, "validation": out.first, "validation_first": pytest.approx(3, abs=3)}
    # What was written is what the model holds now, in peft and under --adapter.
    from peft import PeftModel

    ids = torch.randint(5, 300, (2, 9))
    loaded = PeftModel.from_pretrained(reference(folders[kind]), str(out.folder))
    torch.testing.assert_close(loaded(ids).logits, model(ids).logits)
    assert json.loads((out.folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "b"
    plain, adapted = (
        LocalBackend(str(folders[kind]), device="cpu", adapters=given) for given in ([], [str(out.folder)])
    )
    request = question("is the sky blue ?", max_tokens=8)
    assert texts_of(ask(adapted, [request])) != texts_of(ask(plain, [request]))


def assert_same_run(one: Path, other: Path) -> None:
    assert (one / "adapter/adapter_config.json").read_bytes() == (other / "adapter/adapter_config.json").read_bytes()
    names = ["adapter/adapter_model.safetensors"]
    assert [path.name for path in checkpoints(one / "checkpoints")] == [
        path.name for path in checkpoints(other / "checkpoints")
    ]
    for path in checkpoints(one / "checkpoints"):
        names += [f"checkpoints/{path.name}/state.safetensors", f"checkpoints/{path.name}/state.json"]
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture(scope="module")
def unbroken(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome, float]:
    """The folder of a hard run, what came out, and its seconds."""
    folder, begun, rows = tmp_path_factory.mktemp("unbroken"), time.monotonic(), []
    out = hard(folders["llama"], folder, on_row=rows.append)
    assert rows == list(out.rows)
    return folder, out, time.monotonic() - begun


def test_a_run_stopped_after_every_few_steps_equals_an_unbroken_one_bit_for_bit(
    folders: dict[str, Path], unbroken: tuple[Path, Outcome, float], tmp_path: Path
) -> None:
    state = torch.get_rng_state()
    draw, ended = random.Random(2), ""
    while ended != "epochs":
        left = iter(range(draw.randint(1, 6)))
        told: list[Any] = []
        out = hard(
            folders["llama"], tmp_path / "broken", stop=lambda left=left: next(left, None) is None, on_row=told.append
        )
        ended = out.ended
        assert out.rows == tuple(told) == unbroken[1].rows[: len(told)]
    assert torch.equal(torch.get_rng_state(), state)
    assert out == replace(unbroken[1], folder=out.folder)
    assert_same_run(unbroken[0], tmp_path / "broken")
    assert len(checkpoints(tmp_path / "broken" / "checkpoints")) == 2
    assert list((tmp_path / "broken").rglob(".*")) == []


def test_a_run_killed_at_random_instants_equals_an_unbroken_one(
    folders: dict[str, Path], unbroken: tuple[Path, Outcome, float], tmp_path: Path, kills: int
) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.training import kill_at_random\n"
        "folder, out, seconds, kills = sys.argv[1:]\n"
        "kill_at_random(Path(folder), Path(out), float(seconds) / int(kills), int(kills))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(folders["llama"]), str(tmp_path / "killed"), str(unbroken[2]), str(kills)],
        cwd=Path(__file__).parents[1], check=True, timeout=120, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert_same_run(unbroken[0], tmp_path / "killed")


class Spoiled:
    """An objective whose loss is no number from some batch of some epoch on."""

    def __init__(self, objective: Any, epoch: int):
        self.objective, self.epoch = objective, epoch

    def loss(self, model: Any, batch: Any) -> Loss:
        loss: Loss = self.objective.loss(model, batch)
        return replace(loss, total=loss.total * float("nan")) if batch.epoch >= self.epoch else loss


def test_a_loss_that_is_no_number_ends_the_run_and_the_last_good_checkpoint_stays(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    def fit(epoch: int) -> Outcome:
        model = student(folders["llama"])
        objective = Spoiled(Samples(head_of(model)), epoch)
        return Trainer(model, objective, Items(items(6)), tmp_path, quick(epochs=4, checkpoint_seconds=0)).fit()

    for _ in range(2):  # the second time from the checkpoint
        with pytest.raises(InputError, match=r"the loss is nan at step 3 .*rate 0.01.*step-00000002 is kept") as caught:
            fit(2)
        assert "\n" not in str(caught.value)
    assert fit(99).steps == 4


@pytest.mark.parametrize(("held", "left"), [(0, "there was no checkpoint yet"), (2, "adapter/ holds no change")])
def test_a_step_that_ruins_the_weights_is_in_no_checkpoint(
    folders: dict[str, Path], tmp_path: Path, held: int, left: str
) -> None:
    """Its own loss and gradient are numbers still."""
    model = student(folders["llama"])
    validation = Items(items(held, 9)) if held else None
    trainer = Trainer(
        model, Samples(head_of(model)), Items(items(16)), tmp_path, quick(checkpoint_seconds=0), validation=validation
    )
    step = trainer.optimizer.step

    def ruinous() -> None:
        step()
        with torch.no_grad():
            next(iter(trained(model).values())).fill_(float("inf"))

    trainer.optimizer.step = ruinous  # type: ignore[method-assign,assignment]
    with pytest.raises(InputError, match=f"the weights are no numbers after step 1, .*lower rate; .*{left}$"):
        trainer.fit()
    assert checkpoints(tmp_path / "checkpoints") == []


def test_the_best_weights_are_kept_and_training_ends_early(folders: dict[str, Path], tmp_path: Path) -> None:
    """The validation answers are learned by nobody: the loss on them only rises once the others are overfitted."""
    model = student(folders["llama"])
    head = head_of(model)
    settings = quick(epochs=40, patience=2, rate=0.05)
    checked = Items(items(4, 77))

    def fit(**changes: Any) -> Outcome:
        again = student(folders["llama"])
        return Trainer(
            again, Samples(head), Items(items(8)), tmp_path, settings.model_copy(update=changes), validation=checked
        ).fit()

    model_out = Trainer(model, Samples(head), Items(items(8)), tmp_path, settings, validation=checked).fit()
    losses = {row["step"]: row["validation"] for row in model_out.rows if "validation" in row}
    assert model_out.ended == "patience"
    assert model_out.best == min(losses.values()) == losses[model_out.best_step]
    assert max(losses) == model_out.steps > model_out.best_step
    batch = collate(checked.items)
    loss = Samples(head).loss(model, batch)
    assert loss.total.item() / loss.count == pytest.approx(model_out.best, rel=1e-4)
    assert fit() == model_out  # over is over
    assert fit(patience=4).steps > model_out.steps  # with more patience it goes on


def test_a_run_may_be_given_more_epochs_but_nothing_else(folders: dict[str, Path], tmp_path: Path) -> None:
    def fit(out: str, rows: list[Item] | None = None, **changes: Any) -> Outcome:
        model = student(folders["gpt2"])
        settings = quick(epochs=2, schedule="constant").model_copy(update=changes)
        return Trainer(model, Samples(head_of(model)), Items(rows or items(6)), tmp_path / out, settings).fit()

    fit("short")
    longer = fit("short", epochs=5)
    assert longer == replace(fit("long", epochs=5), folder=longer.folder)
    weights = [(tmp_path / name / "adapter/adapter_model.safetensors").read_bytes() for name in ("short", "long")]
    assert weights[0] == weights[1]
    with pytest.raises(InputError, match=r"begun with settings.rate=0.01, now 0.5"):
        fit("short", rate=0.5)
    with pytest.raises(InputError, match=r"begun with items="):
        fit("short", rows=items(7))
    newest = checkpoints(tmp_path / "short" / "checkpoints")[-1]
    (newest / "state.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="a damaged checkpoint"):
        fit("short")


def test_a_sequence_longer_than_the_context_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    model = student(folders["gpt2"])
    with pytest.raises(InputError, match="a sequence has 259 tokens; the model's context holds 256"):
        Trainer(model, Samples(head_of(model)), Items([Item((5,) * 259, (6,))]), tmp_path, quick())


def test_rehearsal_keeps_other_prompts_as_they_were(folders: dict[str, Path], tmp_path: Path) -> None:
    other = items(12, 40, ())
    moved = {}
    for weight in (0.0, 3.0):
        model = student(folders["llama"])
        teacher = OnlineTeacher(model)
        objective = WithRehearsal(Distil(teacher.head, teacher), other, teacher, weight, rows=6)
        out = Trainer(model, objective, Items(items(12)), tmp_path / str(weight), quick(epochs=15)).fit()
        loss = Distil(teacher.head, teacher).loss(model, collate(other))
        moved[weight] = loss.total.item() / loss.count
        assert "rehearsal" in out.rows[-1]
    assert moved[3.0] < 0.5 * moved[0.0]


def test_every_weight_but_the_output_layer_can_be_trained(folders: dict[str, Path], tmp_path: Path) -> None:
    model = unfreeze(base(folders["gpt2"]))  # tied: the embedding is the output layer
    assert all("wte" not in name and "lm_head" not in name for name in trained(model))
    teacher = OnlineTeacher(model)
    data = Items(items(12))
    settings = quick(rate=0.003, epochs=10)
    out = Trainer(model, Distil(teacher.head, teacher), data, tmp_path, settings, validation=data).fit()
    assert out.first is not None
    assert out.best is not None
    assert out.best < 0.6 * out.first
    ids = torch.randint(5, 300, (2, 9))
    torch.testing.assert_close(reference(out.folder)(ids).logits, model(ids).logits)


def test_accumulated_batches_are_one_large_batch(folders: dict[str, Path], tmp_path: Path) -> None:
    weights = []
    for name, changes in (("one", {"batch_items": 12}), ("four", {"batch_items": 3, "accumulate": 4})):
        model = student(folders["llama"])
        settings = quick(epochs=1, warmup_steps=0, **changes)
        rows = [replace(item, weight=1.0 + place % 3) for place, item in enumerate(items(12))]
        Trainer(model, Samples(head_of(model)), Items(rows), tmp_path / name, settings).fit()
        weights.append([weight.detach() for weight in trained(model).values()])
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-3)


def test_answers_of_the_students_own_are_drawn_anew_and_end_where_it_ends_them(folders: dict[str, Path]) -> None:
    model = awake(student(folders["llama"], dropout=0.2))
    teacher, rows = OnlineTeacher(model), items(6)
    ends = tuple(range(5, 120))
    rollout = sampling_rollout(7, ends)
    set_training(model)
    answers = rollout(model, rows, 4)
    assert answers == rollout(model, rows, 4) != rollout(model, rows, 5)
    assert all(1 <= len(answer) <= 7 for answer in answers)
    assert all(token not in ends for answer in answers for token in answer[:-1])
    assert any(answer[-1] in ends and len(answer) < 7 for answer in answers)
    model.eval()
    asked: list[int] = []

    def fixed(_: Any, given: Sequence[Item], seed: int) -> list[tuple[int, ...]]:
        asked.append(seed)
        return [(), *answers[1 : len(given)]]

    plain = Distil(teacher.head, teacher, "reverse")
    fresh = [replace(item, answer=answer) for item, answer in zip(rows[1:], answers[1:], strict=True)]
    made = OnPolicy(plain, teacher, fixed).loss(model, collate(rows))
    torch.testing.assert_close(made.total, plain.loss(model, collate(fresh)).total)
    never = OnPolicy(plain, teacher, fixed, share=0.0).loss(model, collate(rows))
    torch.testing.assert_close(never.total, plain.loss(model, collate(rows)).total)
    assert len(asked) == 1


def test_the_rate_warms_up_and_falls() -> None:
    settings = TrainSettings(rate=1.0, warmup_steps=3, last_rate=0.1)
    rates = [learning_rate(settings, step, 20) for step in range(20)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == pytest.approx(0.1)
    assert learning_rate(settings.model_copy(update={"schedule": "constant"}), 19, 20) == 1.0


def test_bfloat16_activations_train_too(folders: dict[str, Path], tmp_path: Path) -> None:
    model = student(folders["llama"])
    teacher = OnlineTeacher(model)
    rows, _ = capture(teacher, items(8), "topk", k=32)
    settings = quick(precision="bfloat16", epochs=20)
    out = Trainer(model, Distil(teacher.head), Items(rows), tmp_path, settings, validation=Items(rows)).fit()
    assert out.first is not None
    assert out.best is not None
    assert out.best < 0.5 * out.first
