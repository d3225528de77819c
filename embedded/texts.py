"""The texts that instructions are about: 3 to 25 words, known and unknown, plain or with capitals and marks."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from embedded.words import (
    ALL_WORDS,
    ANIMALS,
    ARTICLES,
    BAD,
    COLOURS,
    DID,
    DID_TO,
    FOOD,
    GOOD,
    HOW,
    LINK_WORDS,
    LINKS,
    NOUNS,
    PEOPLE,
    PLACES,
    SIZES,
    THINGS,
    WHERE,
    is_reserved,
    nonce,
)

MIN_WORDS, SHORT_WORDS, MAX_WORDS = 3, 11, 25


@dataclass(frozen=True, slots=True)
class TextKind:
    """What texts to draw.

    least, most: words. long: share of texts of 12 words and more, where `most` allows them. unknown: share of texts
    with words from outside the vocabulary. natural: share with a capital, a final mark and perhaps a comma. loose:
    share of texts that are words in no order, which teaches the transforms apart from the grammar of sentences.
    mood: only good (True) or only bad words in it, and at least one.
    """

    least: int = MIN_WORDS
    most: int = MAX_WORDS
    long: float = 0.35
    unknown: float = 0.35
    natural: float = 0.35
    loose: float = 0.12
    mood: bool | None = None


TRAINING = TextKind()
SHORT = TextKind(most=SHORT_WORDS)
PLAIN_SHORT = TextKind(most=SHORT_WORDS, long=0, unknown=0, natural=0, loose=0)
"""Known words in lower case, in sentences: the easiest texts."""


def _noun_phrase(rng: Random, nouns: tuple[str, ...]) -> list[str]:
    words = [rng.choice(ARTICLES)]
    if rng.random() < 0.55:
        words.append(rng.choice(rng.choice((COLOURS, SIZES, GOOD, BAD))))
    return [*words, rng.choice(nouns)]


def _clause(rng: Random) -> list[str]:
    words = _noun_phrase(rng, rng.choice((ANIMALS, PEOPLE, PEOPLE, ANIMALS, THINGS)))
    if rng.random() < 0.25:
        words += ["and", *_noun_phrase(rng, rng.choice((ANIMALS, PEOPLE)))]
    if rng.random() < 0.65:
        words += [rng.choice(DID_TO), *_noun_phrase(rng, rng.choice((THINGS, FOOD, ANIMALS)))]
    else:
        words.append(rng.choice(DID))
    if rng.random() < 0.5:
        words += [rng.choice(WHERE), *_noun_phrase(rng, PLACES)]
    if rng.random() < 0.25:
        words.append(rng.choice(HOW))
    return words


def _sentence(rng: Random, least: int) -> list[str]:
    """Clauses in a row until there are `least` words."""
    words = _clause(rng)
    while len(words) < least:
        words += [*rng.choice(LINKS), *_clause(rng)]
    return words


def _cut(words: list[str], most: int, rng: Random) -> list[str]:
    """At most so many words, not ending in the middle of a noun phrase."""
    words = words[:most]
    if words[-1] in ARTICLES or words[-1] in WHERE or words[-1] in LINK_WORDS:
        words[-1] = rng.choice(NOUNS)
    return words


def _strange(rng: Random, words: list[str]) -> list[str]:
    """With one or two unknown words, with many, or of nothing else."""
    chance = rng.random()
    if chance < 0.5:
        for at in rng.sample(range(len(words)), min(len(words), rng.randint(1, 2))):
            words[at] = nonce(rng)
        return words
    share = 0.4 if chance < 0.85 else 1.0
    return [nonce(rng) if rng.random() < share else word for word in words]


def _in_mood(rng: Random, words: list[str], good: bool) -> list[str]:
    """Only words of that mood, and at least one."""
    wanted, unwanted = (GOOD, BAD) if good else (BAD, GOOD)
    words = [rng.choice(wanted) if word in unwanted else word for word in words]
    if not any(word in wanted for word in words):
        words.insert(rng.randrange(1, len(words)), rng.choice(wanted))
    return words


def _natural(rng: Random, words: list[str]) -> str:
    """A capital letter first, a mark last, now and then a comma inside and a name for a word."""
    words = list(words)
    for at in range(1, len(words) - 1):
        if words[at] in LINK_WORDS and rng.random() < 0.3:
            words[at - 1] += ","
    if rng.random() < 0.15:
        at = rng.randrange(len(words))
        words[at] = words[at][0].upper() + words[at][1:]
    words[0] = words[0][0].upper() + words[0][1:]
    return " ".join(words) + rng.choice("....!?" if rng.random() < 0.5 else ".")


def draw_text(rng: Random, kind: TextKind = TRAINING, *, reserved: bool = False) -> str:
    """A text of that kind, from the reserved ones or from the others."""
    while True:
        is_long = kind.most > SHORT_WORDS and (kind.least > SHORT_WORDS or rng.random() < kind.long)
        least = max(kind.least, SHORT_WORDS + 1) if is_long else kind.least
        size = rng.randint(least, kind.most if is_long else min(kind.most, SHORT_WORDS))
        if rng.random() < kind.loose:
            words = [rng.choice(ALL_WORDS) for _ in range(size)]
        elif is_long:
            words = _cut(_sentence(rng, size), size, rng)
        else:
            words = _clause(rng)
        if kind.mood is not None:
            words = _in_mood(rng, words, kind.mood)
        if rng.random() < kind.unknown:
            moods = {at: word for at, word in enumerate(words) if kind.mood is not None and word in GOOD + BAD}
            words = [moods.get(at, word) for at, word in enumerate(_strange(rng, words))]
        if not kind.least <= len(words) <= kind.most:
            continue
        text = _natural(rng, words) if rng.random() < kind.natural else " ".join(words)
        if is_reserved(text) == reserved:
            return text
