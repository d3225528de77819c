"""Reading which of several choices an answer takes: a label such as (B), a word such as yes, or an option's text.

What is clear goes first: an announced answer ("the answer is B", a box, "(B) is correct", "so it is B"), then a line
that is a choice, then a choice that is the only one mentioned. Where two choices remain, nothing is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from promptmill.errors import InputError
from promptmill.score.exact import Exact
from promptmill.score.reading import final_segments, normalise, spoken
from promptmill.score.scorer import MeanTotal, Score

AMBIGUOUS = ""
LETTER = re.compile(r"\(?([A-Za-z])\)?")
OPTION_LINE = re.compile(r"^\s*[-*]?\s*\(?([A-Za-z])[).:]\s*(\S.*?)\s*$", re.MULTILINE)
NUMBERED = re.compile(r"(\w{1,2})\s*(?:-|–|:|\)|\.)\s+(\S.*)")
OPENING = re.compile(
    r"(?:[\s*_`\"'“”‘’(\[{<$:>#-]|\\(?:text|textbf|mathrm|mathbf)\b|"
    r"\b(?:the|either|option|choice|letter|label|most likely|definitely)\s)*",
    re.IGNORECASE,
)
CLOSING = r"[)\]}*_`\"'“”‘’]*"
# "A" and "I" are also words: as a label they need a sign or the end after them.
LABEL_END = re.compile(rf"{CLOSING}\s*(?:$|[.,:;!?\n—–-]|(?:is|or|and|because|since|as|/|\(|with)(?!\w))|[)\]*}}]")
OTHER = re.compile(rf"{CLOSING}\s*(?:or\b|and\b|/|&)", re.IGNORECASE)
DENIED_BEFORE = re.compile(
    r"(?:\bnot|n't|n’t|\bnever|\bneither|\bnor|\bcannot|\brather than|\binstead of|\bexclude|\beliminate|\brule out)\s+"
    r"(?:(?:be|the|a|an|option|choice|answer|really|necessarily)\s+)*[\W_]*$",
    re.IGNORECASE,
)
DENIED_AFTER = re.compile(
    rf"{CLOSING}\s*(?:is|are|was|seems|looks)?\s*"
    r"(?:not\b|n't|incorrect|wrong|false\b|too\b|cannot|can't|can be (?:ruled|excl))"
)
CHOSEN = re.compile(
    r"\b(?:correct|right|best|final|true) (?:option|choice|label|statement|one)\b[^.\n]{0,40}?\b(?:is|would be)\b[:\s]*"
    r"|\bI(?:'d| would|'ll| will)?\s+(?:choose|select|pick|go with)\b[:\s]*",
    re.IGNORECASE,
)
CONFIRMED = re.compile(
    r"^\W*(?:is|must be|would be)\s+(?:therefore |thus )?(?:the )?(?:correct|right|best)\b", re.IGNORECASE
)
CONCLUDES = re.compile(
    r"^\W*(?:so|therefore|thus|hence|in conclusion|in summary|overall|consequently)\b", re.IGNORECASE
)
SENTENCE = re.compile(r"(?<=[.!?])[\"'”*)]*\s+(?=\S)|\n+")
SHORT = 40
"""Words up to which a single mention anywhere counts; in a longer answer only its last sentence is searched for one."""


@dataclass(frozen=True, slots=True)
class _Forms:
    """Ways to write the choices: letters by their upper case, and words (option texts too) by their normal form."""

    letters: Mapping[str, str]
    words: Mapping[str, str]
    pattern: re.Pattern[str] | None

    def leading(self, text: str, whole: bool = False) -> str | None:
        """The choice that `text` begins with; AMBIGUOUS where "or" another one follows; None where it begins otherwise.

        whole: nothing else but signs, or the option's own text, may follow.
        """
        start = OPENING.match(text)
        rest = text[start.end() :] if start else text
        found, end = self._first(rest)
        if found is None:
            return None
        if other := OTHER.match(rest, end):
            second = self.leading(rest[other.end() :])
            if second is not None and second != found:
                return AMBIGUOUS
        if whole:
            tail = normalise(re.sub(r"^[\s)\]}*_.,:;—–-]+", "", rest[end:]))
            if re.search(r"\w", tail) and self.words.get(tail) != found:
                return None
        return found

    def _first(self, rest: str) -> tuple[str | None, int]:
        if self.pattern and (match := self.pattern.match(rest)):
            return self.words[" ".join(match[0].casefold().split())], match.end()
        letter = rest[:1].upper()
        if letter in self.letters and LABEL_END.match(rest, 1):
            return self.letters[letter], 1
        return None, 0

    def mentions(self, text: str, bare: bool) -> set[str]:
        """The choices that `text` mentions without denying them; `bare`: a capital standing alone is a mention too."""
        found = set()
        spans = (
            [(m, self.words[" ".join(m[0].casefold().split())]) for m in self.pattern.finditer(text)]
            if self.pattern
            else []
        )
        marked = r"\(([A-Z])\)|\*\*([A-Z])\*\*|\b(?i:option|choice|answer)\s+\(?([A-Z])\b|[\"'“`]([A-Z])[\"'”`]"
        marked += r"|(?<![\w'’.])([B-HJ-Z]|[AI](?=\s*(?:or|and|/|&|,|[.!)]?\s*$)))(?![\w'’]|\.\w)" if bare else ""
        for match in re.finditer(marked, text):
            letter = next(group for group in match.groups() if group)
            if letter in self.letters:
                spans.append((match, self.letters[letter]))
        for match, choice in spans:
            determiner = match[0].casefold() == "no" and re.match(r"\s+\w", text[match.end() :])
            denied = DENIED_BEFORE.search(text[max(0, match.start() - 80) : match.start()]) or DENIED_AFTER.match(
                text, match.end()
            )
            if not (determiner or denied):
                found.add(choice)
        return found


@lru_cache(maxsize=4096)
def _forms(choices: tuple[str, ...], options: tuple[tuple[str, str], ...]) -> _Forms:
    letters: dict[str, str] = {}
    words: dict[str, str | None] = {}

    def word(text: str, choice: str) -> None:
        key = normalise(text)
        if key:  # one text for two choices says nothing
            words[key] = choice if words.get(key, choice) == choice else None

    for choice in choices:
        if match := LETTER.fullmatch(choice.strip()):
            letters[match[1].upper()] = choice
            continue
        word(choice, choice)
        if parts := NUMBERED.fullmatch(choice.strip()):
            word(parts[1], choice)
            word(parts[2], choice)
    for label, text in options:
        word(text, letters[label])
    clear = {key: choice for key, choice in words.items() if choice is not None}
    ordered = sorted(clear, key=len, reverse=True)
    either = "|".join(r"\s+".join(map(re.escape, key.split())) for key in ordered)
    pattern = re.compile(rf"(?<![\w.])(?:{either})(?![\w%]|[.,/]\d)", re.IGNORECASE) if either else None
    # IGNORECASE and casefold differ for a few letters (ß): such a match is looked up by its lower case as well.
    clear |= {key.lower(): choice for key, choice in clear.items()}
    return _Forms(letters, clear, pattern)


def _options(fields: Mapping[str, str], choices: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """(label, text) of the option lines such as "(A) a text" in the example, for labels that are among the choices."""
    labels = {match[1].upper() for match in map(LETTER.fullmatch, choices) if match}
    if not labels:
        return ()
    found = {
        m[1].upper(): m[2] for text in fields.values() for m in OPTION_LINE.finditer(text) if m[1].upper() in labels
    }
    return tuple(sorted(found.items())) if len(found) > 1 else ()


def read_choice(answer: str, choices: tuple[str, ...], fields: Mapping[str, str]) -> str | None:
    """The one of `choices` that `answer` clearly takes, or None. The last clear statement wins."""
    text = answer.strip()
    if not text:
        return None
    for choice in choices:
        if text == choice:
            return choice
    forms = _forms(choices, _options(fields, choices))
    for read in (_announced, _on_a_line, _mentioned):
        found = read(text, forms)
        if found is not None:
            return found or None
    return None


def _announced(text: str, forms: _Forms) -> str | None:
    sentences = [part.strip() for part in SENTENCE.split(text) if part and part.strip()]
    said: list[str] = []
    for part in sentences:
        segments = final_segments(part) + [part[m.end() :] for m in CHOSEN.finditer(part)]
        read = [found for segment in segments if (found := forms.leading(segment)) is not None]
        if not read and (found := _confirmed(part, forms)):
            read = [found]
        if not read and part is sentences[-1] and CONCLUDES.match(part):
            closing = forms.mentions(part, bare=False)
            read = list(closing) if len(closing) == 1 else []
        said += read[-1:]
    segments = final_segments(text)  # over the lines too: "Answer:" may stand on a line of its own
    if segments and not said and (found := forms.leading(segments[-1])) is not None:
        return found
    return said[-1] if said else None


def _confirmed(sentence: str, forms: _Forms) -> str | None:
    """The choice of "(B) is correct"."""
    start = OPENING.match(sentence)
    rest = sentence[start.end() :] if start else sentence
    found, end = forms._first(rest)
    return found if found and CONFIRMED.match(re.sub(rf"^{CLOSING}", "", rest[end:])) else None


def _on_a_line(text: str, forms: _Forms) -> str | None:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if re.match(r"A:\s*\S", lines[0]) and forms.leading(lines[0][2:]):  # A: for "answer", not the label A
        lines[0] = lines[0][2:]
    read = [forms.leading(line, whole=True) for line in lines]
    if read[0] is None and re.match(r"\W*\w+\W*[).,:;!—–-]|\W*\w+\s*$", lines[0]):
        read[0] = _opening(lines[0], forms)
    stated = [choice for choice in read if choice is not None]
    if not stated:
        return None
    if len(set(stated)) == 1:
        last = _mentioned(lines[-1], forms) if len(lines) > 1 else None
        return stated[0] if last in (None, AMBIGUOUS, stated[0]) else AMBIGUOUS
    listed = len(read) > 1 and read[-2] is not None
    return read[-1] if read[-1] and not listed else AMBIGUOUS


def _opening(line: str, forms: _Forms) -> str | None:
    """The choice that an answer's first words give: "B. Because …", "(B) since …", "Yes, …"."""
    found = forms.leading(line)
    start = OPENING.match(line)
    rest = line[start.end() :] if start else line
    _, end = forms._first(rest)
    return (
        found if found is not None and re.match(rf"{CLOSING}\s*[).,:;!—–-]|{CLOSING}\s*$|[)\]*]", rest[end:]) else None
    )


def _mentioned(text: str, forms: _Forms) -> str | None:
    words = len(text.split())
    sentences = [part for part in SENTENCE.split(text) if part and part.strip()]
    searched = text if words <= SHORT else sentences[-1]
    found = forms.mentions(searched, bare=words <= 12)
    return found.pop() if len(found) == 1 else (AMBIGUOUS if found else None)


@dataclass(frozen=True, slots=True)
class Choice(MeanTotal):
    """1 where the choice that the answer takes is a gold. An example whose gold is no choice goes to `exact`."""

    choices: tuple[str, ...] = ()
    name: ClassVar[str] = "choice"
    binary: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.choices:
            raise InputError("scorer choice needs the choices: give the task choices, or write choice:choices=yes|no")

    def score(self, answer: str, gold: tuple[str, ...], fields: Mapping[str, str]) -> Score:
        golds = {normalise(g) for g in gold}
        if golds.isdisjoint(map(normalise, self.choices)):
            return Exact().score(answer, gold, fields)
        parsed = read_choice(spoken(answer), self.choices, fields)
        return Score(float(parsed is not None and normalise(parsed) in golds), parsed)
