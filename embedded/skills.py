"""What the model can do for a user: examples of instructions followed, sums done, talk in a style, facts looked up.

No reserved text or problem and no held-out phrasing gets in unless it is asked for by name (the evaluation does).
"""

from __future__ import annotations

from random import Random
from typing import Any

from embedded import phrasings
from embedded.arithmetic import draw_problem
from embedded.grammar import (
    ARITHMETIC,
    Split,
    Tier,
    as_sentence,
    draw,
    draw_instruction,
    draw_tier,
    follow,
    follow_arithmetic,
)
from embedded.layouts import Example, Message, assistant, draw_layout, split_roles, system, user
from embedded.transforms import TRANSFORMS, apply, draw_case
from embedded.words import ANIMALS, FOOD, NOUNS, PEOPLE, PLACES, THINGS, draw_text

LOOSE = 0.12  # share of texts that are words in no order


def transform_example(
    rng: Random,
    task: str | None = None,
    *,
    split: Split = "train",
    reserved: bool = False,
    tier: Tier | None = None,
    form: bool | None = None,
    bare: bool = False,
    layout: str = "any",
) -> Example:
    """An instruction carried out on a text; with a worked example or two before it now and then."""
    task = task or rng.choice(TRANSFORMS)
    text, argument = draw_case(rng, task, reserved=reserved, loose=0.0 if reserved else LOOSE)
    tier = tier or draw_tier(rng)
    instruction = draw_instruction(rng, task, tier, split=split, argument=argument, form=form, bare=bare)
    prompt = instruction.render()
    if layout == "roles":
        messages = split_roles(prompt, text)
    elif task != "replace" and tier != "vague" and not reserved and rng.random() < 0.05:
        messages = [system(prompt), *_demos(rng, task), user(text)]
    else:
        messages = draw_layout(rng, prompt, text)
    gold = apply(task, text, argument)
    about = {"task": task, "text": text, "instruction": instruction}
    return Example("transform", messages, follow(instruction, text), gold, about)


def _demos(rng: Random, task: str) -> list[Message]:
    turns: list[Message] = []
    for _ in range(rng.randint(1, 2)):
        text, _none = draw_case(rng, task, most=6)
        turns += [user(text), assistant(apply(task, text))]
    return turns


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
    if worked is None and rng.random() < 0.08:
        return Example(ARITHMETIC, [user(problem.text)], problem.answer, problem.answer, about)
    tier = draw_tier(rng) if worked is None else "clear"
    if tier == "vague" and rng.random() < 0.5:
        tier = "medium"
    instruction = draw_instruction(rng, ARITHMETIC, tier, split=split, steps=worked, bare=worked is not None)
    text = problem.text if layout == "roles" or rng.random() < 0.75 else problem.statement
    if layout == "roles":
        messages = split_roles(instruction.render(), text)
    else:
        messages = draw_layout(rng, instruction.render(), text, problem=True)
    answer = follow_arithmetic(instruction, problem.chain, problem.answer)
    return Example(ARITHMETIC, messages, answer, problem.answer, about | {"instruction": instruction})


def reply(text: str) -> str:
    """What is said to a text that comes with no instruction: lower case and without marks, so that styles fit it."""
    nouns = [word for word in text.split() if word in ANIMALS + THINGS + PEOPLE + FOOD]
    return "tell me more about the " + (nouns[0] if nouns else "story")


def chat_example(rng: Random, *, split: Split = "train", reserved: bool = False, style: str | None = "any") -> Example:
    """Plain talk about a text, in the style that the system prompt asks for; style None: no system prompt."""
    text = draw_text(rng, reserved=reserved)
    if style is None:
        return Example("chat", [user(text)], reply(text), reply(text), {"text": text})
    if style == "any":
        style = rng.choice(list(phrasings.STYLES))
    prompt = as_sentence(draw(rng, phrasings.STYLES[style], split))
    if rng.random() < 0.25:
        prompt = prompt.lower().removesuffix(".")
    answer = apply(style, reply(text))
    return Example("style", [system(prompt), user(text)], answer, answer, {"text": text, "style": style})


def fact_example(rng: Random) -> Example:
    """A question about where something is, answered from the system prompt, or not known."""
    count = rng.randint(1, 3)
    things = rng.sample(THINGS + ANIMALS, count + 1)
    places = [rng.choice(PLACES) for _ in range(count)]
    facts = " ".join(f"The {thing} is in the {place}." for thing, place in zip(things, places, strict=False))
    wanted, known = rng.randrange(count), rng.random() < 0.8
    question = f"Where is the {things[wanted] if known else things[count]}?"
    if rng.random() < 0.08:
        return Example("fact", [user(question)], "I do not know.", "I do not know.")
    answer = f"in the {places[wanted]}" if known else "I do not know."
    messages = [system(facts), user(question)] if rng.random() < 0.7 else [user(f"{facts} {question}")]
    return Example("fact", messages, answer, answer)


_TEXT_REQUESTS = ("{write|give|invent} a {text|sentence|short text} about the NOUN",)


def text_example(rng: Random) -> Example:
    """A text about a given thing: the model as a writer of data."""
    while True:
        text = draw_text(rng)
        nouns = [word for word in text.split() if word in NOUNS]
        if nouns:
            break
    noun = rng.choice(nouns)
    request = as_sentence(draw(rng, _TEXT_REQUESTS).replace("NOUN", noun))
    return Example("text", [user(request)], text, text, {"noun": noun})
