"""What a rewrite of a prompt has to keep and must not make up: placeholders, and facts that can be told by their form.

Read by patterns, without a model, and cautiously: what a text *states* is read narrowly (a number that counts list
items is no fact), what it *mentions* widely ("three", "3" and "3rd" all mention 3). So a fact is lost only where the
rewrite does not even mention it, and added only where the prompt does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)*")
_GAP = "\0"  # stands where a piece was taken out, so that what is left of it and right of it stays apart

_FORMULA = re.compile(r"\$\$.+?\$\$|\$[^\s$](?:[^$\n]*[^\s$])?\$(?!\w)", re.DOTALL)
_PLACEHOLDERS = (
    ("$name", re.compile(r"\$\{[A-Za-z_]\w*\}|(?<![\w$\\])\$[A-Za-z_]\w*")),
    ("{{name}}", re.compile(r"\{\{\s*[A-Za-z_][\w.]*\s*\}\}")),
    ("{name}", re.compile(r"\{[A-Za-z_]\w*\}")),
    ("{0}", re.compile(r"\{\d*\}")),
    ("<name>", re.compile(r"</?[A-Za-z_][\w-]*(?: [\w-]+){0,4}>")),
)
ALWAYS = frozenset({"{name}", "{{name}}"})
"""Styles in which a text has placeholders even where the other has none of the kind."""

_ENDINGS = (
    "py|txt|csv|tsv|json|jsonl|ya?ml|toml|md|html?|css|js|tsx?|pdf|docx?|xlsx?|png|jpe?g|svg|parquet|sql|sh|ipynb|c|cpp|h|"
    "java|rs|go|xml|log|ini|cfg|db|zip|tex|wav|mp[34]"
)
_EXACT = (
    ("code", re.compile(r"```(?:[\w+-]*\n)?(.*?)```", re.DOTALL)),
    ("code", re.compile(r"`([^`\n]+)`")),
    ("address", re.compile(r"\b((?:https?://|www\.)[^\s<>\"'`{}\0]*[^\s<>\"'`{}\0.,;:!?)\]])")),
    ("address", re.compile(r"\b([\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+)\b")),
)
_QUOTES = (
    re.compile(r'(?<![\d"])"((?:[^"\n]|\n(?!\s*\n)){1,2000}?)"'),
    re.compile(r"[“„]([^“”„]{1,2000}?)[”“]"),
    re.compile(r"«([^«»]{1,2000})»"),
    re.compile(r"(?<!\w)'([^'\n]{1,200})'(?!\w)"),
    re.compile(r"(?<!\w)[‘‚]([^‘’‚\n]{1,200})[’‘](?!\w)"),
)
_NAMED = (
    ("file", re.compile(rf"(?<![\w./@-])((?:[\w-]+/)*[\w-]+(?:\.[\w-]+)*\.(?:{_ENDINGS}))(?![\w/]|\.\w)", re.I)),
    ("identifier", re.compile(r"(?<!\w)([A-Za-z][^\W_]*(?:_+[^\W_]+)+(?:\(\))?|[A-Za-z]\w*\(\))(?!\w)")),
    ("code name", re.compile(r"(?<![\w-])([A-Za-z]+-?\d\w*(?:[.-]\w+)*)")),  # GPT-4, utf-8, H200
)

_DIGITS = re.compile(r"\d+(?:[.,]\d+)*")
_NUMBER = re.compile(rf"(?<!\w)(?<![\d{_GAP}][.,])(?<![A-Za-z]-){_DIGITS.pattern}")
_THOUSANDS = re.compile(r"(?<=\d)[,.](?=\d{3}(?!\d))")
_ITEM = re.compile(
    r"(?m)^[\s>*#-]*\(?\d{1,2}[.):](?=\s)|\(\d{1,2}\)|\[\d{1,2}\]|#\d{1,2}\b"
    r"|\b(?:step|example|part|section|rule|question|schritt|beispiel|teil|regel|frage)\s+\d{1,2}\b",
    re.I,
)
_IN_A_ROW = re.compile(r"(?<![\w.,])(\d{1,2})[.)](?=\s)")
_COUNTS = {
    1: "one a an single once first sole ein eine einen einem einer eines erste ersten erster einmal",
    2: "two twice second both pair couple double zwei zweimal zweite zweiten beide beiden doppelt",
    3: "three thrice third triple drei dreimal dritte dritten", 4: "four fourth vier vierte", 5: "five fifth fünf",
    6: "six sixth sechs", 7: "seven seventh sieben", 8: "eight eighth acht", 9: "nine ninth neun", 10: "ten tenth zehn",
    11: "eleven elf", 12: "twelve dozen zwölf", 15: "fifteen fünfzehn", 20: "twenty zwanzig", 30: "thirty dreißig",
    50: "fifty fünfzig", 100: "hundred hundert", 1000: "thousand tausend",
}  # fmt: skip
_VALUES = {word: str(value) for value, words in _COUNTS.items() for word in words.split()}
_COUNTED = re.compile(
    r"(?<![\w-])(two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|fifty"
    r"|zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|zwölf)[\s-]+(?:\w+[\s-]+){0,2}?"
    r"(?:sentence|word|bullet|paragraph|line|example|item|point|tip|reason|idea|page|question|section|character|fact"
    r"|stanza|verse|satz|sätze|wörter|stichpunkt|absätze|zeile|beispiel|punkt|gründe|tipp|idee|seite|frage)\w{0,2}\b",
    re.I,
)
_REFERRING = re.compile(r"\b(?:the|these|those|all|both|of|die|diese|diesen|den|alle)\s+$", re.I)

_NAME = re.compile(r"(?<=[^\W_A-Z] |[,;] )[A-ZÄÖÜ][\w'’-]*(?: [A-ZÄÖÜ][\w'’-]*)*")
_CAPITALS = re.compile(r"(?<![\w-])(?<![A-Z] )[A-Z]{2,4}(?=s?(?![\w:'’-]))(?! [A-Z]{2})")
_NO_NAMES = frozenset(
    """
    ai ok am pm nb ps eg ie id qa and or not no yes do does don't the this that only must need very long all any each
    ever even just also but if when then else with from into for in on at by to of it its is are be will can may you
    your me my we our i i'm i'd i've i'll use say list word step steps note task role goal tone rule rules data info
    text full best good bad new old top key max min end here read show give keep make stop wait how what why who both
    more most less few now never always input output question answer context format instruction instructions example
    examples section prompt user assistant system response summary title heading true false none positive negative
    neutral nur nie kein und oder der die das ein alle immer sehr bis
    """.split()
)
_GERMAN = frozenset(
    """
    der das und ist ein eine einen einem einer nicht für mit auf dem den im zu zum zur von als wie oder bitte sie ich
    du keine kein über auch aus bei wird sind dass jede jeden schreibe schreib nenne erkläre gib erstelle fasse
    """.split()
)


@dataclass(frozen=True)
class Text:
    """A text with what it mentions: words in lower case, numbers in one spelling, and itself without white space."""

    text: str

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(word.casefold().removesuffix("'s").removesuffix("’s") for word in WORD.findall(self.text))

    @cached_property
    def numbers(self) -> frozenset[str]:
        plain = {_plain(number) for number in _DIGITS.findall(self.text)}
        parts = {_plain(part) for part in re.findall(r"\d+", self.text)}
        return frozenset(plain | parts | {_VALUES[word] for word in self.words if word in _VALUES})

    @cached_property
    def dense(self) -> str:
        return "".join(self.text.split())

    @cached_property
    def bare(self) -> str:
        """Letters and digits only, in lower case."""
        return _bare(self.text)

    def mentions(self, kind: str, fact: str) -> bool:
        if kind == "number":
            return fact in self.numbers or all(_plain(part) in self.numbers for part in fact.split("."))
        if kind == "name":
            return any(self._has_word(word.casefold()) for word in WORD.findall(fact))
        if kind in ("quote", "code name"):
            return _bare(fact) in self.bare
        return "".join(fact.split()) in self.dense

    def _has_word(self, word: str) -> bool:
        """The word, or one that begins with it or that it begins with ("German", "Germany")."""
        word = word.removesuffix("'s").removesuffix("’s")
        if word in self.words:
            return True
        longer = (own for own in self.words if min(len(own), len(word)) >= 4)
        return any(own.startswith(word) or word.startswith(own) for own in longer)


@lru_cache(1024)
def placeholders_of(text: str) -> dict[str, frozenset[str]]:
    """The placeholders of a text by style, each style's spelling made one: "{{ x }}" is "{{x}}", "</x>" is "<x>".
    Formulas between dollar signs have none."""
    found: dict[str, frozenset[str]] = {}
    text = _without_formulas(text)
    for style, pattern in _PLACEHOLDERS:
        names = frozenset(re.sub(r"\s+(?=\})|(?<=\{)\s+|(?<=<)/", "", name) for name in pattern.findall(text))
        if names:
            found[style] = names
        text = pattern.sub(_GAP, text)
    return found


@lru_cache(1024)
def facts_of(text: str) -> tuple[tuple[str, str], ...]:
    """What a text states, as (kind, fact), each piece as the first kind that fits it: code (spans and fences), address
    (URLs and e-mail), quote, file, identifier, "code name" (GPT-4), number, name (capitalised in mid-sentence, or
    capitals).

    No names are read in German, where all nouns are capitalised, in titles, and in a text all in capitals. Neither are
    numbers that only tell a place in a list. Numbers in words count where they say how long or how many: "three
    sentences".
    """
    found: list[tuple[str, str]] = []

    def take(kind: str, pattern: re.Pattern[str], rest: str) -> str:
        found.extend((kind, match[1].strip()) for match in pattern.finditer(rest))
        return pattern.sub(_GAP, rest)

    rest = text.replace(_GAP, " ")
    for kind, pattern in _EXACT:
        rest = take(kind, pattern, rest)
    rest = _without_formulas(rest)
    for _, pattern in _PLACEHOLDERS:
        rest = pattern.sub(_GAP, rest)
    for pattern in _QUOTES:
        found.extend(("quote", piece.strip()) for match in pattern.findall(rest) for piece in match.split(_GAP))
        rest = pattern.sub(_GAP, rest)
    for kind, pattern in _NAMED:
        rest = take(kind, pattern, rest)
    found.extend(("number", number) for number in _numbers(rest))
    found.extend(("name", name) for name in _names(rest))
    whole = _bare(text)  # a text that stands in quotation marks as a whole quotes nothing
    return tuple(dict.fromkeys((kind, fact) for kind, fact in found if _bare(fact) and _bare(fact) != whole))


def _without_formulas(text: str) -> str:
    return _FORMULA.sub(lambda match: _GAP if re.search(r"[\\^=+*/]|^\$\w\$$", match[0]) else match[0], text)


def _bare(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _plain(number: str) -> str:
    """1,000 and 1.000 as 1000, 2,50 as 2.5, 07 as 7. What has more than one point left stays as it is."""
    whole, *parts = _THOUSANDS.sub("", number).replace(",", ".").split(".")
    if len(parts) == 1:
        parts = [part for part in (parts[0].rstrip("0"),) if part]
    return ".".join([whole.lstrip("0") or "0", *parts])


def _numbers(text: str) -> Iterator[str]:
    row = [match[1] for match in _IN_A_ROW.finditer(text)]
    if {"1", "2"} <= set(row):
        text = _IN_A_ROW.sub(_GAP, text)
    text = _ITEM.sub(_GAP, text)
    yield from (_plain(number) for number in _NUMBER.findall(text))
    for match in _COUNTED.finditer(text):
        if not _REFERRING.search(text[: match.start()]):
            yield _VALUES[match[1].casefold()]


def _names(text: str) -> Iterator[str]:
    words = WORD.findall(text)
    capitals = [word for word in words if len(word) > 1 and word.isupper()]
    begun = [word for word in words[1:] if word[0].isupper()]
    small = {word.casefold() for word in words}
    german = len(small & _GERMAN) + any(letter in "äöüß" for letter in text.casefold())
    if 2 * len(capitals) > len(words) or german >= (1 if len(words) <= 8 else 2):
        return
    for acronym in _CAPITALS.findall(text):
        if acronym.casefold() not in _NO_NAMES:
            yield acronym
    if len(begun) >= 4 and 2 * len(begun) > len(words) - 1:
        return
    for name in _NAME.findall(text):
        kept = [word for word in name.split() if len(word) > 1 and word.casefold() not in _NO_NAMES]
        if kept and not all(word.isupper() for word in kept):
            yield " ".join(kept)
