"""The built-in tasks: reserved texts with the right results, and a poor first instruction to start from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml

from embedded.arithmetic import draw_problem
from embedded.grammar import ARITHMETIC
from embedded.texts import TextKind
from embedded.transforms import apply, draw_case

FOLDER = Path(__file__).parents[1] / "src" / "promptmill" / "tasks" / "builtin"
ROWS, SEED = 400, 1
TEXTS = TextKind(most=16, long=0.15, unknown=0.15, natural=0.35, loose=0)


@dataclass(frozen=True, slots=True)
class BuiltinTask:
    """A task of the package. kind: what the world calls it; seed_prompt: what a newcomer would type first."""

    name: str
    kind: str
    description: str
    scorer: str
    seed_prompt: str
    choices: tuple[str, ...] = ()


TASKS = (
    BuiltinTask("arithmetic", ARITHMETIC, "Solving short word problems.", "number", "What is the answer?"),
    BuiltinTask("uppercase", "upper", "Write a short text in capital letters.", "exact", "Make the text loud."),
    BuiltinTask("reverse", "reverse", "Write the words of a text in reverse order.", "exact", "Flip the text around."),
    BuiltinTask("acronym", "acronym", "Take the first letter of each word of a text.", "exact",
                "Shorten this text to letters."),
    BuiltinTask("animals", "animals", "Find all animals in a text.", "exact", "Find the creatures in the text."),
    BuiltinTask("sentiment", "sentiment", "Decide whether a text is positive or negative.", "choice",
                "How does this text feel?", ("positive", "negative")),
    BuiltinTask("count", "count", "Count the words in a text.", "number", "How long is the text?"),
    BuiltinTask("pirate", "pirate", "Rewrite a text like a pirate.", "exact", "Use sea talk for the text."),
)  # fmt: skip


def _cases(task: BuiltinTask, rng: Random) -> Iterator[tuple[str, str]]:
    while True:
        if task.kind == ARITHMETIC:
            problem = draw_problem(rng, reserved=True, steps=rng.choice((2, 3, 3)))  # one step is too easy
            yield problem.text, problem.answer
        else:
            text, _ = draw_case(rng, task.kind, TEXTS, reserved=True)
            yield text, apply(task.kind, text)


def rows(task: BuiltinTask, seed: int = SEED, count: int = ROWS) -> list[dict[str, str]]:
    """Different inputs with their results."""
    found: dict[str, str] = {}
    for text, gold in _cases(task, Random(f"{seed}/task/{task.name}")):
        found.setdefault(text, gold)
        if len(found) == count:
            break
    return [
        {"id": f"{task.name}-{at:03d}", "input": text, "gold": gold} for at, (text, gold) in enumerate(found.items())
    ]


def card(task: BuiltinTask) -> dict[str, Any]:
    """The YAML of a task."""
    choices: dict[str, Any] = {"choices": list(task.choices)} if task.choices else {}
    return {
        "name": task.name, "description": task.description, "data": f"{task.name}.jsonl", "gold": "gold",
        "scorer": task.scorer, **choices, "prompt": {"system": task.seed_prompt, "user": "{input}"},
        "split": {"train": 0.4, "dev": 0.2, "test": 0.4},
    }  # fmt: skip


def write(folder: Path = FOLDER, seed: int = SEED) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for task in TASKS:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(task, seed))
        (folder / f"{task.name}.jsonl").write_text(lines, encoding="utf-8")
        text = yaml.safe_dump(card(task), sort_keys=False, allow_unicode=True)
        (folder / f"{task.name}.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
