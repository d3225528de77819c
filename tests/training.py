"""A tiny model to teach, items to teach it with, and a run that is hard to continue."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import torch

from promptmill.model.local.load import load_model
from promptmill.train.batches import Item, Items, Seen
from promptmill.train.distil import Distil, OnPolicy, WithRehearsal, sampling_rollout
from promptmill.train.loop import Outcome, Trainer
from promptmill.train.settings import LoraSettings, TrainSettings
from promptmill.train.targets import (
    attach_adapter,
    trained,
)
from promptmill.train.teacher import OnlineTeacher

PROMPT = tuple(random.Random(1).choices(range(5, 300), k=20))
KINDS = ("llama", "gpt2")


def base(folder: Path) -> Any:
    return load_model(folder, [], "float32", "cpu", False)


def student(folder: Path, **lora: Any) -> Any:
    return attach_adapter(base(folder), LoraSettings(**{"rank": 8, "alpha": 32.0, "targets": "all", **lora}), seed=3)


def items(count: int, seed: int = 0, prompt: tuple[int, ...] = PROMPT) -> list[Item]:
    """Random questions and answers of unequal lengths, the teacher's view behind a prompt."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        context = (2, *draw.choices(range(5, 300), k=draw.randint(1, 6)))
        answer = tuple(draw.choices(range(5, 300), k=draw.randint(1, 12)))
        made.append(Item(context, answer, teacher=Seen(prompt, context)))
    return made


def quick(**changes: Any) -> TrainSettings:
    return TrainSettings(**{"epochs": 12, "rate": 0.01, "warmup_steps": 2, "batch_items": 8, **changes})


def awake(model: Any) -> Any:
    """The adapter as if it had learned something."""
    source = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for weight in trained(model).values():
            weight.copy_(torch.randn(weight.shape, generator=source) * 0.1)
    return model


def hard(folder: Path, out: Path, **more: Any) -> Outcome:
    """A run with all that could go wrong when it is continued: dropout, accumulation, rehearsal, answers of the
    student's own, early best, a schedule."""
    model = student(folder, dropout=0.1)
    teacher = OnlineTeacher(model)
    plain = Distil(teacher.head, teacher)
    rehearsing = WithRehearsal(plain, items(6, 5, ()), teacher, 0.5, rows=2)
    objective = OnPolicy(rehearsing, teacher, sampling_rollout(5, [1]), share=0.4)
    settings = quick(epochs=4, accumulate=2, batch_items=3, validate_every=3, checkpoint_seconds=0.0, rate=0.02)
    data, checked = Items(items(22)), Items(items(4, 9))
    return Trainer(model, objective, data, out, settings, validation=checked, checked=plain, **more).fit()


def kill_at_random(folder: Path, out: Path, seconds: float, times: int) -> None:
    """Run `hard` in a process of its own, again and again, and kill it with -9; at last let it end. (Run in a fresh
    process that has no threads, so it may fork: torch is imported once only.)"""
    draw, killed = random.Random(out.name), 0
    while True:
        child = os.fork()
        if not child:
            hard(folder, out)
            os._exit(0)
        if killed == times:
            assert os.waitpid(child, 0)[1] == 0
            return
        time.sleep(draw.uniform(0.1, 0.7) * seconds)
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL, "ended before it was killed"
        killed += 1
