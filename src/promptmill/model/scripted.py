"""A model that answers by rules, for tests, docs and rehearsals: `--model scripted:FILE`.

The file is YAML:

    rules:                       # the first rule that matches answers
      - user: "capital of (\\w+)" # regular expression, searched in the last user message (case ignored)
        system: "geograph"       # optional: one for the system message
        prefix: "step by step"   # optional: one for the given beginning of the answer
        answer: "\\1 City"        # may quote groups of `user`; a list gives one answer for each repeat
    default: "I do not know."    # no rule, no default: the call is refused
    latency: 0.0                 # seconds
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field

from promptmill.errors import InputError
from promptmill.model.chat import Answer, CallError, Completion, Request, ScoreRequest, Scores, Usage
from promptmill.model.constraint import Constraint, met, wanted
from promptmill.prompt import Message
from promptmill.settings import Strict, checked, load_yaml, read_text

Answers = Callable[[Request], str | Sequence[str]]
"""What is said to a request: a text, or `n` texts; may raise CallError."""


class ScriptedBackend:
    """Answers with what `script(request)` returns.

    fingerprint: must change with the script; the default is good only as long as the script does not change.
    """

    continues = True

    def __init__(self, script: Answers, *, name: str = "scripted", fingerprint: str = "scripted", latency: float = 0.0,
                 concurrency: int = 64):  # fmt: skip
        self.script, self.name, self.fingerprint, self.latency = script, name, fingerprint, latency
        self.server, self.concurrency = f"scripted:{fingerprint}", concurrency

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def complete(self, request: Request) -> Completion:
        if self.latency:
            await asyncio.sleep(self.latency)
        said = self.script(request)
        texts = [said] * request.n if isinstance(said, str) else list(said)
        if request.constraint is not None:
            texts = [_held(text, request.constraint) for text in texts]
        words = sum(len(text.split()) for text in texts)
        return Completion(tuple(Answer(text) for text in texts), Usage(self.count_tokens(request.messages), words))

    async def score(self, request: ScoreRequest) -> Scores:
        """0.9 for the continuation that the script would answer, the rest shared alike by the others."""
        said = (await self.complete(Request(request.messages, prefix=request.prefix))).text.strip()
        others = max(1, len(request.continuations) - 1)
        logprobs = tuple(math.log(0.9 if c.strip() == said else 0.1 / others) for c in request.continuations)
        tokens = tuple(len(c.split()) for c in request.continuations)
        return Scores(logprobs, tokens, Usage(self.count_tokens(request.messages), 0))

    def count_tokens(self, messages: tuple[Message, ...]) -> int:
        """Words: a script has no tokens."""
        return sum(len(content.split()) for _, content in messages)


def _held(text: str, constraint: Constraint) -> str:
    found = met(constraint, text)
    if found is None:
        raise CallError("constraint", f"the script's answer {text[:60]!r} {wanted(constraint)}")
    return found


class Rule(Strict):
    answer: str | list[str]
    user: str = ""
    system: str = ""
    prefix: str = ""

    def apply(self, request: Request) -> str | None:
        user = next((text for role, text in reversed(request.messages) if role == "user"), "")
        system = next((text for role, text in request.messages if role == "system"), "")
        flags = re.IGNORECASE | re.DOTALL
        found = re.search(self.user, user, flags)
        if not found or not re.search(self.system, system, flags) or not re.search(self.prefix, request.prefix, flags):
            return None
        answer = self.answer if isinstance(self.answer, str) else self.answer[request.repeat % len(self.answer)]
        return found.expand(answer) if "\\" in answer else answer


class Rules(Strict):
    rules: list[Rule] = Field([])
    default: str | None = None
    latency: float = 0.0

    def __call__(self, request: Request) -> str:
        for rule in self.rules:
            answer = rule.apply(request)
            if answer is not None:
                return answer
        if self.default is None:
            raise CallError("refused", f"no rule matches {request.messages[-1][1][:60]!r} and there is no default")
        return self.default


def load_scripted(path: Path) -> ScriptedBackend:
    """Read a rules file. InputError for one that cannot be read."""
    raw = read_text(path)
    rules = checked(Rules, load_yaml(raw, str(path)), str(path))
    for pattern in [pattern for rule in rules.rules for pattern in (rule.user, rule.system, rule.prefix)]:
        try:
            re.compile(pattern)
        except re.error as error:
            raise InputError(f"{path}: {pattern!r} is not a regular expression ({error})") from None
    digest = hashlib.sha256(raw.encode()).hexdigest()[:16]
    return ScriptedBackend(rules, name=path.name, fingerprint=f"scripted:{digest}", latency=rules.latency)
