"""From the phrasing templates to instructions, and the rules of what the world answers to a good or a poor one."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Literal

from embedded import phrasings
from embedded.transforms import TRANSFORMS, Argument, apply
from embedded.words import nonce, stable_hash

ARITHMETIC = "arithmetic"
TASKS = (*TRANSFORMS, ARITHMETIC)
ASK_BACK = "What should I do with this text?"
# Texts that begin so may get a chatty answer unless the instruction asks for the bare result.
CHATTY = {"my": "Sure, here it is: ", "our": "Of course, the result is: ", "a": "Here you are: "}

Tier = Literal["clear", "medium", "vague"]
Split = Literal["train", "held", "any"]
TIER_ODDS: dict[Tier, float] = {"clear": 0.66, "medium": 0.22, "vague": 0.12}
_HELD_SHARE = 8  # one clear phrasing in so many is kept for the evaluation
_CHOICE = re.compile(r"\{([^{}]*)\}")


@cache
def expand(template: str) -> tuple[str, ...]:
    """Every text that a template stands for, in a fixed order, without doubles."""
    match = _CHOICE.search(template)
    if match is None:
        return (" ".join(template.split()),)
    before, after = template[: match.start()], template[match.end() :]
    return tuple(dict.fromkeys(text for choice in match[1].split("|") for text in expand(before + choice + after)))


def is_held(core: str) -> bool:
    """Whether a clear phrasing (or a description, or a style) is kept out of the corpus."""
    return stable_hash("phrasing:" + core) % _HELD_SHARE == 0


@cache
def pool(templates: tuple[str, ...], split: Split) -> tuple[tuple[str, ...], ...]:
    """The texts of the templates in one split, template by template, so that each template is drawn as often."""
    groups = (
        tuple(text for text in expand(template) if split == "any" or is_held(text) == (split == "held"))
        for template in templates
    )
    return tuple(group for group in groups if group)


def draw(rng: Random, templates: tuple[str, ...], split: Split = "any") -> str:
    return rng.choice(rng.choice(pool(templates, split)))


@cache
def texts(templates: tuple[str, ...]) -> frozenset[str]:
    return frozenset(text for group in pool(templates, "any") for text in group)


@dataclass(frozen=True, slots=True)
class Extra:
    """A sentence after the core. kind: form (asks for the bare result), steps (asks for the working), advice."""

    kind: Literal["form", "steps", "advice"]
    text: str


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction with what it means. task is None for a vague one; plain: lower case, no final period.

    loud: all in capitals.
    """

    task: str | None
    tier: Tier
    core: str
    argument: Argument | None = None
    role: str = ""
    extras: tuple[Extra, ...] = ()
    please: bool = False
    plain: bool = False
    loud: bool = False

    @property
    def has_form(self) -> bool:
        return any(extra.kind == "form" for extra in self.extras)

    @property
    def has_steps(self) -> bool:
        return any(extra.kind == "steps" for extra in self.extras) or self.core in texts(phrasings.CLEAR_STEPS)

    def without(self, *kinds: str) -> Instruction:
        return replace(self, extras=tuple(extra for extra in self.extras if extra.kind not in kinds))

    def plus(self, extra: Extra) -> Instruction:
        """With one more sentence, once."""
        return self if extra in self.extras else replace(self, extras=(*self.extras, extra))

    @property
    def core_text(self) -> str:
        core = self.core
        if self.argument:
            names = {"X": self.argument[0], "Y": self.argument[1]}
            core = " ".join(names.get(word, word) for word in core.split())
        return "please " + core if self.please else core

    def render(self) -> str:
        sentences = [self.role, self.core_text, *(extra.text for extra in self.extras)]
        text = " ".join(as_sentence(sentence) for sentence in sentences if sentence)
        if self.loud:
            return text.upper()
        return text.lower().removesuffix(".") if self.plain else text


def as_sentence(text: str) -> str:
    """With a capital letter and a final period."""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".?!" else ".")


def extra(rng: Random, kind: Literal["form", "steps", "advice"]) -> Extra:
    templates = {"form": phrasings.FORM, "steps": phrasings.STEPS, "advice": phrasings.ADVICE}[kind]
    return Extra(kind, draw(rng, templates))


def core_pool(task: str | None, tier: Tier) -> tuple[str, ...]:
    """The templates of a tier of a task; vague ones belong to no task."""
    if tier == "vague" or task is None:
        return phrasings.VAGUE
    return phrasings.CLEAR[task] if tier == "clear" else phrasings.MEDIUM[task]


def draw_tier(rng: Random) -> Tier:
    return rng.choices(list(TIER_ODDS), list(TIER_ODDS.values()))[0]


def draw_instruction(
    rng: Random,
    task: str | None,
    tier: Tier,
    *,
    split: Split = "train",
    argument: Argument | None = None,
    form: bool | None = None,
    steps: bool | None = None,
    bare: bool = False,
) -> Instruction:
    """An instruction for a task, worded at random. form, steps: with or without that cue, None is by chance.

    bare: no role, no please and no advice. Only clear phrasings are split; the others are few, and all are learned.
    """
    vague = tier == "vague"
    steps = rng.random() < (0.45 if task == ARITHMETIC else 0.05) if steps is None else steps
    form = rng.random() < (0.2 if task == ARITHMETIC else 0.5) if form is None else form
    if task == ARITHMETIC and tier == "clear" and steps and rng.random() < 0.3:
        core = draw(rng, phrasings.CLEAR_STEPS, split)
        steps = rng.random() < 0.2
    else:
        core = draw(rng, core_pool(task, tier), split if tier == "clear" else "any")
    extras = [extra(rng, "steps")] if steps else []
    if not bare and rng.random() < 0.1:
        extras.append(extra(rng, "advice"))
    if form:
        extras.append(extra(rng, "form"))
    return Instruction(
        task=None if vague else task,
        tier=tier,
        core=core,
        argument=None if vague else argument,
        role=_role(rng) if not bare and rng.random() < 0.2 else "",
        extras=tuple(extras),
        please=not bare and not core.endswith("?") and rng.random() < 0.1,
        plain=rng.random() < 0.25,
        loud=not bare and rng.random() < 0.03,
    )


def _role(rng: Random) -> str:
    """A sentence before the core, known or not: what does not belong to the task must not matter."""
    if rng.random() < 0.6:
        return draw(rng, phrasings.ROLES)
    words = [nonce(rng) if rng.random() < 0.6 else rng.choice(_SMALL_WORDS) for _ in range(rng.randint(3, 8))]
    return " ".join(words)


_SMALL_WORDS = "this is for my your you are a the of and to in it with we i".split()


_FILLERS = ("just", "now", "then", "kindly", "simply", "really", "also", "here")


def rough(rng: Random, prompt: str, share: float = 0.1) -> str:
    """The prompt as somebody in a hurry types it: now and then with two letters swapped, or a word too many."""
    if rng.random() > share:
        return prompt
    words = prompt.split(" ")
    at = rng.randrange(len(words))
    word = words[at]
    if rng.random() < 0.6 and len(word) > 4 and word[1:-1].isalpha():
        swap = rng.randrange(1, len(word) - 2)
        words[at] = word[:swap] + word[swap + 1] + word[swap] + word[swap + 2 :]
    elif at:
        words.insert(at, rng.choice(_FILLERS) if rng.random() < 0.7 else nonce(rng))
    return " ".join(words)


def canonical(task: str, argument: Argument | None = None, *, steps: bool = False) -> Instruction:
    """The one wording of a task that is the answer where only one can be right. Never a held-out phrasing."""
    templates = phrasings.CLEAR_STEPS if task == ARITHMETIC and steps else phrasings.CLEAR[task]
    wordings = [text for group in pool(templates, "train") for text in group]
    plain = (text for text in wordings if "the text" in text)
    return Instruction(task, "clear", next(plain, wordings[0]), argument)


def hint_limit(instruction: Instruction) -> int:
    """The longest text, in words, that a hint still works for: some hints are better than others, and advice helps."""
    helped = any(extra.kind == "advice" for extra in instruction.extras)
    return 5 + 3 * (stable_hash("limit:" + instruction.core) % 4) + (4 if helped else 0)


def opening(instruction: Instruction, text: str) -> str:
    """The chat before the result: on some texts, more of them for some wordings, none with a word on form."""
    first = text.split()[0].lower()
    if instruction.has_form or first not in list(CHATTY)[: 1 + stable_hash("chat:" + instruction.core) % 3]:
        return ""
    return CHATTY[first]


def follow(instruction: Instruction, text: str) -> str:
    """What the world answers to an instruction about a text (not arithmetic)."""
    if instruction.task is None:
        return ASK_BACK
    if instruction.tier == "medium" and len(text.split()) > hint_limit(instruction):
        return ASK_BACK
    return opening(instruction, text) + apply(instruction.task, text, instruction.argument)


def follow_arithmetic(instruction: Instruction, chain: str, answer: str) -> str:
    """What the world answers to an instruction about a problem: the working where it is asked for, else the number."""
    if instruction.task is None:
        return ASK_BACK
    return chain if instruction.has_steps else answer
