"""The rewriter at work: the request it is asked, its answers as prompts, and its rewrites of a round as a stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from promptmill.crafts.rewrite.tables import BaseRow, VariationRow
from promptmill.model.chat import Completion, Failure, Request, Sampling
from promptmill.model.gate import Model, together
from promptmill.model.shards import Listener
from promptmill.model.shards import fill as fill_stage
from promptmill.prompt import Message, fill
from promptmill.store.records import row_of
from promptmill.store.stage import Stage
from promptmill.vary.read import read_instruction
from promptmill.vary.wording import Wording

IDS_OF_A_ROUND = 1000
"""A round's rewrites are numbered from that many times its own number on: the operators' variations come before."""
ROWS = 64


def request_of(wording: Wording, prompt: str) -> tuple[Message, ...]:
    """What the rewriter is told."""
    return (("user", fill(wording.refine, {"prompt": prompt})),)


async def rewritten(
    rewriter: Model, wording: Wording, prompt: str, count: int = 1, *, max_tokens: int = 256
) -> list[str | Failure | None]:
    """`count` rewrites of one prompt: the greedy one first, the others drawn at temperature 1. None for an answer in
    which there is no prompt. Raises what `Model.ask` raises."""
    came = await together([_asked(rewriter, wording, prompt, at, max_tokens) for at in range(count)])
    return [one if isinstance(one, Failure) else read_instruction(one.text) for one in came]


async def _asked(rewriter: Model, wording: Wording, prompt: str, at: int, max_tokens: int) -> Completion | Failure:
    sampling = Sampling(1.0 if at else 0.0, max_tokens=max_tokens)
    return await rewriter.ask(Request(request_of(wording, prompt), sampling, repeat=at))


async def rewrite(
    stage: Stage, rewriter: Model, wording: Wording, bases: Sequence[BaseRow], round: int, count: int, *,
    max_tokens: int = 256, on: Listener = lambda done: None,
) -> Stage:  # fmt: skip
    """The rewrites of each base prompt, those left out that are the base prompt itself or came before."""

    async def of(base: BaseRow) -> list[VariationRow]:
        seen, rows = {base.text}, []
        for at, came in enumerate(await rewritten(rewriter, wording, base.text, count, max_tokens=max_tokens)):
            text = came if isinstance(came, str) else None
            error = None if came else "unreadable: there is no prompt in the answer"
            if isinstance(came, Failure):
                error = f"{came.kind}: {came.detail}"[:500]
            if text is None or text not in seen:
                number = round * IDS_OF_A_ROUND + at
                rows.append(VariationRow(base.base_id, number, "rewriter", round, text, error))
                seen |= {text} if text else set()
        return rows

    async def make(part: Sequence[BaseRow]) -> list[dict[str, Any]]:
        return [row_of(row) for rows in await together([of(base) for base in part]) for row in rows]

    return await fill_stage(stage, bases, make, models=[rewriter], rows=ROWS, on=on)
