"""A real HTTP server for tests: it speaks chat completions, waits as long as it is told, and fails on purpose.

Run as a program it prints its port and serves until its standard input closes, so that it outlives a killed client:

    python tests/servers.py --latency 0.05 --faults 0.2
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import web

Answer = Callable[[list[dict[str, str]]], str]
FAULTS = ("429", "500", "timeout", "cut", "closed", "cut_body")


def arithmetic(messages: list[dict[str, str]]) -> str:
    """Adds the numbers of the last message; wrong for a fifth of the questions unless told to think in steps."""
    text = messages[-1]["content"]
    total = sum(int(number) for number in re.findall(r"\d+", text))
    careful = any("step" in message["content"].lower() for message in messages)
    unlucky = hashlib.sha256(text.encode()).digest()[0] < 51
    return f"The answer is {total + (unlucky and not careful)}"


def writer(messages: list[dict[str, str]]) -> str:
    """Rewrites an instruction: a word from a list, chosen by the request, is added to it."""
    text = messages[-1]["content"]
    instruction = text.rsplit("Instruction:", 1)[-1].strip() if "Instruction:" in text else "Add the numbers."
    pick = hashlib.sha256(text.encode()).digest()[0] % 5
    return f"{instruction} {['Think step by step.', 'Be brief.', 'Be polite.', 'Be quick.', 'Take care.'][pick]}"


def by_request(messages: list[dict[str, str]]) -> str:
    asks_for_instruction = "instruction only" in messages[-1]["content"]
    return writer(messages) if asks_for_instruction else arithmetic(messages)


class Server:
    """State of the mock: what it was asked, how much at once, and which faults it still owes.

    faults: share of calls that fail, drawn by a seeded generator; the same question asked again may fail again.
    """

    def __init__(self, answer: Answer = by_request, latency: float = 0.0, faults: float = 0.0, seed: int = 0,
                 hang: float = 3.0):  # fmt: skip
        self.answer, self.latency, self.faults, self.hang = answer, latency, faults, hang
        self.rng = random.Random(seed)
        self.calls = 0
        self.answered = 0
        self.in_flight = 0
        self.peak = 0
        self.seen: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.script: list[Callable[[], web.Response] | str] = []  # answers for the next calls, before all else
        self.keep_bodies = True

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/stats", self.stats)
        return app

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "mock", "object": "model", "owned_by": "tests"}]})

    async def stats(self, _: web.Request) -> web.Response:
        repeated = sum(count - 1 for count in self.seen.values())
        return web.json_response({"calls": self.calls, "answered": self.answered, "peak": self.peak,
                                  "distinct": len(self.seen), "repeated": repeated})  # fmt: skip

    async def chat(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw)
        self.calls += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        if self.keep_bodies:
            self.bodies.append(body)
            self.headers.append(dict(request.headers))
        try:
            if self.latency:
                await asyncio.sleep(self.latency)
            if self.script:
                step = self.script.pop(0)
                return await self.fail(step, request) if isinstance(step, str) else step()
            if self.faults and self.rng.random() < self.faults:
                return await self.fail(self.rng.choice(FAULTS), request)
            self.seen[hashlib.sha256(raw).hexdigest()] += 1
            self.answered += 1
            return web.Response(body=completion(body, self.answer), content_type="application/json")
        finally:
            self.in_flight -= 1

    async def fail(self, fault: str, request: web.Request) -> web.StreamResponse:
        if fault == "429":
            return web.json_response({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "0.05"})
        if fault == "500":
            return web.Response(status=500, text="oops")
        if fault == "timeout":
            await asyncio.sleep(self.hang)
            return web.Response(status=504)
        if fault == "cut":
            return web.Response(body=b'{"choices": [{"mess', content_type="application/json")
        if fault == "cut_body":  # promises more bytes than it sends
            response = web.StreamResponse(headers={"Content-Length": "500"})
            await response.prepare(request)
            await response.write(b'{"choices"')
        assert request.transport is not None
        request.transport.close()
        return web.Response()


def completion(body: dict[str, Any], answer: Answer) -> bytes:
    text = answer(body["messages"])
    words = sum(len(message["content"].split()) for message in body["messages"])
    choices = [
        {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        for i in range(body.get("n", 1))
    ]
    usage = {"prompt_tokens": words, "completion_tokens": len(text.split()) * len(choices)}
    return json.dumps(
        {"id": "x", "object": "chat.completion", "model": "mock", "choices": choices, "usage": usage}
    ).encode()


class Serving:
    """`async with Serving(Server()) as (server, base_url)`: on a free port of 127.0.0.1."""

    def __init__(self, server: Server):
        self.server = server

    async def __aenter__(self) -> tuple[Server, str]:
        self.runner = web.AppRunner(self.server.app(), access_log=None)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        port = self.runner.addresses[0][1]
        return self.server, f"http://127.0.0.1:{port}/v1"

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    server = Server(latency=arguments.latency, faults=arguments.faults, seed=arguments.seed)
    server.keep_bodies = False
    async with Serving(server) as (_, url):
        print(url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
