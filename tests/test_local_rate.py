"""Rating given texts: what is cut into parts, folded and computed in blocks says what plain forward passes say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from promptmill.model.chat import ScoreRequest
from promptmill.model.local import LocalBackend, decode, folded
from promptmill.model.local.work import Rates
from tests.tiny import WORDS, ask, direct, generated, question, questions, reference, texts_of, tiny_model

ANSWERS = ("yes", "no thanks", "the quick brown fox jumps over the lazy dog", "", "maybe")


def scores_wanted(backend: LocalBackend, folder: Path, request: ScoreRequest) -> list[float]:
    prompt, model = backend.render(request.messages), reference(folder)
    return [direct(backend, model, prompt, " " + text if text else " ") for text in request.continuations]


@pytest.mark.parametrize("most", [1, 200, 1 << 20])
def test_parts_of_a_batch_change_no_score_and_no_order(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(decode, "CPU_TOKENS", most)
    monkeypatch.setattr(decode, "CPU_LOGITS", 1000)
    backend = LocalBackend(str(tiny_folder), device="cpu", batch_size=16)
    # Prompts and answers of many lengths, a few answers to some and one to others.
    requests = [
        ScoreRequest(one.messages, ANSWERS[at % 3 : at % 3 + 1 + 2 * (at % 2)]) for at, one in enumerate(questions(10))
    ]
    for request, scores in zip(requests, ask(backend, requests), strict=True):
        assert scores.logprobs == pytest.approx(scores_wanted(backend, tiny_folder, request), abs=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gemma", "mistral", "qwen2"])
@pytest.mark.parametrize("known", [False, True])
def test_many_answers_to_one_prompt_need_no_copy_of_it(
    kind: str, known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_model(tmp_path, kind)
    backend = LocalBackend(str(folder), device="cpu", batch_size=8)
    request = ScoreRequest(question("is the sky blue ?").messages, ANSWERS)
    if known:  # with the beginning of the prompt at hand, and without
        ask(backend, [question("my cat likes apples"), question("red pears")])
    folds: list[int] = []
    fold = folded.Folded._fold
    monkeypatch.setattr(folded.Folded, "_fold", lambda self, ids: (folds.append(len(ids)), fold(self, ids))[1])
    (scores,) = ask(backend, [request])
    assert folds == ([] if kind == "mistral" else [len(backend.chat.encode_chat(request.messages))])
    assert scores.logprobs == pytest.approx(scores_wanted(backend, folder, request), abs=1e-4)


def test_samples_of_one_prompt_share_it_though_some_end_at_once(tiny_folder: Path) -> None:
    def answers(backend: LocalBackend) -> list[list[str]]:
        return texts_of(ask(backend, [question("the dog", n=6, temperature=3.0, max_tokens=12)]))

    few, many = (LocalBackend(str(tiny_folder), device="cpu", batch_size=rows) for rows in (1, 8))
    assert answers(few) == answers(many)
    (greedy,) = ask(many, [question("the dog", n=3)])
    ids = many.chat.encode_chat(question("the dog").messages)
    wanted = many.chat.decode(generated(reference(tiny_folder), ids, 16)).lstrip()
    assert [one.text for one in greedy.answers] == [wanted] * 3


def test_rows_of_a_folded_prompt_can_leave_before_anything_follows_it(tiny_backend: LocalBackend) -> None:
    ids = tiny_backend.chat.encode_chat(question("the dog").messages)
    model, more = tiny_backend.loaded().model, torch.tensor([[7, 8, 9]])
    with torch.inference_mode():
        alone, folding = folded.Folded(model, None), folded.Folded(model, None)
        alone.start([ids])
        folding.start([ids])
        folding.select(torch.tensor([0, 0, 0, 0]))
        folding.select(torch.tensor([1, 3]))
        assert folding.columns == 0
        assert folding.offset == len(ids)
        wanted = alone.extend(more)
        both = folding.extend(more.expand(2, -1))
        folding.select(torch.tensor([1]))
        alone.select(torch.tensor([0, 0]))
        assert alone.offset == 0, "what has its own tokens is not folded"
        later = [state.extend(more.expand(rows, -1))[-1] for state, rows in ((alone, 2), (folding, 1))]
    assert torch.allclose(both, wanted.expand_as(both), atol=1e-4)
    assert torch.allclose(*later, atol=1e-4)


@pytest.mark.parametrize(("columns", "scores"), [(1, 1), (5, 300), (64, 1 << 19)])
def test_attention_in_blocks_is_that_of_one(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, columns: int, scores: int
) -> None:
    monkeypatch.setattr(folded, "CPU_COLUMNS", columns)
    monkeypatch.setattr(folded, "CPU_SCORES", scores)
    backend = LocalBackend(str(tiny_folder), device="cpu", batch_size=8)
    text = " ".join(WORDS[:20])
    requests = [ScoreRequest(one.messages, (text,)) for one in questions(5)]
    for request, found in zip(requests, ask(backend, requests), strict=True):
        assert found.logprobs == pytest.approx(scores_wanted(backend, tiny_folder, request), abs=1e-3)


def test_the_likeliest_tokens_are_told_in_every_slice(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(3, 4, 50)
    ids = torch.randint(50, (3, 4))
    whole = decode._tokens(logits, ids, 2)
    monkeypatch.setattr(decode, "CPU_LOGITS", 150)
    assert decode._tokens(logits, ids, 2) == whole
    logs = logits.log_softmax(-1)
    for row, tokens in enumerate(whole):
        for at, token in enumerate(tokens):
            assert token.id == ids[row, at]
            assert token.logprob == pytest.approx(logs[row, at, token.id].item(), abs=1e-5)
            assert token.top[0][0] == logs[row, at].argmax()
            assert len(token.top) == 2


WORKS = st.lists(
    st.builds(
        lambda prompt, answers: Rates((1,) * prompt, tuple((2,) * length for length in answers)),
        st.integers(3, 30), st.lists(st.integers(0, 20), min_size=1, max_size=5),
    ),
    min_size=1, max_size=12,
)  # fmt: skip


@given(WORKS, st.integers(0, 3), st.one_of(st.none(), st.integers(1, 400)))
def test_parts_hold_each_work_once_and_no_more_tokens_than_they_may(
    works: list[Rates], shared: int, most: int | None
) -> None:
    parts = decode._parts(works, range(len(works)), shared, most)
    assert [at for part in parts for at in part] == list(range(len(works)))
    if most is None:
        assert len(parts) == 1
        return
    for part in parts:
        rows = sum(works[at].rows for at in part)
        longest = max(len(works[at].ids) for at in part) - shared
        answer = max(len(text) for at in part for text in works[at].continuations)
        assert len(part) == 1 or rows * (longest + answer) <= most
