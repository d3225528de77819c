"""Examples that two prompts answer differently well, with their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptmill.measure.evaluate import Evaluation
from promptmill.tasks.task import Example

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a prompt: its evaluation, and by example id what the model said."""

    evaluation: Evaluation
    said: Mapping[str, str]


def changed(
    examples: Sequence[Example], before: Tried, after: Tried, most: int = SHOWN
) -> dict[str, list[dict[str, Any]]]:
    """The examples that `after` gained and lost most by, at most so many of each, with input, gold and both answers."""
    a, b = before.evaluation.stats, after.evaluation.stats
    both = [example for example in examples if example.id in a and example.id in b]
    change = {example.id: b[example.id][-1] - a[example.id][-1] for example in both}
    order = sorted(both, key=lambda example: -abs(change[example.id]))  # stable: of equals the first

    def shown(sign: int) -> list[dict[str, Any]]:
        picked = [example for example in order if sign * change[example.id] > 0][:most]
        return [_row(example, before, after) for example in picked]

    return {"gained": shown(+1), "lost": shown(-1)}


def _row(example: Example, before: Tried, after: Tried) -> dict[str, Any]:
    return {"id": example.id, "input": example.shown, "gold": example.gold[0],
            "before": before.said.get(example.id), "after": after.said.get(example.id)}  # fmt: skip
