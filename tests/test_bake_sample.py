"""Trajectories of a prompted model: drawing, what is kept of the teacher, going on after a break, and the distance that
is to be baked away. On random tiny models and the embedded one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from promptmill.crafts.bake import sample as sampling
from promptmill.crafts.bake.difficulty import initial_kl
from promptmill.crafts.bake.draw import common_beginning, pick_at, shared_prefix
from promptmill.crafts.bake.questions import (
    questions_of,
)
from promptmill.crafts.bake.report import sampling_report
from promptmill.crafts.bake.sample import plan_sampling, recorded, sample
from promptmill.crafts.bake.trajectories import Trajectory, kept_in, read_trajectories
from promptmill.errors import InputError, ModelError
from promptmill.model.embedded import embedded_backend
from promptmill.model.local import LocalBackend
from promptmill.model.local.loaded import Loaded
from promptmill.prompt import Prompt
from promptmill.store.stage import Stage
from tests.baking import ASKED, PROMPT, config_of, drawn
from tests.tiny import reference, tiny_model


@pytest.fixture(scope="module")
def loaded(tiny_folder: Path) -> Loaded:
    return LocalBackend(str(tiny_folder), device="cpu").loaded()


@pytest.fixture(scope="module")
def embedded() -> Loaded:
    return embedded_backend().loaded()


def same(a: Trajectory, b: Trajectory) -> None:
    """Equal, and the scores up to rounding in their last bits."""
    assert (a.question_id, a.repeat, a.split, a.finish) == (b.question_id, b.repeat, b.split, b.finish)
    for name in ("context_ids", "bare_context_ids", "answer_ids"):
        assert getattr(a, name).tolist() == getattr(b, name).tolist()
    if a.scores is not None and b.scores is not None:
        np.testing.assert_allclose(a.scores.logprobs, b.scores.logprobs, rtol=2e-3)
        np.testing.assert_allclose(a.scores.tail, b.scores.tail, atol=1e-4)


# Drawing


@pytest.mark.parametrize(("temperature", "top_p", "top_k"), [(1, 1, 0), (2, 1, 0), (1, 0.7, 0), (1, 1, 3), (2, 0.6, 4)])
def test_a_token_is_drawn_by_temperature_then_top_k_then_top_p(temperature: float, top_p: float, top_k: int):
    logits_V = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5, 1.5])
    numbers = torch.from_numpy(np.random.default_rng(1).random((6000, 1)))
    config = config_of(temperature=temperature, top_p=top_p, top_k=top_k)
    picked = pick_at(logits_V.expand(6000, -1), numbers, config).bincount(minlength=6).numpy()
    probs = (logits_V.double() / temperature).softmax(-1).numpy()
    order = np.argsort(-probs)[: top_k or None]
    before = np.cumsum(probs[order] / probs[order].sum()) - probs[order] / probs[order].sum()
    allowed = order[before < top_p]
    assert picked[allowed].sum() == 6000
    assert chisquare(picked[allowed], probs[allowed] / probs[allowed].sum() * 6000).pvalue > 0.001


def test_answers_follow_the_distribution_of_the_prompted_model(loaded: Loaded, tiny_folder: Path, tmp_path: Path):
    rows = drawn(
        loaded, tmp_path, asked=["the dog"], batch_size=512, sequences=2000, max_new_tokens=2, teacher="online"
    )
    model = reference(tiny_folder)
    with torch.no_grad():
        logits_V = model(torch.from_numpy(rows[0].context_ids).long()[None]).logits[0, -1]
    counts = np.bincount([row.answer_ids[0] for row in rows], minlength=len(logits_V))
    shares = logits_V.double().softmax(-1).numpy()
    often = shares * len(rows) >= 5
    seen, due = (np.append(part[often], part[~often].sum()) for part in (counts, shares * len(rows)))
    assert often.sum() > 5
    assert chisquare(seen, due / due.sum() * seen.sum()).pvalue > 0.001
    # Of the answers that begin with the most usual token, the second tokens too.
    first = int(counts.argmax())
    with torch.no_grad():
        ids = torch.tensor([[*rows[0].context_ids.tolist(), first]])
        shares = model(ids).logits[0, -1].double().softmax(-1).numpy()
    second = [row.answer_ids[1] for row in rows if row.answer_ids[0] == first and len(row.answer_ids) > 1]
    best = int(shares.argmax())
    share, spread = shares[best], (shares[best] * (1 - shares[best]) / len(second)) ** 0.5
    assert abs(second.count(best) / len(second) - share) < 4 * spread


@pytest.mark.parametrize("kind", ["llama", "mistral", "gpt2", "bloom"])
@pytest.mark.parametrize("teacher", ["topk", "hidden"])
def test_what_is_kept_is_what_a_plain_forward_pass_says(kind: str, teacher: str, tmp_path: Path):
    folder = tiny_model(tmp_path / "model", kind)
    loaded = LocalBackend(str(folder), device="cpu").loaded()
    loaded = replace(loaded, eos=frozenset(range(1, 60)))  # so that rows leave their batch one after another
    rows = drawn(loaded, tmp_path, batch_size=7, teacher=teacher, max_new_tokens=12)
    model = reference(folder)
    assert len(rows) == 15
    assert len({len(row.answer_ids) for row in rows}) > 3
    for row in rows:
        start, ids = len(row.context_ids), np.concatenate([row.context_ids, row.answer_ids])
        with torch.no_grad():
            logs_T_V = model(torch.from_numpy(ids).long()[None]).logits[0, start - 1 : -1].log_softmax(-1)
        if teacher == "hidden":
            assert row.scores is None
            assert row.hidden is not None
            again = model.get_output_embeddings()(torch.from_numpy(row.hidden)).log_softmax(-1)
            torch.testing.assert_close(again, logs_T_V, atol=1e-4, rtol=1e-4)
            continue
        assert row.scores is not None
        assert row.hidden is None
        best = logs_T_V.topk(8, dim=-1)
        assert np.mean(row.scores.ids == best.indices.numpy()) > 0.98  # equals may change places
        np.testing.assert_allclose(row.scores.logprobs, best.values.numpy(), rtol=2e-3, atol=1e-3)
        np.testing.assert_allclose(row.scores.tail, 1 - best.values.exp().sum(-1).numpy(), atol=1e-4)
        assert row.scores.mass == pytest.approx(best.values.exp().sum(-1).mean().item(), abs=1e-4)
        np.testing.assert_allclose(np.exp(row.scores.with_tail).sum(-1), 1, atol=2e-3)


def test_answers_do_not_depend_on_their_batch_or_on_the_shared_prefix(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = drawn(loaded, tmp_path / "a")
    assert shared_prefix(loaded.model, [tuple(row.context_ids.tolist()) for row in first]) is not None
    assert len({tuple(row.answer_ids.tolist()) for row in first}) == 15
    for a, b in zip(first, drawn(loaded, tmp_path / "b", batch_size=4), strict=True):
        same(a, b)
    monkeypatch.setattr("promptmill.crafts.bake.draw.shared_prefix", lambda model, contexts: None)
    for a, b in zip(first, drawn(loaded, tmp_path / "c"), strict=True):
        same(a, b)


def test_an_answer_ends_with_its_end_token_which_counts_and_not_before_it_may(embedded: Loaded, tmp_path: Path):
    prompt, asked = Prompt(system="Write the text in uppercase."), ["apple", "red house"]
    (short, long), (held, _) = (
        drawn(embedded, tmp_path, prompt, asked, sequences=1, temperature=0, **given)
        for given in ({"max_new_tokens": 20}, {"min_new_tokens": 9, "max_new_tokens": 9})
    )
    assert embedded.chat.decode(short.answer_ids.tolist()).strip() == "APPLE"
    assert embedded.chat.decode(long.answer_ids.tolist()).strip() == "RED HOUSE"
    assert (short.finish, int(short.answer_ids[-1]) in embedded.eos) == ("stop", True)
    assert len(held.answer_ids) == 9
    assert not {*held.answer_ids.tolist()} & embedded.eos
    said = recorded(config_of(temperature=2.0), embedded.eos)
    assert (said["temperature"], said["top_p"], said["top_k"], said["end_tokens"]) == (2.0, 1.0, 0, [1])


def test_hidden_states_of_a_bfloat16_model_are_kept_exactly_in_two_bytes(tiny_folder: Path, tmp_path: Path):
    loaded = LocalBackend(str(tiny_folder), device="cpu", dtype="bfloat16").loaded()
    rows = drawn(loaded, tmp_path, teacher="hidden")
    (folder,) = tmp_path.iterdir()
    assert (kept_in(folder).dtype, kept_in(folder).bytes_a_token) == ("bfloat16", 96)
    hidden = torch.from_numpy(rows[0].hidden)
    torch.testing.assert_close(hidden.bfloat16().float(), hidden, rtol=0, atol=0)
    found = [initial_kl(loaded, rows, exact=exact).per_token for exact in (False, True)]
    assert found[0] == pytest.approx(found[1], rel=0.02)


def test_scores_that_are_no_numbers_end_the_sampling(tmp_path: Path):
    loaded = LocalBackend(str(tiny_model(tmp_path / "model")), device="cpu").loaded()
    loaded.model.get_output_embeddings().weight.data[7] = float("nan")
    with pytest.raises(ModelError, match="not finite numbers at token 1; try another --dtype"):
        drawn(loaded, tmp_path)
    assert list(tmp_path.rglob("part-*")) == []


def test_hidden_states_are_refused_where_the_model_caps_its_scores(tmp_path: Path):
    folder = tiny_model(tmp_path / "model", "gemma2", final_logit_softcapping=2.0)
    loaded = LocalBackend(str(folder), device="cpu").loaded()
    with pytest.raises(InputError, match=r"scales or caps the scores.*take teacher=topk or online"):
        drawn(loaded, tmp_path, teacher="hidden")
    assert len(drawn(loaded, tmp_path, teacher="topk", max_new_tokens=2)) == 15


def test_a_batch_too_large_for_the_memory_is_drawn_in_halves(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from promptmill.crafts.bake import draw as drawing

    real = drawing.draw

    def small(loaded: Loaded, prefix: Any, batch: Any, config: Any) -> Any:
        if len(batch) > most:
            raise torch.OutOfMemoryError("full")
        return real(loaded, prefix, batch, config)

    most = 64
    whole = drawn(loaded, tmp_path / "a")
    monkeypatch.setattr(drawing, "draw", small)
    most = 2
    for a, b in zip(whole, drawn(loaded, tmp_path / "b"), strict=True):
        same(a, b)
    most = 0
    with pytest.raises(ModelError, match="does not hold one answer of 10 tokens"):
        drawn(loaded, tmp_path / "c")


def test_common_beginnings():
    assert common_beginning([(1, 2, 3), (1, 2), (1, 2, 4)]) == (1, 2)
    assert common_beginning([(1, 2), (2, 1)]) == ()
    assert common_beginning([(5, 6)]) == (5, 6)


# Going on


@pytest.mark.parametrize("teacher", ["topk", "hidden", "online"])
def test_a_broken_sampling_goes_on_to_the_very_same_files(
    teacher: str, loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sampling, "SHARD_ROWS", 4)
    plan = plan_sampling(loaded, PROMPT, questions_of(ASKED), config_of(teacher=teacher), seed=3)
    assert (plan.answers, len(plan.shards), plan.most_tokens) == (15, 4, 150)
    unbroken, broken = (Stage(tmp_path / name / plan.name, plan.schema) for name in "ab")
    told: list[tuple[int, int]] = []
    sample(plan, unbroken, on=lambda *numbers: told.append(numbers))
    assert told == [(0, 15), (4, 15), (8, 15), (12, 15), (15, 15)]

    for until in (4, 4, 12):

        def stop(done: int, _: int, until: int = until) -> None:
            if done >= until:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            sample(plan, broken, on=stop)
    with pytest.raises(InputError, match="3 of 4 parts, its trajectories are not all there"):
        list(read_trajectories(broken))
    again = plan_sampling(loaded, PROMPT, questions_of(ASKED), config_of(teacher=teacher), seed=3)
    sample(again, Stage(tmp_path / "b" / again.name, again.schema))
    assert [path.read_bytes() for path in broken.shards()] == [path.read_bytes() for path in unbroken.shards()]


def test_a_stage_is_named_after_all_that_decides_its_rows(loaded: Loaded):
    def name(prompt: Prompt = PROMPT, asked: list[str] = ASKED, seed: int = 0, **changes: Any) -> str:
        return plan_sampling(loaded, prompt, questions_of(asked), config_of(**changes), seed).name

    others = [name(Prompt(system="please")), name(asked=ASKED[1:]), name(seed=1), name(temperature=2.0), name(k=9),
              name(unprompted="empty"), name(teacher="online"), name()]  # fmt: skip
    assert len({*others, name()}) == len(others)


# Difficulty


def test_the_initial_kl_is_that_of_plain_forward_passes(loaded: Loaded, tiny_folder: Path, tmp_path: Path):
    kept = {teacher: drawn(loaded, tmp_path, teacher=teacher, k=400) for teacher in ("topk", "hidden", "online")}
    model, rows = reference(tiny_folder), kept["online"]
    due = []
    for row in rows:
        count = len(row.answer_ids)
        with torch.no_grad():
            taught, bare = (
                model(torch.from_numpy(np.concatenate([context, row.answer_ids])).long()[None])
                .logits[0, -count - 1 : -1].double().log_softmax(-1)
                for context in (row.context_ids, row.bare_context_ids)
            )  # fmt: skip
        due.append((taught.exp() * (taught - bare)).sum(-1).numpy())
    flat = np.concatenate(due)
    for teacher, given in kept.items():
        found = initial_kl(loaded, given, batch_size=4)
        assert found.exact == (teacher != "topk")
        close = 3e-3 if teacher == "topk" else 1e-4
        assert found.per_token == pytest.approx(flat.mean(), rel=close)
        assert found.by_position[0] == pytest.approx(np.mean([one[0] for one in due]), rel=close)
        np.testing.assert_allclose(found.of_answers, [one.mean() for one in due], rtol=close)
    assert (found.counts[0], found.counts.sum()) == (15, len(flat))
    few = initial_kl(loaded, drawn(loaded, tmp_path, k=4))
    assert 0 < few.per_token < flat.mean()
    assert initial_kl(loaded, drawn(loaded, tmp_path, k=4), exact=True).per_token == pytest.approx(
        flat.mean(), rel=1e-4
    )
    assert few.to_dict()["first_token"] == few.by_position[0]
    with pytest.raises(InputError, match="no trajectories"):
        initial_kl(loaded, [])


def test_a_prompt_that_says_more_is_farther_away(embedded: Loaded, tmp_path: Path):
    asked = [f"{a} {b}" for a in ("red", "small", "old") for b in ("house", "cat", "river", "apple")]
    far, near = (
        initial_kl(embedded, drawn(embedded, tmp_path, Prompt(system=system), asked, sequences=2, **given)).per_token
        for system, given in (
            ("Write the text in uppercase.", {}),
            ("Write the text in uppercase.", {"unprompted": "Write the text in capital letters."}),
        )
    )
    assert far > 0.5 > near > 0


# What is told


def test_the_report_tells_what_was_drawn_and_how_much_of_the_teacher_was_caught(loaded: Loaded, tmp_path: Path):
    plan = plan_sampling(loaded, PROMPT, questions_of(ASKED), config_of(k=200, max_new_tokens=4))
    stage = Stage(tmp_path / plan.name, plan.schema)
    with pytest.raises(InputError, match="there are no trajectories"):
        sampling_report(plan, stage)
    sample(plan, stage)
    rows, told = list(read_trajectories(stage)), sampling_report(plan, stage)
    assert told["questions"]["train"] + told["questions"]["validation"] == 5
    assert sum(told["answers"].values()) == 15
    assert sum(told["tokens"].values()) == sum(len(row.answer_ids) for row in rows)
    caught = np.concatenate([1 - row.scores.tail for row in rows])
    assert told["captured"]["mean"] == pytest.approx(caught.mean(), abs=1e-6)
    assert told["captured"]["worst_twentieth"] < told["captured"]["mean"] < 1
    assert told["ended"] < 0.5
    assert told["warnings"] == ["100% of the answers were cut at 4 tokens: raise max_new_tokens"]
    few = plan_sampling(loaded, PROMPT, questions_of(["the dog"]), config_of(k=1))
    stage = Stage(tmp_path / few.name, few.schema)
    sample(few, stage)
    assert [
        words in said
        for words, said in zip(("raise k", "cut", "held out"), sampling_report(few, stage)["warnings"], strict=True)
    ] == [True] * 3
