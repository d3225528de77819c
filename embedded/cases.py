"""The questions of the evaluation, each with the test that its answer must pass, on reserved texts only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from embedded import judging, phrasings, skills, talk, tasks, writer
from embedded.descriptions import DESCRIPTIONS
from embedded.grammar import ARITHMETIC, TASKS, Extra, Split, Tier, canonical, draw_instruction, pool
from embedded.layouts import HELD_MARKERS, Example, split_roles
from embedded.reading import has_cue, is_clear, task_of
from embedded.texts import MAX_WORDS, SHORT_WORDS, TextKind
from embedded.transforms import TRANSFORMS

SPLITS: tuple[Split, ...] = ("train", "held")
KNOWN = TextKind(most=SHORT_WORDS, long=0, unknown=0, loose=0)
STRANGE = TextKind(most=SHORT_WORDS, long=0, unknown=1, loose=0)
LONGEST = TextKind(least=MAX_WORDS, most=MAX_WORDS, long=1, unknown=0, loose=0)


@dataclass(frozen=True, slots=True)
class Case:
    """One question of the evaluation: the row of the table it counts for, and when its answer is right."""

    row: str
    example: Example
    right: Callable[[str], bool]


def last_number(answer: str) -> str:
    return str((re.findall(r"-?\d+", answer) or [""])[-1])


def _exact(wanted: str) -> Callable[[str], bool]:
    return lambda answer: answer == wanted


def _other_than(given: str) -> Callable[[str], bool]:
    return lambda answer: answer != given


def _number(wanted: str) -> Callable[[str], bool]:
    return lambda answer: last_number(answer) == wanted


def _task(task: str) -> Callable[[str], bool]:
    return lambda answer: task_of(answer) == task


def _cue(templates: tuple[str, ...]) -> Callable[[str], bool]:
    return lambda answer: has_cue(answer, templates)


def transform_cases(rng: Random, n: int) -> Iterator[Case]:
    """Clear instructions with a word on form: on short known texts, and in each way that a text can be harder."""
    for task in TRANSFORMS:
        for split in SPLITS:
            for _ in range(n):
                example = skills.transform_example(
                    rng, task, kind=KNOWN, split=split, reserved=True, tier="clear", form=True, bare=True
                )
                yield Case(f"transform {task} {split}", example, _exact(example.gold))
        for _ in range(max(1, n // 2)):
            for name, kind, layout in (
                ("unknown words", STRANGE, "any"), ("25 words", LONGEST, "any"),
                ("other marker", KNOWN, rng.choice(HELD_MARKERS)),
            ):  # fmt: skip
                example = skills.transform_example(
                    rng, task, kind=kind, split="held", reserved=True, tier="clear", form=True, bare=True, layout=layout
                )
                yield Case(f"{name} {task}", example, _exact(example.gold))


def shots_cases(rng: Random, n: int) -> Iterator[Case]:
    for _ in range(n):
        for count in (2, 4):
            example = skills.shots_example(rng, reserved=True, shots=count, prompted=False)
            yield Case(f"examples only, {count}", example, _exact(example.gold))


def tier_cases(rng: Random, n: int) -> Iterator[Case]:
    tiers: tuple[Tier, ...] = ("clear", "medium", "vague")
    for tier in tiers:
        for form in (True, False):
            for _ in range(n):
                example = skills.transform_example(rng, reserved=True, tier=tier, form=form, split="any", bare=True)
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
            example = talk.chat_example(rng, split=split, reserved=True, style=rng.choice(styles))
            yield Case(f"style {split}", example, _exact(example.answer))
    for _ in range(n):
        for row, example in (
            ("chat", talk.chat_example(rng, reserved=True, style=None)), ("fact", talk.fact_example(rng)),
            ("persona", talk.persona_example(rng)), ("newcomer", talk.newcomer_example(rng)),
        ):  # fmt: skip
            yield Case(row, example, _exact(example.answer))


def writer_cases(rng: Random, n: int) -> Iterator[Case]:
    """Changed instructions: the task must stay, and each kind must do what it says."""
    for split in SPLITS:
        for _ in range(n):
            for kind in ("rewrite", "stricter", "shorter", "method"):
                task = writer.draw_task(rng)
                argument = ("dog", "lamp") if task == "replace" else None
                form = False if kind == "stricter" else None
                source = draw_instruction(rng, task, "clear", split=split, argument=argument, form=form, bare=True)
                example = writer.mutation_example(rng, kind, split=split, source=source)
                yield Case(f"{kind} same task {split}", example, _task(task))
                if kind == "rewrite":
                    yield Case(f"rewrite changed {split}", example, _other_than(source.render()))
                if kind == "stricter":
                    yield Case(f"stricter form cue {split}", example, _cue(phrasings.FORM))
    for _ in range(n):
        task = rng.choice(TASKS)
        argument = ("dog", "lamp") if task == "replace" else None
        source = draw_instruction(rng, task, "medium", argument=argument, bare=True)
        example = writer.mutation_example(rng, "improve", source=source)
        yield Case("improve same task", example, _task(task))
        yield Case("improve clear", example, is_clear)
        yield Case("improve form cue", example, _cue(phrasings.FORM))
        source = draw_instruction(rng, ARITHMETIC, "clear", steps=False, bare=True)
        example = writer.mutation_example(rng, "method", source=source)
        yield Case("method steps cue", example, _cue(phrasings.STEPS))


def new_instruction_cases(rng: Random, n: int) -> Iterator[Case]:
    """Instructions from a description, from a list, from two, from failures and from inputs with their outputs."""
    for split in SPLITS:
        described = [task for task in TASKS if pool(DESCRIPTIONS[task], split)]
        for _ in range(n):
            example = writer.zero_order_example(rng, split=split, task=rng.choice(described))
            yield Case(f"zero order task {split}", example, _task(example.about["task"]))
    for _ in range(n):
        for row, example in (
            ("eda", writer.list_example(rng, "eda")), ("eda ranked", writer.list_example(rng, "eda_ranked")),
            ("lineage", writer.list_example(rng, "lineage")), ("merge", writer.merge_example(rng)),
            ("propose", writer.propose_example(rng)),
            ("reflect on a clear one", judging.reflect_example(rng, tier="clear")),
            ("reflect on a vague one", judging.reflect_example(rng, tier="vague")),
            ("induce", judging.induce_example(rng)), ("recover", judging.recover_example(rng, reserved=True)),
            ("recover without the text", judging.recover_text_example(rng, reserved=True)),
        ):  # fmt: skip
            yield Case(f"{row} task", example, _task(example.about["task"]))
            if row == "reflect on a clear one":
                yield Case("reflect form cue", example, _cue(phrasings.FORM))
            if row == "recover":
                yield Case("recover exact", example, _exact(example.gold))
        good = draw_instruction(rng, writer.draw_task(rng), "clear", argument=("dog", "lamp"), form=True, bare=True)
        example = writer.refine_example(rng, good)
        yield Case("refine leaves a good one alone", example, _exact(example.answer))
        yield Case("hyper-mutation", writer.hyper_mutation_example(rng), _is_request)


def _is_request(answer: str) -> bool:
    """Whether an answer is one of the requests for a change, with or without a thinking style before it."""
    kinds = writer.wording().mutation_prompts
    return any(answer.endswith(prompt) for prompts in kinds.values() for prompt in prompts)


def task_cases(rng: Random, n: int) -> Iterator[Case]:
    """The built-in tasks under the poor instruction that they start from, and under a good one."""
    for task in tasks.TASKS:
        worked = task.kind == ARITHMETIC
        good = canonical(task.kind, steps=worked)
        prompt = (good if worked else good.plus(Extra("form", "give only the result"))).render()
        for row in rng.sample(tasks.rows(task), min(n, tasks.ROWS)):
            right = _number(row["gold"]) if task.scorer == "number" else _exact(row["gold"])
            for name, system in (("seed", task.seed_prompt), ("good", prompt)):
                example = Example("task", split_roles(system, row["input"]), row["gold"], row["gold"])
                yield Case(f"task {task.name} {name}", example, right)


def phrasing_cases(rng: Random, n: int) -> Iterator[Case]:
    """Many instructions of all tiers for each task, each on the same few texts: how much the wording matters."""
    for task in TASKS:
        if task == ARITHMETIC:
            asked = [skills.arithmetic_example(rng, reserved=True) for _ in range(20)]
            inputs = [(example.about["problem"].text, example.gold, None) for example in asked]
        else:
            cases = [skills.draw_case(rng, task, KNOWN, reserved=True) for _ in range(20)]
            inputs = [(text, skills.apply(task, text, argument), argument) for text, argument in cases]
        for number in range(max(4, n // 8)):
            tier = rng.choices(("clear", "medium", "vague"), (0.6, 0.3, 0.1))[0]
            instruction = draw_instruction(rng, task, tier, split="any", bare=True)  # type: ignore[arg-type]
            for text, gold, argument in inputs:
                shown = writer.replace(instruction, argument=argument)
                example = Example("phrasing", split_roles(shown.render(), text), gold, gold)
                right = _number(gold) if task == ARITHMETIC else _exact(gold)
                yield Case(f"phrasing {task} {number}", example, right)


MAKERS = (transform_cases, shots_cases, tier_cases, arithmetic_cases, talk_cases, writer_cases, new_instruction_cases,
          task_cases, phrasing_cases)  # fmt: skip
