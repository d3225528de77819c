"""The local backend against transformers' own generate and forward, on random tiny models."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import chisquare

from promptmill.model.chat import CallError, Completion, Sampling, ScoreRequest
from promptmill.model.local.backend import LocalBackend
from promptmill.model.local.choosing import choose, log_shares
from promptmill.model.local.decode import Engine, Row, Sampler
from promptmill.model.local.work import Draws
from tests.tiny import ask, direct, generated, question, questions, reference, texts_of, tiny_model

FOLDED = ["llama", "qwen2", "qwen3", "gemma", "smollm3", "granite", "olmo2"]
SPREAD = ["gpt2", "mistral", "gemma2", "gemma3_text"]  # mistral: with a sliding window shorter than the prompts
PLAIN = ["bloom", "qwen3_next"]  # no position ids; linear attention
CHANGES: dict[str, dict[str, Any]] = {
    "qwen3_next": {"num_hidden_layers": 4, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16,
                   "shared_expert_intermediate_size": 16, "linear_num_value_heads": 2, "linear_num_key_heads": 2,
                   "linear_key_head_dim": 12, "linear_value_head_dim": 12},
}  # fmt: skip


@pytest.mark.parametrize("kind", [*FOLDED, *SPREAD, *PLAIN])
def test_greedy_batches_with_shared_prefixes_say_what_generate_says(kind: str, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path, kind, **CHANGES.get(kind, {}))
    backend = LocalBackend(str(folder), device="cpu", batch_size=8)
    requests = questions(20)
    answers = ask(backend, requests)
    model = reference(folder)
    assert backend._engine is not None
    assert (backend._engine.model.config._attn_implementation == "promptmill_folded") == (kind in FOLDED)
    assert bool(backend._engine._prefixes) == (kind not in PLAIN)
    for request, answer in zip(requests, answers, strict=True):
        ids = backend.chat.encode_chat(request.messages)
        new = generated(model, ids, 16)
        assert answer.text == backend.chat.decode(new).lstrip()
        assert answer.answers[0].finish == ("stop" if new[-1] == 1 else "length")
        assert (answer.usage.prompt, answer.usage.completion) == (len(ids), len(new))


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen3_next"])
def test_a_batch_says_what_single_calls_say_with_and_without_a_shared_prefix(kind: str, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path, kind, **CHANGES.get(kind, {}))
    requests = questions(6 if kind == "qwen3_next" else 20, temperature=1.0, n=3, logprobs=2)
    together = LocalBackend(str(folder), device="cpu", batch_size=8)
    alone = LocalBackend(str(folder), device="cpu", batch_size=1)
    first = ask(together, requests)
    assert texts_of(first) == texts_of([ask(alone, [request])[0] for request in requests])
    assert together._engine is not None
    together._engine = Engine(together._engine.model, together.chat.decode, frozenset(together._eos), share=False)
    again = ask(together, requests)
    assert texts_of(first) == texts_of(again)
    assert not together._engine._prefixes
    for a, b in zip(first, again, strict=True):
        for x, y in zip(a.answers, b.answers, strict=True):
            assert [t.logprob for t in x.logprobs] == pytest.approx([t.logprob for t in y.logprobs], abs=1e-4)


def test_slices_of_a_long_prefill_change_nothing(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from promptmill.model.local import folded

    whole = texts_of(ask(LocalBackend(str(tiny_folder), device="cpu", batch_size=8), questions(10)))
    monkeypatch.setattr(folded, "SCORES", 64)
    monkeypatch.setattr(folded, "CPU_SCORES", 64)
    monkeypatch.setattr(folded, "SLACK", 1)
    assert texts_of(ask(LocalBackend(str(tiny_folder), device="cpu", batch_size=8), questions(10))) == whole


def test_samples_are_reproducible_and_differ_by_seed_repeat_and_index(tiny_backend: LocalBackend) -> None:
    hot = question("is the sky blue ?", temperature=1.5, n=4)
    more = [hot, *questions(9, temperature=0.7), replace(hot, repeat=1), replace(hot, n=1)]
    seeded = replace(hot, sampling=replace(hot.sampling, seed=3))
    several = texts_of(ask(tiny_backend, [*more, seeded]))
    assert several[0] == texts_of(ask(tiny_backend, [hot]))[0]
    assert len({*several[0], *several[-3], *several[-1]}) == 12
    assert several[-2] == several[0][:1]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.7)])
def test_samples_follow_the_distribution(tiny_backend: LocalBackend, temperature: float, top_p: float) -> None:
    logits_V = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5, 1.5])
    rows = [Row(Draws((1,), 1, (s,), temperature, top_p), s, None) for s in range(4000)]  # type: ignore[arg-type]
    picked = Sampler(rows, torch.device("cpu")).pick(logits_V.expand(4000, -1)).bincount(minlength=6)
    probs = (logits_V / temperature).softmax(-1)
    order = probs.argsort(descending=True)
    allowed = order[: int((probs[order].cumsum(-1) < top_p).sum()) + 1]  # the smallest set of at least top_p
    assert picked[allowed].sum() == 4000
    shares = probs[allowed].double().numpy()
    assert chisquare(picked[allowed].numpy(), shares / shares.sum() * 4000).pvalue > 0.001


def test_stop_texts_cut_across_token_borders(tiny_backend: LocalBackend) -> None:
    (free,) = ask(tiny_backend, [question("my cat", max_tokens=40, temperature=1.0, seed=11, logprobs=0)])
    text, tokens = free.text, free.answers[0].logprobs
    at = next(i for i in range(4, len(tokens)) if tokens[i - 1].token.isascii() and tokens[i].token.isascii())
    stop = tokens[at - 1].token[-1] + tokens[at].token[0]
    cut = text.index(stop)
    stopping = question("my cat", max_tokens=40, temperature=1.0, seed=11, logprobs=0, stop=("zzzz", stop))
    (answer,) = ask(tiny_backend, [stopping])
    assert (answer.text, answer.answers[0].finish) == (text[:cut], "stop")
    assert answer.usage.completion < free.usage.completion
    spelled = "".join(token.token for token in answer.answers[0].logprobs)
    assert spelled.lstrip().startswith(answer.text[: len(answer.text) - 4])


def test_token_logprobs_are_those_of_a_forward_pass(tiny_backend: LocalBackend, tiny_folder: Path) -> None:
    request = question("the dog", max_tokens=6, logprobs=3)
    (answer,) = ask(tiny_backend, [request])
    tokens = answer.answers[0].logprobs
    assert all(token.top[0] == (token.token, pytest.approx(token.logprob)) for token in tokens)
    ids = list(tiny_backend.chat.encode_chat(request.messages))
    logs = reference(tiny_folder)(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    best = logs.topk(3)
    assert [lp for _, lp in tokens[0].top] == pytest.approx(best.values.tolist(), abs=1e-4)
    assert [name for name, _ in tokens[0].top] == [tiny_backend.text_of(token) for token in best.indices.tolist()]


def test_scores_are_those_of_a_forward_pass(tiny_backend: LocalBackend, tiny_folder: Path) -> None:
    texts = ("yes", "no", "yes please", "", "the quick brown fox jumps over the lazy dog")
    requests = [ScoreRequest(request.messages, texts) for request in questions(12)]
    requests.append(replace(requests[0], prefix="the answer is"))
    model = reference(tiny_folder)
    for request, scores in zip(requests, ask(tiny_backend, requests), strict=True):
        prompt = tiny_backend.render(request.messages, request.prefix)
        assert prompt.endswith("<|assistant|> the answer is" if request.prefix else "<|assistant|>")
        space = "" if request.prefix else " "
        wanted = [direct(tiny_backend, model, prompt, space + text if text else space) for text in texts]
        assert scores.logprobs == pytest.approx(wanted, abs=1e-3)
        assert scores.tokens[0] == len(tiny_backend.chat.encode(space + "yes"))


def test_choices_are_drawn_from_the_softmax_of_their_scores(tiny_backend: LocalBackend, tiny_folder: Path) -> None:
    choices = ("yes", "no", "yes please")
    request = question("is the sky blue ?", constraint=choices, logprobs=0)
    model, prompt = reference(tiny_folder), tiny_backend.render(request.messages)
    wanted = torch.tensor(
        [direct(tiny_backend, model, prompt, " " + choice, end=True) for choice in choices]
    ).log_softmax(-1)
    warm = replace(request, sampling=Sampling(temperature=4.0), n=400)
    greedy, drawn = ask(tiny_backend, [request, warm])
    best = choices[int(wanted.argmax())]
    assert greedy.text == best
    (told,) = greedy.answers[0].logprobs
    assert (told.token, told.logprob) == (best, pytest.approx(float(wanted.max()), abs=1e-3))
    assert dict(told.top) == pytest.approx(dict(zip(choices, wanted.tolist(), strict=True)), abs=1e-3)
    counts = [sum(answer.text == choice for answer in drawn.answers) for choice in choices]
    assert chisquare(counts, (wanted.double() / 4).softmax(-1).numpy() * 400).pvalue > 0.001


def test_choosing_by_a_number() -> None:
    logs = log_shares([0.0, math.log(3.0)])
    assert [math.exp(log) for log in logs] == pytest.approx([0.25, 0.75])
    assert [choose(logs, 1.0, number) for number in (0.0, 0.24, 0.26, 0.99)] == [0, 0, 1, 1]
    assert choose(logs, 0.0, 0.0) == 1


def test_a_given_beginning_is_continued(tiny_backend: LocalBackend, tiny_folder: Path) -> None:
    request = question("a pear", prefix="the answer")
    (rest,) = ask(tiny_backend, [request])
    ids = tiny_backend.chat.encode(tiny_backend.render(request.messages) + " the answer")
    assert rest.text == tiny_backend.chat.decode(generated(reference(tiny_folder), ids, 16))


def test_a_prompt_longer_than_the_context_is_refused_and_an_answer_ends_there(tiny_folder: Path) -> None:
    backend = LocalBackend(str(tiny_folder), device="cpu", max_context=120)
    long, near = question("fox " * 200), question(" ".join(["fox"] * 40), max_tokens=500)
    refused, cut = ask(backend, [long, near])
    assert isinstance(refused, CallError)
    assert refused.kind == "refused"
    assert f"{backend.count_tokens(long.messages)} tokens" in refused.detail
    assert "120" in refused.detail
    assert cut.usage.prompt + cut.usage.completion <= 120


def test_what_a_local_model_does_not_take_is_refused(tiny_backend: LocalBackend) -> None:
    for request in (question("x", response_format={"type": "json_object"}), question("x", constraint=())):
        (error,) = ask(tiny_backend, [request])
        assert isinstance(error, CallError)
        assert error.kind == "refused"


def test_one_bad_batch_fails_alone(tiny_backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(tiny_backend, [question("warm up")])
    assert tiny_backend._engine is not None
    real = tiny_backend._engine.draw

    def draw(works: Any, shared: int) -> Any:
        if any(len(work.ids) > 80 for work in works):
            raise ValueError("a kernel\nfell over")
        return real(works, shared)

    monkeypatch.setattr(tiny_backend._engine, "draw", draw)
    good, bad = questions(8), [question("dog " * 60) for _ in range(8)]
    answers = ask(tiny_backend, [x for pair in zip(bad, good, strict=True) for x in pair])
    assert all(isinstance(a, CallError) and a.detail == "ValueError: a kernel fell over" for a in answers[::2])
    assert sum(isinstance(a, Completion) for a in answers[1::2]) >= 1


@pytest.mark.parametrize("n", [1, 6])
def test_out_of_memory_is_tried_again_in_halves(
    tiny_backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    requests = questions(8 if n == 1 else 1, temperature=1.0, n=n)
    wanted = texts_of(ask(tiny_backend, requests))
    assert tiny_backend._engine is not None
    real, sizes = tiny_backend._engine.draw, []

    def draw(works: Any, shared: int) -> Any:
        sizes.append(sum(work.rows for work in works))
        if sizes[-1] > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(works, shared)

    monkeypatch.setattr(tiny_backend._engine, "draw", draw)
    assert texts_of(ask(tiny_backend, requests)) == wanted
    assert sizes == ([8, 4, 4] if n == 1 else [6, 3, 3])


def test_many_calls_at_once_with_some_cancelled(tiny_backend: LocalBackend) -> None:
    requests = questions(120)
    wanted = texts_of(ask(tiny_backend, requests[1::2]))

    async def run() -> list[Any]:
        await tiny_backend.open()
        tasks = [asyncio.create_task(tiny_backend.complete(request)) for request in requests]
        await asyncio.sleep(0.02)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        await tiny_backend.close()
        await tiny_backend.close()
        return answers[1::2]

    assert texts_of(asyncio.run(run())) == wanted


def test_closing_fails_what_still_waits(tiny_backend: LocalBackend) -> None:
    async def run() -> list[Any]:
        await tiny_backend.open()
        tasks = [asyncio.create_task(tiny_backend.complete(request)) for request in questions(60)]
        await asyncio.sleep(0.01)
        await tiny_backend.close()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(run())
    assert all(isinstance(answer, Completion | CallError) for answer in answers)
    assert any(isinstance(answer, CallError) and answer.kind == "local_error" for answer in answers)
