"""What the tests of the `bake` command share: settings for small bakes, questions, and a bake outside of a test."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from promptmill.cli.main import main
from promptmill.model.local.load import quiet
from tests.tiny import TEXTS, WORDS, tiny_model

PROMPT = "answer yes or no , please"
QUICK = {
    "bake.sample.sequences": 2, "bake.sample.max_new_tokens": 8, "bake.sample.validation": 0.3, "bake.sample.k": 400,
    "bake.train.epochs": 2, "bake.train.rate": 0.01, "bake.train.warmup_steps": 0, "bake.rehearsal_answers": 4,
}  # fmt: skip


def settings(**changes: Any) -> list[str]:
    """QUICK, with changes: `train__rate=1` is bake.train.rate."""
    values = QUICK | {f"bake.{name.replace('__', '.')}": value for name, value in changes.items()}
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


def files(folder: Path, count: int = 12) -> list[str]:
    """Questions, and one other prompt to be rehearsed, as options."""
    asked = [f"{TEXTS[place % 5][: 20 + place]} {WORDS[place % len(WORDS)]}" for place in range(count)]
    (folder / "asked.jsonl").write_text("".join(json.dumps({"question": text}) + "\n" for text in asked))
    (folder / "others.yaml").write_text("- reverse the words\n")
    return ["--inputs", str(folder / "asked.jsonl"), "--rehearse", str(folder / "others.yaml")]


def bake(folder: Path, model: Path, out: str, *more: str, prompt: str = PROMPT) -> Path:
    """A bake outside of any test."""
    command = ["bake", "run", "--prompt", prompt, "--model", str(model), "--out", str(folder / out), *files(folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["promptmill", *command, *settings(), *more])
        with pytest.raises(SystemExit) as end:
            main()
    assert not end.value.code
    return folder / out


def another_model(folder: Path, **changes: Any) -> Path:
    with quiet():  # its progress bar would stand among the errors
        return tiny_model(folder, **changes)
