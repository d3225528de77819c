"""The words of the closed world and the short lower-case texts made of them."""

from __future__ import annotations

import hashlib
from random import Random

ANIMALS = tuple(
    "dog cat horse bird fish fox bear wolf mouse lion tiger rabbit duck goat sheep cow pig frog owl snake".split()
)
COLOURS = tuple("red blue green yellow black white brown pink grey orange".split())
GOOD = tuple("happy good lovely great kind bright sweet calm brave funny".split())
BAD = tuple("sad bad ugly awful cruel dull bitter angry scared boring".split())
SIZES = tuple("big small tall short old young new long thin heavy".split())
THINGS = tuple(
    "table chair book lamp box cup hat boat car bike door ball bag key clock coat bottle phone letter picture".split()
)
FOOD = tuple("apple bread cheese soup cake rice egg milk honey tea".split())
PEOPLE = tuple("boy girl man woman teacher doctor farmer king queen friend sailor baker".split())
PLACES = tuple(
    "park river house school garden forest market kitchen street beach tower bridge hill lake station shop".split()
)
DID_TO = tuple(
    "found saw took made lost liked wanted bought sold painted carried hid watched moved cleaned dropped".split()
)
DID = tuple("ran slept sat played waited danced worked walked jumped sang".split())
WHERE = tuple("near in behind at beside".split())
HOW = tuple("today yesterday quickly slowly again often quietly there".split())
ARTICLES = tuple("the the the the a a my our".split())
NOUNS = THINGS + ANIMALS + FOOD + PLACES + PEOPLE
ALL_WORDS = tuple(dict.fromkeys(NOUNS + COLOURS + GOOD + BAD + SIZES + DID_TO + DID + WHERE + HOW + ARTICLES))

MIN_WORDS, MAX_WORDS = 3, 11
_RESERVED_SHARE = 16  # one text in so many is kept for tasks and evaluation


def stable_hash(text: str) -> int:
    """A number that depends on the text alone, the same in every process and version (unlike hash())."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def is_reserved(text: str) -> bool:
    """Whether a text (or arithmetic problem) is kept out of the corpus for the built-in tasks and the evaluation."""
    return stable_hash("text:" + text) % _RESERVED_SHARE == 0


def nonce(rng: Random) -> str:
    """A word that means nothing, so that copying is not only a matter of known words."""
    return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 3)))


def _noun_phrase(rng: Random, nouns: tuple[str, ...]) -> list[str]:
    words = [rng.choice(ARTICLES)]
    if rng.random() < 0.55:
        words.append(rng.choice(rng.choice((COLOURS, SIZES, GOOD, BAD))))
    return [*words, rng.choice(nouns)]


def _sentence(rng: Random) -> list[str]:
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
    if rng.random() < 0.06:
        words[rng.randrange(1, len(words))] = nonce(rng)
    return words


def draw_text(
    rng: Random, *, reserved: bool = False, most: int = MAX_WORDS, mood: bool | None = None, loose: float = 0.0
) -> str:
    """A text of 3 to `most` words, from the reserved ones or from the others.

    mood: exactly one good (True) or bad (False) word in it. loose: share of texts that are words in no order, which
    teaches the transforms apart from the grammar of the sentences.
    """
    while True:
        if rng.random() < loose:
            words = [rng.choice(ALL_WORDS) for _ in range(rng.randint(MIN_WORDS, most))]
        else:
            words = _sentence(rng)
        if mood is not None:
            words = [word for word in words if word not in GOOD and word not in BAD]
            words.insert(1, rng.choice(GOOD if mood else BAD))
        text = " ".join(words)
        if MIN_WORDS <= len(words) <= most and is_reserved(text) == reserved:
            return text
