from __future__ import annotations

import asyncio
import inspect
import os
import socket
from pathlib import Path

import pytest

from promptmill.model.embedded import EMBEDDED_MODELS

# One thread: tiny models on shared cores are up to twenty times faster so. Set before torch is imported anywhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


WEIGHTS = Path(__file__).parents[1] / "src" / "promptmill" / "model" / "weights"
SHIPPED = [
    pytest.param(name, marks=pytest.mark.skipif(not (WEIGHTS / name).is_dir(), reason=f"{name} has no weights yet"))
    for name in EMBEDDED_MODELS
]
"""Every embedded model, for tests that must hold for each."""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def test_…` in a fresh event loop, one minute at most."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**arguments), 60))
    return True


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
