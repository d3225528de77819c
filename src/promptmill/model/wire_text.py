"""The older text completions (POST /completions), for base models on servers: the prompt is text, no chat template.

Pure functions, in pairs with those of wire.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from promptmill.model.chat import (
    Answer,
    CallError,
    Completion,
    Request,
    ScoreRequest,
    Scores,
    TokenLogprob,
    Usage,
    plain_text,
)
from promptmill.model.wire import (
    begun_with,
    read_answers,
    read_usage,
    said,
    sampling_payload,
    spoken_text,
    stop_of,
    vllm_constraint,
)


def text_payload(model: str, request: Request, *, vllm: bool) -> dict[str, Any]:
    """The body of POST /completions. CallError "refused" for what text completions cannot do."""
    payload = {"model": model, "prompt": plain_text(request.messages) + begun_with(request)} | sampling_payload(request)
    if request.logprobs is not None:
        payload["logprobs"] = request.logprobs
    if request.constraint is not None:
        if not vllm:
            raise CallError("refused", "text completions of this server cannot be constrained; use api: chat")
        payload |= vllm_constraint(request)
    return payload


def read_text(data: dict[str, Any], request: Request) -> Completion:
    """The answers in a text completion; errors as in wire.read_answers."""
    return read_answers(data, request, _answer, "text completion")


def _answer(row: dict[str, Any], request: Request) -> Answer:
    text = spoken_text(row["text"])
    if text is None:
        raise ValueError("no text")
    finish = str(row.get("finish_reason") or "stop")
    return Answer(said(text, request), finish, _logprobs(row.get("logprobs")), stop_of(row))


def _logprobs(data: dict[str, Any] | None) -> tuple[TokenLogprob, ...] | None:
    if not data or not data.get("tokens"):
        return None
    tops = data.get("top_logprobs") or [None] * len(data["tokens"])
    return tuple(
        TokenLogprob(token, float(logprob), tuple((name, float(value)) for name, value in (top or {}).items()))
        for token, logprob, top in zip(data["tokens"], data["token_logprobs"], tops, strict=True)
        if logprob is not None
    )


def text_score_payload(model: str, request: ScoreRequest, continuation: str) -> dict[str, Any]:
    """Ask for the log-probabilities of a text that ends in `continuation`: an echo with one token after it, since some
    servers generate at least one."""
    prompt = plain_text(request.messages) + request.prefix + continuation
    return {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 0}


def read_text_scores(answers: Sequence[dict[str, Any]], request: ScoreRequest) -> Scores:
    """Sum the log-probabilities of the tokens that lie in each continuation, by their text offsets."""
    start = len(plain_text(request.messages) + request.prefix)
    sums, counts, prompt = [], [], 0
    for data, continuation in zip(answers, request.continuations, strict=True):
        try:
            rows = data["choices"][0]["logprobs"]
            tokens = zip(rows["text_offset"], rows["tokens"], rows["token_logprobs"], strict=True)
            # A token that straddles the border belongs to the continuation that it begins.
            within = [
                float(logprob)
                for offset, token, logprob in tokens
                if logprob is not None and offset + len(token) > start and offset < start + len(continuation)
            ]
            prompt += read_usage(data).prompt
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise CallError("refused", f"the server gives no echoed logprobs to score with ({error!r})") from None
        sums.append(sum(within))
        counts.append(len(within))
    return Scores(tuple(sums), tuple(counts), Usage(prompt, 0))
