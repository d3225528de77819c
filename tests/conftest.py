from __future__ import annotations

import asyncio
import inspect
import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from hypothesis import settings

from promptmill.cli.main import main
from promptmill.model.embedded import EMBEDDED_MODELS
from promptmill.model.local import LocalBackend
from tests.tiny import tiny_model

# One thread: tiny models on shared cores are up to twenty times faster so. Set before torch is imported anywhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# No test may fail because the machine has other work.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

WEIGHTS = Path(__file__).parents[1] / "src" / "promptmill" / "model" / "weights"
SHIPPED = [
    pytest.param(name, marks=pytest.mark.skipif(not (WEIGHTS / name).is_dir(), reason=f"{name} has no weights yet"))
    for name in EMBEDDED_MODELS
]
"""Every embedded model, for tests that must hold for each."""

SCRIPT = {
    "rules": [
        {"system": "step", "user": r"(\d+) plus 1$", "answer": r"so it is \1 + 1"},
        {
            "user": "instruction only",
            "answer": ["Think step by step.", "Go step by step.", "Be quick.", "Hurry.", "Hm."],
        },
        {"user": "plus", "answer": "0"},
    ],
    "default": "I do not know.",
}
SCRIPTED = ("--model", "scripted:script.yaml")
"""The model of `sums`, in the folder where `cli` runs."""


class Said:
    def __init__(self, code: int, out: str, err: str):
        self.code, self.out, self.err = code, out, err

    def is_one_error_line(self, *words: str) -> None:
        """Exit code 2, one line that begins with "error:", no traceback, all of `words` in it."""
        lines = [line for line in self.err.splitlines() if not line.startswith("forecast:")]
        assert self.code == 2, (self.code, self.out, self.err)
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        for word in words:
            assert word in lines[0], self.err


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=3, help="how often test_crash.py kills each command (3)")


@pytest.fixture
def kills(pytestconfig: pytest.Config) -> int:
    return int(pytestconfig.getoption("--kills"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def test_…` in a fresh event loop, one minute at most."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**arguments), 60))
    return True


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of a few thousand weights, as a Hugging Face folder. Only to be read."""
    return tiny_model(tmp_path_factory.mktemp("model") / "llama")


@pytest.fixture(scope="module")
def tiny_backend(tiny_folder: Path) -> LocalBackend:
    return LocalBackend(str(tiny_folder), device="cpu", batch_size=8)


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Run the command in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["promptmill", *arguments])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


@pytest.fixture
def mistake(cli, tmp_path: Path):
    """Run a command that must end in one clear line with `words`, and leave nothing behind. begun: it may leave the
    folder of its run, as what is found out only when the run is about to begin does."""

    def run(arguments: Sequence[str], words: Sequence[str], begun: bool = False) -> None:
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        cli(*arguments).is_one_error_line(*words)
        assert list(tmp_path.rglob("report.json")) == []
        assert begun or not (tmp_path / "runs").exists()
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before

    return run


@pytest.fixture
def sums(tmp_path: Path) -> str:
    rows = [{"input": f"{i} plus 1", "gold": str(i + 1)} for i in range(100)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "script.yaml").write_text(yaml.safe_dump(SCRIPT))
    return "sums.jsonl"
