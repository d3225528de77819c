"""The things that can be done to a text, as plain functions: the truth that the model learns.

Where a result is made of the text's words one by one (reverse, sort, the finders, ...), the marks at the end of words
are left out of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from embedded.texts import TRAINING, TextKind, draw_text
from embedded.words import ANIMALS, COLOURS, GOOD, MARKS, NOUNS, PEOPLE

Argument = tuple[str, str]
"""For `replace`: the word to look for, and the word to put there."""

PIRATE = {
    "the": "th", "my": "me", "friend": "matey", "man": "scallywag", "boy": "lad", "girl": "lass", "and": "an",
    "found": "plundered", "took": "looted", "in": "aboard", "house": "ship", "a": "one", "our": "me", "ran": "sailed",
    "old": "ancient", "good": "fine", "woman": "wench", "king": "captain", "big": "mighty",
}  # fmt: skip


def words_of(text: str) -> list[str]:
    """The words without the marks at their ends."""
    return [word for word in (part.strip(MARKS) for part in text.split()) if word]


def _per_word(change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: " ".join(change(word) for word in words_of(text))


def _only(wanted: tuple[str, ...]) -> Callable[[str], str]:
    return lambda text: " ".join(word for word in words_of(text.lower()) if word in wanted) or "none"


def _lower_first(text: str) -> str:
    return text[0].lower() + text[1:]


def _pirate(text: str) -> str:
    """Word by word; marks stay."""
    parts = []
    for part in _lower_first(text).split():
        core = part.rstrip(MARKS)
        parts.append(PIRATE.get(core.lower(), core) + part[len(core) :])
    return "arr, " + " ".join(parts)


def _any(wanted: tuple[str, ...], text: str) -> bool:
    return any(word in wanted for word in words_of(text.lower()))


PLAIN: dict[str, Callable[[str], str]] = {
    "upper": str.upper,
    "lower": str.lower,
    "title": lambda text: " ".join(part[0].upper() + part[1:].lower() for part in text.split()),
    "reverse": lambda text: " ".join(reversed(words_of(text))),
    "sort": lambda text: " ".join(sorted(words_of(text.lower()))),
    "acronym": _per_word(lambda word: word[0].upper()),
    "repeat": _per_word(lambda word: f"{word} {word}"),
    "count": lambda text: str(len(words_of(text))),
    "animals": _only(ANIMALS),
    "colours": _only(COLOURS),
    "people": _only(PEOPLE),
    "last": lambda text: words_of(text)[-1],
    "first": lambda text: words_of(text)[0],
    "exclaim": lambda text: text.rstrip(MARKS) + "!!!",
    "pirate": _pirate,
    "polite": lambda text: f"please note that {_lower_first(text).rstrip(MARKS)}, thank you",
    "sentiment": lambda text: "positive" if _any(GOOD, text) else "negative",
    "hasanimal": lambda text: "yes" if _any(ANIMALS, text) else "no",
    "nothe": lambda text: " ".join(part for part in text.split() if part.lower().strip(MARKS) != "the"),
    "commas": lambda text: ", ".join(words_of(text)),
}
TRANSFORMS = (*PLAIN, "replace")
_SHORTER = {"sort": 10, "repeat": 14}
"""The longest texts, in words, where 25 is too much to ask."""


def apply(name: str, text: str, argument: Argument | None = None) -> str:
    """The right answer for a transform of a text; `replace` needs its two words."""
    if name == "replace":
        if argument is None:
            raise ValueError("replace needs its two words")
        old, new = argument
        parts = ((part, part.strip(MARKS)) for part in text.split())
        return " ".join(part.replace(core, new) if core.lower() == old else part for part, core in parts)
    return PLAIN[name](text)


def draw_argument(rng: Random, text: str) -> Argument:
    """A word of the text (a noun where there is one) and a noun to put in its place."""
    words = words_of(text.lower())
    nouns = [word for word in words if word in NOUNS] if rng.random() < 0.8 else []
    old = rng.choice(nouns or words)
    return old, rng.choice([word for word in NOUNS if word != old])


def draw_case(
    rng: Random, name: str, kind: TextKind = TRAINING, *, reserved: bool = False
) -> tuple[str, Argument | None]:
    """A text that suits the transform, with its argument.

    A sentiment text has telling words of one kind, the finders mostly have something to find, and a text to be put in
    lower case has capitals.
    """
    if name in _SHORTER and kind.least <= _SHORTER[name]:
        kind = replace(kind, most=min(kind.most, _SHORTER[name]))
    if name == "sentiment":
        kind = replace(kind, mood=rng.random() < 0.5, loose=0.0)
    some, want = rng.random() < 0.8, "yes" if rng.random() < 0.5 else "no"
    while True:
        text = draw_text(rng, kind, reserved=reserved)
        if name in ("animals", "colours", "people") and some and apply(name, text) == "none":
            continue
        if name == "hasanimal" and apply(name, text) != want:
            continue
        if name == "nothe" and apply(name, text) in ("", text):
            continue
        if name == "lower" and rng.random() < 0.7:
            text = text.upper() if rng.random() < 0.6 else text.title()
        return text, draw_argument(rng, text) if name == "replace" else None
