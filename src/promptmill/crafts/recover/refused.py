"""What is no prompt: attack strings that only please a metric, gibberish, and answers that repeat the text."""

from __future__ import annotations

import re
import unicodedata

from promptmill.vary.alike import likeness_of

ATTACKS = re.compile(r"lucrarea|</?s>|<pad>|<unk>|<eos>|<bos>|<\|[^|>]{1,40}\|>|\[/?INST\]", re.I)
"""Tokens that move an embedding and mean nothing: the competition's boards were led by appending them."""
LONGEST_WORD = 30
REPEATS = 3
"""A word so often in a row is no sentence."""
LETTERS = 0.6
"""Least share of letters among all that is no space."""
SAME = 0.85
"""Likeness from which a candidate is the text itself and no prompt."""
SHORTEST_TEXT = 12
"""Characters below which a text may well stand in a prompt."""


def refused(candidate: str, original: str | None, rewritten: str) -> str | None:
    """Why a candidate is no prompt, as "kind: detail"; None for one that may be one."""
    if found := ATTACKS.search(candidate):
        return f"attack: it holds {found[0]!r}"
    if any(unicodedata.category(one) in ("Cc", "Co", "Cn") and one not in "\n\t" for one in candidate):
        return "gibberish: it holds characters that no text has"
    words = candidate.split()
    if any(len(word) > LONGEST_WORD and word.isalpha() for word in words):
        return f"gibberish: a word of more than {LONGEST_WORD} letters"
    if _in_a_row([word.casefold().strip(".,;:!?") for word in words]) >= REPEATS:
        return f"gibberish: a word {REPEATS} times in a row"
    solid = [one for one in candidate if not one.isspace()]
    if not solid or sum(one.isalpha() for one in solid) < LETTERS * len(solid):
        return "gibberish: hardly any letters"
    for name, text in (("original", original), ("rewritten", rewritten)):
        if text and len(text) >= SHORTEST_TEXT and (candidate == text or likeness_of(candidate, text) >= SAME):
            return f"copied: it is the {name} text"
    return None


def _in_a_row(words: list[str]) -> int:
    longest = count = 0
    for at, word in enumerate(words):
        count = count + 1 if at and word and word == words[at - 1] else 1
        longest = max(longest, count)
    return longest
