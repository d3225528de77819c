"""Reading and writing the JSON of OpenAI's API on the server's side, with vLLM's additions. Pure functions.

Unknown fields are ignored, as servers do; a known field with a value that cannot be honoured is refused with a 400.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptmill.errors import InputError
from promptmill.model.chat import Answer, Request, Sampling, TokenLogprob, Usage
from promptmill.model.constraint import Constraint, JsonSchema, Regex
from promptmill.prompt import Message

MOST_ANSWERS = 1024
MOST_LOGPROBS = 20
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class Refused(Exception):
    """A request that is answered with an error body."""

    def __init__(self, message: str, status: int = 400, kind: str = "invalid_request_error", code: str | None = None):
        super().__init__(message)
        self.status, self.body = status, {"error": {"message": message, "type": kind, "param": None, "code": code}}


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A chat request read. prompt_logprobs: None, or how many alternatives to report for each prompt token.
    wrapped: the choices were asked for as a JSON schema of an object with this one key."""

    request: Request
    stream: bool = False
    stream_usage: bool = False
    prompt_logprobs: int | None = None
    wrapped: str | None = None


def read_chat(body: Mapping[str, Any]) -> ChatCall:
    messages, prefix = _conversation(body)
    try:
        constraint, wrapped = _constraint(body)
    except InputError as error:
        raise Refused(str(error)) from None
    top = _number(body, "top_logprobs", 0, 0, MOST_LOGPROBS, whole=True)
    request = Request(
        messages,
        _sampling(body, _max_tokens(body, "max_completion_tokens", "max_tokens")),
        prefix=prefix,
        constraint=constraint,
        n=_number(body, "n", 1, 1, MOST_ANSWERS, whole=True),
        logprobs=top if _flag(body, "logprobs") else None,
    )
    prompt = body.get("prompt_logprobs")
    told = None if prompt is None else _number(body, "prompt_logprobs", 0, 0, MOST_LOGPROBS, whole=True)
    options = body.get("stream_options") or {}
    if not isinstance(options, dict):
        raise Refused("stream_options must be an object")
    return ChatCall(request, _flag(body, "stream"), _flag(options, "include_usage"), told, wrapped)


def _conversation(body: Mapping[str, Any]) -> tuple[tuple[Message, ...], str]:
    """The messages, and the answer's given beginning where the last message is to be continued (vLLM)."""
    rows = body.get("messages")
    if not isinstance(rows, list) or not rows:
        raise Refused("messages must be a list with at least one message")
    messages = tuple(_message(row, index) for index, row in enumerate(rows))
    continues = _flag(body, "continue_final_message")
    if continues and _flag(body, "add_generation_prompt", default=True):
        raise Refused("continue_final_message needs add_generation_prompt: false")
    if continues and messages[-1][0] != "assistant":
        raise Refused("continue_final_message needs a last message of the role assistant")
    if not continues and not _flag(body, "add_generation_prompt", default=True):
        raise Refused("add_generation_prompt: false is only supported together with continue_final_message: true")
    return (messages[:-1], messages[-1][1]) if continues else (messages, "")


def _message(row: Any, index: int) -> Message:
    if not isinstance(row, dict) or row.get("role") not in ROLES:
        raise Refused(f"messages[{index}]: role must be one of {', '.join(ROLES)}")
    content = row.get("content")
    if isinstance(content, list) and all(isinstance(p, dict) and p.get("type") == "text" for p in content):
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str):
        raise Refused(f"messages[{index}]: content must be text")
    return ROLES[row["role"]], content


def _constraint(body: Mapping[str, Any]) -> tuple[Constraint | None, str | None]:
    """What the answer must look like, from vLLM's structured_outputs or from response_format. A JSON schema that is an
    enumeration of texts (alone, or as the only property of an object, as OpenAI requires) means choices, which are
    weighed; the second value is the name of that property."""
    structured = body.get("structured_outputs")
    if structured is not None:
        match structured:
            case {"choice": choices} if len(structured) == 1 and _texts(choices):
                return tuple(choices), None
            case {"regex": str(pattern)} if len(structured) == 1:
                return Regex(pattern), None
            case {"json": dict(schema)} if len(structured) == 1:
                return JsonSchema.of(schema), None
            case {"json": str(text)} if len(structured) == 1:
                return JsonSchema(text), None
        raise Refused('structured_outputs: one of {"choice": [texts]}, {"regex": text}, {"json": schema} is supported')
    return _formatted(body.get("response_format"))


def _formatted(wanted: Any) -> tuple[Constraint | None, str | None]:
    """As `_constraint`, from OpenAI's response_format."""
    match wanted:
        case None | {"type": "text"}:
            return None, None
        case {"type": "json_object"}:
            return JsonSchema.of({"type": "object"}), None
        case {"json_schema": {"schema": dict(whole)}}:
            pass
        case _:
            raise Refused("response_format: text, json_object and json_schema (with a schema) are supported")
    schema, key = whole, None
    try:
        if schema.get("type") == "object":
            ((key, schema),) = schema["properties"].items()
        if _texts(schema["enum"]):
            return tuple(schema["enum"]), key
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    return JsonSchema.of(whole), None


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) and text for text in value)


def _sampling(body: Mapping[str, Any], max_tokens: int) -> Sampling:
    stop = body.get("stop")
    stops = [] if stop is None else [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(text, str) and text for text in stops):
        raise Refused("stop must be a text or a list of texts")
    seed = body.get("seed")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise Refused("seed must be a whole number")
    # OpenAI's default temperature is 1.
    return Sampling(float(_number(body, "temperature", 1.0, 0.0, 100.0)), _top_p(body), max_tokens, tuple(stops), seed)


def _top_p(body: Mapping[str, Any]) -> float:
    top_p = float(_number(body, "top_p", 1.0, 0.0, 1.0))
    if top_p <= 0:
        raise Refused("top_p must be more than 0 and at most 1")
    return top_p


def _max_tokens(body: Mapping[str, Any], *names: str, default: int = 1 << 20, least: int = 1) -> int:
    """The first of `names` that is given; without one, as many as the context holds."""
    name = next((name for name in names if body.get(name) is not None), names[0])
    return int(_number(body, name, default, least, 1 << 30, whole=True))


def _number(body: Mapping[str, Any], name: str, default: Any, least: float, most: float, *, whole: bool = False) -> Any:
    value = body.get(name)
    if value is None:
        return default
    right = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not right or not least <= value <= most:
        kind = "a whole number" if whole else "a number"
        raise Refused(f"{name} must be {kind} from {least:g} to {most:g}, not {json.dumps(value)[:60]}")
    return value


def _flag(body: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise Refused(f"{name} must be true or false, not {json.dumps(value)[:60]}")
    return default if value is None else value


@dataclass(frozen=True, slots=True)
class TextCall:
    """A raw completion request read."""

    prompts: tuple[str, ...]
    sampling: Sampling
    n: int = 1
    logprobs: int | None = None
    echo: bool = False
    stream: bool = False


def read_text(body: Mapping[str, Any]) -> TextCall:
    prompt = body.get("prompt")
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not _texts(prompts):
        raise Refused("prompt must be a text or a list of texts (token ids are not supported)")
    assert prompts is not None
    if body.get("structured_outputs") is not None or body.get("response_format") is not None:
        raise Refused("text completions cannot be constrained here; use chat completions")
    echo, n = _flag(body, "echo"), _number(body, "n", 1, 1, MOST_ANSWERS, whole=True)
    limit = _max_tokens(body, "max_tokens", default=16, least=0)
    if limit == 0 and not echo:
        raise Refused("max_tokens 0 is only supported together with echo: true")
    told = None if body.get("logprobs") is None else _number(body, "logprobs", 0, 0, MOST_LOGPROBS, whole=True)
    return TextCall(tuple(prompts), _sampling(body, limit), n, told, echo, _flag(body, "stream"))


def chat_choice(index: int, answer: Answer, call: ChatCall) -> dict[str, Any]:
    text = answer.text if call.wrapped is None else json.dumps({call.wrapped: answer.text}, ensure_ascii=False)
    message = {"role": "assistant", "content": text, "refusal": None}
    logs = None if answer.logprobs is None else {"content": chat_logprobs(answer.logprobs), "refusal": None}
    return {"index": index, "message": message, "logprobs": logs, "finish_reason": answer.finish,
            "stop_reason": answer.stop}  # fmt: skip


def chat_logprobs(tokens: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    def told(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "logprob": finite(logprob), "bytes": list(token.encode())}

    return [told(t.token, t.logprob) | {"top_logprobs": [told(*other) for other in t.top]} for t in tokens]


def finite(logprob: float) -> float:
    """JSON has no minus infinity; vLLM writes -9999 for it, and so do we."""
    return max(logprob, -9999.0)


def usage_of(usage: Usage) -> dict[str, int]:
    total = usage.prompt + usage.completion
    return {"prompt_tokens": usage.prompt, "completion_tokens": usage.completion, "total_tokens": total}


def text_logprobs(tokens: Sequence[TokenLogprob], first: str | None, start: int) -> dict[str, Any]:
    """The older form of log-probabilities. first: a token without one (the first of an echoed prompt), or None;
    start: the text offset of the first token."""
    texts = ([] if first is None else [first]) + [token.token for token in tokens]
    logs: list[float | None] = ([] if first is None else [None]) + [finite(token.logprob) for token in tokens]
    # OpenAI's dictionaries hold the best alternatives and the chosen token too.
    tops: list[dict[str, float] | None] = [] if first is None else [None]
    tops += [{name: finite(value) for name, value in (*t.top, (t.token, t.logprob))} for t in tokens]
    offsets = []
    for text in texts:
        offsets.append(start)
        start += len(text)
    return {"tokens": texts, "token_logprobs": logs, "top_logprobs": tops, "text_offset": offsets}
