"""Any server that speaks OpenAI's chat completions: vLLM, llama.cpp, Ollama, OpenAI, `promptmill serve`, …

A thin client over aiohttp: it sends one request and reads one answer. Waiting, retrying, caching and counting are the
gate's work.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

import aiohttp

from promptmill.errors import ModelError
from promptmill.model.chat import CallError, Completion, Request, ScoreRequest, Scores
from promptmill.model.wire import (
    chat_payload,
    chosen,
    first_token_payload,
    read_choice_logprobs,
    read_completion,
    read_scores,
    read_usage,
    score_payload,
)
from promptmill.model.wire_text import read_text, read_text_scores, text_payload, text_score_payload
from promptmill.prompt import Message

RETRYABLE = {408: "timeout", 409: "server_error", 425: "server_error", 429: "rate_limit"}
HOPELESS = {401, 403, 404}
# What /v1/models says under "owned_by" of servers that take vLLM's extra fields (continuation, structured_outputs,
# prompt_logprobs). OpenAI refuses unknown fields, so nobody else is sent them unless the user says so.
VLLM_KIN = {"vllm", "promptmill"}


class EndpointBackend:
    """One model on one OpenAI-compatible server.

    base_url:    up to and including the version, such as http://localhost:8000/v1.
    api_key_env: name of the environment variable that holds the key; the key itself is never stored.
    api:         "chat", or "completions" for base models: the prompt as text, without a chat template.
    dialect:     "auto" asks the server; "vllm" sends vLLM's extra fields; "openai" only what OpenAI documents.
    timeout:     seconds for one attempt of one call.
    extra_body:  fields added to each request as they are.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 64,
        timeout: float = 120.0,
        api: str = "chat",
        dialect: str = "auto",
        extra_body: Mapping[str, Any] | None = None,
    ):
        url = _address(base_url)
        if not re.fullmatch(r"[A-Za-z_]\w*", api_key_env):
            raise ModelError(
                "--api-key-env takes the name of an environment variable, not a key (it is not shown here)"
            )
        self.name, self.base_url = model, base_url.rstrip("/")
        self.fingerprint = json.dumps(
            ["endpoint", self.base_url, model, api, dialect, dict(extra_body or {})], sort_keys=True
        )
        self.server, self.concurrency, self.timeout = self.base_url, concurrency, timeout
        self.api, self.dialect, self.extra_body = api, dialect, dict(extra_body or {})
        self._key_name, self._key = api_key_env, os.environ.get(api_key_env, "")
        self._session: aiohttp.ClientSession | None = None
        self._served: list[str] = []
        self._answered = False
        self._proxy = None if urllib.request.proxy_bypass(url.netloc) else urllib.request.getproxies().get(url.scheme)

    @property
    def continues(self) -> bool | None:
        """vLLM and text completions continue a given prefix; who serves is known after `open`."""
        if self.api == "completions" or self.dialect == "vllm":
            return True
        return None if self.dialect == "auto" else False

    async def open(self) -> None:
        """Connect and ask which models there are. ModelError where nobody answers or the key is refused."""
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=self.timeout, sock_connect=min(30.0, self.timeout)),
        )
        try:
            await self._ask_who_serves()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._session:
            session, self._session = self._session, None
            await session.close()

    async def complete(self, request: Request) -> Completion:
        if isinstance(request.constraint, tuple) and request.logprobs is not None:
            return await self._weigh(request, request.constraint)
        vllm = self.dialect == "vllm"
        if self.api == "completions":
            return read_text(await self._post("/completions", text_payload(self.name, request, vllm=vllm)), request)
        return read_completion(
            await self._post("/chat/completions", chat_payload(self.name, request, vllm=vllm)), request
        )

    async def score(self, request: ScoreRequest) -> Scores:
        """One call for each continuation: by vLLM's `prompt_logprobs` in a chat, by echoed logprobs in text."""
        if self.api == "completions":
            payloads = [text_score_payload(self.name, request, text) for text in request.continuations]
            return read_text_scores(await self._post_all("/completions", payloads), request)
        if self.dialect != "vllm":
            raise ModelError(
                f"{self.name} at {self.base_url} cannot score given texts in a chat (no prompt_logprobs); "
                "use vLLM, promptmill serve, a local model, or model.api=completions"
            )
        payloads = [score_payload(self.name, request, text) for text in request.continuations]
        return read_scores(await self._post_all("/chat/completions", payloads), request)

    async def _post_all(self, path: str, payloads: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(self._post(path, payload) for payload in payloads)))

    async def _weigh(self, request: Request, choices: tuple[str, ...]) -> Completion:
        """The choices as a distribution: exact where given texts can be scored, else by the first token."""
        if self.dialect == "vllm" or self.api == "completions":
            scores = await self.score(ScoreRequest(request.messages, choices, request.prefix))
            return chosen(request, scores.logprobs, scores.usage)
        if request.prefix:
            raise CallError(
                "refused", "this server cannot continue a given beginning, so choices cannot be weighed after it"
            )
        data = await self._post("/chat/completions", first_token_payload(self.name, request))
        return chosen(request, read_choice_logprobs(data, choices), read_usage(data))

    def count_tokens(self, messages: tuple[Message, ...]) -> int:
        """A generous estimate: a token for each two bytes, and some for the template."""
        return sum(len(content.encode()) // 2 + 16 for _, content in messages)

    async def _post(self, path: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        assert self._session is not None, "open() first"
        body = json.dumps({**payload, **self.extra_body}, ensure_ascii=False).encode()
        try:
            async with self._session.post(
                self.base_url + path, data=body, proxy=self._proxy, allow_redirects=False
            ) as response:
                raw = await response.read()
                status, headers = response.status, response.headers
        except TimeoutError:
            raise CallError("timeout", f"no answer in {self.timeout:g} s", retryable=True) from None
        except aiohttp.ClientPayloadError as error:
            raise CallError("bad_response", f"the answer was cut short ({_short(error)})", retryable=True) from None
        except aiohttp.ClientError as error:
            raise CallError("connection", _short(error), retryable=True) from None
        if status != 200:
            raise self._refusal(status, raw, headers)
        self._answered = True
        try:
            data = json.loads(raw)
        except ValueError:
            raise CallError("bad_response", f"not JSON: {raw[:80]!r}", retryable=True) from None
        if not isinstance(data, dict):
            raise CallError("bad_response", f"not a JSON object: {raw[:80]!r}", retryable=True)
        return data

    def _refusal(self, status: int, raw: bytes, headers: Mapping[str, str]) -> Exception:
        """What an HTTP status other than 200 means: wait and send again, this question is refused, or all is lost."""
        said = self._said(raw)
        if status == 403 and self._answered:  # the key is good: this question is not wanted (moderation)
            return CallError("refused", f"HTTP 403: {said}")
        if 300 <= status < 400:
            return ModelError(f"{self.base_url} sends on to {headers.get('Location', 'nowhere')}: give that --base-url")
        if status in HOPELESS:
            return ModelError(self._hopeless(status, said))
        if status in RETRYABLE or status >= 500:
            kind = RETRYABLE.get(status, "server_error")
            return CallError(kind, f"HTTP {status}: {said}", retryable=True, retry_after=_retry_after(headers))
        return CallError("refused", f"HTTP {status}: {said}")

    def _hopeless(self, status: int, said: str) -> str:
        where = f"{self.name} at {self.base_url}"
        if status == 404:
            known = f"; it serves {', '.join(self._served[:5])}" if self._served else "; is the --base-url right?"
            return f"{where}: not found ({said}){known}"
        return f"{where}: access refused, HTTP {status} ({said}); is the key in ${self._key_name} right?"

    def _said(self, raw: bytes) -> str:
        """The server's own words, in one short line, without the key."""
        try:
            data = json.loads(raw)
            text = str(data["error"]["message"] if isinstance(data["error"], dict) else data["error"])
        except (ValueError, KeyError, TypeError):
            text = raw[:200].decode(errors="replace")
        if self._key:
            text = text.replace(self._key, "***")
        return " ".join(text.split())[:200]

    async def _ask_who_serves(self) -> None:
        assert self._session is not None
        try:
            async with self._session.get(
                self.base_url + "/models", proxy=self._proxy, timeout=aiohttp.ClientTimeout(total=20)
            ) as response:
                status, raw = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ModelError(f"nobody answers at {self.base_url} ({_short(error)}); is the server up?") from None
        if status in (401, 403):
            raise ModelError(self._hopeless(status, self._said(raw)))
        owners: set[str] = set()
        try:
            rows = json.loads(raw)["data"]
            self._served = [str(row["id"]) for row in rows]
            owners = {str(row.get("owned_by", "")) for row in rows}
        except (ValueError, KeyError, TypeError, AttributeError):
            pass  # not every server lists its models; the first call tells the rest
        if self.dialect == "auto":
            self.dialect = "vllm" if owners & VLLM_KIN else "openai"


def _address(base_url: str) -> SplitResult:
    """The parts of a server's address. ModelError for what is none, and for one with a password in it: addresses are
    recorded, passwords must not be."""
    try:
        url = urlsplit(base_url)
    except ValueError:
        url = urlsplit("")
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ModelError(f"--base-url {base_url!r} is not an http(s) address such as http://localhost:8000/v1")
    if url.username or url.password:
        raise ModelError("--base-url must not hold a user or password; put the key into a variable (--api-key-env)")
    return url


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds asked for by Retry-After (a number or an HTTP date) or OpenAI's retry-after-ms; at most ten minutes."""
    try:
        if "retry-after-ms" in headers:
            return min(600.0, float(headers["retry-after-ms"]) / 1000)
        value = headers.get("Retry-After", "")
        return min(600.0, float(value)) if value else None
    except ValueError:
        from datetime import UTC, datetime
        from email.utils import parsedate_to_datetime

        try:
            return max(0.0, min(600.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()))
        except (ValueError, TypeError):
            return None


def _short(error: BaseException) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:160]
