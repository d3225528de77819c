"""How probable each of a few answers is to a model: exactly, by a server's top logprobs, or by sampling.

Which way a model has is asked of the model, not of its kind: one that scores given texts in one pass is asked for that;
another is asked one small question with logprobs, and one that gives none is sampled.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from weakref import WeakKeyDictionary

from promptmill.model.chat import Answer, Completion, Failure, Request, Sampling, ScoreRequest, TokenLogprob, Usage
from promptmill.model.gate import Model, together
from promptmill.prompt import Message

How = Literal["exact", "top_logprobs", "sampled"]
NOTHING = Usage()
ASKED_FOR = (20, 5)
"""Alternatives of a token that servers give: OpenAI and vLLM twenty, some others five at most."""
PROBE = (("user", "Is two more than one? Answer yes or no."),)
AROUND = " \t\n*_`'\"“”‘’().:,!▁"
"""What may stand around an answer in its token or its words."""


@dataclass(frozen=True, slots=True)
class Options:
    """The answers to tell apart: each with the spellings that are the same answer, the first one the usual.

    as_number: levels of a scale; in "4 of 5" or "4/5" the 5 is no answer, and in "4.5" neither number is.
    """

    spellings: Mapping[str, tuple[str, ...]]
    as_number: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.spellings)

    def named(self, text: str) -> str | None:
        """The option that a word or token is, or None."""
        bare = text.strip(AROUND)
        return next((name for name, forms in self.spellings.items() if bare in forms), None)

    def read(self, text: str) -> tuple[str, bool] | None:
        """(option, whether the text begins with it) of an answer in words, or None where none can be read.

        An answer that begins with an option is that one. Else the last number in it counts ("two faults of 4, so 3"),
        and of words there must be only one: "B is worse than A" could mean either.
        """
        forms = "|".join(re.escape(form) for every in self.spellings.values() for form in every)
        apart = r"(?<![\w.])(?<!\d[-/–])(?:" + forms + r")(?![\w]|[.,]\d)"
        found = [match for match in re.finditer(apart, text) if not self._is_scale(text, match)]
        if not found:
            return None
        begins = not text[: found[0].start()].strip(AROUND)
        named = [self.named(match[0]) for match in found]
        option = named[0 if begins else -1]
        certain = begins or self.as_number or len(set(named)) == 1
        return (option, begins) if option is not None and certain else None

    def _is_scale(self, text: str, match: re.Match[str]) -> bool:
        if not self.as_number:
            return False
        before, after = text[: match.start()], text[match.end() :]
        return bool(re.search(r"(?:/|\bof|\bto)\s*$", before) or re.match(r"\s*(?:[-–]|to\b)\s*\d", after))


@dataclass(frozen=True, slots=True)
class Weighed:
    """Shares of the options, summing to one; empty where the answer could not be read, with the reason in `error`.

    mass: probability (or share of the samples) that lay on any of the options before they were made to sum to one.
    raw:  the answer in the model's words; for an exact one the most probable option. usage: tokens of all calls.
    """

    shares: Mapping[str, float] = field(default_factory=dict)
    mass: float | None = None
    how: How | None = None
    raw: str | None = None
    usage: Usage = NOTHING
    error: str | None = None

    @property
    def best(self) -> str:
        return max(self.shares, key=lambda name: self.shares[name])

    @property
    def entropy(self) -> float:
        """In nats."""
        return -math.fsum(share * math.log(share) for share in self.shares.values() if share > 0) + 0.0


@dataclass(frozen=True, slots=True)
class Weighing:
    """How answers are weighed. how: None lets the model decide. min_mass: less on all options together is no answer."""

    how: How | None = None
    samples: int = 8
    max_tokens: int = 16
    min_mass: float = 0.25
    seed: int = 0


async def weigh(
    model: Model, messages: tuple[Message, ...], options: Options, settings: Weighing, repeat: int = 0
) -> Weighed:
    """Weigh the options as the model's answer to `messages`. A failed call or an answer that cannot be read is told in
    `error`, with what it has cost. Raises BudgetSpent and ModelError as the gate does."""
    way = await way_of(model, settings)
    if isinstance(way, Failure):
        return Weighed(error=told(way))
    how, alternatives = way
    if how == "exact":
        return await _exact(model, messages, options, settings)
    if how == "top_logprobs":
        found = await _by_logprobs(model, messages, options, settings, repeat, alternatives)
        if found is not None:
            return found
    return await _sampled(model, messages, options, settings, repeat)


async def way_of(model: Model, settings: Weighing) -> tuple[How, int] | Failure:
    """The way to weigh, and how many alternatives to ask for; a Failure where the server could not be asked.

    The probe is a call like any other: recorded, so that it is paid once and a continued run takes the same way.
    """
    if settings.how == "sampled":
        return "sampled", 0
    if settings.how == "exact" or (settings.how is None and await scores_at_once(model)):
        return "exact", 0
    if model not in _FOUND:
        found = await _probed(model)
        if isinstance(found, Failure):
            return found
        _FOUND[model] = found
    return _FOUND[model]


_FOUND: WeakKeyDictionary[Model, tuple[How, int]] = WeakKeyDictionary()
"""What servers' models were found to give: asked once in a session, and once ever where there is a record of calls."""


async def _probed(model: Model) -> tuple[How, int] | Failure:
    for alternatives in ASKED_FOR:
        came = await model.ask(Request(PROBE, Sampling(max_tokens=1), logprobs=alternatives))
        if isinstance(came, Failure):
            if came.kind != "refused":
                return came
        elif came.answers[0].logprobs and came.answers[0].logprobs[0].top:
            return "top_logprobs", alternatives
    return "sampled", 0


async def scores_at_once(model: Model) -> bool:
    """Whether given answers are scored in one pass: by a model that continues a given beginning and is no server (there
    each answer would be a call of its own)."""
    return not remote(model) and await model.continues()


def remote(model: Model) -> bool:
    """Whether the model is behind an HTTP server: `server` then is its address."""
    return model.backend.server.startswith(("http://", "https://"))


async def _exact(model: Model, messages: tuple[Message, ...], options: Options, settings: Weighing) -> Weighed:
    forms = [(name, form) for name, every in options.spellings.items() for form in every]
    scores = await model.ask_score(ScoreRequest(messages, tuple(form for _, form in forms)))
    if isinstance(scores, Failure):
        return Weighed(how="exact", usage=scores.usage or NOTHING, error=told(scores))
    found = dict.fromkeys(options.names, 0.0)
    for (name, _), logprob in zip(forms, scores.logprobs, strict=True):
        found[name] += math.exp(logprob)
    return _shared(found, "exact", max(found, key=lambda name: found[name]), scores.usage, settings)


async def _by_logprobs(
    model: Model, messages: tuple[Message, ...], options: Options, settings: Weighing, repeat: int, alternatives: int
) -> Weighed | None:
    """The alternatives of the token that gives the answer (G-Eval, arXiv 2303.16634); None where there are none."""
    asked = Request(messages, Sampling(max_tokens=settings.max_tokens), repeat=repeat, logprobs=alternatives)
    came = await model.ask(asked)
    if isinstance(came, Failure):
        return Weighed(how="top_logprobs", usage=came.usage or NOTHING, error=told(came))
    answer = came.answers[0]
    if not answer.logprobs:
        return None
    token = answer_token(answer, options)
    if token is None:
        return Weighed(how="top_logprobs", raw=answer.text, usage=came.usage, error=unread(answer.text, options))
    found = dict.fromkeys(options.names, 0.0)
    for text, logprob in ({token.token: token.logprob} | dict(token.top)).items():
        if (name := options.named(text)) is not None:
            found[name] += math.exp(min(0.0, logprob))
    return _shared(found, "top_logprobs", answer.text, came.usage, settings)


def answer_token(answer: Answer, options: Options) -> TokenLogprob | None:
    """The token that gives the answer: of those that spell what was read, the first where the answer begins with it,
    else the last. None where the answer, or its token, cannot be made out."""
    read = options.read(answer.text)
    if read is None:
        return None
    option, begins = read
    spelt = [token for token in answer.logprobs or () if options.named(token.token) == option]
    return None if not spelt else spelt[0 if begins else -1]


async def _sampled(
    model: Model, messages: tuple[Message, ...], options: Options, settings: Weighing, repeat: int
) -> Weighed:
    """Shares among several answers at temperature 1, a call for each: not every server knows `n`."""
    sampling = Sampling(temperature=1.0, max_tokens=settings.max_tokens, seed=settings.seed)
    first = repeat * settings.samples
    asked = [Request(messages, sampling, repeat=first + index) for index in range(settings.samples)]
    came = await together([model.ask(request) for request in asked])
    usages = [one.usage or NOTHING for one in came]
    cost = Usage(sum(usage.prompt for usage in usages), sum(usage.completion for usage in usages))
    texts = [one.text for one in came if isinstance(one, Completion)]
    if not texts:
        failures = [told(one) for one in came if isinstance(one, Failure)]
        return Weighed(how="sampled", usage=cost, error=failures[-1])
    read = [found[0] for text in texts if (found := options.read(text)) is not None]
    raw = texts[0] if len(texts) == 1 else " | ".join(" ".join(text.split()) for text in texts)
    if not read:
        return Weighed(how="sampled", raw=raw, usage=cost, error=unread(texts[0], options))
    return _shared({name: read.count(name) / len(texts) for name in options.names}, "sampled", raw, cost, settings)


def _shared(found: Mapping[str, float], how: How, raw: str, usage: Usage, settings: Weighing) -> Weighed:
    """The mass found on each option as shares of one; an error where it is too little to be an answer."""
    mass = min(1.0, math.fsum(found.values()))
    if not mass > 0 or mass < settings.min_mass:
        said = f"unread: only {mass:.0%} lies on {', '.join(found)} (min_mass {settings.min_mass:g})"
        return Weighed(mass=mass, how=how, raw=raw, usage=usage, error=said)
    total = math.fsum(found.values())
    return Weighed({name: one / total for name, one in found.items()}, mass, how, raw, usage)


def told(failure: Failure) -> str:
    return f"{failure.kind}: {failure.detail}"


def unread(text: str, options: Options) -> str:
    return f"unread: {' '.join(text.split())[:60]!r} is none of {', '.join(options.names)}"


def options_of(names: Sequence[str], as_number: bool = False) -> Options:
    """Options that are spelt as they are named; words also with a capital or in capitals."""
    words = {name: tuple(dict.fromkeys((name, name.capitalize(), name.upper()))) for name in names}
    return Options(words, as_number)
