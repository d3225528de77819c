"""The crash harness: a command is killed (kill -9) at random instants, continued, and must end as the unbroken one did.

    check_survives_kills(["eval", task, "--model", "mock"], tmp_path, concurrency=8)

The server lives in a process of its own and counts what it answered, so it knows what was sent twice.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROMPTMILL = [sys.executable, "-m", "promptmill.cli.main"]


@contextmanager
def server_process(*arguments: str) -> Iterator[str]:
    """Base URL of a mock server in a process of its own."""
    command = [sys.executable, "-m", "tests.servers", *arguments]
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
    """What a killed and continued run came to. repeated: calls that the server answered more than once."""

    report: dict[str, Any]
    kills: int
    answered: int
    repeated: int


def run_with_kills(command: Sequence[str], out: Path, base_url: str, calls: int, kills: int, seed: int) -> Survived:
    """Run `command`, kill it `kills` times once the server has been asked for a random share of `calls`, finish it."""
    rng = random.Random(seed)
    full = [*PROMPTMILL, *command, "--base-url", base_url, "--out", str(out)]
    done = 0
    for target in sorted(rng.uniform(0.02, 0.98) * calls for _ in range(kills)):
        process = subprocess.Popen(full, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and server_stats(base_url)["calls"] < target:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.03))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            done += 1
        process.wait(60)
    finished = subprocess.run(full, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    stats = server_stats(base_url)
    return Survived(json.loads((out / "report.json").read_text()), done, stats["answered"], stats["repeated"])


def check_survives_kills(
    command: Sequence[str], folder: Path, concurrency: int, kills: int = 5, seed: int = 0
) -> Survived:
    """Assert that the broken run ends in the unbroken one's report and sends again at most what was in flight."""
    command = [*command, "--concurrency", str(concurrency)]
    with server_process("--latency", "0.01") as base_url:
        unbroken = promptmill(*command, "--base-url", base_url, "--out", str(folder / "unbroken"))
        assert unbroken.returncode == 0, unbroken.stderr
        calls = server_stats(base_url)["answered"]
    with server_process("--latency", "0.01") as base_url:
        broken = run_with_kills(command, folder / "broken", base_url, calls, kills, seed)
    expected = json.loads((folder / "unbroken" / "report.json").read_text())
    assert broken.report == expected
    assert _metrics(folder / "broken") == _metrics(folder / "unbroken")
    assert broken.answered - broken.repeated == calls
    assert broken.repeated <= broken.kills * concurrency, "only what was in flight may be asked again"
    return broken


def _metrics(run: Path) -> str:
    path = run / "metrics.jsonl"
    return path.read_text() if path.exists() else ""
