"""What the package asks of a writer, judge or recoverer, in the words of its wording.yaml, and how the world answers.

The writer is no oracle: some of its improvements stay half-good or lack the word on form, so that a search among
them has something to find.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from embedded import phrasings
from embedded.arithmetic import draw_problem
from embedded.descriptions import DESCRIPTIONS
from embedded.grammar import (
    ARITHMETIC,
    ASK_BACK,
    TASKS,
    Extra,
    Instruction,
    Split,
    as_sentence,
    canonical,
    core_pool,
    draw,
    draw_instruction,
    draw_tier,
    extra,
    texts,
)
from embedded.layouts import Example, user
from embedded.skills import LOOSE
from embedded.transforms import TRANSFORMS, Argument, apply, draw_argument, draw_case
from embedded.words import NOUNS

WORDING_FILE = Path(__file__).parents[1] / "src" / "promptmill" / "vary" / "wording.yaml"
FORM_STYLES = ("Look at the form that the answer should have.", "Say exactly what is wanted and nothing else.")


@cache
def wording() -> dict[str, Any]:
    """The package's requests, from its own file."""
    loaded: dict[str, Any] = yaml.safe_load(WORDING_FILE.read_text(encoding="utf-8"))
    return loaded


def first_order(mutation_prompt: str, instruction: str) -> str:
    return str(wording()["first_order"]).format(mutation_prompt=mutation_prompt, instruction=instruction)


def zero_order(thinking_style: str, description: str) -> str:
    return str(wording()["zero_order"]).format(thinking_style=thinking_style, description=description)


def judge(instruction: str, text: str, output: str) -> str:
    return str(wording()["judge"]).format(instruction=instruction, input=text, output=output)


def recover(original: str, result: str) -> str:
    return str(wording()["recover"]).format(original=original, result=result)


def _word_pair(rng: Random) -> Argument:
    old, new = rng.sample(NOUNS, 2)
    return old, new


def _chance(rng: Random, share: float) -> bool:
    return rng.random() < share


def _fresh_core(rng: Random, old: Instruction) -> str:
    """Another core of the same task and tier."""
    if old.core in texts(phrasings.CLEAR_STEPS):
        return draw(rng, phrasings.CLEAR_STEPS, "train")
    while True:
        core = draw(rng, core_pool(old.task, old.tier), "train" if old.tier == "clear" else "any")
        if core != old.core:
            return core


def _reworded(rng: Random, old: Instruction) -> Instruction:
    """Other words: the same task, mostly as clear as before, mostly with the same cues."""
    kept = tuple(extra(rng, part.kind) for part in old.extras if _chance(rng, 0.85))
    new = replace(old, core=_fresh_core(rng, old), extras=kept, role="", please=False, plain=False)
    if _chance(rng, 0.15) and old.task and old.tier == "medium":
        core = draw(rng, phrasings.CLEAR[old.task], "train")
        return replace(new, tier="clear", core=core)
    return new


def _improved(rng: Random, old: Instruction) -> Instruction:
    """Mostly clear, often with a word on form; of a vague one nobody can tell what was meant, so it is a guess."""
    task, tier, argument = old.task, old.tier, old.argument
    if tier == "vague":
        if _chance(rng, 0.4):
            return replace(old, core=_fresh_core(rng, old), role="", plain=False).plus(extra(rng, "form"))
        task, tier = rng.choice(TASKS), "clear"
        argument = _word_pair(rng) if task == "replace" else None
    elif tier == "medium" and _chance(rng, 0.7):
        tier = "clear"
    assert task is not None
    steps = task == ARITHMETIC and (old.has_steps or _chance(rng, 0.3))
    form = _chance(rng, 0.25 if steps else 0.6)
    new = draw_instruction(rng, task, tier, argument=argument, form=form, steps=steps, bare=True)
    return replace(new, plain=False)


def _stricter(rng: Random, old: Instruction, forget: float) -> Instruction:
    """The same with a word on form, now and then forgotten."""
    new = replace(old, role="", plain=False)
    return new if _chance(rng, forget) else new.without("form").plus(extra(rng, "form"))


def _shorter(rng: Random, old: Instruction) -> Instruction:
    """The core alone, in the short wording where the task is clear."""
    if old.task and old.tier == "clear" and _chance(rng, 0.5):
        return canonical(old.task, old.argument, steps=old.has_steps)
    return replace(old, role="", please=False, extras=(), plain=False)


def _with_method(rng: Random, old: Instruction, mutation_prompt: str) -> Instruction:
    """The same with advice; for arithmetic often the advice that matters."""
    share = 0.5 if old.task == ARITHMETIC else 0.3
    if "working" in mutation_prompt:
        share += 0.4
    kind = "steps" if _chance(rng, share) else "advice"
    return replace(old, role="", plain=False).plus(extra(rng, kind))  # type: ignore[arg-type]


def mutate(rng: Random, kind: str, old: Instruction, mutation_prompt: str, forget: float = 0.12) -> Instruction:
    """The world's answer to a mutation prompt of a kind."""
    if kind == "rewrite":
        return _reworded(rng, old)
    if kind == "improve":
        return _improved(rng, old)
    if kind == "stricter":
        return _stricter(rng, old, forget)
    if kind == "shorter":
        return _shorter(rng, old)
    return _with_method(rng, old, mutation_prompt)


def _draw_source(rng: Random, split: Split) -> Instruction:
    """An instruction to be changed: arithmetic as often as three of the transforms, vague ones among them."""
    task = ARITHMETIC if _chance(rng, 0.15) else rng.choice(TRANSFORMS)
    tier = draw_tier(rng)
    form = _chance(rng, 0.3)
    return draw_instruction(
        rng, task, tier, split=split, argument=_word_pair(rng) if task == "replace" else None, form=form
    )


def mutation_example(
    rng: Random, kind: str, *, split: Split = "train", source: Instruction | None = None, forget: float = 0.12
) -> Example:
    """An instruction and the request to change it; a thinking style may stand before the request.

    forget: how often a stricter instruction is not stricter after all.
    """
    old = source or _draw_source(rng, split)
    if kind == "shorter" and not old.extras and not source and _chance(rng, 0.7):
        old = old.plus(extra(rng, rng.choice(("form", "advice"))))
    prompt = rng.choice(wording()["mutation_prompts"][kind])
    new = mutate(rng, kind, old, prompt, forget)
    if source is None and _chance(rng, 0.12):
        prompt = f"{rng.choice(wording()['thinking_styles'])} {prompt}"
    request = first_order(prompt, old.render())
    return Example(kind, [user(request)], new.render(), about={"task": old.task, "source": old})


def hyper_mutation_example(rng: Random) -> Example:
    """A mutation prompt to be changed itself: another one of its kind is the answer."""
    kinds = wording()["mutation_prompts"]
    kind = rng.choice(list(kinds))
    old, new = rng.sample(kinds[kind], 2)
    asked = rng.choice(kinds[rng.choice(("rewrite", "improve"))])
    return Example("mutation", [user(first_order(asked, old))], new)


def zero_order_example(rng: Random, *, split: Split = "train", task: str | None = None) -> Example:
    """A description of a task, and an instruction for it; the thinking style decides on the cues."""
    task = task or (ARITHMETIC if _chance(rng, 0.15) else rng.choice(TRANSFORMS))
    argument = _word_pair(rng) if task == "replace" else None
    style = rng.choice(wording()["thinking_styles"])
    description = draw(rng, DESCRIPTIONS[task], split)
    if argument:
        description = " ".join({"X": argument[0], "Y": argument[1]}.get(word, word) for word in description.split())
    tier = rng.choices(("clear", "medium", "vague"), (0.65, 0.27, 0.08))[0]
    steps = as_step_cue(style) is not None
    new = draw_instruction(
        rng, task, tier, argument=argument, form=_chance(rng, 0.85 if style in FORM_STYLES else 0.3),  # type: ignore[arg-type]
        steps=_chance(rng, 0.5 if steps and task == ARITHMETIC else 0.04), bare=True,
    )  # fmt: skip
    shown = as_sentence(description) if _chance(rng, 0.7) else description
    return Example("zero_order", [user(zero_order(style, shown))], replace(new, plain=False).render(),
                   about={"task": task, "description": description})  # fmt: skip


def as_step_cue(style: str) -> Extra | None:
    """A thinking style as a sentence that asks for the working, where it is one."""
    text = style[0].lower() + style[1:].removesuffix(".")
    return Extra("steps", text) if text in texts(phrasings.STEPS) else None


def _spoil(rng: Random, task: str, text: str, right: str, coarse: float) -> str:
    """A wrong output: another transform, a question back or chat (coarse); else one word changed, lost or moved."""
    chance, words = rng.random(), right.split()
    if chance < coarse * 2 / 3:
        other = rng.choice(TRANSFORMS)
        return apply(other, text, draw_argument(rng, text) if other == "replace" else None)
    if chance < coarse * 38 / 45:
        return ASK_BACK
    if chance < coarse:
        return "Sure, here it is: " + right
    if task == "sentiment":
        return "negative" if right == "positive" else "positive"
    if task == "count":
        return str(max(1, int(right) + rng.choice((-2, -1, 1, 2))))
    at, chance = rng.randrange(len(words)), (chance - coarse) / (1 - coarse)
    if chance < 4 / 11 or len(words) < 2:
        new = rng.choice(NOUNS)
        words[at] = new.upper() if words[at].isupper() else new
        if words[at].isupper() and len(right.split()[at]) == 1:
            words[at] = words[at][0]
    elif chance < 7 / 11:
        del words[at]
    elif chance < 9 / 11:
        words.insert(at, words[at])
    else:
        other_at = rng.randrange(len(words))
        words[at], words[other_at] = words[other_at], words[at]
    return " ".join(words)


def judge_example(
    rng: Random, *, split: Split = "train", reserved: bool = False, task: str | None = None, coarse: float = 0.45
) -> Example:
    """Whether an output is what the instruction asks for: half of them right, the others spoilt.

    coarse: the share of faults that are more than one wrong word.
    """
    good = _chance(rng, 0.5)
    task = task or (ARITHMETIC if _chance(rng, 0.1) else rng.choice(TRANSFORMS))
    if task == ARITHMETIC:
        problem = draw_problem(rng, reserved=reserved)
        instruction = draw_instruction(rng, task, "clear", split=split)
        text, right = problem.text, problem.chain if instruction.has_steps else problem.answer
        wrong = str(max(0, int(problem.answer) + rng.choice((-10, -2, -1, 1, 2, 10))))
        output = right if good else right[: len(right) - len(problem.answer)] + wrong
    else:
        text, argument = draw_case(rng, task, reserved=reserved, most=8, loose=0.0 if reserved else LOOSE)
        instruction = draw_instruction(rng, task, "clear", split=split, argument=argument)
        right = apply(task, text, argument)
        output = right if good else _spoil(rng, task, text, right, coarse)
    answer = "yes" if output == right else "no"
    request = judge(instruction.render(), text, output)
    return Example("judge", [user(request)], answer, answer, {"task": task, "text": text})


def _ambiguous(task: str, text: str, result: str) -> bool:
    """Whether nothing has changed or another transform gives the same result, so that nobody could tell which."""
    return result == text or any(apply(other, text) == result for other in TRANSFORMS if other not in (task, "replace"))


def recover_example(rng: Random, *, reserved: bool = False, task: str | None = None) -> Example:
    """A text and what became of it; the answer is the one canonical instruction."""
    task = task or (ARITHMETIC if _chance(rng, 0.05) else rng.choice(TRANSFORMS))
    if task == ARITHMETIC:
        problem, steps = draw_problem(rng, reserved=reserved), _chance(rng, 0.5)
        text, result = problem.text, problem.chain if steps else problem.answer
        answer = canonical(task, steps=steps).render()
    else:
        while True:
            text, argument = draw_case(rng, task, reserved=reserved, most=8, loose=0.0 if reserved else LOOSE)
            result = apply(task, text, argument)
            if not _ambiguous(task, text, result):
                break
        answer = canonical(task, argument).render()
    about = {"task": task, "text": text, "result": result}
    return Example("recover", [user(recover(text, result))], answer, answer, about)
