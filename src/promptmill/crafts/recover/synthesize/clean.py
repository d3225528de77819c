"""What is done to a rewritten text before it counts: what a model says in front of it is cut off, a long one loses its
middle, and one in which nothing was changed is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

from promptmill.score.reading import spoken
from promptmill.vary.alike import N, likeness

Pieces = Callable[[str], Sequence[tuple[int, int]]]
"""Where the pieces of a text, its words or a model's tokens, begin and end (characters), in order."""
MARK = " … "
"""Stands where the middle was."""

EMPTY = "empty: there is no text in the answer"
UNCHANGED = "unchanged: nearly the same as the original"

# What stands in front of a text. Each form must name what it announces, since a story may well begin with "Sure, …" or
# "Here is …". A head that ends its line may say more than one that the text follows in the same line.
_AGREED = r"(?:sure(?: thing)?|certainly|of course|absolutely|definitely|okay|ok|al ?right|gladly|no problem)"
_HERE = r"(?:here(?:['’]s| is| are)|below (?:is|are)|the following is)"
_ONE = r"(?:a|an|the|your|my|one|another|some)"
_REMADE = (
    r"(?:re-?written|re-?worded|re-?phrased|re-?worked|revised|paraphrased|transformed|converted|modified|edited|"
    r"adapted|improved|enhanced|polished|translated|corrected|simplified|shortened|condensed|expanded|modernised|"
    r"modernized|summarised|summarized|updated|refined)"
)
_TEXT = (
    r"(?:text|version|passage|paragraphs?|sentences?|message|rewrite|rewording|paraphrase|revision|rendition|"
    r"adaptation|summary|translation|result|response|answer|output)"
)
_GENRE = (
    rf"(?:{_TEXT}|story|tale|poem|haiku|sonnet|song|lyrics|dialogue|conversation|speech|monologue|letter|e-?mail|essay|"
    r"article|lesson|lines?|script|description|review|post|note)"
)
_MORE = r"[^\n:]{0,160}?"
_END = r"[*_ \t]*:[*_]*"
_HEADS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # "Certainly! I can help you with that." and "Sure, I will turn the text into a poem:", each a line.
        rf"{_AGREED}\b[,!.]*\s+(?:I(?:['’]ll| will| can|['’]d be (?:happy|glad) to|['’]m happy to)|let me)\b"
        r"[^\n]{0,160}?"
        r"\b(?:help|rewrite|revise|rephrase|reword|transform|convert|edit|adapt|modify|paraphrase|improve|turn)\b"
        r"[^\n]{0,160}[.!:][ \t]*(?:\n+|$)",
        # "Sure, here is a sonnet in her manner:", a line.
        rf"{_AGREED}\b[^\n]{{0,200}}?\b{_HERE}\s+{_ONE}\s+(?!(?:thing|deal|point|problem|truth|catch)\b)[^\n]{{1,200}}"
        rf"{_END}[ \t]*(?:\n+|$)",
        # "Sure, here is the rewritten text: …", "Of course, the result is: …", "Sure, here it is: …".
        rf"{_AGREED}\b[,!.]*\s+(?:{_HERE}\s+{_ONE}\s+{_MORE}\b{_TEXT}\b{_MORE}|here (?:it is|you (?:are|go))|"
        rf"the (?:{_REMADE} )?{_TEXT} is){_END}\s*",
        # "Here is the revised text: …", "Here's a shorter version of the passage: …".
        rf"{_HERE}\s+{_ONE}\s+(?:[\w’'-]+\s+){{0,3}}?{_REMADE}\s+(?:[\w’'-]+\s+){{0,2}}?{_TEXT}\b{_MORE}{_END}\s*",
        rf"{_HERE}\s+{_ONE}\s+(?:[\w’'-]+\s+){{0,3}}?(?:rewrite|rewording|paraphrase|revision|summary|translation|version)"
        rf"\s+of\s+(?:the|your|this)\s+(?:\w+\s+)?{_TEXT}\b{_MORE}{_END}\s*",
        rf"{_HERE}\s+(?:the|your)\s+text\s+(?:in|as|with|using|without|{_REMADE})\b{_MORE}{_END}\s*",
        rf"here you (?:are|go){_END}\s*",
        # "Rewritten text: …", "**Revised version:**", "## Rewritten text", "Revised essay:" as a line, "Revised: …".
        rf"[#*_ \t]*{_REMADE} {_TEXT}{_END}\s*",
        rf"(?:#{{1,6}}[ \t]*|\*\*){_REMADE} {_TEXT}(?:\*\*)?[ \t]*(?:\n+|$)",
        rf"[#*_ \t]*{_REMADE} {_GENRE}\b{_MORE}{_END}[ \t]*(?:\n+|$)",
        r"[*_]*(?:re-?written|revised|re-?phrased|re-?worded|paraphrased)[*_ \t]*:[*_]*\s*",
    )
)
_FENCED = re.compile(r"(```|~~~)[\w+-]*[ \t]*\n(.*?)\n?\1", re.DOTALL)


def cleaned(answer: str) -> str:
    """The text in a model's answer, without thinking aloud and head; empty where there is none."""
    return cut_head(spoken(answer))


def cut_head(text: str) -> str:
    """The text without what only announces it ("Sure, here is the rewritten text:", "Revised version:") and without a
    code fence around the whole; else as it is, but for spaces at its ends."""
    while True:
        before, text = text, text.strip()
        for pattern in _HEADS:
            if found := pattern.match(text):
                text = text[found.end() :].strip()
                break
        fence = _FENCED.fullmatch(text)
        if fence and fence[1] not in fence[2]:
            text = fence[2].strip()
        if text == before:
            return text


def words(text: str) -> list[tuple[int, int]]:
    """The pieces of a text where no tokenizer is at hand."""
    return [found.span() for found in re.finditer(r"\S+", text)]


def cut_middle(text: str, most: int, pieces: Pieces = words) -> str:
    """A text of at most `most` pieces: of a longer one its beginning and its end, word for word, with " … " between
    (of fewer than three pieces the beginning alone)."""
    spans = pieces(text)
    if len(spans) <= most:
        return text
    # The mark is a piece or more, and what touches it may fall into other pieces than before.
    for kept in range(most - 1, 1, -1):
        head, tail = text[: spans[(kept + 1) // 2 - 1][1]], text[spans[len(spans) - kept // 2][0] :]
        cut = f"{head.rstrip()}{MARK}{tail.lstrip()}"
        if len(pieces(cut)) <= most:
            return cut
    return text[: spans[max(most, 1) - 1][1]]


def unchanged(original: str, rewritten: str, bound: float) -> bool:
    """Whether a text counts as not rewritten: likeness `bound` (0 to 1) or more by letters as well as by the order of
    words. Case counts, since capitals may be all that was asked for; spacing does not."""
    if likeness(_grams(original), _grams(rewritten)) < bound:
        return False
    return SequenceMatcher(None, original.split(), rewritten.split(), autojunk=False).ratio() >= bound


def _grams(text: str) -> frozenset[str]:
    plain = f" {' '.join(text.split())} "
    return frozenset(plain[at : at + N] for at in range(max(1, len(plain) - N + 1)))
