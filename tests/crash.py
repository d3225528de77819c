"""The crash harness: a command is killed (kill -9) at random instants, continued, and must end as the unbroken one did.

    check_survives_kills(cli, ["eval", task, "--model", "mock"], tmp_path, concurrency=8, kills=3)

The server lives in a process of its own and counts what it answered, so it knows what was sent twice. Run as a program
this is the server of the day care in examples/, for `tests.servers` has none that says yes or no:

    python -m tests.crash --latency 0.01
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.servers import Answer, Server, Serving, writer

ROOT = Path(__file__).resolve().parent.parent
PROMPTMILL = [sys.executable, "-m", "promptmill.cli.main"]
DAY_CARE = ROOT / "examples" / "day-care"
SUITE = DAY_CARE / "suite.json"
LATENCY = ("--latency", "0.01")


@contextmanager
def server_process(*arguments: str, module: str = "tests.servers") -> Iterator[str]:
    """Base URL of a mock server in a process of its own."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


def server_stats(base_url: str) -> dict[str, int]:
    with urllib.request.urlopen(base_url.removesuffix("/v1") + "/stats") as answer:
        return json.load(answer)


def promptmill(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROMPTMILL, *arguments], capture_output=True, text=True, timeout=300, **more)


@dataclass
class Survived:
    """What a killed and continued run came to. kills: those that met it alive. answered: calls that it took.
    repeated: calls that the server answered more than once."""

    report: dict[str, Any]
    kills: int
    answered: int
    repeated: int


def run_with_kills(
    cli: Callable[..., Any], command: Sequence[str], base_url: str, calls: int, kills: int, seed: int
) -> tuple[int, dict[str, int]]:
    """Run `command`, kill it `kills` times once the server has been asked for a random share of `calls`, finish it in
    this process. Gives the number of kills that met it alive, and the server's counts."""
    rng, done = random.Random(seed), 0
    for target in sorted(rng.uniform(0.02, 0.98) * calls for _ in range(kills)):
        process = subprocess.Popen([*PROMPTMILL, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and server_stats(base_url)["calls"] < target:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.03))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            done += 1
        process.wait(60)
    finished = cli(*command)
    assert finished.code == 0, finished.err
    return done, server_stats(base_url)


def check_survives_kills(
    cli: Callable[..., Any],
    command: Sequence[str],
    folder: Path,
    concurrency: int,
    kills: int,
    seed: int = 0,
    server: str = "tests.servers",
) -> Survived:
    """Assert that the broken run ends in the unbroken one's report and sends again at most what was in flight.

    cli: as the fixture of that name. server: module of the server that answers `command`.
    """
    command = [*command, "--concurrency", str(concurrency)]
    with server_process(*LATENCY, module=server) as url:
        unbroken = cli(*command, "--base-url", url, "--out", str(folder / "unbroken"))
        assert unbroken.code == 0, unbroken.err
        calls = server_stats(url)["answered"]
    with server_process(*LATENCY, module=server) as url:
        broken = [*command, "--base-url", url, "--out", str(folder / "broken")]
        done, stats = run_with_kills(cli, broken, url, calls, kills, seed)
    report = json.loads((folder / "broken" / "report.json").read_text())
    assert report == json.loads((folder / "unbroken" / "report.json").read_text())
    assert _metrics(folder / "broken") == _metrics(folder / "unbroken")
    assert stats["answered"] - stats["repeated"] == calls
    assert stats["repeated"] <= done * concurrency, "only what was in flight may be asked again"
    return Survived(report, done, calls, stats["repeated"])


def _metrics(run: Path) -> str:
    path = run / "metrics.jsonl"
    return path.read_text() if path.exists() else ""


def day_care_answer() -> Answer:
    """Says whether there is an animal, and misses a third of them unless told to think in steps or to take care."""
    golds = {row["text"]: row["gold_animal"] for row in json.loads(SUITE.read_text(encoding="utf-8"))}

    def answer(messages: list[dict[str, str]]) -> str:
        asked = messages[-1]["content"]
        if " only." in asked:
            return writer(messages)
        text = asked.removeprefix("Text: ").split("\n\n")[0]
        careful = "step" in asked.lower() or "care" in asked.lower()
        unlucky = hashlib.sha256(text.encode()).digest()[0] < 85
        return "no" if unlucky and not careful else golds[text]

    return answer


async def main() -> None:
    server = Server(day_care_answer(), latency=float(sys.argv[sys.argv.index("--latency") + 1]))
    server.keep_bodies = False
    async with Serving(server) as (_, url):
        print(url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def killed(process: BaseProcess, folder: Path, there: str, after: float) -> bool:
    """Kill -9 so many seconds after a path of that pattern is in the folder. Whether it met the process alive."""
    try:
        while process.is_alive() and not any(folder.glob(there)):
            time.sleep(0.002)
        time.sleep(after)
        met = process.is_alive()
    finally:
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join(60)
    return met


if __name__ == "__main__":
    asyncio.run(main())
