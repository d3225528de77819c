"""Word problems of one to three steps, with the worked chain and the number.

The numbers are large enough that two steps at once are beyond a model of this size: the chain is really needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from embedded.words import is_reserved, nonce

HE = ("Tom", "Ben", "Sam", "Max", "Leo", "Paul", "Jack", "Omar")
SHE = ("Anna", "Mia", "Lucy", "Eva", "Nora", "Jane", "Rosa", "Lily")
ITEMS = tuple("apples books cups hats keys balls eggs cakes bags boxes coins stones pens plates".split())
MORE = ("buys {} more", "gets {} more", "finds {} more", "makes {} more")
LESS = ("gives away {}", "loses {}", "sells {}", "breaks {}")
LARGEST = 250


@dataclass(frozen=True, slots=True)
class Problem:
    """statement: the story. question: what is asked, may be left out. chain: the working, ends with "answer N"."""

    statement: str
    question: str
    chain: str
    answer: str
    steps: int

    @property
    def text(self) -> str:
        return f"{self.statement} {self.question}"


def draw_problem(rng: Random, *, steps: int | None = None, reserved: bool = False) -> Problem:
    """A problem whose statement is reserved for evaluation, or is not."""
    while True:
        problem = _problem(rng, steps or rng.choice((1, 2, 2, 3, 3)))
        if is_reserved(problem.statement) == reserved:
            return problem


def _problem(rng: Random, steps: int) -> Problem:
    name, pronoun = (rng.choice(HE), "He") if rng.random() < 0.5 else (rng.choice(SHE), "She")
    item, value = rng.choice(ITEMS), rng.randint(5, 60)
    if rng.random() < 0.15:  # anybody, anything
        name, item = nonce(rng).capitalize(), nonce(rng) + "s"
    story, chain = [f"{name} has {value} {item}."], []
    for _ in range(steps):
        event, working, value = _step(rng, value)
        story.append(f"{pronoun} {event}.")
        chain.append(working)
    question = rng.choice((f"How many {item} does {name} have now?", f"How many {item} are there now?"))
    return Problem(" ".join(story), question, " ; ".join([*chain, f"answer {value}"]), str(value), steps)


def _step(rng: Random, value: int) -> tuple[str, str, int]:
    """What happens, its working, and the new value, which stays between 0 and LARGEST."""
    amount, kind = rng.randint(3, 60), rng.choice("++--x")
    if (kind == "-" and amount > value) or (kind == "x" and value * 2 > LARGEST):
        kind = "+"
    if kind == "+" and value + amount > LARGEST:
        kind = "-"
    if kind == "+":
        return rng.choice(MORE).format(amount), f"{value} + {amount} = {value + amount}", value + amount
    if kind == "-":
        return rng.choice(LESS).format(amount), f"{value} - {amount} = {value - amount}", value - amount
    return "doubles them", f"{value} x 2 = {value * 2}", value * 2
