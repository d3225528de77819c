"""Candidates for the prompt behind a group of traces: what the recoverer answers, and what the bank has."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from promptmill.crafts.recover.config import CandidatesConfig
from promptmill.crafts.recover.refused import KINDS, refused
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
UNREADABLE = "unreadable: there is no prompt in the answer"
NO_PROMPT = (*KINDS, "unreadable")
"""Kinds of errors of answers that came and are no prompt; all others are those of calls that failed."""


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
    and openings of the settings in turn, every other one with solved examples where the bank has some; the first of
    these is greedy too.

    shorten: a text of a request about one trace. crowded: the same for requests that hold so many texts.
    """

    recoverer: Model
    wording: Wording
    config: CandidatesConfig
    shorten: Shorten
    bank: Bank | None = None
    seed: int = 0
    crowded: Callable[[int], Shorten] | None = None

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
        few = self.config.few_shot if at % 2 else 0
        solved = self.bank.shown(group, few, self.seed + at) if few and self.bank is not None else []
        if solved:
            return await self._asked(group, [trace], FEW_SHOT, at, self._solved(solved, trace), at == 1)
        messages = request_of(self.wording, trace, self.shorten)
        return await self._asked(group, [trace], ZERO_SHOT, at, messages, at == 0)

    def _solved(self, solved: Sequence[Trace], trace: Trace) -> tuple[Message, ...]:
        shorten, turns = self._crowded(2 * (len(solved) + 1)), list[Message]()
        for one in solved:
            turns += [*request_of(self.wording, one, shorten), ("assistant", one.prompt or "")]
        return (*turns, *request_of(self.wording, trace, shorten))

    async def _together(self, group: Group, traces: Sequence[Trace], at: int) -> DrawRow:
        rng = random.Random(f"{self.seed}/{group.id}/{at}")
        some = rng.sample(traces, min(self.config.shown, len(traces))) if at else traces[: self.config.shown]
        messages = request_together(self.wording, some, self._crowded(2 * len(some)))
        return await self._asked(group, some, TOGETHER, at, messages, at == 0)

    def _crowded(self, texts: int) -> Shorten:
        return self.crowded(texts) if self.crowded else self.shorten

    async def _asked(
        self, group: Group, traces: Sequence[Trace], source: str, at: int, messages: tuple[Message, ...], greedy: bool
    ) -> DrawRow:
        """Answer number `at` about these traces."""
        config = self.config
        turn = 0 if source == TOGETHER else (at - 1) // (2 if config.few_shot and self.bank else 1)
        opening = "" if greedy or source == TOGETHER else config.openings[turn % len(config.openings)]
        temperature = 0.0 if greedy else config.temperatures[turn % len(config.temperatures)]
        sampling = Sampling(temperature, max_tokens=config.max_tokens, seed=self.seed if temperature else None)
        came = await self.recoverer.ask(Request(messages, sampling, prefix=opening, repeat=at))
        row = DrawRow(group.id, source, traces[0].id, at, None)
        if isinstance(came, Failure):
            return replace(row, error=told(came))
        continues = not opening or await self.recoverer.continues()
        read = read_instruction(whole_answer(opening, came.text, continues))
        if read is None:
            return replace(row, error=UNREADABLE)
        reasons = (refused(read, trace.original, trace.rewritten) for trace in traces)
        reason = next((one for one in reasons if one), None)
        return replace(row, error=reason) if reason else replace(row, text=read)

    def _of_bank(self, group: Group) -> list[DrawRow]:
        if self.bank is None or not self.config.bank:
            return []
        rows = []
        for at, (text, likeness) in enumerate(self.bank.nearest(group, self.config.bank)):
            row = DrawRow(group.id, BANK, group.traces[0].id, at, text, retrieved=round(likeness, 5))
            reasons = (refused(text, trace.original, trace.rewritten) for trace in group.traces)
            reason = next((one for one in reasons if one), None)
            rows.append(replace(row, text=None, error=reason) if reason else row)
        return rows


def whole_answer(opening: str, text: str, continues: bool) -> str:
    """An answer with the first words that it was given. A model that does not continue them was asked for them in
    words: it may not have begun so, and then it has begun anew."""
    if not opening or text.startswith(opening):
        return text
    goes_on = continues or text[:1].isspace() or text[:1].islower()
    return opening + text if goes_on else text


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


def told(failure: Failure) -> str:
    """Why a call failed, as "kind: detail", in one line; a server's words may hold what no terminal should be sent."""
    line = " ".join(f"{failure.kind}: {failure.detail}".split())[:REASON]
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in line)


def kind_of(error: str) -> str:
    """The first word of an error, "kind: detail"."""
    return error.partition(":")[0]


def no_answer(row: DrawRow) -> bool:
    """Whether the call failed. An answer that is no prompt is an answer all the same."""
    return row.error is not None and kind_of(row.error) not in NO_PROMPT
