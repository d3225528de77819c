"""The losses of training against plain autograd over whole logits, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from promptmill.errors import ModelError
from promptmill.train.head import Head, head_of, hidden_states
from promptmill.train.losses import FromHidden, FromSamples, FromTopK, Target, token_losses, top_k
from tests.tiny import tiny_config

DIVERGENCES = ("forward", "reverse", "jsd")
sizes = {"tokens": st.integers(1, 7), "words": st.integers(2, 9), "width": st.integers(1, 5)}


def random_head(words: int, width: int, seed: int, **changes: Any) -> tuple[Head, torch.Generator]:
    source = torch.Generator().manual_seed(seed)
    weight = torch.randn(words, width, generator=source, dtype=torch.float64)
    return Head(weight, torch.randn(words, generator=source, dtype=torch.float64), **changes), source


def drawn(source: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=source, dtype=torch.float64)


def plain_logits(head: Head, hidden: Tensor) -> Tensor:
    assert head.bias_V is not None
    logits = head.scale * (hidden @ head.weight_VD.T + head.bias_V)
    return logits if head.softcap is None else head.softcap * torch.tanh(logits / head.softcap)


def plain_divergence(kind: str, student: Tensor, teacher: Tensor, beta: float) -> Tensor:
    """Of log-probs; by torch's own kl_div, whose first argument is the one that is approximated."""

    def kl(p: Tensor, q: Tensor) -> Tensor:
        return F.kl_div(q, p, reduction="none", log_target=True).sum(-1)

    if kind == "forward":
        return kl(teacher, student)
    if kind == "reverse":
        return kl(student, teacher)
    middle = (beta * teacher.exp() + (1 - beta) * student.exp()).log()
    return beta * kl(teacher, middle) + (1 - beta) * kl(student, middle)


def assert_same(hidden: Tensor, head: Head, target: Target, plain: Tensor, weights: Tensor, chunk: int | None) -> None:
    """`plain`: the tokens' losses by autograd, made from `hidden`."""
    (wanted,) = torch.autograd.grad(3 * (plain * weights).sum(), hidden)
    total, each = token_losses(hidden, head, target, weights_N=weights, chunk=chunk)
    (gradient,) = torch.autograd.grad(3 * total, hidden)
    torch.testing.assert_close(each, plain.detach())
    torch.testing.assert_close(total, (plain * weights).sum().detach())
    torch.testing.assert_close(gradient, wanted)


@settings(max_examples=60, deadline=None)
@given(
    **sizes, kind=st.sampled_from(DIVERGENCES), seed=st.integers(0, 999), chunk=st.sampled_from([None, 1, 2, 3]),
    scale=st.sampled_from([1.0, 0.3]), softcap=st.sampled_from([None, 2.0]), beta=st.floats(0.05, 0.95),
)  # fmt: skip
def test_divergences_and_their_gradients_are_those_of_autograd(
    tokens: int, words: int, width: int, kind: Any, seed: int, chunk: int | None, scale: float, softcap: float | None,
    beta: float,
) -> None:  # fmt: skip
    head, source = random_head(words, width, seed, scale=scale, softcap=softcap)
    hidden, taught = drawn(source, tokens, width).requires_grad_(), drawn(source, tokens, width)
    student, teacher = (plain_logits(head, x).log_softmax(-1) for x in (hidden, taught))
    plain = plain_divergence(kind, student, teacher, beta)
    weights = drawn(source, tokens).abs()
    assert_same(hidden, head, FromHidden(taught, head, kind, beta), plain, weights, chunk)


@settings(max_examples=60, deadline=None)
@given(
    **sizes, kind=st.sampled_from(DIVERGENCES), seed=st.integers(0, 999), chunk=st.sampled_from([None, 1, 2]),
    kept=st.integers(1, 9), told=st.booleans(),
)  # fmt: skip
def test_the_stored_top_k_and_tail_are_one_distribution_of_k_plus_one_outcomes(
    tokens: int, words: int, width: int, kind: Any, seed: int, chunk: int | None, kept: int, told: bool
) -> None:
    head, source = random_head(words, width, seed)
    hidden = drawn(source, tokens, width).requires_grad_()
    teacher = plain_logits(head, drawn(source, tokens, width)).log_softmax(-1)
    kept = min(kept, words)
    best = teacher.topk(kept, dim=-1)

    def coarse(logs: Tensor) -> Tensor:
        inside = logs.gather(-1, best.indices)
        outside = logs.exp().scatter(-1, best.indices, 0.0).sum(-1, keepdim=True)
        return inside if kept == words else torch.cat([inside, outside.log()], dim=-1)

    if kept < words and coarse(teacher)[:, -1].min() < -12:
        return  # a tail this small is held at its least
    plain = plain_divergence(kind, coarse(plain_logits(head, hidden).log_softmax(-1)), coarse(teacher), 0.5)
    target = FromTopK(best.indices, coarse(teacher) if told else best.values, kind)
    assert_same(hidden, head, target, plain, drawn(source, tokens).abs(), chunk)


def test_the_gradient_of_the_top_k_is_the_one_of_the_formula() -> None:
    """p_s − p_t on the stored tokens, p_s (1 − t_tail / s_tail) on the others."""
    head, source = random_head(9, 9, 4)
    head = Head(torch.eye(9, dtype=torch.float64))  # hidden states are the logits
    hidden, teacher = drawn(source, 5, 9).requires_grad_(), drawn(source, 5, 9).log_softmax(-1)
    best = teacher.topk(3, dim=-1)
    (gradient,) = torch.autograd.grad(token_losses(hidden, head, FromTopK(best.indices, best.values)).total, hidden)
    student = hidden.detach().softmax(-1)
    teacher_tail, student_tail = (
        1 - p.gather(-1, best.indices).sum(-1, keepdim=True) for p in (teacher.exp(), student)
    )
    wanted = student * (1 - teacher_tail / student_tail)
    wanted.scatter_(-1, best.indices, student.gather(-1, best.indices) - best.values.exp())
    torch.testing.assert_close(gradient, wanted)


@settings(max_examples=30, deadline=None)
@given(**sizes, seed=st.integers(0, 999), chunk=st.sampled_from([None, 1, 2]))
def test_samples_give_the_cross_entropy(tokens: int, words: int, width: int, seed: int, chunk: int | None) -> None:
    head, source = random_head(words, width, seed)
    hidden = drawn(source, tokens, width).requires_grad_()
    ids = torch.randint(words, (tokens,), generator=source)
    plain = F.cross_entropy(plain_logits(head, hidden), ids, reduction="none")
    assert_same(hidden, head, FromSamples(ids), plain, drawn(source, tokens).abs(), chunk)


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_what_is_equal_diverges_by_nothing_and_what_is_far_apart_stays_finite(kind: Any) -> None:
    head = Head(torch.randn(30, 8))
    hidden = (torch.randn(4, 8) * 100).requires_grad_()
    same = token_losses(hidden, head, FromHidden(hidden.detach(), head, kind)).each_N
    assert same.abs().max() < 1e-5
    far = FromHidden(-hidden.detach(), head, kind)
    stored = FromTopK(*top_k(-hidden.detach(), head, 4), kind)
    for target in (far, stored):
        total, each = token_losses(hidden, head, target)
        (gradient,) = torch.autograd.grad(total, hidden)
        assert bool(each.isfinite().all() & gradient.isfinite().all())
        assert each.min() > 0


def test_stored_log_probs_in_half_precision_cost_little_and_never_give_a_loss_below_zero() -> None:
    source = torch.Generator().manual_seed(1)
    head, hidden = Head(torch.randn(50, 8, generator=source) * 2), torch.randn(64, 8, generator=source)
    ids, logprobs = top_k(hidden, head, 40)
    assert (ids.dtype, ids.shape, logprobs.dtype, logprobs.shape) == (torch.int32, (64, 40), torch.float16, (64, 41))
    each = token_losses(hidden, head, FromTopK(ids, logprobs)).each_N
    assert -1e-5 < each.min() <= each.max() < 1e-4


def test_without_gradients_no_gradient_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    head, hidden = Head(torch.randn(12, 4)), torch.randn(5, 4, requires_grad=True)
    monkeypatch.setattr(Head, "pull_back", lambda *_: pytest.fail("a gradient was computed"))
    with torch.no_grad():
        total, _ = token_losses(hidden, head, FromSamples(torch.zeros(5, dtype=torch.long)))
    assert not total.requires_grad


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {}), ("llama", {"tie_word_embeddings": True}), ("gpt2", {}), ("phi", {}), ("qwen3", {}),
        ("gemma2", {"final_logit_softcapping": 3.0}), ("cohere", {"logit_scale": 0.2}),
        ("granite", {"logits_scaling": 4.0}),
    ],
)  # fmt: skip
def test_the_head_makes_the_logits_of_the_whole_model(kind: str, changes: dict[str, Any]) -> None:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config(kind, 60, **changes)).eval()
    ids = torch.randint(60, (2, 7))
    with torch.no_grad():
        made = head_of(model).logits(hidden_states(model, input_ids=ids, use_cache=False).flatten(0, 1))
        torch.testing.assert_close(made, model(ids).logits.flatten(0, 1), atol=1e-4, rtol=1e-4)


def test_a_model_whose_logits_are_made_otherwise_is_refused_by_name() -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(tiny_config("llama", 60)).eval()
    model.config.final_logit_softcapping = 0.5  # which this model does not do
    with pytest.raises(ModelError, match=r"llama models cannot be trained here") as caught:
        head_of(model)
    assert "\n" not in str(caught.value)
