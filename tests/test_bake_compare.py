"""The four ways of a baked model, against plain forward passes; and what a page and an export tell of them."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from promptmill.crafts.bake.compare import Comparison, closeness, compared
from promptmill.crafts.bake.compare_page import comparison_blocks
from promptmill.crafts.bake.trajectories import Trajectory
from promptmill.crafts.bake.worth import WAYS
from promptmill.errors import InputError
from promptmill.report.blocks import Page
from promptmill.report.html import render
from promptmill.train.batches import Item
from promptmill.train.targets import at_strength
from tests.training import awake, student

SYSTEM, QUESTIONS = (7, 8, 9, 10), ((20, 21), (30,), (40, 41, 42))
ANSWERS = ((50, 51, 52, 1), (60, 1), (70, 71, 72, 73, 74))


def answered(place: int) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], Trajectory]:
    ids = [np.array(part, np.int32) for part in (SYSTEM + QUESTIONS[place], QUESTIONS[place], ANSWERS[place])]
    return (SYSTEM + QUESTIONS[place], QUESTIONS[place]), Trajectory(str(place), "q", 0, "validation", *ids, "stop")


def plain(model, context: tuple[int, ...], answer: tuple[int, ...], strength: float) -> torch.Tensor:
    """Log-probabilities before each token of an answer, (T, V)."""
    with torch.no_grad(), at_strength(model, strength):
        logs = model(torch.tensor([context + answer])).logits[0].log_softmax(-1)
    return logs[len(context) - 1 : -1]


@pytest.fixture(scope="module")
def model(tiny_folder: Path):
    return awake(student(tiny_folder))


@pytest.fixture(scope="module")
def found(model) -> Comparison:
    return compared(model, map(answered, range(3)), str, batch_size=2)


def test_every_figure_is_that_of_plain_forward_passes(model, found: Comparison):
    logs = {
        way: [
            plain(model, SYSTEM * ("prompted" in way and way != "unprompted") + asked, answer, float("baked" in way))
            for asked, answer in zip(QUESTIONS, ANSWERS, strict=True)
        ]
        for way in WAYS
    }
    for way in WAYS:
        wanted = [
            -one[range(len(answer)), list(answer)].mean().item() for one, answer in zip(logs[way], ANSWERS, strict=True)
        ]
        assert found.losses[way] == pytest.approx(wanted, abs=1e-4)
    assert found.counts.tolist() == [3, 3, 2, 2, 1]
    for one, other in permutations(WAYS, 2):
        each = [(p.exp() * (p - q)).sum(-1) for p, q in zip(logs[one], logs[other], strict=True)]
        for place, mean in enumerate(found.kl[one, other]):
            assert mean == pytest.approx(np.mean([kl[place].item() for kl in each if len(kl) > place]), abs=1e-4)
        assert found.per_token(one, other) == pytest.approx(torch.cat(each).mean().item(), abs=1e-4)


def test_chunks_and_batches_change_nothing(model, found: Comparison, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("promptmill.crafts.bake.compare.CELLS", 1)
    other = compared(model, map(answered, range(3)), str, batch_size=1)
    assert other.losses["baked"] == pytest.approx(found.losses["baked"], abs=1e-4)
    assert np.allclose(other.kl["prompted", "baked"], found.kl["prompted", "baked"], atol=1e-4)


def test_without_answers_there_is_nothing_to_compare(model):
    with pytest.raises(InputError, match="--questions"):
        compared(model, [], str)


def test_a_model_is_close_to_itself_and_not_to_another(tiny_folder: Path, model):
    items = [Item(asked, answer) for asked, answer in zip(QUESTIONS, ANSWERS, strict=True)]
    same = closeness(model, model, items)
    assert (same.largest, same.kl) == (0.0, pytest.approx(0.0, abs=1e-6))
    apart = closeness(model, student(tiny_folder), items)
    each = torch.cat(
        [
            (p.exp() * (p - q)).sum(-1)
            for p, q in (
                (plain(model, *pair, 1.0), plain(model, *pair, 0.0)) for pair in zip(QUESTIONS, ANSWERS, strict=True)
            )
        ]
    )
    assert apart.kl == pytest.approx(each.mean().item(), abs=1e-4)
    assert apart.largest > 0.01


def test_a_page_shows_all_pairs_and_six_plots(found: Comparison):
    told = {"of": "held-out questions", **found.to_dict(), "against": {"prompt": {"system": "<b>x"}, **found.to_dict()}}
    page = render(Page("p", "m", comparison_blocks(told)))
    assert page.count("Mean negative log-likelihood of each answer.") == 12
    assert "&lt;b&gt;x" in page
    assert "up_peft_vs_p_base" in page
