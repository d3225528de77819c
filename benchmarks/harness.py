"""What the harness costs: CPU per call, calls in flight, memory, cache and joining, against a bare aiohttp client.

    python benchmarks/harness.py [--calls 2000] [--repeats 5]

A mock server in a process of its own answers after 50 ms. Floor and harness run by turns; CPU seconds (user and system)
of this process, medians. All in means: render, key, cache look-up and write, HTTP, parse, score, record in parquet.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.crash import server_process, server_stats  # noqa: E402 (the mock server of the tests)

IN_FLIGHT = 256


def question(i: int) -> str:
    return f"Tom has {i} apples and buys {i % 7 + 2} more at the market. How many apples does Tom have now? Case {i}."


SYSTEM = "You are a careful assistant. Solve the problem step by step and end with the number."


async def bare(url: str, calls: int) -> None:
    """The floor: the same requests, sent and read, and nothing else."""
    todo = iter(range(calls))
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:

        async def work() -> None:
            for i in todo:
                messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question(i)}]
                payload = {"model": "mock", "messages": messages, "temperature": 0, "max_tokens": 256}
                async with session.post(url + "/chat/completions", json=payload) as answer:
                    data = await answer.json()
                assert data["choices"][0]["message"]["content"]

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


def make_task(count: int, copies: int = 1):
    from promptmill.prompt import Prompt
    from promptmill.score.scorer import make_scorer
    from promptmill.tasks.task import Example, Task

    examples = tuple(
        Example(f"{i}-{copy}", {"question": question(i)}, (str(i + i % 7 + 2 + i),))
        for i in range(count)
        for copy in range(copies)
    )
    prompt = Prompt(SYSTEM, "{question}")
    return Task("bench", "add", prompt, make_scorer("number"), None, (), (), examples)


async def harness(url: str, folder: Path, count: int, copies: int = 1):
    """The same through the harness, all in."""
    from promptmill.measure.answer import Ask
    from promptmill.measure.evaluate import answers_schema, evaluate_async
    from promptmill.model.cache import CallStore
    from promptmill.model.chat import Sampling
    from promptmill.model.endpoint import EndpointBackend
    from promptmill.model.gate import Model
    from promptmill.store.stage import Stage

    task = make_task(count, copies)
    store = CallStore(folder / "calls.sqlite", "bench", shared=False)
    model = Model(EndpointBackend("mock", url, concurrency=IN_FLIGHT), store=store)
    async with model:
        stage = Stage(folder / "answers", answers_schema())
        ask = Ask(Sampling(max_tokens=256))
        evaluation = await evaluate_async(model, task, task.prompt, task.test, ask, stage=stage)
    store.close()
    assert evaluation.answered == count * copies, evaluation
    return evaluation


def cpu(work) -> float:
    started = time.process_time()
    asyncio.run(work)
    return time.process_time() - started


def measure(calls: int, repeats: int) -> dict[str, float]:
    floor, ours, again = [], [], []
    with tempfile.TemporaryDirectory() as warm_up, server_process("--latency", "0.05") as url:
        cpu(bare(url, 200))
        cpu(harness(url, Path(warm_up), 200))  # imports
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as name, server_process("--latency", "0.05") as url:
            floor.append(cpu(bare(url, calls)) / calls * 1000)
            before = server_stats(url)["calls"]
            ours.append(cpu(harness(url, Path(name), calls)) / calls * 1000)
            assert server_stats(url)["calls"] == before + calls
            again.append(cpu(harness(url, Path(name), calls)) / calls * 1000)
            assert server_stats(url)["calls"] == before + calls, "the second time all comes from the cache"
        print(f"bare {floor[-1]:.3f}  harness {ours[-1]:.3f}  from cache {again[-1]:.3f} ms CPU a call", flush=True)
    with tempfile.TemporaryDirectory() as name, server_process("--latency", "0.05") as url:
        asyncio.run(harness(url, Path(name), calls))
        reached = server_stats(url)["peak"]
    with tempfile.TemporaryDirectory() as name, server_process("--latency", "0.05") as url:
        asyncio.run(harness(url, Path(name), 250, copies=8))
        joined = server_stats(url)["calls"]
    return {
        "cpu_ms_per_call": round(statistics.median(ours), 3),
        "bare_aiohttp_cpu_ms": round(statistics.median(floor), 3),
        "ratio": round(statistics.median(o / f for o, f in zip(ours, floor, strict=True)), 2),
        "cached_cpu_ms": round(statistics.median(again), 3),
        "in_flight_reached": reached,
        "dedup_calls": joined,
    }


def peak_rss(count: int) -> float:
    """MiB at most, in a fresh process."""
    command = [sys.executable, __file__, "--rss", str(count)]
    return float(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rss", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rss:
        with tempfile.TemporaryDirectory() as name, server_process("--latency", "0.05") as url:
            asyncio.run(harness(url, Path(name), arguments.rss))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    result = measure(arguments.calls, arguments.repeats)
    result |= {"rss_mib_2k": round(peak_rss(2000), 1), "rss_mib_20k": round(peak_rss(20000), 1)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
