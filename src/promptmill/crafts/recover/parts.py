"""What is known of each candidate, part by part: how it stands to the others, and what models make of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from promptmill.crafts.recover.candidates import Candidate, Shorten, drawn_rows, request_of, told, voters
from promptmill.crafts.recover.config import RankConfig
from promptmill.crafts.recover.layout import messages
from promptmill.crafts.recover.space import Space, sharpened
from promptmill.crafts.recover.tables import DrawRow, PartRow
from promptmill.crafts.recover.traces import Group, Trace
from promptmill.errors import ModelError
from promptmill.model.cache import canonical, key_of
from promptmill.model.chat import Failure, ScoreRequest, Scores
from promptmill.model.gate import SERVER_FAILURES, Model, together
from promptmill.vary.wording import Wording

if TYPE_CHECKING:
    from promptmill.crafts.recover.critic import Critic

DIGITS = 5
BETWEEN = "; "
"""Stands between reasons."""
PROBE = ScoreRequest((("user", "Say yes."),), ("yes",))
Rated = list[float | None]


@dataclass(frozen=True)
class Rater:
    """generator: the model that wrote the texts, or one that stands for it; None where none can score. recoverer: the
    model that was asked, where it can score. critic: None where none is fitted."""

    space: Space
    config: RankConfig
    wording: Wording
    shorten: Shorten
    generator: Model | None = None
    recoverer: Model | None = None
    critic: Critic | None = None

    async def parts(self, group: Group, rows: Sequence[DrawRow], candidates: Sequence[Candidate]) -> list[PartRow]:
        """A row for each candidate. Raises what `Model.ask_score` raises."""
        if not candidates:
            return []
        texts = [one.text for one in candidates]
        (likelihood, failed), (posterior, silent) = await together(
            [self.likelihood(group, texts), self.posterior(group, texts)]
        )
        consensus, critic = self.consensus(rows, texts), self._critic(group, texts)
        drawn = len(drawn_rows(rows))
        votes = [round(one.votes / drawn, DIGITS) if drawn else None for one in candidates]
        error = BETWEEN.join(filter(None, (failed, silent))) or None
        return [
            PartRow(group.id, at, one.text, list(one.sources), votes[at], consensus[at],
                    likelihood[at], posterior[at], critic[at], one.retrieved, error)
            for at, one in enumerate(candidates)
        ]  # fmt: skip

    def consensus(self, rows: Sequence[DrawRow], texts: Sequence[str]) -> Rated:
        """Minimum Bayes risk: the mean sharpened cosine of each text with the draws (where there are none, with what
        the bank gave), itself once left out."""
        drawn = Counter(row.text for row in voters(rows) if row.text is not None)
        others = list(drawn)
        if not others:
            return [None] * len(texts)
        ours, theirs = self.space.vectors(texts), self.space.vectors(others)
        alike = sharpened(ours @ theirs.T)
        found: Rated = []
        for at, text in enumerate(texts):
            weights = np.array([drawn[other] - (other == text) for other in others], dtype=np.float64)
            found.append(_rounded(float(alike[at] @ weights / weights.sum())) if weights.sum() else None)
        return found

    async def likelihood(self, group: Group, texts: Sequence[str]) -> tuple[Rated, str | None]:
        """Nats a token by which each prompt makes the rewritten texts likelier than the generic one, the mean over the
        group's traces; and why, where it is not known."""
        model = self.generator
        if model is None or not self.config.likelihood:
            return [None] * len(texts), None

        async def of(trace: Trace, prompt: str) -> Scores | Failure:
            given = messages(self.config.layout, prompt, trace.original)
            return await model.ask_score(ScoreRequest(given, (trace.rewritten,)))

        traces, prompts = group.traces[: self.config.scored], [self.config.generic, *texts]
        came = await together([of(trace, prompt) for trace in traces for prompt in prompts])
        rows = [came[at : at + len(prompts)] for at in range(0, len(came), len(prompts))]
        return _means([_over_generic(row) for row in rows], len(texts)), _reason("likelihood", came)

    async def posterior(self, group: Group, texts: Sequence[str]) -> tuple[Rated, str | None]:
        """The log-probability of each as the recoverer's answer, the mean over the group's traces. All candidates of a
        trace share its request, whose computation is made once."""
        model = self.recoverer
        if model is None or not self.config.posterior:
            return [None] * len(texts), None

        async def of(trace: Trace) -> Scores | Failure:
            return await model.ask_score(ScoreRequest(request_of(self.wording, trace, self.shorten), tuple(texts)))

        came = await together([of(trace) for trace in group.traces[: self.config.scored]])
        sums: list[Rated] = [list(one.logprobs) if isinstance(one, Scores) else [None] * len(texts) for one in came]
        return _means(sums, len(texts)), _reason("posterior", came)

    def _critic(self, group: Group, texts: Sequence[str]) -> Rated:
        if self.critic is None:
            return [None] * len(texts)
        expected = self.critic.of_group(group)
        return [_rounded(float(one @ expected)) for one in self.space.vectors(texts)]


def _over_generic(row: Sequence[Scores | Failure]) -> Rated:
    """Of one trace: the generic prompt's scores first, then each candidate's."""
    generic, *others = row
    if isinstance(generic, Failure):
        return [None] * len(others)
    return [
        None if isinstance(one, Failure) else (one.logprobs[0] - generic.logprobs[0]) / max(1, one.tokens[0])
        for one in others
    ]


def _means(rows: Sequence[Rated], count: int) -> Rated:
    """Over traces; None where a candidate has no score on one of those that others have."""
    whole = [row for row in rows if any(one is not None for one in row)]
    found: Rated = []
    for at in range(count):
        values = [row[at] for row in whole]
        known = [one for one in values if one is not None]
        found.append(_rounded(fmean(known)) if known and len(known) == len(values) else None)
    return found


def _reason(part: str, came: Sequence[Scores | Failure]) -> str | None:
    """Why the first call that failed did so."""
    failed = next((one for one in came if isinstance(one, Failure)), None)
    if failed is None:
        return None
    return f"{part} {told(failed)}".replace(BETWEEN, ", ")


def reasons_of(row: PartRow) -> list[str]:
    """Why parts of it are not known, each "part kind: detail"."""
    return row.error.split(BETWEEN) if row.error else []


def _rounded(value: float) -> float | None:
    """What is embedded beside a text moves its vector's last digits. A server may call a token impossible: by how much
    is not known."""
    return round(value, DIGITS) if math.isfinite(value) else None


async def can_score(model: Model) -> bool:
    """Whether it tells how likely a given text is: asked once, and recorded where it does. ModelError where it could
    not be asked: a run that goes on must not go another way than it went before."""
    async with model:
        known = model.store.get(key_of(canonical(model.fingerprint, PROBE))) is not None
        if not known and not await model.continues():
            return False  # a chat server that is only asked: `ask_score` would raise
        came = await model.ask_score(PROBE)
    if isinstance(came, Failure) and came.kind in SERVER_FAILURES - {"bad_response"}:
        raise ModelError(f"{model.name}: could not be asked whether it scores texts ({came.kind}: {came.detail}); run "
                         "the same command again")  # fmt: skip
    return isinstance(came, Scores)
