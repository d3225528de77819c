"""InfoNCE: against known answers and plain autograd, and as a part of other objectives."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from promptmill.errors import InputError
from promptmill.train.batches import Items, collate
from promptmill.train.contrast import Contrast, WithContrast, info_nce, pooled
from promptmill.train.distil import Samples
from promptmill.train.head import head_of
from promptmill.train.loop import Trainer
from promptmill.train.targets import trained
from tests.tiny import tiny_model
from tests.training import awake, items, quick, student


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "llama")


def contrasts(count: int, seed: int = 0) -> list[Contrast]:
    draw = random.Random(seed)

    def text() -> tuple[int, ...]:
        return tuple(draw.choices(range(5, 300), k=draw.randint(1, 9)))

    return [Contrast(text(), (text(), text()), (text(), text(), text())) for _ in range(count)]


def states(model: Any, *texts: tuple[int, ...]) -> Tensor:
    """Their mean hidden states, one text at a time by the model's own output."""
    return torch.stack(
        [model(torch.tensor([t]), output_hidden_states=True).hidden_states[-1][0].mean(0) for t in texts]
    )


def test_known_answers() -> None:
    x, y = torch.eye(2, dtype=torch.float64)
    share = math.e**2 / (math.e**2 + 2)  # one positive at cosine 1, two negatives at 0, tau 1/2
    assert info_nce(x, x[None], torch.stack([y, 3 * y]), 0.5).item() == pytest.approx(-math.log(share))
    assert info_nce(x, torch.stack([x, y]), y[None], 0.5).item() == pytest.approx(
        (math.log(1 + math.e**-2) + math.log(2)) / 2
    )
    assert info_nce(x, y[None], x[None], 0.01).item() == pytest.approx(100)
    assert info_nce(x, y[None], x[:0][:, None].expand(0, 2), 0.5).item() == 0


@settings(max_examples=25, deadline=None)
@given(near=st.integers(1, 4), far=st.integers(1, 4), tau=st.floats(0.02, 2), seed=st.integers(0, 99))
def test_it_is_the_mean_cross_entropy_of_each_positive_among_the_negatives(
    near: int, far: int, tau: float, seed: int
) -> None:
    source = torch.Generator().manual_seed(seed)
    rows = torch.randn(1 + near + far, 5, generator=source, dtype=torch.float64).requires_grad_()
    cosines = F.normalize(rows, dim=-1) @ F.normalize(rows, dim=-1)[0] / tau
    choices = torch.stack([torch.cat([cosines[1 + i, None], cosines[1 + near :]]) for i in range(near)])
    wanted = F.cross_entropy(choices, torch.zeros(near, dtype=torch.long))
    found = info_nce(rows[0], rows[1 : 1 + near], rows[1 + near :], tau)
    torch.testing.assert_close(found, wanted)
    gradients = [torch.autograd.grad(value, rows, retain_graph=True)[0] for value in (found, wanted)]
    torch.testing.assert_close(*gradients)


def test_padding_changes_no_state(folder: Path) -> None:
    model, texts = awake(student(folder)), contrasts(1)[0].texts
    torch.testing.assert_close(pooled(model, texts), states(model, *texts), atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="a text to compare has 257 tokens; the model's context holds 256"):
        pooled(model, [(5,), (6,) * 257])


@pytest.mark.parametrize("in_batch", [False, True])
def test_it_is_added_to_the_objective_and_reaches_the_adapter_alone(folder: Path, in_batch: bool) -> None:
    model = awake(student(folder).double())
    main, groups = Samples(head_of(model)), contrasts(3)
    batch = collate(items(4), epoch=1, number=2)
    objective = WithContrast(main, groups, weight=0.3, tau=0.2, rows=3, in_batch=in_batch)
    loss = objective.loss(model, batch)
    alone = main.loss(model, batch)
    each = []
    for one in groups:
        others = [other.anchor for other in groups if other is not one and in_batch]
        near, far = states(model, *one.positives), states(model, *one.negatives, *others)
        each.append(info_nce(states(model, one.anchor)[0], near, far, 0.2))
    wanted = alone.total + 0.3 * alone.count * sum(each) / 3
    torch.testing.assert_close(loss.total, wanted)
    assert loss.count == alone.count
    assert loss.parts["contrast"] == (pytest.approx(sum(each).item()), 3)
    weights = list(trained(model).values())
    found, by_plain = (torch.autograd.grad(total, weights) for total in (loss.total, wanted))
    for one, other in zip(found, by_plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
        assert one.abs().max() > 0


def test_what_is_compared_follows_from_the_batch_number(folder: Path) -> None:
    model = awake(student(folder))
    objective = WithContrast(Samples(head_of(model)), contrasts(20), rows=2)

    def part(epoch: int, number: int) -> tuple[float, float]:
        return objective.loss(model, collate(items(2), epoch=epoch, number=number)).parts["contrast"]

    assert part(1, 2) == part(1, 2)
    assert len({part(1, 2), part(1, 3), part(2, 2)}) == 3


def test_equal_texts_give_no_nan(folder: Path) -> None:
    model = awake(student(folder))
    same = Contrast((5, 6), ((5, 6), (5, 6)), ((5, 6), (5, 6), (5, 6)))
    objective = WithContrast(Samples(head_of(model)), [same, same], weight=1.0, tau=0.01, in_batch=True)
    loss = objective.loss(model, collate(items(2)))
    assert loss.parts["contrast"][0] / 2 == pytest.approx(math.log(4), rel=1e-4)
    assert all(part.isfinite().all() for part in torch.autograd.grad(loss.total, list(trained(model).values())))
    nothing = torch.zeros(3, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(info_nce(nothing[0], nothing[1:2], nothing[2:], 0.1), nothing)
    assert gradient.isfinite().all()


def test_anchors_come_to_lie_nearer_to_their_positives(folder: Path, tmp_path: Path) -> None:
    model, groups = student(folder), contrasts(6)
    objective = WithContrast(Samples(head_of(model)), groups, weight=3.0, tau=0.2, rows=6)
    out = Trainer(model, objective, Items(items(6)), tmp_path, quick(epochs=12)).fit()
    told = [row["contrast"] for row in out.rows]
    assert told[-1] < 0.5 * told[0]
    one = groups[0]
    with torch.no_grad():
        cosines = F.cosine_similarity(states(model, one.anchor), states(model, *one.texts[1:]))
    assert cosines[:2].min() > cosines[2:].max()


@pytest.mark.parametrize(
    ("group", "changes", "words"),
    [
        (Contrast((5,), (), ((6,),)), {}, "contrast 0 has no positives"),
        (Contrast((5,), ((6,),), ()), {}, "contrast 0 has no negatives"),
        (Contrast((5,), ((),), ((6,),)), {}, "contrast 0 has a text without tokens"),
        (Contrast((5,), ((6,),), ((7,),)), {"tau": 0.0}, "tau 0.0"),
        (None, {}, "no contrasts"),
    ],
)
def test_what_cannot_be_compared_is_named(group: Contrast | None, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        WithContrast(Samples(None), [group] if group else [], **changes)  # type: ignore[arg-type]
