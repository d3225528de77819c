"""What the model can do for a user: instructions followed, sums done, a task guessed from a few examples.

No reserved text or problem and no held-out phrasing gets in unless it is asked for by name (the evaluation does).
"""

from __future__ import annotations

from random import Random
from typing import Any

from embedded.arithmetic import draw_problem
from embedded.grammar import (
    ARITHMETIC,
    Instruction,
    Split,
    Tier,
    draw_instruction,
    draw_tier,
    follow,
    follow_arithmetic,
    rough,
)
from embedded.layouts import (
    ANSWER_MARKERS,
    Example,
    Message,
    assistant,
    draw_layout,
    draw_marker,
    split_roles,
    system,
    user,
)
from embedded.texts import SHORT, TRAINING, TextKind
from embedded.transforms import PLAIN, TRANSFORMS, apply, draw_case

GUESSABLE = tuple(task for task in PLAIN if task != "hasanimal")
"""The tasks that a few examples give away."""


def transform_example(
    rng: Random,
    task: str | None = None,
    *,
    kind: TextKind = TRAINING,
    split: Split = "train",
    reserved: bool = False,
    tier: Tier | None = None,
    form: bool | None = None,
    bare: bool = False,
    layout: str = "any",
) -> Example:
    """An instruction carried out on a text."""
    task = task or rng.choice(TRANSFORMS)
    text, argument = draw_case(rng, task, kind, reserved=reserved)
    tier = tier or draw_tier(rng)
    instruction = draw_instruction(rng, task, tier, split=split, argument=argument, form=form, bare=bare)
    prompt = instruction.render() if bare or argument else rough(rng, instruction.render())
    if layout == "roles":
        messages = split_roles(prompt, text)
    elif layout == "any":
        messages = draw_layout(rng, prompt, text)
    else:
        messages = [user(f"{prompt}\n\n{layout} {text}")]
    gold = apply(task, text, argument)
    about = {"task": task, "text": text, "instruction": instruction}
    return Example("transform", messages, follow(instruction, text), gold, about)


def conversation_example(rng: Random) -> Example:
    """One instruction and several texts, one a turn; all the answers are learned."""
    task = rng.choice(tuple(PLAIN))
    instruction = draw_instruction(rng, task, draw_tier(rng))
    texts = [draw_case(rng, task)[0] for _ in range(rng.randint(2, 4))]
    turns: list[Message] = []
    marker = draw_marker(rng) + " " if rng.random() < 0.2 else ""
    for text in texts:
        turns += [user(marker + text), assistant(follow(instruction, text))]
    about = {"task": task, "instruction": instruction, "texts": texts}
    return Example("conversation", [system(instruction.render()), *turns[:-1]], turns[-1]["content"], about=about,
                   taught=0)  # fmt: skip


def shots_example(
    rng: Random, task: str | None = None, *, kind: TextKind = SHORT, reserved: bool = False, shots: int | None = None,
    prompted: bool | None = None,
) -> Example:  # fmt: skip
    """A text after a few others with their results, under a hint, a vague instruction or none: the task is guessed."""
    task = task or rng.choice(GUESSABLE)
    count = shots or rng.randint(2, 5)
    shown = []
    while len(shown) < count:
        text, _none = draw_case(rng, task, kind)
        result = apply(task, text)
        if result != text and (not shown or task not in ("animals", "colours", "people") or result != "none"):
            shown.append((text, result))
    text, _none = draw_case(rng, task, kind, reserved=reserved)
    gold = apply(task, text)
    prompt = ""
    if rng.random() < 0.4 if prompted is None else prompted:
        prompt = draw_instruction(rng, task, rng.choice(("clear", "medium", "vague")), bare=True).render()
    about = {"task": task, "text": text, "shots": count}
    if rng.random() < 0.5:
        turns: list[Message] = [system(prompt)] if prompt else []
        for before, after in shown:
            turns += [user(before), assistant(after)]
        return Example("shots", [*turns, user(text)], gold, gold, about, taught=1)
    marker, answer = draw_marker(rng), rng.choice(ANSWER_MARKERS)
    lines = [f"{marker} {before}\n{answer} {after}" for before, after in shown]
    shown_text = "\n\n".join([*([prompt] if prompt else []), *lines, f"{marker} {text}\n{answer}"])
    return Example("shots", [user(shown_text)], gold, gold, about)


def arithmetic_example(
    rng: Random,
    *,
    split: Split = "train",
    reserved: bool = False,
    worked: bool | None = None,
    steps: int | None = None,
    layout: str = "any",
) -> Example:
    """A word problem under an instruction, or alone. worked: whether the instruction asks for the working."""
    problem = draw_problem(rng, steps=steps, reserved=reserved)
    about: dict[str, Any] = {"problem": problem, "steps": problem.steps}
    if worked is None and rng.random() < 0.06:
        return Example(ARITHMETIC, [user(problem.text)], problem.answer, problem.answer, about)
    instruction = _about_numbers(rng, split, worked)
    text = problem.text if layout == "roles" or rng.random() < 0.75 else problem.statement
    if layout == "roles":
        messages = split_roles(instruction.render(), text)
    else:
        messages = draw_layout(rng, rough(rng, instruction.render()), text, problem=True)
    answer = follow_arithmetic(instruction, problem.chain, problem.answer)
    return Example(ARITHMETIC, messages, answer, problem.answer, about | {"instruction": instruction})


def _about_numbers(rng: Random, split: Split, worked: bool | None) -> Instruction:
    """An instruction for word problems; half of the vague ones become hints."""
    tier = draw_tier(rng) if worked is None else "clear"
    if tier == "vague" and rng.random() < 0.5:
        tier = "medium"
    if worked is None:
        worked = rng.random() < 0.7  # the working is what can be learned
    return draw_instruction(rng, ARITHMETIC, tier, split=split, steps=worked, bare=rng.random() < 0.7)


def sums_example(rng: Random) -> Example:
    """Two to four problems in a conversation, each with its working."""
    instruction = _about_numbers(rng, "train", True)
    problems = [draw_problem(rng) for _ in range(rng.randint(2, 4))]
    turns: list[Message] = []
    for problem in problems:
        turns += [user(problem.text), assistant(follow_arithmetic(instruction, problem.chain, problem.answer))]
    return Example("sums", [system(instruction.render()), *turns[:-1]], turns[-1]["content"], taught=0)
