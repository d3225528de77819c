"""A landscape over HTTP on 127.0.0.1, in OpenAI's shape: the models `task` and `writer`, counted at /stats.

    python -m benchmarks.landscape.serve --seed 0 [--rugged] [--blind] [--budget 10000] [--port 0]

Prints its address and serves until its standard input closes. Past the budget task calls are refused (400).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from aiohttp import web

from benchmarks.landscape.backends import CountedBackend, task_backend, writer_backend
from benchmarks.landscape.world import Landscape
from promptmill.model.chat import Completion, Request
from promptmill.model.serve import make_app
from promptmill.prompt import Message


class Repeating(CountedBackend):
    """The writer as it is served. A client that wants another answer to the same words sends them again without a seed,
    and the server of promptmill gives such a request a random repeat index; here it is how often the words came before,
    so that a search that asks in the same order gets the same answers."""

    def __init__(self, writer: CountedBackend):
        super().__init__(writer.script, writer.name, writer.fingerprint)
        self.asked: Counter[tuple[Message, ...]] = Counter()

    async def complete(self, request: Request) -> Completion:
        if request.repeat:
            request = replace(request, repeat=self.asked[request.messages])
            self.asked[request.messages] += 1
        return await super().complete(request)


@asynccontextmanager
async def serving(landscape: Landscape, budget: int | None = None, port: int = 0) -> AsyncIterator[str]:
    """The base address, while the landscape is served."""
    task, writer = task_backend(landscape, budget), Repeating(writer_backend(landscape))

    async def stats(_: web.Request) -> web.Response:
        return web.json_response({"task": task.calls, "writer": writer.calls})

    app = make_app({"task": task, "writer": writer})
    app.router.add_get("/stats", stats)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rugged", action="store_true")
    parser.add_argument("--blind", action="store_true")
    parser.add_argument("--budget", type=int)
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    landscape = Landscape(given.seed, rugged=given.rugged, blind=given.blind)
    async with serving(landscape, given.budget, given.port) as url:
        print(url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
