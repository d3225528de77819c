"""What goes to a model and what comes back: plain values that every kind of model shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from promptmill.model.constraint import Constraint
from promptmill.prompt import Message


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn. temperature 0 is greedy; `max_tokens` counts new tokens; `seed` is a wish to a server and
    a promise of the local models (same seed and request, same answer; None draws as 0 does)."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    seed: int | None = None


GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model.

    prefix:   first words of the answer, given; the completion is what follows them. Spaces at its end are generated
              again by models that continue it: a word and the space before it are one token for most of them.
    constraint: what the answer must look like (choices, a regular expression, a JSON schema).
    suffix:   how the text goes on after a constrained answer that does not end the turn ("12" before " apples"): it
              shows where the answer ends, and is no part of it. Models that cannot continue a prefix do without.
    n:        answers wanted (independent samples of one question).
    repeat:   index of a repeated question: the same request with another `repeat` is another call, not a cached one.
    logprobs: None, or how many alternatives per generated token to report (0: the token's own log-probability only).
    response_format: passed on to a server as it is (OpenAI's field); other kinds refuse it.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = GREEDY
    prefix: str = ""
    constraint: Constraint | None = None
    n: int = 1
    repeat: int = 0
    logprobs: int | None = None
    response_format: dict[str, Any] | None = field(default=None, hash=False)
    suffix: str = ""

    @property
    def begun(self) -> tuple[str, str]:
        """The prefix for a model that continues it: without the spaces at its end, and these spaces."""
        kept = self.prefix.rstrip(" ")
        return kept, self.prefix[len(kept) :]


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Ask for the log-probability of each of `continuations` as the assistant's whole answer to `messages`."""

    messages: tuple[Message, ...]
    continuations: tuple[str, ...]
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of the answer with its natural log-probability, and the best alternatives as (token, logprob)."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """One sampled answer. finish: "stop" (ended by itself or by a stop text) or "length" (cut at max_tokens).

    logprobs: the tokens of the answer; for an answer from choices one entry, the choice with its share among them.
    stop: the stop text that ended it, where one did and the model tells.
    """

    text: str
    finish: str = "stop"
    logprobs: tuple[TokenLogprob, ...] | None = None
    stop: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call; `prompt` counts each prompt once, `completion` sums over the n answers."""

    prompt: int = 0
    completion: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back for a Request: `n` answers and what they cost in tokens."""

    answers: tuple[Answer, ...]
    usage: Usage = Usage()

    @property
    def text(self) -> str:
        return self.answers[0].text


@dataclass(frozen=True, slots=True)
class Scores:
    """What came back for a ScoreRequest: per continuation the summed natural log-probability and its token count."""

    logprobs: tuple[float, ...]
    tokens: tuple[int, ...]
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that got no answer, with the reason. It is never a score of zero.

    kind: rate_limit, server_error, timeout, connection, bad_response, refused, constraint, local_error.
    usage: tokens that were used all the same (an answer outside the choices, a filtered one), where it is known.
    """

    kind: str
    detail: str
    attempts: int = 1
    usage: Usage | None = None


class CallError(Exception):
    """Raised by a backend for one call. The gate retries it where `retryable`, and else turns it into a Failure."""

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        usage: Usage | None = None,
    ):
        super().__init__(f"{kind}: {detail}")
        self.usage = usage
        self.kind, self.detail, self.retryable, self.retry_after = kind, detail, retryable, retry_after


def plain_text(messages: Sequence[Message]) -> str:
    """A conversation for a model without a chat template (a base model): the texts, an empty line after each."""
    return "".join(f"{text}\n\n" for _, text in messages)
