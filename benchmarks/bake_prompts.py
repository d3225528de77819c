"""Five prompts of different kinds for the embedded model, each with questions to bake it on and a task that tells
whether it is followed; and what else the model does when it is told to, which a bake must leave alone.

The tasks hold reserved texts and problems, and openings of questions, that no bake is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import ClassVar

from embedded import phrasings
from embedded.arithmetic import draw_problem
from embedded.cases import KNOWN
from embedded.layouts import Example as Drawn
from embedded.skills import arithmetic_example, transform_example
from embedded.talk import UNKNOWN, chat_example, fact_example, persona_example, reply
from embedded.texts import PLAIN_SHORT, SHORT, draw_text
from embedded.transforms import TRANSFORMS, apply
from embedded.words import THINGS
from promptmill.prompt import Prompt
from promptmill.score.exact import Exact
from promptmill.score.number import Number
from promptmill.score.scorer import MeanTotal, Score, Scorer
from promptmill.tasks.task import Example, Task

BAKED_ON, TRIED_ON = 400, 300
ELSEWHERE = 1100
FACTS = "The lamp is in the cave. Tom likes honey. The number of the drum is 42. The boat is green."
LETTER_BY_LETTER = Exact(case_sensitive=True)
PERSONA = "You are Flora. You live in the cave. You like honey."
OPENINGS = (
    "", "", "", "Hello! ", "Hi! ", "Hey! ", "Good morning! ", "Good evening! ", "Please tell me: ", "Please: ",
    "Tell me: ", "Now: ", "Well, ", "Next question: ", "One question: ", "Thanks! ", "And now: ", "Thank you! ",
    "I want to know: ",
)  # fmt: skip
NEW_OPENINGS = ("Question: ", "Hello. ", "Please answer: ", "My question: ", "Good day! ", "Great, thanks! ", "Hi. ")

Asked = tuple[str, str]
"""A question and what the prompt makes of it."""


@dataclass(frozen=True)
class Bakeable:
    """kind: what it is an instance of. questions: to bake on. task: its test examples are for trying."""

    kind: str
    prompt: Prompt
    questions: tuple[str, ...]
    task: Task


def _style(style: str) -> Callable[[Random, bool], Asked]:
    def draw(rng: Random, reserved: bool) -> Asked:
        text = draw_text(rng, SHORT, reserved=reserved)
        return text, apply(style, reply(text))

    return draw


def _problem(rng: Random, reserved: bool) -> Asked:
    problem = draw_problem(rng, reserved=reserved)
    return problem.text, problem.answer


def _opened(rng: Random, reserved: bool, question: str) -> str:
    """The question after an opening; now and then without its mark."""
    asked = question.removesuffix("?") if rng.random() < 0.3 else question
    return rng.choice(NEW_OPENINGS if reserved else OPENINGS) + asked


def _fact(rng: Random, reserved: bool) -> Asked:
    """Mostly of what was told; now and then of what was not, for that must not be made up."""
    known = (
        ("Where is the lamp?", "in the cave"), ("What does Tom like?", "honey"),
        ("What is the number of the drum?", "42"), ("What colour is the boat?", "green"),
    )  # fmt: skip
    question, answer = rng.choice(known)
    if rng.random() < 0.15:
        question, answer = f"Where is the {rng.choice([one for one in THINGS if one != 'lamp'])}?", UNKNOWN
    if rng.random() < 0.5:
        text = draw_text(rng, PLAIN_SHORT, reserved=reserved)
        return f"{text[0].upper()}{text[1:]}. {question}", answer
    return _opened(rng, reserved, question), answer


def _persona(rng: Random, reserved: bool) -> Asked:
    known = (
        ("Who are you?", "my name is Flora"), ("What is your name?", "my name is Flora"),
        ("Where do you live?", "in the cave"), ("Where is your home?", "in the cave"),
        ("What do you like?", "I like honey"), ("What is your favourite food?", "I like honey"),
    )  # fmt: skip
    question, answer = rng.choice(known)
    return _opened(rng, reserved, question), answer


def bakeables(seed: int = 0) -> tuple[Bakeable, ...]:
    """The five prompts."""
    return (
        _bakeable("style", "Answer only in uppercase.", _style("upper"), LETTER_BY_LETTER, seed),
        _bakeable("format", "Put commas between the words of your answers.", _style("commas"), LETTER_BY_LETTER, seed),
        _bakeable("step by step", "Solve the problem. Think step by step.", _problem, Number(), seed),
        _bakeable("fact", FACTS, _fact, LETTER_BY_LETTER, seed),
        _bakeable("persona", PERSONA, _persona, LETTER_BY_LETTER, seed),
    )


@dataclass(frozen=True, slots=True)
class Without(MeanTotal):
    """1 where the answer says something, and never that word."""

    word: str
    name: ClassVar[str] = "without"
    binary: ClassVar[bool] = True

    def score(self, answer: str, gold: tuple[str, ...], fields: Mapping[str, str]) -> Score:
        words = re.findall(r"\w+", answer.lower())
        return Score(float(bool(words) and self.word not in words), answer or None)


def exclusion(seed: int = 0) -> Bakeable:
    """A prompt that the model keeps to in about half of its answers."""

    def draw(rng: Random, reserved: bool) -> Asked:
        text = draw_text(rng, SHORT, reserved=reserved)
        return text, text

    return _bakeable("exclusion", "Never write the word the.", draw, Without("the"), seed)


def _bakeable(kind: str, system: str, draw: Callable[[Random, bool], Asked], scorer: Scorer, seed: int) -> Bakeable:
    questions = _distinct(Random(f"bake {kind} {seed}"), draw, False, BAKED_ON)
    tried = _distinct(Random(f"try {kind} {seed}"), draw, True, TRIED_ON)
    examples = tuple(Example(str(at), {"input": text}, (gold,)) for at, (text, gold) in enumerate(tried))
    task = Task(kind, f"What a baked {kind} answers.", Prompt(), scorer, None, (), (), examples)
    return Bakeable(kind, Prompt(system=system), tuple(text for text, _ in questions), task)


def _distinct(rng: Random, draw: Callable[[Random, bool], Asked], reserved: bool, most: int) -> list[Asked]:
    """Up to `most` different questions; fewer where the grammar has no more."""
    found: dict[str, str] = {}
    for _ in range(20 * most):
        if len(found) == most:
            break
        question, answer = draw(rng, reserved)
        found.setdefault(question, answer)
    return list(found.items())


def elsewhere(baked: Bakeable, most: int = ELSEWHERE, seed: int = 0) -> tuple[Task, ...]:
    """Other things that the model does when its system prompt asks for them, each example with a prompt of its own: a
    task of exact answers and one of numbers, `most` examples in all. What the baked prompt itself asks for is not among
    them."""
    rng = Random(f"elsewhere {seed}")
    exact: list[Example] = []
    numbers: list[Example] = []
    own = {"style": "upper", "format": "commas"}.get(baked.kind)
    for at, drawn in zip(range(most), _others(rng, own), strict=False):
        (_, instruction), (_, text) = ((one["role"], one["content"]) for one in drawn.messages[:2])
        answer = drawn.answer if len(drawn.messages) == 2 else drawn.messages[2]["content"]
        is_number = drawn.kind == "arithmetic"
        gold = drawn.gold if is_number else answer
        example = Example(str(at), {"instruction": instruction, "input": text}, (gold,))
        (numbers if is_number else exact).append(example)
    prompt = Prompt(system="{instruction}")
    return (
        Task("other instructions", "What other prompts ask for.", prompt, LETTER_BY_LETTER, None, (), (), tuple(exact)),
        Task("other problems", "Working out under other prompts.", prompt, Number(), None, (), (), tuple(numbers)),
    )


def _others(rng: Random, own: str | None) -> Iterator[Drawn]:
    """Transforms in turn, and after every second one some talk or a problem. own: the style that is baked."""
    transforms = [task for task in TRANSFORMS if task != own]
    styles = [style for style in phrasings.STYLES if style != own]
    talk: Sequence[Callable[[], Drawn]] = (
        lambda: arithmetic_example(rng, split="any", reserved=True, worked=True, layout="roles"),
        lambda: chat_example(rng, split="any", reserved=True, style=rng.choice(styles)),
        lambda: _system_first(rng, fact_example),
        lambda: _system_first(rng, persona_example),
    )
    for turn in count():
        task = transforms[turn % len(transforms)]
        yield transform_example(
            rng, task, kind=KNOWN, split="any", reserved=True, tier="clear", form=True, bare=True, layout="roles"
        )
        if turn % 2:
            yield talk[turn // 2 % len(talk)]()


def _system_first(rng: Random, make: Callable[[Random], Drawn]) -> Drawn:
    """A conversation of that kind that begins with a system turn."""
    while True:
        drawn = make(rng)
        if drawn.messages[0]["role"] == "system":
            return drawn
