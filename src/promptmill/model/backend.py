"""What a kind of model must be able to do. The gate stands in front of it and is the only one to call it."""

from __future__ import annotations

from typing import Protocol

from promptmill.model.chat import Completion, Request, ScoreRequest, Scores


class Backend(Protocol):
    """One kind of model: endpoint, local (embedded is one), scripted.

    name:        for people and price tables.
    fingerprint: changes whenever the same request could be answered differently (weights, template, adapter, dtype,
                 server and model name); keys every cache.
    server:      whom a rate limit binds: models on one server share it.
    concurrency: calls that may usefully be in flight at once.
    continues:   whether a request's prefix is continued; None while that is not known, before `open`.

    `open` and `close` bracket the use of one event loop; `close` may be called twice. `complete` and `score` raise
    CallError for a call that failed and ModelError where no call can succeed.
    """

    name: str
    fingerprint: str
    server: str
    concurrency: int

    @property
    def continues(self) -> bool | None: ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def complete(self, request: Request) -> Completion: ...

    async def score(self, request: ScoreRequest) -> Scores: ...

    def count_tokens(self, messages: tuple[tuple[str, str], ...]) -> int:
        """Tokens of a rendered prompt, exact where the tokenizer is at hand and an upper estimate elsewhere."""
        ...
