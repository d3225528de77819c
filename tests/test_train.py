"""What is trained, batches and teachers, on tiny random models."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor

from promptmill.errors import InputError, ModelError
from promptmill.model.local.load import load_model
from promptmill.train.batches import Item, Items, Seen, StoredHidden, StoredTopK, collate, plan_epoch
from promptmill.train.distil import Distil
from promptmill.train.head import head_of, hidden_states
from promptmill.train.settings import LoraSettings
from promptmill.train.targets import (
    at_strength,
    attach_adapter,
    find_targets,
    has_adapter,
    recompute_activations,
    save_trained,
    set_training,
    trained,
    unfreeze,
)
from promptmill.train.teacher import OnlineTeacher, capture, common_prefix
from tests.tiny import reference, tiny_config, tiny_model
from tests.training import KINDS, PROMPT, awake, base, items, student


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: tiny_model(tmp_path_factory.mktemp("models") / kind, kind) for kind in (*KINDS, "mistral")}


# What is trained


@pytest.mark.parametrize(
    ("kind", "attention", "mlp"),
    [
        ("llama", "k_proj o_proj q_proj v_proj", "down_proj gate_proj up_proj"),
        ("gpt2", "attn.c_proj c_attn", "c_fc"),
        ("phi", "dense k_proj q_proj v_proj", "fc1 fc2"),
        ("bloom", "dense query_key_value", "dense_4h_to_h dense_h_to_4h"),
    ],
)
def test_targets_are_found_by_what_the_layers_are(kind: str, attention: str, mlp: str) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(tiny_config(kind, 60))
    found = find_targets(model)
    assert found == attention.split()
    every = set(find_targets(model, "all"))
    assert every >= set(mlp.split())
    ends = tuple(f".{name}" for name in found)
    hit = [name for name, module in model.named_modules() if name.endswith(ends) and "mlp" in name]
    assert hit == []  # GPT-2's two c_proj are told apart


def test_a_fresh_adapter_changes_nothing_and_is_drawn_from_its_seed(folders: dict[str, Path]) -> None:
    plain, ids = base(folders["gpt2"]), torch.randint(5, 300, (2, 9))
    before = plain(ids).logits
    state = torch.get_rng_state()
    one, same = student(folders["gpt2"]), student(folders["gpt2"])
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(one(ids).logits, before)
    assert all(torch.equal(a, b) for a, b in zip(trained(one).values(), trained(same).values(), strict=True))
    assert all("lora" in name for name in trained(one))


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_an_adapter_is_used_and_written_at_any_strength(
    folders: dict[str, Path], tmp_path: Path, strength: float
) -> None:
    from peft import PeftModel

    model, ids = awake(student(folders["llama"])), torch.randint(5, 300, (2, 9))
    full, plain = model(ids).logits, base(folders["llama"])(ids).logits
    with at_strength(model, strength):
        part = model(ids).logits
    torch.testing.assert_close(model(ids).logits, full)
    assert torch.equal(part, full) == (strength == 1)
    assert torch.allclose(part, plain, atol=1e-4) == (strength == 0)
    save_trained(model, tmp_path, strength=strength)
    torch.testing.assert_close(PeftModel.from_pretrained(reference(folders["llama"]), str(tmp_path))(ids).logits, part)


def test_a_model_with_an_adapter_merged_into_it_is_taught_as_any_other(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    save_trained(awake(student(folders["llama"])), tmp_path)
    merged = load_model(folders["llama"], [tmp_path], "float32", "cpu", False)
    assert not has_adapter(unfreeze(merged))
    ids = torch.randint(5, 300, (2, 9))
    before = merged(ids).logits
    again = attach_adapter(merged, LoraSettings(rank=2), 0)
    assert has_adapter(again)
    torch.testing.assert_close(again(ids).logits, before)
    assert all("lora" in name for name in trained(again))


def test_what_cannot_be_adapted_is_told_in_one_line(folders: dict[str, Path]) -> None:
    model = base(folders["llama"])
    with pytest.raises(InputError, match=r"'wqkv' is no linear layer of this model \(it has .*q_proj"):
        find_targets(model, ["q_proj", "wqkv"])
    with pytest.raises(ModelError, match="has an adapter beside its weights already"):
        attach_adapter(student(folders["llama"]).get_base_model(), LoraSettings(), 0)
    with pytest.raises(InputError, match="float32"):
        unfreeze(model.to(torch.bfloat16))


# Batches


@examples(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=60), tokens=st.integers(70, 300), most=st.integers(1, 9),
    seed=st.integers(0, 5),
)  # fmt: skip
def test_an_epoch_has_every_item_once_within_the_budget(lengths: list[int], tokens: int, most: int, seed: int) -> None:
    plans = [plan_epoch(lengths, tokens=tokens, items=most, seed=seed, epoch=epoch) for epoch in range(3)]
    for plan in plans:
        assert sorted(index for batch in plan for index in batch) == list(range(len(lengths)))
        assert all(len(batch) <= most for batch in plan)
        assert all(max(lengths[index] for index in batch) * len(batch) <= tokens for batch in plan)
    assert len({len(plan) for plan in plans}) == 1
    assert plans[2] == plan_epoch(lengths, tokens=tokens, items=most, seed=seed, epoch=2)


def test_epochs_differ_and_a_sequence_longer_than_a_batch_is_named() -> None:
    plans = [plan_epoch([5] * 40, tokens=64, items=4, seed=0, epoch=epoch) for epoch in range(2)]
    assert plans[0] != plans[1]
    with pytest.raises(InputError, match=r"a sequence has 65 tokens.*batch_tokens to 65"):
        plan_epoch([5, 65], tokens=64, items=4, seed=0, epoch=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", ["left", "right"])
def test_padding_changes_nothing_and_the_first_answer_token_is_predicted_by_the_end_of_the_context(
    folders: dict[str, Path], kind: str, padding: Any
) -> None:
    model, rows = base(folders[kind]), items(5)
    batch = collate(rows, padding=padding)
    hidden = batch.predicting(hidden_states(model, **batch.inputs()))
    made = head_of(model).logits(hidden).log_softmax(-1).gather(-1, batch.targets_N[:, None])[:, 0]
    wanted, first = [], []
    for item in rows:
        logs = model(torch.tensor([item.context + item.answer])).logits[0].log_softmax(-1)
        begin = len(item.context)
        wanted += [logs[begin + place - 1, token] for place, token in enumerate(item.answer)]
        first += [place == 0 for place in range(len(item.answer))]
    torch.testing.assert_close(made, torch.stack(wanted), atol=1e-4, rtol=1e-4)
    assert batch.first_N.tolist() == first


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (Item((), (5,)), "item 0 has no context"),
        (Item((5,), ()), "item 0 has no answer"),
        (Item((5,), (6, 7), teacher=StoredHidden(torch.zeros(1, 48))), "item 0: its stored teacher .* 2 tokens"),
        (Item((5,), (6, 7), teacher=Seen((5,), ())), "item 0: its teacher sees no context"),
        (Item((5,), (6,), weight=0.0), "item 0 has weight 0.0"),
    ],
)
def test_items_that_cannot_be_learned_from_are_named(item: Item, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Items([item])


# Teachers


def plain_teaching(model: Any, rows: Sequence[Item]) -> Tensor:
    """What the model itself says behind the prompt, one item at a time, log-probs (N, V)."""
    found = []
    for item in rows:
        assert isinstance(item.teacher, Seen)
        context = item.teacher.prefix + item.teacher.context
        logits = model(torch.tensor([context + item.answer])).logits[0]
        found.append(logits[len(context) - 1 : -1].log_softmax(-1))
    return torch.cat(found)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral"])  # mistral looks back 24 tokens only
def test_the_online_teacher_is_the_model_without_its_adapter_behind_the_prompt(
    folders: dict[str, Path], kind: str
) -> None:
    plain, model = base(folders[kind]), awake(student(folders[kind]))
    recompute_activations(model)  # such layers drop their cache while they train
    set_training(model)
    rows = [*items(3), *items(2, 1, PROMPT[:7]), *items(1, 2, ())]
    random.Random(0).shuffle(rows)
    teacher = OnlineTeacher(model)
    for _ in range(2):  # the second time from the kept prefix
        made = teacher.head.logits(teacher.hidden(collate(rows))).log_softmax(-1)
        torch.testing.assert_close(made, plain_teaching(plain, rows), atol=2e-3, rtol=1e-3)


def test_a_prompt_longer_than_the_context_is_named_and_nothing_is_cut(folders: dict[str, Path]) -> None:
    teacher = OnlineTeacher(student(folders["llama"]))
    with pytest.raises(InputError, match="have 257 tokens together; the model's context holds 256"):
        teacher.hidden(collate([Item((5,), (6,), teacher=Seen((7,) * 255, (5,)))]))
    with pytest.raises(InputError, match="says nothing of what its teacher sees"):
        teacher.hidden(collate([Item((5,), (6,))]))


def test_the_common_prefix_leaves_a_token_of_each() -> None:
    assert common_prefix([(1, 2, 3), (1, 2, 4, 5)]) == (1, 2)
    assert common_prefix([(1, 2, 3), (1, 2, 3, 4)]) == (1, 2)
    assert common_prefix([(1, 2, 3)]) == (1, 2)
    assert common_prefix([(1,), (2, 3)]) == common_prefix([]) == ()


def test_a_captured_teacher_teaches_as_the_online_one_does(folders: dict[str, Path]) -> None:
    model, rows = awake(student(folders["llama"])), items(7)
    teacher = OnlineTeacher(model)
    objective = Distil(teacher.head, teacher)
    online = objective.loss(model, collate(rows))
    exact, share = capture(teacher, rows, "hidden", rows=3)
    assert share == 1.0
    torch.testing.assert_close(objective.loss(model, collate(exact)).total, online.total)
    stored, share = capture(teacher, rows, "topk", k=200, rows=3)
    assert 0.9 < share < 1
    found = objective.loss(model, collate(stored)).total.item()
    assert found == pytest.approx(online.total.item(), rel=0.05)
    assert found < online.total.item()  # a divergence of coarser distributions is never more
    with pytest.raises(InputError, match="no stored teacher of one kind"):
        Distil(teacher.head).loss(model, collate([stored[0], exact[1]]))


def test_the_settings_need_no_torch() -> None:
    code = "import sys, promptmill.train.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_stored_tokens_take_under_a_kilobyte() -> None:
    one = StoredTopK(torch.zeros(1, 128, dtype=torch.int32), torch.zeros(1, 129, dtype=torch.float16))
    assert sum(t.numel() * t.element_size() for t in (one.ids_TK, one.logprobs_TW)) < 800
