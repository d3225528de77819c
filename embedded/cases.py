"""The questions of the evaluation, each with the test that its answer must pass, on reserved texts only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from random import Random

from embedded import phrasings, requests, skills, tasks
from embedded.descriptions import DESCRIPTIONS
from embedded.grammar import ARITHMETIC, TASKS, Extra, Split, Tier, canonical, draw_instruction, pool, texts
from embedded.layouts import Example, split_roles
from embedded.transforms import TRANSFORMS

SPLITS: tuple[Split, ...] = ("train", "held")


@dataclass(frozen=True, slots=True)
class Case:
    """One question of the evaluation: the row of the table it counts for, and when its answer is right."""

    row: str
    example: Example
    right: Callable[[str], bool]


@cache
def _cores() -> dict[str, tuple[str, Tier]]:
    known: dict[str, tuple[str, Tier]] = {}
    for task in TASKS:
        known |= dict.fromkeys((core.lower() for core in texts(phrasings.MEDIUM[task])), (task, "medium"))
        known |= dict.fromkeys((core.lower() for core in texts(phrasings.CLEAR[task])), (task, "clear"))
    return known | dict.fromkeys(texts(phrasings.CLEAR_STEPS), (ARITHMETIC, "clear"))


@cache
def _replace_patterns() -> list[tuple[re.Pattern[str], Tier]]:
    return [
        (re.compile(re.sub(r"\b[xy]\b", r"\\w+", re.escape(core))), tier)
        for core, (task, tier) in _cores().items()
        if task == "replace"
    ]


def read_instruction(text: str) -> tuple[str, Tier] | None:
    """Task and tier of an instruction in the world's words; None where it is vague or none of them."""
    for sentence in re.split(r"(?<=[.?!])\s+", text.strip().lower()):
        core = sentence.removesuffix(".").removeprefix("please ")
        if core in _cores():
            return _cores()[core]
        for pattern, tier in _replace_patterns():
            if pattern.fullmatch(core):
                return "replace", tier
    return None


def has_cue(text: str, templates: tuple[str, ...]) -> bool:
    """Whether one of the sentences is a cue of that kind."""
    sentences = (s.removesuffix(".") for s in re.split(r"(?<=[.?!])\s+", text.strip().lower()))
    return any(sentence in texts(templates) for sentence in sentences)


def _same_task(task: str | None) -> Callable[[str], bool]:
    return lambda answer: (read_instruction(answer) or (None,))[0] == task


def last_number(answer: str) -> str:
    return str((re.findall(r"-?\d+", answer) or [""])[-1])


def _exact(wanted: str) -> Callable[[str], bool]:
    return lambda answer: answer == wanted


def _other_than(given: str) -> Callable[[str], bool]:
    return lambda answer: answer != given


def _number(wanted: str) -> Callable[[str], bool]:
    return lambda answer: last_number(answer) == wanted


def transform_cases(rng: Random, n: int) -> Iterator[Case]:
    for task in TRANSFORMS:
        for split in SPLITS:
            for _ in range(n):
                example = skills.transform_example(
                    rng, task, split=split, reserved=True, tier="clear", form=True, bare=True
                )
                yield Case(f"transform {task} {split}", example, _exact(example.gold))


def tier_cases(rng: Random, n: int) -> Iterator[Case]:
    tiers: tuple[Tier, ...] = ("clear", "medium", "vague")
    for tier in tiers:
        for form in (True, False):
            for _ in range(n):
                example = skills.transform_example(rng, reserved=True, tier=tier, form=form, split="any")
                row = f"tier {tier} {'form' if form else 'no form'}"
                yield Case(f"{row} gold", example, _exact(example.gold))
                yield Case(f"{row} world", example, _exact(example.answer))


def arithmetic_cases(rng: Random, n: int) -> Iterator[Case]:
    for worked in (True, False):
        name = "worked" if worked else "direct"
        for split in SPLITS:
            for steps in (1, 2, 3):
                for _ in range(n):
                    example = skills.arithmetic_example(rng, split=split, reserved=True, worked=worked, steps=steps)
                    yield Case(f"arithmetic {name} {split}", example, _number(example.gold))
                    yield Case(f"arithmetic {name} {steps} steps", example, _number(example.gold))


def talk_cases(rng: Random, n: int) -> Iterator[Case]:
    for split in SPLITS:
        styles = [style for style, templates in phrasings.STYLES.items() if pool(templates, split)]
        for _ in range(n):
            example = skills.chat_example(rng, split=split, reserved=True, style=rng.choice(styles))
            yield Case(f"style {split}", example, _exact(example.answer))
    for _ in range(n):
        example = skills.chat_example(rng, reserved=True, style=None)
        yield Case("chat", example, _exact(example.answer))
        example = skills.fact_example(rng)
        yield Case("fact", example, _exact(example.answer))


def writer_cases(rng: Random, n: int) -> Iterator[Case]:
    """Changed instructions: the task must stay, and each kind must do what it says."""
    for split in SPLITS:
        for _ in range(n):
            for kind in ("rewrite", "stricter", "shorter", "method"):
                task = ARITHMETIC if rng.random() < 0.15 else rng.choice(TRANSFORMS)
                argument = ("dog", "lamp") if task == "replace" else None
                form = False if kind == "stricter" else None
                source = draw_instruction(rng, task, "clear", split=split, argument=argument, form=form)
                example = requests.mutation_example(rng, kind, split=split, source=source)
                yield Case(f"{kind} same task {split}", example, _same_task(task))
                if kind == "rewrite":
                    shown = source.render()
                    yield Case(f"rewrite changed {split}", example, _other_than(shown))
                if kind == "stricter":
                    yield Case(f"stricter form cue {split}", example, lambda a: has_cue(a, phrasings.FORM))
    for _ in range(n):
        task = rng.choice(TASKS)
        argument = ("dog", "lamp") if task == "replace" else None
        source = draw_instruction(rng, task, "medium", argument=argument)
        example = requests.mutation_example(rng, "improve", source=source)
        yield Case("improve same task", example, _same_task(task))
        yield Case("improve clear", example, lambda a: (read_instruction(a) or ("", ""))[1] == "clear")
        yield Case("improve form cue", example, lambda a: has_cue(a, phrasings.FORM))
        source = draw_instruction(rng, ARITHMETIC, "clear", steps=False)
        example = requests.mutation_example(rng, "method", source=source)
        yield Case("method steps cue", example, lambda a: has_cue(a, phrasings.STEPS))
        for split in SPLITS:
            described = [task for task in TASKS if pool(DESCRIPTIONS[task], split)]
            example = requests.zero_order_example(rng, split=split, task=rng.choice(described))
            yield Case(f"zero order task {split}", example, _same_task(example.about["task"]))


def other_request_cases(rng: Random, n: int) -> Iterator[Case]:
    for split in SPLITS:
        for _ in range(2 * n):
            example = requests.judge_example(rng, split=split, reserved=True)
            yield Case(f"judge {split}", example, _exact(example.answer))
    for coarse, name in ((1.0, "coarse faults"), (0.0, "one-word faults")):
        for _ in range(n):
            example = requests.judge_example(rng, reserved=True, coarse=coarse)
            yield Case(f"judge {name}", example, _exact(example.answer))
    for _ in range(2 * n):
        example = requests.recover_example(rng, reserved=True)
        yield Case("recover exact", example, _exact(example.answer))
        yield Case("recover same task", example, _same_task(example.about["task"]))


def task_cases(rng: Random, n: int) -> Iterator[Case]:
    """The built-in tasks under the poor instruction that they start from, and under a good one."""
    for task in tasks.TASKS:
        worked = task.kind == ARITHMETIC
        good = canonical(task.kind, steps=worked)
        prompt = (good if worked else good.plus(Extra("form", "give only the result"))).render()
        for row in rng.sample(tasks.rows(task, seed=1), min(n, tasks.ROWS)):
            right = _number(row["gold"]) if task.scorer == "number" else _exact(row["gold"])
            for name, system in (("seed", task.seed_prompt), ("good", prompt)):
                example = Example("task", split_roles(system, row["input"]), row["gold"], row["gold"])
                yield Case(f"task {task.name} {name}", example, right)


MAKERS = (transform_cases, tier_cases, arithmetic_cases, talk_cases, writer_cases, other_request_cases, task_cases)
