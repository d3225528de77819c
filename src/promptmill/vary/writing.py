"""What a writer is asked and what it said: a text, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from promptmill.model.chat import Failure, Request, Sampling
from promptmill.model.gate import Model, together
from promptmill.vary.dedup import exactly
from promptmill.vary.read import read_instruction
from promptmill.vary.scene import Answered, Child, Steps

ROUNDS = 4
"""A writer that repeats itself is asked so many times over before what it has written must do."""
LONGEST_REASON = 300
UNREADABLE = "unreadable: the answer holds no text, or one that is too long"


@dataclass(frozen=True, slots=True)
class Said:
    """A text, or None and the reason, "kind: detail". The kinds: those of `Failure`, cut_off, unreadable, repeats and
    holes."""

    text: str | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Writer:
    """The writer model with its way of drawing; the model must be open. read: what an answer says, None or empty where
    that is nothing; else without preamble and quotation marks."""

    model: Model
    sampling: Sampling
    read: Callable[[str], str | None] = read_instruction

    async def answer(self, text: str, repeat: int) -> Said:
        """The answer as it is. Raises BudgetSpent, and ModelError for a model that cannot be used."""
        came = await self.model.ask(Request((("user", text),), self.sampling, repeat=repeat), role="writer")
        if isinstance(came, Failure):
            return Said(None, " ".join(f"{came.kind}: {came.detail}".split())[:LONGEST_REASON])
        if came.answers[0].finish == "length":
            return Said(None, f"cut_off: not at its end after {self.sampling.max_tokens} tokens")
        return Said(sound(came.text))

    async def text(self, text: str, repeat: int) -> Said:
        """What the answer says, as `read` has it."""
        said = await self.answer(text, repeat)
        if said.text is None:
            return said
        read = self.read(said.text)
        return Said(read) if read else Said(None, UNREADABLE)

    async def texts(self, asked: Sequence[tuple[str, int]]) -> list[Said]:
        """`text` of each (text, repeat), side by side."""
        return await together([self.text(text, repeat) for text, repeat in asked])

    async def distinct(self, requests: Sequence[str], wanted: int) -> list[list[Said]]:
        """For each request all that was said, until `wanted` texts of it differ (case and spacing aside) or it was put
        ROUNDS times over; a text that was there before is none, with "repeats" as the reason."""
        said: list[list[Said]] = [[] for _ in requests]
        seen: list[dict[str, int]] = [{} for _ in requests]
        for _ in range(ROUNDS):
            asked = [
                (at, len(said[at]) + more) for at in range(len(requests)) for more in range(wanted - len(seen[at]))
            ]
            if not asked:
                break
            for (at, repeat), one in zip(asked, await self.texts([(requests[at], n) for at, n in asked]), strict=True):
                before = repeat if one.text is None else seen[at].setdefault(exactly(one.text), repeat)
                said[at].append(one if before == repeat else Said(None, f"repeats: what answer {before} said"))
        return said


async def carried_out(
    runs: Sequence[Steps], ask: Callable[[int, str], Coroutine[Any, Any, Answered]]
) -> list[Child | None]:
    """What operators make. They take their steps together, so that requests go out side by side. ask: told the place of
    the run and its request; operators here write plain requests, no scripts."""
    made: list[Child | None] = [None] * len(runs)
    answers: dict[int, Answered] = dict.fromkeys(range(len(runs)))
    while answers:
        asked: dict[int, str] = {}
        for at, answer in answers.items():
            try:
                request = runs[at].send(answer)
            except StopIteration as end:
                made[at] = end.value
            else:
                assert isinstance(request, str)
                asked[at] = request
        answers = dict(zip(asked, await together([ask(at, text) for at, text in asked.items()]), strict=True))
    return made


def kind_of(error: str) -> str:
    """The kind of a reason, by which failures are counted."""
    return error.partition(":")[0]


def sound(text: str) -> str:
    """The text with a sign for what is none: no file takes half a surrogate pair."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
