"""Requests and answers in the JSON of OpenAI's chat completions, and vLLM's additions to it. Pure functions."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from promptmill.model.chat import Answer, CallError, Completion, Request, ScoreRequest, Scores, TokenLogprob, Usage
from promptmill.model.constraint import Constraint, JsonSchema, Regex, framed, met, schema_of, wanted
from promptmill.model.schema import object_of
from promptmill.prompt import Message

CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}


def chat_payload(model: str, request: Request, *, vllm: bool) -> dict[str, Any]:
    """The body of POST /chat/completions."""
    prefix = begun_with(request) if vllm else request.prefix
    payload: dict[str, Any] = {
        "model": model,
        "messages": _messages(request.messages, prefix, continues=vllm),
        **sampling_payload(request),
    }
    if request.logprobs is not None:
        payload |= {"logprobs": True, "top_logprobs": request.logprobs}
    if request.response_format is not None:
        payload["response_format"] = request.response_format
    if request.constraint is not None:
        payload |= vllm_constraint(request) if vllm else _openai_constraint(request.constraint)
    if vllm and prefix:
        payload |= CONTINUE
    return payload


def sampling_payload(request: Request) -> dict[str, Any]:
    """How answers are drawn, in the fields that chat and text completions share; defaults are not sent."""
    sampling = request.sampling
    payload: dict[str, Any] = {"temperature": sampling.temperature, "max_tokens": sampling.max_tokens}
    if sampling.top_p < 1:
        payload["top_p"] = sampling.top_p
    if sampling.stop:
        payload["stop"] = list(sampling.stop)
    if sampling.seed is not None:
        # Repeats of one question must differ where answers are sampled; a server knows nothing of our repeat index.
        payload["seed"] = sampling.seed + request.repeat
    if request.n > 1:
        payload["n"] = request.n
    return payload


def _messages(messages: Sequence[Message], prefix: str, *, continues: bool) -> list[dict[str, str]]:
    """A given beginning of the answer: continued where the server can, else asked for in the last user turn."""
    rows = [{"role": role, "content": content} for role, content in messages]
    if prefix and continues:
        rows.append({"role": "assistant", "content": prefix})
    elif prefix:
        rows[-1] = rows[-1] | {"content": f"{rows[-1]['content']}\n\nBegin your answer with: {prefix}"}
    return rows


def begun_with(request: Request) -> str:
    """The prefix that a server is given to continue: the spaces at its end go into the constraint, where they can."""
    return request.prefix if isinstance(request.constraint, JsonSchema) else request.begun[0]


def vllm_constraint(request: Request) -> dict[str, Any]:
    """vLLM's field for a constrained answer. It is held to all that is generated, from `begun_with` on."""
    assert request.constraint is not None
    constraint = framed(request.constraint, request.begun[1], request.suffix)
    if isinstance(constraint, Regex):
        return {"structured_outputs": {"regex": constraint.pattern}}
    if isinstance(constraint, JsonSchema):
        return {"structured_outputs": {"json": constraint.schema}}
    return {"structured_outputs": {"choice": list(constraint)}}


def _openai_constraint(constraint: Constraint) -> dict[str, Any]:
    """OpenAI takes a JSON schema, and only one of an object: choices and regular expressions become its one text."""
    schema = schema_of(constraint)
    if schema.get("type") != "object":
        schema = object_of({"answer": schema})
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    }


def read_completion(data: dict[str, Any], request: Request) -> Completion:
    """The answers in a chat completion; errors as in `read_answers`."""
    return read_answers(data, request, _answer, "chat completion")


def read_answers(
    data: dict[str, Any], request: Request, read: Callable[[dict[str, Any], Request], Answer], what: str
) -> Completion:
    """The answers in a response, each row read by `read`. CallError "bad_response" (retryable) for what is no such
    response, "constraint" for an answer outside the choices, "refused" for one that was withheld or is missing; the
    last two carry what they cost."""
    usage = read_usage(data, request)
    try:
        answers = tuple(read(row, request) for row in sorted(data["choices"], key=lambda row: row.get("index", 0)))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CallError("bad_response", f"not a {what} ({error!r})", retryable=True) from None
    except CallError as error:
        error.usage = usage
        raise
    if not answers:
        raise CallError("bad_response", "no answers", retryable=True)
    if len(answers) < request.n:
        raise CallError("refused", f"{len(answers)} answers, {request.n} asked", usage=usage)
    return Completion(answers, usage)


def read_usage(data: dict[str, Any], request: Request | None = None) -> Usage:
    """Tokens as the server counts them. Where it does not, an estimate (a token for each three bytes), so that a budget
    in tokens or money still binds."""
    usage = data.get("usage")
    counts = [usage.get(key) for key in ("prompt_tokens", "completion_tokens")] if isinstance(usage, dict) else []
    known = [one for one in counts if isinstance(one, int) and 0 <= one < 1 << 40]
    if len(known) == 2:
        return Usage(*known)
    asked = sum(len(content.encode()) for _, content in request.messages) // 3 + 1 if request else 1
    return Usage(asked, len(json.dumps(data.get("choices"))) // 3)


def _answer(row: dict[str, Any], request: Request) -> Answer:
    message = row["message"]
    finish = str(row.get("finish_reason") or "stop")
    text = spoken_text(message.get("content"))
    if finish == "content_filter" or (text is None and finish != "length"):
        refusal = message.get("refusal")
        raise CallError("refused", f"no answer, finish_reason {finish}" + (f": {refusal}" if refusal else ""))
    if text is None:
        text = ""  # the tokens ran out while it was thinking: an answer from which nothing can be read
    if request.constraint is None and request.prefix and text.startswith(request.prefix):
        text = text[len(request.prefix) :]  # asked to begin with it, the model did: the completion is what follows
    return Answer(said(text, request), finish, _logprobs(row.get("logprobs")), stop_of(row))


def spoken_text(content: Any) -> str | None:
    """The text of a message: a string, or a list of parts of which the text ones count. ValueError for other things."""
    if content is None:
        return None
    if isinstance(content, list):
        texts = [part for part in content if part.get("type") in ("text", "output_text")]
        content = "".join(str(part.get("text") or "") for part in texts)
    if not isinstance(content, str):
        raise ValueError(f"the content is a {type(content).__name__}")
    # Half a surrogate pair is no text: neither UTF-8 nor SQLite can hold it.
    return content.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def said(text: str, request: Request) -> str:
    """The answer in what was generated: without the spaces that end the prefix and, where it is constrained, without
    the suffix; given bare or as {"answer": …}. CallError "constraint" where it does not meet its constraint."""
    if request.constraint is None:
        return text.lstrip(" ") if request.begun[1] else text
    bare = text.removeprefix(request.begun[1]).removesuffix(request.suffix)
    for form in (bare, _unwrapped(text)):
        found = None if form is None else met(request.constraint, form)
        if found is not None:
            return found
    raise CallError(
        "constraint",
        f"the answer {text.strip()[:60]!r} {wanted(request.constraint)}; does the server support constraints?",
    )


def _unwrapped(text: str) -> str | None:
    """The one value of {"answer": …}, if that is what the text is."""
    try:
        value = json.loads(text)["answer"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def stop_of(row: dict[str, Any]) -> str | None:
    """The stop text that ended an answer, which vLLM tells; a number there is a token."""
    stop = row.get("stop_reason")
    return stop if isinstance(stop, str) else None


def _logprobs(data: dict[str, Any] | None) -> tuple[TokenLogprob, ...] | None:
    if not data or data.get("content") is None:
        return None
    return tuple(
        TokenLogprob(
            row["token"],
            float(row["logprob"]),
            tuple((top["token"], float(top["logprob"])) for top in row.get("top_logprobs") or ()),
        )
        for row in data["content"]
    )


def score_payload(model: str, request: ScoreRequest, continuation: str) -> dict[str, Any]:
    """Ask vLLM for the log-probabilities of a prompt that ends in `continuation`."""
    rows = [{"role": role, "content": content} for role, content in request.messages]
    rows.append({"role": "assistant", "content": request.prefix + continuation})
    return {"model": model, "messages": rows, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0} | CONTINUE


def read_scores(answers: Sequence[dict[str, Any]], request: ScoreRequest) -> Scores:
    """Sum the log-probabilities of the last prompt tokens that spell each continuation."""
    sums, counts, prompt = [], [], 0
    for data, continuation in zip(answers, request.continuations, strict=True):
        try:
            positions = data["prompt_logprobs"]
            total, count = _tail(positions, continuation)
            prompt += int((data.get("usage") or {}).get("prompt_tokens") or 0)
        except (KeyError, TypeError, ValueError, StopIteration) as error:
            raise CallError("bad_response", f"no usable prompt_logprobs ({error!r})", retryable=True) from None
        sums.append(total)
        counts.append(count)
    return Scores(tuple(sums), tuple(counts), Usage(prompt, 0))


def _tail(positions: Sequence[dict[str, Any] | None], continuation: str) -> tuple[float, int]:
    """Walk back from the end of the prompt until the tokens read spell the continuation."""
    total, count, spelled, wanted = 0.0, 0, "", continuation.strip()
    for position in reversed(positions):
        if position is None or spelled.strip() == wanted:
            break
        token = next(iter(position.values()))
        spelled = str(token["decoded_token"]) + spelled
        total += float(token["logprob"])
        count += 1
    if spelled.strip() != wanted:
        raise ValueError(f"the prompt does not end in {continuation!r}")
    return total, count


TOP_LOGPROBS = 20  # the most that OpenAI gives


def first_token_payload(model: str, request: Request) -> dict[str, Any]:
    """Ask for the log-probabilities of the first token only: enough to tell short labels apart."""
    one = replace(request.sampling, max_tokens=1)
    bare = replace(request, constraint=None, logprobs=TOP_LOGPROBS, n=1, sampling=one)
    return chat_payload(model, bare, vllm=False)


def read_choice_logprobs(data: dict[str, Any], choices: Sequence[str]) -> tuple[float, ...]:
    """Log-probability of each choice from the first token's alternatives: those that begin one choice and no other.

    A choice that none of the alternatives begins gets the smallest one's share: it cannot have more. CallError
    "constraint" where no alternative begins a choice.
    """
    try:
        rows = data["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        tops = [(str(row["token"]).strip(), float(row["logprob"])) for row in rows]
    except (KeyError, TypeError, IndexError, ValueError):
        raise CallError("refused", "the server gives no top_logprobs, from which choices could be weighed") from None
    mass = dict.fromkeys(choices, 0.0)
    for token, logprob in tops:
        begun = [
            choice for choice in choices if token and (choice.strip().startswith(token) or token == choice.strip())
        ]
        if len(begun) == 1:
            mass[begun[0]] += math.exp(logprob)
    if not any(mass.values()):
        said = ", ".join(repr(token) for token, _ in tops[:3])
        raise CallError("constraint", f"the answer begins with none of the choices (but with {said})")
    least = math.exp(min(logprob for _, logprob in tops))
    return tuple(math.log(max(mass[choice], least)) for choice in choices)


def chosen(request: Request, logprobs: Sequence[float], usage: Usage) -> Completion:
    """A choice by its probability among the choices: the likeliest at temperature 0, else drawn by the request's seed.
    The answer carries the whole distribution as the alternatives of one token."""
    assert isinstance(request.constraint, tuple)
    total = math.log(math.fsum(math.exp(one - max(logprobs)) for one in logprobs)) + max(logprobs)
    shares = tuple((choice, one - total) for choice, one in zip(request.constraint, logprobs, strict=True))
    answers = []
    for index in range(request.n):
        choice, logprob = max(shares, key=lambda share: share[1])
        if request.sampling.temperature > 0:
            rng = random.Random(f"{request.sampling.seed or 0}/{request.repeat}/{index}/{request.messages}")
            weights = [math.exp(one / request.sampling.temperature) for _, one in shares]
            choice, logprob = rng.choices(shares, weights)[0]
        answers.append(Answer(choice, "stop", (TokenLogprob(choice, logprob, shares),)))
    return Completion(tuple(answers), usage)
