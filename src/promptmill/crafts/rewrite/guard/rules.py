"""What a rewrite of a prompt must never do. A rewrite that breaks a rule is rejected, whatever the judges say of it.

The rules look at form, without a model, and are cautious: they rather let a bad rewrite pass (the judges see it too)
than call a good one bad. Everything is held against the prompt: what the prompt does itself, its rewrite may do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from promptmill.crafts.rewrite.guard.facts import ALWAYS, Text, facts_of, placeholders_of
from promptmill.crafts.rewrite.guard.signs import MAKE, OPENED, PRODUCED, RESULT, SIGNS, Sign
from promptmill.score.reading import normalise
from promptmill.vary.copied import copies
from promptmill.vary.scene import Working

Kind = (
    Sign
    | Literal[
        "empty",
        "length",
        "lost_placeholder",
        "added_placeholder",
        "lost_intent",
        "added_intent",
        "answered",
        "similarity",
        "repeats",
    ]
)

LONGEST = 4.0
FLOOR = 40
"""Words that every rewrite may have, however short its prompt."""
ANSWER_WORDS = 8
"""An answer of fewer words may stand in a rewrite ("answer yes or no"); to be the answer it must be all of it."""
NEARLY_ALL = 0.6
"""Share of an answer's runs of RUN words that a rewrite must repeat to count as the answer."""
RUN = 4
MOST_REPEATS = 3
"""So often the same three words in a row may come, or as often as in the prompt."""
RUN_OF_ONE = re.compile(r"([^\W\d_])\1{5,}")
LONG_CONTENT = 25
"""Words after "Sure, here is the guide:" from which it is an answer."""


@dataclass(frozen=True, slots=True)
class Violation:
    """kind: of the rule. detail: in words, what broke it."""

    kind: Kind
    detail: str


def violations(
    prompt: str, rewrite: str, *, longest: float = LONGEST, answer: str | None = None, similarity: float | None = None,
    least_similarity: float = 0.0,
) -> tuple[Violation, ...]:  # fmt: skip
    """The rules that `rewrite` breaks as a rewrite of `prompt`; none where it is fit to be used.

    longest: times the prompt's words, at most (FLOOR words are always allowed). answer: the main model's answer to the
    prompt, where it is known. similarity: of the meanings of both, -1 to 1, held against least_similarity; None is not
    held against anything.

    What is checked:
    - placeholders {name} and {{name}}; $name, ${name}, {0} and <name> only where the prompt has that style;
    - lost intent: code spans and fences, addresses, quoted strings, file names, identifiers, numbers, names (see
      `facts.facts_of`), and "do not do x" that became "do x". Other meaning is for judges and `similarity`;
    - added intent: the same facts, where the prompt does not mention them in any form ("in 3 bullet points");
    - answered: it is the given answer, or repeats nearly all of it; or it begins as answers do ("Sure, here is the
      guide: …", "The answer is …"). An answer in other words that begins otherwise is not seen;
    - repeats: the same three words over and over, or one character, as models write that have lost the thread;
    - a question back, a refusal, and talk about the rewriting, by their usual words in English and German.
    """
    prompt, rewrite = prompt.replace("\0", " "), rewrite.replace("\0", " ")
    if not rewrite.strip():
        return (Violation("empty", "the rewrite is empty"),)
    return (
        *_length(prompt, rewrite, longest),
        *_placeholders(prompt, rewrite),
        *_facts(prompt, rewrite),
        *_answered(prompt, rewrite, answer),
        *_said(prompt, rewrite),
        *_repeats(prompt, rewrite),
        *_similarity(similarity, least_similarity),
    )


def _length(prompt: str, rewrite: str, longest: float) -> Iterator[Violation]:
    before, after = len(prompt.split()), len(rewrite.split())
    if after > max(longest * before, FLOOR, before):
        yield Violation("length", f"{after} words, of a prompt of {before}")


def _repeats(prompt: str, rewrite: str) -> Iterator[Violation]:
    most = max(MOST_REPEATS, _repeated(prompt))
    if (found := _repeated(rewrite)) > most:
        yield Violation("repeats", f"three words come {found} times")
    if (run := RUN_OF_ONE.search(rewrite)) and not RUN_OF_ONE.search(prompt):
        yield Violation("repeats", f"{run[0][:20]!r}")


def _repeated(text: str) -> int:
    """How often the commonest three words in a row come."""
    words = text.lower().split()
    return max(Counter(zip(words, words[1:], words[2:], strict=False)).values(), default=0)


def _similarity(similarity: float | None, least: float) -> Iterator[Violation]:
    if similarity is not None and not similarity >= least:  # nan is no similarity either
        yield Violation("similarity", f"its meaning is {similarity:.2f} alike, less than {least:.2f}")


def _placeholders(prompt: str, rewrite: str) -> Iterator[Violation]:
    before, after = placeholders_of(prompt), placeholders_of(rewrite)
    for style in {**before, **after}:
        old, new = before.get(style, frozenset()), after.get(style, frozenset())
        for name in sorted(old - new):
            yield Violation("lost_placeholder", f"{name} is lost")
        for name in sorted(new - old) if old or style in ALWAYS else ():
            yield Violation("added_placeholder", f"{name} is new")


def _facts(prompt: str, rewrite: str) -> Iterator[Violation]:
    before, after = Text(prompt), Text(rewrite)
    for kind, fact in facts_of(prompt):
        if not after.mentions(kind, fact):
            yield Violation("lost_intent", f"the {kind} {_short(fact)} is lost")
    for forbidden in _lost_negations(prompt, rewrite):
        yield Violation("lost_intent", f'"{_short(forbidden)}" is asked for now')
    for kind, fact in facts_of(rewrite):
        if not before.mentions(kind, fact):
            yield Violation("added_intent", f"the {kind} {_short(fact)} is not in the prompt")


_NEGATED = re.compile(
    r"\b(?:do not|don['’]t|does not|must not|should not|never|avoid)\s+(?P<verb>[^\W\d_]+)\s+"
    r"(?:(?:the|a|an|any|of|to|in|with|your|my|this|that|it)\s+)*(?P<object>[^\W\d_]{3,})"
    r"|\b(?P<before>[^\W\d_]{3,})\s+(?:no|keine?n?)\s+(?P<none>[^\W\d_]{3,})",
    re.I,
)
_NO = re.compile(
    r"\b(?:not|no|never|non\w*|nothing|none|neither|nor|without|avoid\w*|refrain\w*|exclud\w*|skip\w*|omit\w*|only|just|"
    r"instead|rather|remov\w*|free|except|but|leave|forbid\w*|prohibit\w*|cannot|unless|keine?\w*|nicht|ohne|nie|niemals|nur|"
    r"vermeide\w*|weder|\w+free|\w+less)\b|n['’]t\b",
    re.I,
)


def _lost_negations(prompt: str, rewrite: str) -> Iterator[str]:
    """What the prompt forbids and the rewrite, without any word of denial, says."""
    if _NO.search(rewrite):
        return
    for match in _NEGATED.finditer(prompt):
        verb, thing = match["verb"] or match["before"], match["object"] or match["none"]
        if re.search(rf"\b{verb}\b(?:\W+\w+){{0,3}}?\W+{thing}\b", rewrite, re.I):
            yield f"{verb} {thing}"


def _answered(prompt: str, rewrite: str, answer: str | None) -> Iterator[Violation]:
    if answer is not None and answer.strip() and _is_answer(prompt, rewrite, answer):
        yield Violation("answered", "it is the answer to the prompt")
    elif (found := OPENED.match(rewrite)) and not OPENED.match(prompt):
        if len(rewrite[found.end() :].split()) >= LONG_CONTENT:
            yield Violation("answered", f"it begins as an answer: {_short(found[0])}")
    elif (found := PRODUCED.match(rewrite)) and not PRODUCED.match(prompt):
        asked = re.search(rf"{MAKE}\b[^.!?\n]{{0,60}}?\b{re.escape(found['what'])}", prompt, re.I)
        if asked and len(rewrite[found.end() :].split()) >= LONG_CONTENT and not placeholders_of(rewrite):
            yield Violation("answered", f"it begins as an answer: {_short(found[0])}")
    elif (found := RESULT.match(rewrite)) and not RESULT.match(prompt):
        yield Violation("answered", f"it begins as an answer: {_short(found[0])}")


def _is_answer(prompt: str, rewrite: str, answer: str) -> bool:
    said, asked, wrote = normalise(answer), normalise(prompt), normalise(rewrite)
    if said == wrote:
        return said != asked
    words = said.split()
    if len(words) < ANSWER_WORDS or not copies(wrote, asked, [Working("", (), "", said, "")]):
        return False
    runs = _runs(words) - _runs(asked.split())
    return bool(runs) and len(runs & _runs(wrote.split())) >= NEARLY_ALL * len(runs)


def _runs(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[at : at + RUN]) for at in range(len(words) - RUN + 1)}


def _said(prompt: str, rewrite: str) -> Iterator[Violation]:
    """What models say instead of, or around, a rewrite; where the prompt says the like, it may."""
    for kind, pattern in SIGNS:
        found = pattern.search(rewrite)
        if found and not pattern.search(prompt):
            yield Violation(kind, f"it says {_short(found[0].strip())}")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:59] + "…"
