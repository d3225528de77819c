"""A better prompt for a prompt, or the word that it is better left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from promptmill.crafts.rewrite.guard.guard import Guard
from promptmill.crafts.rewrite.proof import Proof, Untried
from promptmill.crafts.rewrite.rewriter import rewritten
from promptmill.errors import ModelError
from promptmill.model.chat import Failure
from promptmill.model.gate import Model
from promptmill.vary.wording import Wording

KEPT = "the rewriter leaves it as it is"
UNTRIED = "nothing could be tried"
RULES = Guard()
"""With the limits that they have by themselves."""


class Predictor(Protocol):
    """What expects a gain, on the panel's scale, of each candidate over the prompt."""

    @property
    def margin(self) -> float:
        """The gain below which a prompt is better left alone."""
        ...

    @property
    def takes(self) -> Literal["first", "best"]:
        """Which of the rewriter's answers is the one to be offered."""
        ...

    def gains(self, prompt: str, candidates: Sequence[str]) -> list[float]: ...


@dataclass(frozen=True)
class Improved:
    """rewrite: None where the prompt is better left alone, with the reason in words. raw: the rewriter's first answer,
    whatever became of it; broken: the rules which that breaks. expected: the gain that was found or foretold."""

    prompt: str
    rewrite: str | None
    reason: str
    raw: str | None = None
    broken: tuple[str, ...] = ()
    expected: float | None = None
    candidates: tuple[str, ...] = field(default=())

    @property
    def untried(self) -> bool:
        """Whether it was left alone for want of answers, which says nothing of the prompt."""
        return self.reason.startswith(UNTRIED)

    @property
    def better(self) -> str:
        """What to use."""
        return self.prompt if self.rewrite is None else self.rewrite


async def improve(
    rewriter: Model, wording: Wording, prompt: str, *, count: int = 8, max_tokens: int = 256,
    predictor: Predictor | None = None, guard: Guard = RULES, answer: str | None = None, proof: Proof | None = None,
) -> Improved:  # fmt: skip
    """With a proof: the best of `count` rewrites that is better on inputs made up for the prompt. With a predictor
    alone: the first or the best, by the gain that it expects. With neither: the greedy one, or the next that breaks no
    rule. answer: the main model's to the prompt as it is, where it is known; that is no rewrite. ModelError where the
    rewriter gives no answer at all."""
    came = await rewritten(rewriter, wording, prompt, count, max_tokens=max_tokens)
    failed = [one for one in came if isinstance(one, Failure)]
    if len(failed) == len(came):
        raise ModelError(f"{rewriter.name}: no rewrite came ({failed[0].kind}: {failed[0].detail})")
    texts = [one for one in came if isinstance(one, str)]
    raw = came[0] if isinstance(came[0], str) else None
    broken = tuple(dict.fromkeys(one.kind for one in guard(prompt, raw, answer))) if raw else ()
    clean = [one for one in dict.fromkeys(texts) if not guard(prompt, one, answer)]
    others = [one for one in clean if one != prompt]

    def found(rewrite: str | None, reason: str, expected: float | None = None) -> Improved:
        return Improved(prompt, rewrite, reason, raw, broken, expected, tuple(others))

    if not texts:
        return found(None, "the rewriter wrote no prompt")
    if not clean:
        return found(None, "every rewrite breaks a rule")
    if proof is not None:
        try:
            margins = await proof.margins(prompt, others) if others else []
        except Untried as error:
            return found(None, f"{UNTRIED} ({error})")
        at = proof.best(margins)
        if at is None:
            return found(None, "no rewrite has shown that it is better" if others else KEPT)
        margin = margins[at]
        assert margin is not None
        return found(others[at], proof.told(margin), margin.mean)
    if predictor is None:
        if clean[0] == prompt:
            return found(None, KEPT)
        return found(clean[0], "the rewriter's own choice")
    if not others:
        return found(None, KEPT)
    if predictor.takes == "first":
        if clean[0] == prompt:
            return found(None, KEPT)
        others = [clean[0]]
    gains = predictor.gains(prompt, others)
    best = max(range(len(others)), key=lambda at: (gains[at], -at))
    if gains[best] < predictor.margin:
        return found(None, "it is not expected to gain enough", gains[best])
    said = "the rewriter's first" if predictor.takes == "first" else f"the best of {len(others)} by the gain expected"
    return found(others[best], said, gains[best])
