"""Training by preference on tiny random models: against TRL, against plain autograd, and through the loop."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from promptmill.errors import InputError
from promptmill.train.batches import collate, plan_epoch
from promptmill.train.contrast import Contrast, WithContrast
from promptmill.train.distil import Distil, WithRehearsal
from promptmill.train.head import head_of
from promptmill.train.loop import Outcome, Trainer
from promptmill.train.preference import Pair, Pairs, Preference, side_by_side, with_reference
from promptmill.train.settings import TrainSettings
from promptmill.train.targets import trained, unfreeze
from promptmill.train.teacher import OnlineTeacher
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training import awake, base, items, quick, student


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "llama")


def pairs(count: int, seed: int = 0) -> list[Pair]:
    """Random contexts with two random answers of unequal lengths, all ended by the end token."""
    draw = random.Random(seed)

    def words(most: int) -> tuple[int, ...]:
        return tuple(draw.choices(range(5, 300), k=draw.randint(1, most)))

    return [Pair((2, *words(6)), (*words(9), 1), (*words(9), 1)) for _ in range(count)]


def logprob(model: Any, context: Sequence[int], answer: Sequence[int]) -> Tensor:
    """By one plain forward pass, without padding."""
    logs = model(torch.tensor([[*context, *answer]])).logits[0, len(context) - 1 : -1].log_softmax(-1)
    return logs.gather(-1, torch.tensor(answer)[:, None]).sum()


def gradients(model: Any, total: Tensor) -> dict[str, Tensor]:
    weights = trained(model)
    return dict(zip(weights, torch.autograd.grad(total, list(weights.values())), strict=True))


# The objective


@pytest.mark.parametrize("sft", [0.0, 0.7])
def test_loss_gradient_and_rewards_are_those_of_trl(folder: Path, tmp_path: Path, sft: float) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    batch = pairs(5)
    rows = [
        {"prompt_ids": list(p.context), "chosen_ids": list(p.chosen), "rejected_ids": list(p.rejected)} for p in batch
    ]
    kinds, weights = (["sigmoid", "sft"], [1.0, sft]) if sft else (["sigmoid"], [1.0])
    settings = DPOConfig(
        str(tmp_path), beta=0.3, loss_type=kinds, loss_weights=weights, use_cpu=True, bf16=False, max_length=None,
        gradient_checkpointing=False, report_to="none", disable_dropout=True,
    )  # fmt: skip
    words = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])  # it must have some; ids come below
    theirs = DPOTrainer(
        awake(student(folder)), base(folder), settings, train_dataset=words, processing_class=tiny_tokenizer()
    )
    theirs.model.train()
    wanted = theirs.compute_loss(theirs.model, theirs.data_collator(rows))
    wanted.backward()

    model = awake(student(folder))
    head = head_of(model)
    known = with_reference(model, batch, head=head)
    loss = Preference(head, beta=0.3, sft=sft).loss(model, side_by_side(known))
    assert loss.count == 5
    torch.testing.assert_close(loss.total / loss.count, wanted.detach(), atol=1e-5, rtol=1e-5)
    found = gradients(model, loss.total / loss.count)
    for name, weight in trained(theirs.model).items():
        torch.testing.assert_close(found[name], weight.grad, atol=1e-5, rtol=1e-4)
    told = {name: total / count for name, (total, count) in loss.parts.items()}
    names = {"accuracy": "accuracies", "margin": "margins", "chosen_reward": "chosen", "rejected_reward": "rejected"}
    for ours, other in names.items():
        assert told[ours] == pytest.approx(theirs._metrics["train"][f"rewards/{other}"][0], abs=1e-4)


def plain(model: Any, known: Sequence[Pair], beta: float, smoothing: float, sft: float) -> Tensor:
    """The formula, a pair at a time over whole logits."""
    total, nll, tokens = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64), 0.0
    for pair in known:
        assert pair.reference is not None
        chosen, rejected = (logprob(model, pair.context, answer) for answer in (pair.chosen, pair.rejected))
        margin = beta * ((chosen - pair.reference[0]) - (rejected - pair.reference[1]))
        share = torch.sigmoid(margin)
        total = total - pair.weight * ((1 - smoothing) * share.log() + smoothing * (1 - share).log())
        nll, tokens = nll - pair.weight * chosen, tokens + pair.weight * len(pair.chosen)
    return total + sft * sum(pair.weight for pair in known) * nll / tokens


@pytest.mark.parametrize(("smoothing", "sft"), [(0.0, 0.0), (0.2, 0.0), (0.1, 0.5)])
def test_loss_and_gradient_are_those_of_the_formula(folder: Path, smoothing: float, sft: float) -> None:
    model = awake(student(folder).double())
    head = head_of(model)
    weighted = [replace(pair, weight=1.0 + number % 3) for number, pair in enumerate(pairs(4))]
    known = with_reference(model, weighted, head=head)
    objective = Preference(head, 0.2, smoothing, sft)
    loss = objective.loss(model, side_by_side(known))
    wanted = plain(model, known, 0.2, smoothing, sft)
    assert loss.count == sum(pair.weight for pair in known)
    torch.testing.assert_close(loss.total, wanted, atol=1e-5, rtol=1e-5)  # the references are kept in float32
    found, by_plain = gradients(model, loss.total), gradients(model, wanted)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, by_plain[name], atol=1e-5, rtol=1e-4)

    # And by finite differences, along the gradient (the model's norms are in float32).
    norm = sum((gradient**2).sum() for gradient in found.values()).sqrt()
    values = []
    for step in (1e-4, -2e-4):  # there, and then back to the other side
        with torch.no_grad():
            for name, weight in trained(model).items():
                weight += step * found[name] / norm
            values.append(objective.loss(model, side_by_side(known)).total.item())
    assert (values[0] - values[1]) / 2e-4 == pytest.approx(norm.item(), rel=1e-3)


def test_the_reference_is_the_model_without_its_adapter_in_any_batching(folder: Path) -> None:
    plain_model, rows = base(folder), pairs(9)
    small = TrainSettings(batch_items=4, batch_tokens=64)
    for model in (awake(student(folder)), unfreeze(base(folder))):
        known = with_reference(model, rows, small)
        assert [replace(pair, reference=None) for pair in known] == rows
        for pair in known:
            direct = [logprob(plain_model, pair.context, answer).item() for answer in (pair.chosen, pair.rejected)]
            assert pair.reference == pytest.approx(direct, abs=1e-3)
    assert all(weight.grad is None for weight in model.parameters())


def test_before_training_nothing_is_preferred(folder: Path) -> None:
    model = student(folder)
    head = head_of(model)
    loss = Preference(head).loss(model, side_by_side(with_reference(model, pairs(6), head=head)))
    assert loss.total.item() / loss.count == pytest.approx(0.693147, abs=1e-4)
    assert loss.parts["margin"][0] == pytest.approx(0, abs=1e-3)


def test_far_margins_stay_finite(folder: Path) -> None:
    model = awake(student(folder))
    head = head_of(model)
    for reference in ((-1e4, 0.0), (0.0, -1e4)):
        far = [replace(pair, reference=reference) for pair in pairs(2)]
        loss = Preference(head, beta=1.0, smoothing=0.1).loss(model, side_by_side(far))
        assert all(gradient.isfinite().all() for gradient in gradients(model, loss.total).values())


# Through the loop


def fit(folder: Path, out: Path, settings: TrainSettings, sft: float = 0.0, **more: Any) -> Outcome:
    model = student(folder)
    head = head_of(model)
    data = Pairs(with_reference(model, pairs(12), settings, head=head))
    return Trainer(model, Preference(head, 0.5, sft=sft), data, out, settings, validation=data, **more).fit()


def test_what_is_preferred_is_learned(folder: Path, tmp_path: Path) -> None:
    out = fit(folder, tmp_path, quick(epochs=6))
    checks = [row for row in out.rows if "validation" in row]
    assert out.first == pytest.approx(0.693147, abs=1e-4)
    assert out.best is not None
    assert out.best < 0.3
    assert checks[-1]["validation_accuracy"] == 1.0
    margins = [row["validation_margin"] for row in checks]
    assert margins[0] == pytest.approx(0, abs=1e-3)
    assert 0 < margins[1] < margins[2] < margins[-1]
    assert "accuracy" in out.rows[1]
    assert out.steps == 6 * 3  # eight sequences are four pairs


def test_bfloat16_activations_begin_with_no_preference_and_learn_one(folder: Path, tmp_path: Path) -> None:
    out = fit(folder, tmp_path, quick(epochs=4, precision="bfloat16"))
    assert out.first == pytest.approx(0.693147, abs=0.02)
    assert out.best is not None
    assert out.best < 0.4


def test_with_sft_the_chosen_answers_become_likelier(folder: Path, tmp_path: Path) -> None:
    rewards, nll = {}, {}
    for sft in (0.0, 2.0):
        last = fit(folder, tmp_path / str(sft), quick(epochs=4), sft).rows[-1]
        rewards[sft], nll[sft] = last["validation_chosen_reward"], last["validation_nll"]
    assert rewards[2.0] > max(rewards[0.0], 0)
    assert nll[2.0] < nll[0.0]


def everything(folder: Path, out: Path, **more: Any) -> Outcome:
    """A round as a rewriter trains it: preference, contrast and rehearsal, with all that is drawn at random."""
    model = student(folder, dropout=0.1)
    teacher = OnlineTeacher(model)
    settings = quick(epochs=4, accumulate=2, batch_items=6, validate_every=3, checkpoint_seconds=0.0)
    known = with_reference(model, pairs(17), settings, head=teacher.head)
    plain_one = Preference(teacher.head, sft=0.3)
    contrasts = [Contrast(pair.context, (pair.chosen,), (pair.rejected,)) for pair in known]
    compared = WithContrast(plain_one, contrasts, rows=3, in_batch=True)
    objective = WithRehearsal(compared, items(6, 5, ()), teacher, 0.5, rows=2)
    data, checked = Pairs(known[:13]), Pairs(known[13:])
    return Trainer(model, objective, data, out, settings, validation=checked, checked=plain_one, **more).fit()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_stopped_after_every_few_steps_equals_an_unbroken_one_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    whole = everything(folder, tmp_path / "whole")
    assert {"preference", "accuracy", "contrast", "rehearsal"} <= set(whole.rows[1])
    draw, ended, sessions = random.Random(2), "", 0
    while ended != "epochs":
        left = iter(range(draw.randint(1, 4)))
        out = everything(folder, tmp_path / "broken", stop=lambda left=left: next(left, None) is None)
        ended, sessions = out.ended, sessions + 1
    assert sessions > 3
    assert out == replace(whole, folder=out.folder)
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_rehearsal_adds_the_divergence_from_the_model_as_it_was(folder: Path) -> None:
    model = awake(student(folder))
    teacher, other = OnlineTeacher(model), items(3, 40, ())
    batch = side_by_side(with_reference(model, pairs(4), head=teacher.head), epoch=2, number=1)
    main = Preference(teacher.head)
    rehearsed = WithRehearsal(main, other, teacher, 0.5, rows=3).loss(model, batch)
    kept = Distil(teacher.head, teacher).loss(model, collate(other))
    wanted = main.loss(model, batch).total + 0.5 * 4 * kept.total / kept.count
    torch.testing.assert_close(rehearsed.total, wanted)
    assert rehearsed.count == 4
    assert rehearsed.parts["rehearsal"][0] > 0


def test_a_batch_holds_both_answers_and_counts_them_within_its_budget() -> None:
    rows = pairs(3)
    data = Pairs(rows)
    batch = data.batch([2, 0], epoch=3, number=4)
    assert (batch.pairs, batch.epoch, batch.number) == ((rows[2], rows[0]), 3, 4)
    answers = (rows[2].chosen, rows[0].chosen, rows[2].rejected, rows[0].rejected)
    assert tuple(item.answer for item in batch.items) == answers
    assert batch.ids_B_S.shape == (4, max(data.lengths[2], data.lengths[0]))
    shared: dict[str, Any] = {"seed": 0, "epoch": 0, "sequences": 2}
    assert all(len(one) <= 3 for one in plan_epoch([5] * 20, tokens=100, items=7, **shared))
    assert all(len(one) == 1 for one in plan_epoch([5] * 20, tokens=40, items=1, **shared))
    with pytest.raises(InputError, match=r"2 sequences that belong together have 42 tokens.*batch_tokens to 42"):
        plan_epoch([5, 21], tokens=41, items=9, **shared)


# What cannot be trained on


def test_a_pair_that_is_too_long_is_named_in_one_line(folder: Path, tmp_path: Path) -> None:
    model, rows = student(folder), pairs(3)
    rows[1] = replace(rows[1], context=(5,) * 250, chosen=(6,) * 5, rejected=(7,) * 9)
    with pytest.raises(InputError, match=r"pair 1: .*258 tokens; the model's context holds 256") as caught:
        with_reference(model, rows)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="a sequence has 258 tokens; the model's context holds 256"):
        Trainer(model, Preference(head_of(model)), Pairs(rows), tmp_path, quick())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"context": ()}, "pair 1 has no context"), ({"chosen": ()}, "pair 1 has no chosen"),
        ({"rejected": ()}, "pair 1 has no rejected"), ({"weight": 0.0}, "pair 1 has weight 0.0"),
        ({"chosen": (5, 1), "rejected": (5, 1)}, "pair 1: the chosen answer is the rejected one"),
        ({"reference": (float("nan"), -1.0)}, "pair 1 has a reference of"),
    ],
)  # fmt: skip
def test_pairs_that_cannot_be_learned_from_are_named(changes: dict[str, Any], words: str) -> None:
    first, second = pairs(2)
    with pytest.raises(InputError, match=words):
        Pairs([first, replace(second, **changes)])
    with pytest.raises(InputError, match="no pairs"):
        Pairs([])


def test_other_pairs_and_other_weights_are_another_digest() -> None:
    rows = pairs(2)
    known = [replace(pair, reference=(-1.0, -2.0)) for pair in rows]
    turned = [replace(rows[0], chosen=rows[0].rejected, rejected=rows[0].chosen), rows[1]]
    heavier = [replace(rows[0], weight=2.0), rows[1]]
    assert Pairs(known).digest() == Pairs(rows).digest()
    assert len({Pairs(some).digest() for some in (rows, turned, heavier, rows[:1])}) == 4


def test_settings_and_references_that_make_no_sense_are_told(folder: Path) -> None:
    model = student(folder)
    head = head_of(model)
    for changes in ({"beta": 0.0}, {"smoothing": 0.5}, {"sft": -1.0}):
        with pytest.raises(InputError, match=next(iter(changes))):
            Preference(head, **changes)
    known = with_reference(model, pairs(2), head=head)
    with pytest.raises(InputError, match="see with_reference"):
        Preference(head).loss(model, side_by_side([known[0], *pairs(1)]))
