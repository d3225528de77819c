"""The words of the closed world, and words that mean nothing in it."""

from __future__ import annotations

import hashlib
import re
from random import Random

ANIMALS = tuple(
    "dog cat horse bird fish fox bear wolf mouse lion tiger rabbit duck goat sheep cow pig frog owl snake hen bee ant "
    "deer swan whale crab moth donkey squirrel".split()
)
COLOURS = tuple("red blue green yellow black white brown pink grey orange purple golden".split())
GOOD = tuple(
    "happy good lovely great kind bright sweet calm brave funny nice friendly wonderful cheerful gentle perfect proud "
    "pretty".split()
)
BAD = tuple(
    "sad bad ugly awful cruel dull bitter angry scared boring nasty terrible horrible lonely gloomy broken rude "
    "dirty".split()
)
SIZES = tuple("big small tall short old young new long thin heavy tiny huge round wide".split())
THINGS = tuple(
    "table chair book lamp box cup hat boat car bike door ball bag key clock coat bottle phone letter picture spoon "
    "knife plate shoe shirt window wall pen stone rope ring coin map drum candle mirror basket blanket".split()
)
FOOD = tuple("apple bread cheese soup cake rice egg milk honey tea butter pear plum onion carrot salt".split())
PEOPLE = tuple(
    "boy girl man woman teacher doctor farmer king queen friend sailor baker nurse judge painter singer brother sister "
    "uncle aunt child driver".split()
)
PLACES = tuple(
    "park river house school garden forest market kitchen street beach tower bridge hill lake station shop church "
    "field castle library cave island village office".split()
)
DID_TO = tuple(
    "found saw took made lost liked wanted bought sold painted carried hid watched moved cleaned dropped broke opened "
    "followed called helped loved needed kept".split()
)
DID = tuple(
    "ran slept sat played waited danced worked walked jumped sang laughed cried smiled fell swam talked".split()
)
WHERE = tuple("near in behind at beside under by".split())
HOW = tuple("today yesterday quickly slowly again often quietly there early alone outside together".split())
ARTICLES = tuple("the the the the a a my our".split())
LINKS = (("and",), ("and", "then"), ("but",), ("while",), ("because",), ("so",), ("when",))
NOUNS = THINGS + ANIMALS + FOOD + PLACES + PEOPLE
LINK_WORDS = ("and", "then", "but", "while", "because", "so", "when")
ALL_WORDS = tuple(
    dict.fromkeys(NOUNS + COLOURS + GOOD + BAD + SIZES + DID_TO + DID + WHERE + HOW + ARTICLES + LINK_WORDS)
)
MARKS = ".,!?;:"

_RESERVED_SHARE = 16  # one text in so many is kept for tasks and evaluation
_ONSETS = tuple(
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p pl pr qu r s sc sh sk sl sm sn sp st t th tr v w wh y "
    "z".split()
)
_VOWELS = "a e i o u a e i o ai ea ee oa oo ou y".split()
_CODAS = "b d g k l ll m n ng nk nt p r rd rk s ss st t tch th x ck".split()
_ENDINGS = ("", "", "", "s", "ed", "ing", "er", "y", "le", "ly", "ment", "tion", "ous")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def stable_hash(text: str) -> int:
    """A number that depends on the text alone, the same in every process and version (unlike hash())."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def is_reserved(text: str) -> bool:
    """Whether a text (or arithmetic problem) is kept out of the corpus for the built-in tasks and the evaluation.

    Case and marks do not count, so that a reserved text is in the corpus in no form.
    """
    return stable_hash("text:" + re.sub(r"[^\w\s]", "", text.lower())) % _RESERVED_SHARE == 0


def nonce(rng: Random) -> str:
    """A lower-case word that means nothing, mostly of an English shape, so that copying cannot rest on known words."""
    chance = rng.random()
    if chance < 0.25:
        word = "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 3)))
    elif chance < 0.9:
        syllables = rng.choice((1, 1, 2, 2, 3))
        word = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(syllables)) + rng.choice(_CODAS)
        word += rng.choice(_ENDINGS)
    else:
        word = "".join(rng.choice(_LETTERS) for _ in range(rng.randint(2, 7)))
    return nonce(rng) if word in ALL_WORDS or len(word) > 12 else word
