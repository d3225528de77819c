"""The usual words, English and German, of what models write where a rewrite of a prompt was asked for and none came:
answers, questions back, refusals, and talk about the rewriting. Patterns, one form a line."""

from __future__ import annotations

import re
from typing import Literal

Sign = Literal["asked_back", "refused", "talk"]

_BETTER = "(?:improved|rewritten|revised|optimi[sz]ed|refined|enhanced|reworded|rephrased|clearer|better)"
_HERE = "(?:here(?:['’]s| is| are)|below is)"
_YES = "(?:sure|certainly|of course|absolutely|klar|gerne|natürlich|selbstverständlich)"
_GREETING = rf"(?:(?:hello|hi|hey|hallo|{_YES})\b[!,. ]*)?"

MAKE = (
    r"\b(?:write|create|make|give|generate|draft|compose|produce|list|provide|prepare|design|schreibe?|erstelle?|verfasse"
    r"|gib|nenne?|entwirf|erzähle?)"
)
"""Verbs that ask for a thing to be made."""


def _any(*forms: str) -> str:
    return f"(?:{'|'.join(forms)})"


OPENED = re.compile(
    rf"\s*{_YES}\b"
    + _any(r"!\s", rf"[!,. –-]*(?:thing\b[!,. ]*)?(?:{_HERE}|hier (?:ist|sind|kommt))\b[^\n:.]{{0,100}}[:.\n]"),
    re.I,
)  # fmt: skip
"""An eager beginning: "Sure! …", "Certainly, here is the guide: …"."""

PRODUCED = re.compile(
    r"\s*(?:here(?:['’]s| is| are)|below is|hier (?:ist|sind))\s+(?:a|an|the|your|some|ein|eine|der|die|das|einige)?\s*"
    r"(?:[\w-]+\s+){0,3}?(?P<what>[\w-]{4,})\b(?:\s+(?:about|on|for|of|to|that|über|für|zum|zur)\b[^\n:]{0,80})?:",
    re.I,
)
"""A beginning that hands a thing over: "Here is a guide about volcanoes: …"."""

RESULT = re.compile(
    r"\s*" + _any(
        r"the (?:final |correct |right )?answer(?: to (?:this|that|the|your)[^.:\n]{0,60})? is:?\s+"
        r"(?!(?:to|not|always|either|an?|one|the|only|expected|given|in|your)\b)\S",
        r"die (?:richtige )?antwort (?:ist|lautet):?\s+(?!ein|(?:immer|nur|nicht|in)\b)\S",
    ),
    re.I,
)  # fmt: skip
"""A beginning that states a result: "The answer is 42"."""

_ASKED_BACK = _any(
    r"what(?:['’]s| is| was) your (?:question|request|query|prompt)",
    r"what (?:would you like|do you (?:want|need)) me to",
    r"what would you like to (?:know|ask)",
    r"how (?:can|may) i (?:help|assist)",
    r"give me a text and tell me what to do",
    r"(?:could|can|would) you (?:please )?(?:provide|share|give me|tell me|send me|specify|clarify|paste)\b"
    r"[^.?\n]{0,40}\b(?:more (?:\w+ )?(?:information|details|context)"
    r"|(?:text|prompt|question|input|document|code)s? (?:that )?you"
    r"|your (?:prompt|question|text|input|request)|what you mean)",
    r"please (?:provide|share|send|paste|enter)\b[^.?\n]{0,30}\b"
    r"(?:you(?:['’]d| would) like (?:me )?(?:to|improved|rewritten)|you want me to|your (?:prompt|question|text))",
    r"(?:it (?:seems|looks|appears)(?: like| that)? )?you (?:haven['’]t|have not|did not|didn['’]t|forgot to) "
    r"(?:provided?|given?|includ\w+|shared?|asked?)",
    r"i (?:would )?need more (?:information|details|context)",
    r"was ist (?:ihre|deine|die) frage",
    r"wie (?:kann|darf) ich (?:ihnen|dir|euch)? ?(?:\w+ )?helfen",
    r"ich (?:brauche|benötige) mehr",
)
_REFUSED = _any(
    r"(?:i['’]?m|i am) (?:very |so |really )?sorry,?\s*(?:but|i)\b",
    r"i apologi[sz]e,?\s*(?:but|i)\b",
    r"as an ai\b[^.\n]{0,30},? i\b",
    r"(?:sorry,? |unfortunately,? )?i (?:cannot|can['’]t|can not|am (?:unable|not able) to|won['’]t|will not) "
    r"(?:be able to )?(?:help|assist|provide|create|generate|fulfil\w*|comply|answer|rewrite|do that|improve|engage)\b",
    r"i (?:do not|don['’]t) know\W*\Z",
    r"(?:es )?tut mir leid",
    r"leider kann ich",
    r"ich kann (?:ihnen |dir )?(?:\w+ ){0,5}nicht (?:helfen|beantworten|erfüllen)",
)
_TALK = _any(
    rf"{_HERE}\b[^.\n:]{{0,40}}\b(?:{_BETTER}|new|updated)\b[^.\n:]{{0,20}}\b(?:prompt|instruction)s?\b",
    rf"{_HERE}\b[^.\n:]{{0,40}}\b{_BETTER}\b[^.\n:]{{0,20}}\b(?:version|rewrite)s?\s*:",
    rf"(?:{_BETTER}|new|updated) (?:prompt|instruction|version)[\s*]*:",
    r"(?:key |main )?(?:changes|improvements)(?: i)? made\b",
    r"key (?:changes|improvements)\b",
    r"i(?:['’]ve| have)? (?:rewrote|rewritten|rephrased|reworded|revised|made (?:the following |some )?changes to) "
    r"(?:the|your|this|it)\b",
    rf"(?:this|the) (?:{_BETTER}|new|original) (?:prompt|instruction) (?:is|was|makes|keeps|adds|has)\b",
    r"i hope (?:this|that) helps",
    r"let me know if you(?:['’]d| would)? (?:like|want|need) (?:any|me to|further)",
    r"feel free to ask",
    r"hier ist (?:die|der|eine?) (?:verbesserte|überarbeitete|optimierte|neue)r? (?:prompt|version|anweisung|fassung)",
    r"(?:verbesserte|überarbeitete|optimierte)r? (?:prompt|version|anweisung|fassung)[\s*]*:",
)
SIGNS: tuple[tuple[Sign, re.Pattern[str]], ...] = (
    ("asked_back", re.compile(rf"\A[^\w\n]*{_GREETING}{_ASKED_BACK}", re.I)),
    ("refused", re.compile(rf"\A[^\w\n]*{_REFUSED}", re.I)),
    ("talk", re.compile(rf"\A[^\w\n]*prompt[\s*]*:|(?:^[^\w\n]*|(?<=[.!?]\s)){_GREETING}{_TALK}", re.I | re.MULTILINE)),
)
