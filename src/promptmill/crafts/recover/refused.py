"""What is no prompt: attack strings that only please a metric, gibberish, and answers that repeat the text."""

from __future__ import annotations

import re
import unicodedata

from promptmill.vary.alike import likeness_of

ATTACKS = re.compile(r"lucrarea|</?s>|<pad>|<unk>|<eos>|<bos>|<\|[^|>]{1,40}\|>|\[/?INST\]", re.I)
"""Tokens that move an embedding and mean nothing: the competition's boards were led by appending them."""
LONGEST_WORD = 30
LATIN = re.compile(rf"[A-Za-z\u00c0-\u024f]{{{LONGEST_WORD + 1},}}")
"""Longer than any word. Of Latin letters only: other scripts write whole sentences without a space."""
REPEATS = 3
"""A word so often in a row is no sentence."""
LETTERS = 0.6
"""Least share of letters among all that is no space."""
SAME = 0.85
"""Likeness from which a candidate is the text itself and no prompt."""
LENGTHS = 2
"""A text that is longer than so many times the other one is not the same, and is not compared: it may be very long."""
SHORTEST_TEXT = 12
"""Characters below which a text may well stand in a prompt."""
KINDS = ("attack", "gibberish", "copied")


def refused(candidate: str, original: str | None, rewritten: str) -> str | None:
    """Why a candidate is no prompt, as "kind: detail", the kind one of KINDS; None for one that may be one."""
    if found := ATTACKS.search(candidate):
        return f"attack: it holds {found[0]!r}"
    if any(unicodedata.category(one) in ("Cc", "Co", "Cn") and one not in "\n\r\t" for one in candidate):
        return "gibberish: it holds characters that no text has"
    if LATIN.search(candidate):
        return f"gibberish: a word of more than {LONGEST_WORD} letters"
    if _in_a_row([word.casefold().strip(".,;:!?") for word in candidate.split()]) >= REPEATS:
        return f"gibberish: a word {REPEATS} times in a row"
    solid = [one for one in candidate if not one.isspace()]
    if not solid or sum(unicodedata.category(one)[0] in "LM" for one in solid) < LETTERS * len(solid):
        return "gibberish: hardly any letters"
    for name, text in (("original", original), ("rewritten", rewritten)):
        if text and len(text) >= SHORTEST_TEXT and _same(candidate, text):
            return f"copied: it is the {name} text"
    return None


def _same(candidate: str, text: str) -> bool:
    shorter, longer = sorted((len(candidate), len(text)))
    return candidate == text or (longer <= LENGTHS * shorter and likeness_of(candidate, text) >= SAME)


def _in_a_row(words: list[str]) -> int:
    longest = count = 0
    for at, word in enumerate(words):
        count = count + 1 if at and word and word == words[at - 1] else 1
        longest = max(longest, count)
    return longest
