"""The seventeen things that can be done to a text, as plain functions: the truth that the model learns."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from embedded.words import ANIMALS, COLOURS, GOOD, MAX_WORDS, NOUNS, draw_text

Argument = tuple[str, str]
"""For `replace`: the word to look for, and the word to put there."""

PIRATE = {
    "the": "th", "my": "me", "friend": "matey", "man": "scallywag", "boy": "lad", "girl": "lass", "and": "an",
    "found": "plundered", "took": "looted", "in": "aboard", "house": "ship", "a": "one", "our": "me", "ran": "sailed",
    "old": "ancient", "good": "fine", "woman": "wench", "king": "captain", "big": "mighty",
}  # fmt: skip


def _per_word(change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: " ".join(change(word) for word in text.split())


def _only(wanted: tuple[str, ...]) -> Callable[[str], str]:
    return lambda text: " ".join(word for word in text.split() if word in wanted) or "none"


PLAIN: dict[str, Callable[[str], str]] = {
    "upper": str.upper,
    "reverse": lambda text: " ".join(reversed(text.split())),
    "sort": lambda text: " ".join(sorted(text.split())),
    "acronym": _per_word(lambda word: word[0].upper()),
    "repeat": _per_word(lambda word: f"{word} {word}"),
    "count": lambda text: str(len(text.split())),
    "animals": _only(ANIMALS),
    "colours": _only(COLOURS),
    "last": lambda text: text.split()[-1],
    "first": lambda text: text.split()[0],
    "exclaim": lambda text: text + "!!!",
    "pirate": lambda text: "arr, " + _per_word(lambda word: PIRATE.get(word, word))(text),
    "polite": lambda text: f"please note that {text}, thank you",
    "sentiment": lambda text: "positive" if any(word in GOOD for word in text.split()) else "negative",
    "nothe": lambda text: " ".join(word for word in text.split() if word != "the"),
    "commas": lambda text: ", ".join(text.split()),
}
TRANSFORMS = (*PLAIN, "replace")


def apply(name: str, text: str, argument: Argument | None = None) -> str:
    """The right answer for a transform of a text; `replace` needs its two words."""
    if name == "replace":
        if argument is None:
            raise ValueError("replace needs its two words")
        old, new = argument
        return " ".join(new if word == old else word for word in text.split())
    return PLAIN[name](text)


def draw_argument(rng: Random, text: str) -> Argument:
    """A word of the text (a noun where there is one) and a noun to put in its place."""
    nouns = [word for word in text.split() if word in NOUNS] or [text.split()[-1]]
    old = rng.choice(nouns)
    return old, rng.choice([word for word in NOUNS if word != old])


def draw_case(
    rng: Random, name: str, *, reserved: bool = False, most: int = MAX_WORDS, loose: float = 0.0
) -> tuple[str, Argument | None]:
    """A text that suits the transform, with its argument.

    Sorting is asked of short texts only, a sentiment text has one telling word, and the finders mostly have something
    to find.
    """
    if name == "sort":
        most = min(most, 7)
    mood = rng.random() < 0.5 if name == "sentiment" else None
    some = rng.random() < 0.8
    while True:
        text = draw_text(rng, reserved=reserved, most=most, mood=mood, loose=0.0 if name == "sentiment" else loose)
        if name in ("animals", "colours") and some and apply(name, text) == "none":
            continue
        if name == "nothe" and apply(name, text) in ("", text):
            continue
        return text, draw_argument(rng, text) if name == "replace" else None
