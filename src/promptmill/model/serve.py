"""Any backend behind OpenAI's HTTP API, so that other programs can use it: `promptmill serve`.

/v1/models, /v1/chat/completions, /v1/completions, /health; of vLLM's additions: structured_outputs,
continue_final_message, prompt_logprobs. Requests of all clients meet in the backend's batcher.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from aiohttp import web

from promptmill.errors import ModelError, PromptmillError
from promptmill.model.backend import Backend
from promptmill.model.chat import Answer, CallError, Completion, Sampling, TokenLogprob, Usage
from promptmill.model.local.work import Rated
from promptmill.model.serve_wire import (
    ChatCall,
    Refused,
    TextCall,
    chat_choice,
    finite,
    read_chat,
    read_text,
    text_logprobs,
    usage_of,
)
from promptmill.prompt import Message

MOST_BODY = 64 << 20  # bytes of a request
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@runtime_checkable
class TextBackend(Protocol):
    """What raw completions and prompt log-probabilities need beyond `Backend`; LocalBackend has it."""

    async def complete_text(
        self, text: str, sampling: Sampling, *, n: int = 1, repeat: int = 0, logprobs: int | None = None
    ) -> Completion: ...
    async def rate_text(self, text: str, top: int = 0, *, special: bool = True) -> tuple[tuple[int, ...], Rated]: ...
    def render(self, messages: tuple[Message, ...], prefix: str = "") -> str: ...
    def text_of(self, token: int) -> str: ...


def make_app(backends: Mapping[str, Backend]) -> web.Application:
    """The application: model ids and the backends that answer for them (a base model and its adapters, say). They are
    opened at its start and closed at its end."""
    server = _Server(backends)
    app = web.Application(client_max_size=MOST_BODY, middlewares=[_errors])
    app.router.add_get("/health", server.health)
    app.router.add_get("/v1/models", server.models)
    app.router.add_get("/v1/models/{name:.+}", server.model)
    app.router.add_post("/v1/chat/completions", server.chat)
    app.router.add_post("/v1/completions", server.text)
    app.cleanup_ctx.append(server.running)
    return app


async def serve(
    backends: Mapping[str, Backend],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until cancelled. ready: called with the base address (http://127.0.0.1:8000/v1) once requests are taken;
    port 0 takes a free one. ModelError where the address cannot be had or the model cannot be loaded."""
    runner = web.AppRunner(make_app(backends), access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ModelError(f"cannot serve at {host}:{port} ({error.strerror}); give another --port") from None
        if ready:
            ready(f"http://{host}:{runner.addresses[0][1]}/v1")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure in OpenAI's form."""
    try:
        return await handler(request)
    except Refused as error:
        refusal = error
    except CallError as error:
        status = 400 if error.kind in ("refused", "constraint") else 500
        refusal = Refused(
            error.detail, status, "invalid_request_error" if status == 400 else "server_error", error.kind
        )
    except PromptmillError as error:
        refusal = Refused(str(error), 500, "server_error")
    except web.HTTPException as error:
        refusal = Refused(f"{request.method} {request.path}: {error.reason}", error.status)
    except Exception as error:  # a fault of ours: the client still gets a body it can read, the log the rest
        logging.getLogger(__name__).exception("%s %s", request.method, request.path)
        refusal = Refused(f"internal error ({type(error).__name__})", 500, "server_error")
    return web.json_response(refusal.body, status=refusal.status)


class _Server:
    def __init__(self, backends: Mapping[str, Backend]):
        self.backends, self.started = dict(backends), int(time.time())

    async def running(self, app: web.Application) -> AsyncIterator[None]:
        opened: list[Backend] = []
        try:
            for backend in self.backends.values():
                await backend.open()
                opened.append(backend)
            yield
        finally:
            for backend in opened:
                await backend.close()

    async def health(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "ok"})

    async def models(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"object": "list", "data": [self._card(name) for name in self.backends]})

    async def model(self, request: web.Request) -> web.StreamResponse:
        self._backend(request.match_info["name"])
        return web.json_response(self._card(request.match_info["name"]))

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        backend, call = self._backend(body.get("model")), read_chat(body)
        completion = await backend.complete(replace(call.request, repeat=_unseeded(call.request.sampling)))
        answer = _head("chat.completion", "chatcmpl", body) | {
            "choices": [chat_choice(index, answer, call) for index, answer in enumerate(completion.answers)],
            "usage": usage_of(completion.usage),
        }
        if call.prompt_logprobs is not None:
            answer["prompt_logprobs"] = await _prompt_logprobs(_text_backend(backend), call)
        return await _stream_chat(request, answer, call) if call.stream else web.json_response(answer)

    async def text(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        backend, call = _text_backend(self._backend(body.get("model"))), read_text(body)
        done = await asyncio.gather(*(_one_text(backend, call, prompt) for prompt in call.prompts))
        rows = [row for rows, _ in done for row in rows]
        usage = Usage(sum(used.prompt for _, used in done), sum(used.completion for _, used in done))
        answer = _head("text_completion", "cmpl", body) | {
            "choices": [{"index": index, **row} for index, row in enumerate(rows)],
            "usage": usage_of(usage),
        }
        return await _stream(request, [answer]) if call.stream else web.json_response(answer)

    def _backend(self, name: Any) -> Backend:
        if name is None and len(self.backends) == 1:
            return next(iter(self.backends.values()))
        if not isinstance(name, str) or name not in self.backends:
            known = ", ".join(self.backends)
            raise Refused(f"the model {name!r} does not exist; there is {known}", 404, code="model_not_found")
        return self.backends[name]

    def _card(self, name: str) -> dict[str, Any]:
        base = next(iter(self.backends))
        parent = None if name == base else base
        return {"id": name, "object": "model", "created": self.started, "owned_by": "promptmill", "parent": parent}


def _unseeded(sampling: Sampling) -> int:
    """A repeat index: a sampled request without a seed must not get the same answer each time it is sent."""
    return uuid.uuid4().int >> 65 if sampling.seed is None and sampling.temperature > 0 else 0


def _text_backend(backend: Backend) -> TextBackend:
    if not isinstance(backend, TextBackend):
        raise Refused("this model takes chat completions only")
    return backend


async def _one_text(backend: TextBackend, call: TextCall, prompt: str) -> tuple[list[dict[str, Any]], Usage]:
    """The choices for one raw prompt, without their index, and what they cost."""
    echoed: list[TokenLogprob] = []
    first: str | None = None
    ids: tuple[int, ...] = ()
    if call.echo and (call.logprobs is not None or call.sampling.max_tokens == 0):
        ids, rated = await backend.rate_text(prompt, call.logprobs or 0)
        first, echoed = backend.text_of(ids[0]), _told(backend, rated)
    if call.sampling.max_tokens == 0:
        done = Completion((Answer("", "length", ()),) * call.n, Usage(len(ids), 0))
    else:
        repeat = _unseeded(call.sampling)
        done = await backend.complete_text(prompt, call.sampling, n=call.n, repeat=repeat, logprobs=call.logprobs)
    rows = []
    for answer in done.answers:
        tokens, start = [*echoed, *(answer.logprobs or ())], 0 if call.echo else len(prompt)
        logs = None if call.logprobs is None else text_logprobs(tokens, first, start)
        text = prompt + answer.text if call.echo else answer.text
        rows.append({"text": text, "logprobs": logs, "finish_reason": answer.finish, "stop_reason": answer.stop})
    return rows, done.usage


async def _prompt_logprobs(backend: TextBackend, call: ChatCall) -> list[dict[str, Any] | None]:
    """vLLM's form: for each prompt token {id: {logprob, rank, decoded_token}} with the token itself first; null for the
    first token. rank: 1 for the best alternative, null for a token that is not among those asked for."""
    text = backend.render(call.request.messages, call.request.prefix)
    _, rated = await backend.rate_text(text, call.prompt_logprobs or 0, special=False)
    rows: list[dict[str, Any] | None] = [None]
    for token in rated:
        ranks = {other: rank for rank, (other, _) in enumerate(token.top, 1)}
        row: dict[str, Any] = {}
        for number, logprob in ((token.id, token.logprob), *token.top):
            known = {"logprob": finite(logprob), "rank": ranks.get(number), "decoded_token": backend.text_of(number)}
            row.setdefault(str(number), known)
        rows.append(row)
    return rows


def _told(backend: TextBackend, rated: Rated) -> list[TokenLogprob]:
    def alternatives(top: Sequence[tuple[int, float]]) -> tuple[tuple[str, float], ...]:
        return tuple((backend.text_of(other), logprob) for other, logprob in top)

    return [TokenLogprob(backend.text_of(token.id), token.logprob, alternatives(token.top)) for token in rated]


def _head(kind: str, prefix: str, body: Mapping[str, Any]) -> dict[str, Any]:
    made = int(time.time())
    return {"id": f"{prefix}-{uuid.uuid4().hex}", "object": kind, "created": made, "model": body.get("model") or ""}


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        data = json.loads(await request.read())
    except ValueError as error:
        raise Refused(f"the body is not JSON ({error})") from None
    if not isinstance(data, dict):
        raise Refused("the body must be a JSON object")
    return data


async def _stream_chat(request: web.Request, answer: dict[str, Any], call: ChatCall) -> web.StreamResponse:
    """The finished answer as server-sent events: a role, a text and an end for each choice, then the usage if asked."""
    head = {key: answer[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    if call.stream_usage:
        head["usage"] = None
    chunks = []
    for choice in answer["choices"]:
        for delta, logs, finish in (
            ({"role": "assistant", "content": ""}, None, None),
            ({"content": choice["message"]["content"]}, choice["logprobs"], None),
            ({}, None, choice["finish_reason"]),
        ):
            row = {"index": choice["index"], "delta": delta, "logprobs": logs, "finish_reason": finish}
            chunks.append(head | {"choices": [row]})
    if call.stream_usage:
        chunks.append(head | {"choices": [], "usage": answer["usage"]})
    return await _stream(request, chunks)


async def _stream(request: web.Request, chunks: Sequence[dict[str, Any]]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    for chunk in chunks:
        await response.write(f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response
