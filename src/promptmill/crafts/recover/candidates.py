"""Candidates for the prompt behind a group of traces: what the recoverer answers, and what the bank has."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from promptmill.crafts.recover.config import CandidatesConfig
from promptmill.crafts.recover.refused import refused
from promptmill.crafts.recover.tables import DrawRow
from promptmill.crafts.recover.traces import Group, Trace
from promptmill.model.chat import Failure, Request, Sampling
from promptmill.model.gate import Model, together
from promptmill.prompt import Message, fill
from promptmill.vary.dedup import exactly
from promptmill.vary.read import read_instruction
from promptmill.vary.wording import Wording

if TYPE_CHECKING:
    from promptmill.crafts.recover.bank import Bank

Shorten = Callable[[str], str]
"""A text as it is shown: a long one without its middle."""
ZERO_SHOT, FEW_SHOT, TOGETHER, BANK = "zero_shot", "few_shot", "together", "bank"
DRAWN = (ZERO_SHOT, FEW_SHOT, TOGETHER)
REASON = 300


def request_of(wording: Wording, trace: Trace, shorten: Shorten) -> tuple[Message, ...]:
    """What a recoverer is asked about one trace: with the text before, or without where it is not known."""
    result = shorten(trace.rewritten)
    if trace.original is None:
        return (("user", fill(wording.recover_text, {"result": result})),)
    return (("user", fill(wording.recover, {"original": shorten(trace.original), "result": result})),)


def request_together(wording: Wording, traces: Sequence[Trace], shorten: Shorten) -> tuple[Message, ...]:
    """What it is asked about several traces of one prompt, all with a text before."""
    shown = [
        fill(wording.example, {"input": shorten(one.original or ""), "output": shorten(one.rewritten)})
        for one in traces
    ]
    return (("user", fill(wording.induce, {"examples": "\n\n".join(shown)})),)


@dataclass(frozen=True)
class Candidate:
    """A prompt that may be the one. votes: how many of the draws said it. retrieved: likeness by which the bank gave
    it, None where it did not."""

    text: str
    sources: tuple[str, ...]
    votes: int
    retrieved: float | None = None


@dataclass(frozen=True)
class Drawer:
    """Asks the recoverer. The answers of a trace are drawn in ways that differ: greedy first, then by the temperatures
    and openings of the settings in turn, every other one with solved examples where the bank has some."""

    recoverer: Model
    wording: Wording
    config: CandidatesConfig
    shorten: Shorten
    bank: Bank | None = None
    seed: int = 0

    async def draw(self, group: Group) -> list[DrawRow]:
        """All answers of a group, failures and refused ones too. Raises what `Model.ask` raises."""
        traces = group.traces[: self.config.pooled]
        if not self.config.draws:
            return self._of_bank(group)
        count = per_trace(self.config.draws, len(traces))
        asked = [self._alone(group, trace, at) for trace in traces for at in range(count)]
        whole = [trace for trace in traces if trace.original is not None]
        if len(whole) > 1:
            asked += [self._together(group, whole, at) for at in range(self.config.together)]
        return [*await together(asked), *self._of_bank(group)]

    async def _alone(self, group: Group, trace: Trace, at: int) -> DrawRow:
        config, messages, source = self.config, request_of(self.wording, trace, self.shorten), ZERO_SHOT
        opening = config.openings[(at - 1) % len(config.openings)] if at else ""
        if at % 2 == 0 and config.few_shot and self.bank is not None:
            solved = self.bank.shown(group, config.few_shot, self.seed + at)
            messages, source = (*self._solved(solved), *messages), FEW_SHOT if solved else ZERO_SHOT
        temperature = config.temperatures[(at - 1) % len(config.temperatures)] if at else 0.0
        return await self._asked(group, trace, source, at, messages, temperature, opening)

    def _solved(self, traces: Sequence[Trace]) -> list[Message]:
        turns: list[Message] = []
        for one in traces:
            turns += [*request_of(self.wording, one, self.shorten), ("assistant", one.prompt or "")]
        return turns

    async def _together(self, group: Group, traces: Sequence[Trace], at: int) -> DrawRow:
        rng = random.Random(f"{self.seed}/{group.id}/{at}")
        some = rng.sample(traces, min(self.config.shown, len(traces))) if at else traces[: self.config.shown]
        messages = request_together(self.wording, some, self.shorten)
        temperature = self.config.temperatures[0] if at else 0.0
        return await self._asked(group, traces[0], TOGETHER, at, messages, temperature, "")

    async def _asked(
        self, group: Group, trace: Trace, source: str, at: int, messages: tuple[Message, ...], temperature: float,
        opening: str,
    ) -> DrawRow:  # fmt: skip
        sampling = Sampling(temperature, max_tokens=self.config.max_tokens, seed=self.seed if temperature else None)
        came = await self.recoverer.ask(Request(messages, sampling, prefix=opening, repeat=at))
        if isinstance(came, Failure):
            error = " ".join(f"{came.kind}: {came.detail}".split())[:REASON]
            return DrawRow(group.id, source, trace.id, at, None, error)
        text = came.text if not opening or came.text.startswith(opening) else opening + came.text
        read = read_instruction(text)
        if read is None:
            return DrawRow(group.id, source, trace.id, at, None, "unreadable: there is no prompt in the answer")
        reason = refused(read, trace.original, trace.rewritten)
        return DrawRow(group.id, source, trace.id, at, None if reason else read, reason)

    def _of_bank(self, group: Group) -> list[DrawRow]:
        if self.bank is None or not self.config.bank:
            return []
        found = self.bank.nearest(group, self.config.bank)
        return [
            DrawRow(group.id, BANK, group.traces[0].id, at, text, retrieved=round(likeness, 5))
            for at, (text, likeness) in enumerate(found)
        ]


def per_trace(draws: int, traces: int) -> int:
    """Draws for each trace of a group: as many as for one alone, and twice as many as that in all for a group."""
    return draws if traces == 1 or not draws else max(2, -(-2 * draws // traces))


@dataclass
class _Heard:
    """What was said in one sense: case and spacing aside."""

    forms: Counter[str] = field(default_factory=Counter)
    sources: dict[str, None] = field(default_factory=dict)
    votes: int = 0
    retrieved: float | None = None


def candidates_of(rows: Sequence[DrawRow], most: int) -> list[Candidate]:
    """The distinct candidates of a group, at most `most`: the bank's, and of the drawn ones those that came most often;
    in the order in which they came. What was refused is none."""
    heard: dict[str, _Heard] = {}
    for row in rows:
        if row.text is None:
            continue
        one = heard.setdefault(exactly(row.text), _Heard())
        one.forms[row.text] += 1
        one.sources[row.source] = None
        if row.source == BANK:
            one.retrieved = row.retrieved
        else:
            one.votes += 1
    ranked = sorted(heard, key=lambda key: (heard[key].retrieved is None, -heard[key].votes))[:most]
    kept = set(ranked)
    return [
        Candidate(one.forms.most_common(1)[0][0], tuple(one.sources), one.votes, one.retrieved)
        for key, one in heard.items()
        if key in kept
    ]


def drawn_rows(rows: Sequence[DrawRow]) -> list[DrawRow]:
    """Those that the recoverer said and that may be prompts."""
    return [row for row in rows if row.text is not None and row.source in DRAWN]


def voters(rows: Sequence[DrawRow]) -> list[DrawRow]:
    """Those by whose agreement candidates are weighed: what was drawn; where nothing was, what the bank has given."""
    return drawn_rows(rows) or [row for row in rows if row.text is not None]


def counts_of(rows: Sequence[DrawRow]) -> dict[str, Any]:
    """How many answers came, and why others did not, by kind."""
    failed = Counter(row.error.partition(":")[0] for row in rows if row.error)
    return {"answers": len(drawn_rows(rows)), "failed": dict(failed.most_common())}
