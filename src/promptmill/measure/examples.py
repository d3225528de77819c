"""Examples that two prompts answer differently well, with their answers read from the record of calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from promptmill.measure.evaluate import Ask, Evaluation, requests
from promptmill.model.cache import canonical, decode, key_of
from promptmill.model.chat import Completion, Request
from promptmill.model.gate import Model
from promptmill.prompt import Prompt
from promptmill.tasks.task import Example, Task

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Tried:
    """A prompt and what came of it."""

    prompt: Prompt
    evaluation: Evaluation


def changed(
    model: Model, task: Task, examples: Sequence[Example], before: Tried, after: Tried, ask: Ask, most: int = SHOWN
) -> dict[str, list[dict[str, Any]]]:
    """The examples that `after` gained and lost most by, at most so many of each, with input, gold and both answers."""
    a, b = before.evaluation.stats, after.evaluation.stats
    both = [example for example in examples if example.id in a and example.id in b]
    change = {example.id: b[example.id][-1] - a[example.id][-1] for example in both}
    order = sorted(both, key=lambda example: -abs(change[example.id]))  # stable: of equals the first

    def shown(sign: int) -> list[dict[str, Any]]:
        picked = [example for example in order if sign * change[example.id] > 0][:most]
        return [_row(model, task, example, before.prompt, after.prompt, ask) for example in picked]

    return {"gained": shown(+1), "lost": shown(-1)}


def _row(model: Model, task: Task, example: Example, before: Prompt, after: Prompt, ask: Ask) -> dict[str, Any]:
    asked = [next(requests(task, prompt, [example], ask)) for prompt in (before, after)]
    answers = [recorded(model, request) for request in asked]
    return {"id": example.id, "input": asked[0].messages[-1][1], "gold": example.gold[0],
            "before": answers[0], "after": answers[1]}  # fmt: skip


def recorded(model: Model, request: Request) -> str | None:
    """The answer that the record holds; None where it holds none. Nothing is asked or booked."""
    hit = model.store.get(key_of(canonical(model.fingerprint, request)))
    if hit is None:
        return None
    found = decode(hit[0], hit[2])
    return found.text if isinstance(found, Completion) else None
