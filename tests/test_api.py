"""The public face: names and signatures that users build on. A change here is a change for them."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import promptmill as pm

REQUEST = ["messages", "sampling", "prefix", "constraint", "n", "repeat", "logprobs"]
DOCS = Path(__file__).resolve().parent.parent / "docs"


def test_every_public_name_is_there():
    assert {name for name in pm.__all__ if getattr(pm, name) is None} == set()
    with pytest.raises(AttributeError, match="no attribute 'brede'"):
        pm.brede  # noqa: B018


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("load_model", ["name", "base_url", "cache", "settings"]),
        ("load_task", ["source", "scorer", "limit_rows"]),
        ("evaluate", ["model", "task", "prompt", "split", "repeat", "sampling", "constrain"]),
        ("compare", ["before", "after"]),
        ("breed", ["task", "model", "writer", "prompt", "seed", "on", "settings"]),
        ("Prompt", ["system", "user", "prefix", "demos", "then"]),
        ("Request", [*REQUEST, "response_format", "suffix"]),
        ("Sampling", ["temperature", "top_p", "max_tokens", "stop", "seed"]),
        ("ScoreRequest", ["messages", "continuations", "prefix"]),
    ],
)
def test_signatures_stay(name: str, parameters: list[str]):
    assert list(inspect.signature(getattr(pm, name)).parameters) == parameters


def test_the_example_in_the_docs_runs(capsys: pytest.CaptureFixture[str]):
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "models.md").read_text(), re.DOTALL)
    exec(compile(code, "models.md", "exec"), {})  # noqa: S102 (our own documentation)
    said = capsys.readouterr().out
    assert said.startswith("THE OLD DOG RAN")
    assert "Evaluation(" in said
