"""How the world answers requests for instructions: changed ones, new ones, ones made from many.

The writer is no oracle: some of its improvements stay half-good or lack the word on form, so that a search among
them, or a training, has something to find.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from embedded import phrasings, requests
from embedded.descriptions import DESCRIPTIONS, INTENTS
from embedded.grammar import (
    ARITHMETIC,
    TASKS,
    Extra,
    Instruction,
    Split,
    Tier,
    as_sentence,
    canonical,
    core_pool,
    draw,
    draw_instruction,
    draw_tier,
    expand,
    extra,
    texts,
)
from embedded.layouts import Example, user
from embedded.requests import FORM_STYLES, first_order, wording, zero_order
from embedded.transforms import TRANSFORMS, Argument
from embedded.words import NOUNS, nonce


def word_pair(rng: Random) -> Argument:
    """Two words for `replace`, known or not."""
    old, new = rng.sample(NOUNS, 2)
    return (nonce(rng) if _chance(rng, 0.2) else old), (nonce(rng) if _chance(rng, 0.1) else new)


def draw_task(rng: Random) -> str:
    """Arithmetic as often as three of the transforms."""
    return ARITHMETIC if _chance(rng, 0.14) else rng.choice(TRANSFORMS)


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
    new = replace(old, core=_fresh_core(rng, old), extras=kept, role="", please=False, plain=False, loud=False)
    if old.task and old.tier == "medium" and _chance(rng, 0.15):
        return replace(new, tier="clear", core=draw(rng, phrasings.CLEAR[old.task], "train"))
    return new


def _improved(rng: Random, old: Instruction) -> Instruction:
    """Mostly clear, often with a word on form; of a vague one nobody can tell what was meant, so it is a guess."""
    task, tier, argument = old.task, old.tier, old.argument
    if tier == "vague":
        if _chance(rng, 0.4):
            return replace(old, core=_fresh_core(rng, old), role="", plain=False, loud=False).plus(extra(rng, "form"))
        task, tier = rng.choice(TASKS), "clear"
        argument = word_pair(rng) if task == "replace" else None
    elif tier == "medium" and _chance(rng, 0.7):
        tier = "clear"
    assert task is not None
    return _better(rng, task, tier, argument, old.has_steps)


def _better(rng: Random, task: str, tier: Tier, argument: Argument | None, has_steps: bool) -> Instruction:
    """A fresh instruction, often with the cue that helps."""
    steps = task == ARITHMETIC and (has_steps or _chance(rng, 0.3))
    form = _chance(rng, 0.25 if steps else 0.6)
    new = draw_instruction(rng, task, tier, argument=argument, form=form, steps=steps, bare=True)
    return replace(new, plain=False)


def _stricter(rng: Random, old: Instruction, forget: float) -> Instruction:
    """The same with a word on form, now and then forgotten."""
    new = replace(old, role="", plain=False, loud=False)
    return new if _chance(rng, forget) else new.without("form").plus(extra(rng, "form"))


def _shorter(rng: Random, old: Instruction) -> Instruction:
    """The core alone, in the short wording where the task is clear."""
    if old.task and old.tier == "clear" and _chance(rng, 0.5):
        return canonical(old.task, old.argument, steps=old.has_steps)
    return replace(old, role="", please=False, extras=(), plain=False, loud=False)


def _with_method(rng: Random, old: Instruction, mutation_prompt: str) -> Instruction:
    """The same with advice; for arithmetic often the advice that matters."""
    share = 0.5 if old.task == ARITHMETIC else 0.3
    if "working" in mutation_prompt:
        share += 0.4
    kept = replace(old, role="", plain=False, loud=False)
    return kept.plus(extra(rng, "steps" if _chance(rng, share) else "advice"))


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


def _draw_source(rng: Random, split: Split = "train", task: str | None = None, tier: Tier | None = None) -> Instruction:
    """An instruction to be changed, vague ones among them."""
    task, form = task or draw_task(rng), _chance(rng, 0.3)
    argument = word_pair(rng) if task == "replace" else None
    return draw_instruction(rng, task, tier or draw_tier(rng), split=split, argument=argument, form=form)


def mutation_example(
    rng: Random, kind: str, *, split: Split = "train", source: Instruction | None = None, forget: float = 0.12
) -> Example:
    """An instruction and the request to change it; a thinking style may stand before the request.

    forget: how often a stricter instruction is not stricter after all.
    """
    old = source or _draw_source(rng, split)
    if kind == "shorter" and not old.extras and not source and _chance(rng, 0.7):
        old = old.plus(extra(rng, rng.choice(("form", "advice"))))
    prompt = rng.choice(wording().mutation_prompts[kind])
    new = mutate(rng, kind, old, prompt, forget)
    if source is None and _chance(rng, 0.12):
        prompt = f"{rng.choice(wording().thinking_styles)} {prompt}"
    request = first_order(prompt, old.render())
    return Example(kind, [user(request)], new.render(), about={"task": old.task, "source": old})


def refine_example(rng: Random, old: Instruction | None = None) -> Example:
    """A prompt to be improved if it can be: a clear one with its cue is repeated."""
    old = old or _draw_source(rng)
    good = old.tier == "clear" and (old.has_form or (old.task == ARITHMETIC and old.has_steps))
    new = replace(old, plain=False, loud=False) if good else _improved(rng, old)
    request = wording().refine.format(prompt=old.render())
    return Example("refine", [user(request)], new.render(), about={"task": old.task, "source": old})


def list_example(rng: Random, kind: str | None = None) -> Example:
    """Instructions for one task, and one more: of the same quality (eda), or mostly a better one."""
    kind, task = kind or rng.choice(("eda", "eda_ranked", "lineage")), draw_task(rng)
    argument = word_pair(rng) if task == "replace" else None
    shown = [
        draw_instruction(rng, task, rng.choices(("clear", "medium"), (0.5, 0.5))[0], argument=argument,  # type: ignore[arg-type]
                         form=_chance(rng, 0.3), bare=_chance(rng, 0.8))
        for _ in range(rng.randint(2, 5))
    ]  # fmt: skip
    if kind != "eda":
        shown.sort(key=lambda i: (i.tier == "clear") + i.has_form + (task == ARITHMETIC and i.has_steps))
    if kind == "eda":
        new = draw_instruction(rng, task, draw_tier(rng) if _chance(rng, 0.3) else "clear", argument=argument,
                               form=_chance(rng, 0.4), bare=True)  # fmt: skip
    else:
        new = _better(rng, task, "clear" if _chance(rng, 0.85) else "medium", argument, shown[-1].has_steps)
    request = requests.from_list(kind, [instruction.render() for instruction in shown])
    return Example("list", [user(request)], replace(new, plain=False).render(), about={"task": task, "list": kind})


def merge_example(rng: Random) -> Example:
    """Two instructions for a task into one: the clearer core, the cues of both."""
    task = draw_task(rng)
    argument = word_pair(rng) if task == "replace" else None
    tiers = ("clear", rng.choice(("clear", "medium")))
    pair = [draw_instruction(rng, task, tier, argument=argument, bare=True) for tier in tiers]  # type: ignore[arg-type]
    first, second = pair
    new = replace(first, plain=False)
    for part in second.extras:
        if all(part.kind != own.kind for own in new.extras):
            new = new.plus(part)
    rng.shuffle(pair)
    request = wording().merge.format(first=pair[0].render(), second=pair[1].render())
    return Example("merge", [user(request)], new.render(), about={"task": task})


def hyper_mutation_example(rng: Random) -> Example:
    """A request for a change that is to be changed itself, or made for a task: another one of its kind, or a mix."""
    kinds = wording().mutation_prompts
    kind = rng.choice(list(kinds))
    old, new = rng.sample(kinds[kind], 2)
    if _chance(rng, 0.3):
        new = f"{rng.choice(wording().thinking_styles)} {new}"
    if _chance(rng, 0.6):
        return Example("mutation", [user(wording().hyper_first.format(mutation_prompt=old))], new)
    style, task = rng.choice(wording().thinking_styles), draw_task(rng)
    if as_step_cue(style) and task == ARITHMETIC:
        new = rng.choice(kinds["method"])
    elif style in FORM_STYLES:
        new = rng.choice(kinds["stricter"])
    request = wording().hyper_zero.format(thinking_style=style, description=describe(rng, task))
    return Example("mutation", [user(request)], new)


def describe(rng: Random, task: str, argument: Argument | None = None, split: Split = "train") -> str:
    """A description of a task, as a sentence or as it is."""
    description = draw(rng, DESCRIPTIONS[task], split)
    names = dict(zip("XY", argument or word_pair(rng), strict=True))
    description = " ".join(names.get(word, word) for word in description.split())
    return as_sentence(description) if _chance(rng, 0.7) else description


def zero_order_example(rng: Random, *, split: Split = "train", task: str | None = None) -> Example:
    """A description of a task, and an instruction for it; the thinking style decides on the cues."""
    task = task or draw_task(rng)
    argument = word_pair(rng) if task == "replace" else None
    style = rng.choice(wording().thinking_styles)
    shown = describe(rng, task, argument, split)
    new = _proposed(rng, task, argument, (0.65, 0.27, 0.08), 0.85 if style in FORM_STYLES else 0.3,
                    0.5 if as_step_cue(style) else 0.04)  # fmt: skip
    return Example("zero_order", [user(zero_order(style, shown))], new.render(), about={"task": task})


def propose_example(rng: Random) -> Example:
    """An instruction about a topic as somebody might first write it: half of them are hints, or worse."""
    task = draw_task(rng)
    argument = word_pair(rng) if task == "replace" else None
    new = _proposed(rng, task, argument, (0.45, 0.4, 0.15), 0.2, 0.15)
    request = wording().propose.format(topic=describe(rng, task, argument))
    return Example("propose", [user(request)], new.render(), about={"task": task})


def _proposed(
    rng: Random, task: str, argument: Argument | None, tiers: tuple[float, float, float], form: float, steps: float
) -> Instruction:
    """tiers: the odds of clear, medium and vague. form, steps: the shares with these cues."""
    tier: Tier = rng.choices(("clear", "medium", "vague"), tiers)[0]  # type: ignore[assignment]
    worked = _chance(rng, steps if task == ARITHMETIC else 0.03)
    new = draw_instruction(rng, task, tier, argument=argument, form=_chance(rng, form), steps=worked, bare=True)
    return replace(new, plain=False)


def topic_example(rng: Random) -> Example:
    """A topic that belongs to an intent: a description of one of its tasks."""
    template = rng.choice(list(INTENTS))
    task = rng.choice(INTENTS[template])
    intent = rng.choice(expand(template))
    topic = describe(rng, task)
    return Example("topic", [user(wording().topic.format(intent=intent))], topic, about={"task": task})


def as_step_cue(style: str) -> Extra | None:
    """A thinking style as a sentence that asks for the working, where it is one."""
    text = style[0].lower() + style[1:].removesuffix(".")
    return Extra("steps", text) if text in texts(phrasings.STEPS) else None
