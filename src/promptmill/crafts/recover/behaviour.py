"""Whether a prompt does what the true one did: how likely it makes the texts, and what the generator writes under it.

Words may differ and do the same, or be nearly the same and do something else; so a recovered prompt is also given to
the model, beside the constant one (the floor) and, where it is known, the true one (the ceiling).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from promptmill.crafts.recover.candidates import told
from promptmill.crafts.recover.config import BehaviourConfig
from promptmill.crafts.recover.layout import messages
from promptmill.crafts.recover.parts import Rater
from promptmill.crafts.recover.tables import AgainRow
from promptmill.crafts.recover.traces import Group, Trace
from promptmill.model.chat import Completion, Failure, Request, Sampling
from promptmill.model.gate import Model, together
from promptmill.score.rouge import rouge_l

PREDICTED, TRUE, CONSTANT, OTHER = "predicted", "true", "constant", "other"


@dataclass(frozen=True)
class Behaviour:
    """rater: knows the layout in which the generator is asked, and scores by it where it can."""

    rater: Rater
    generator: Model
    config: BehaviourConfig

    async def of(self, group: Group, prompts: Mapping[str, str]) -> list[AgainRow]:
        """A row for each of the named prompts and each text that is written again. Raises what `Model.ask` raises."""
        if not self.config.texts or not prompts:
            return []
        names, traces = list(prompts), group.traces[: self.config.texts]
        gains, _ = await self.rater.likelihood(group, [prompts[name] for name in names])

        async def again(prompt: str, trace: Trace) -> Completion | Failure:
            given = messages(self.rater.config.layout, prompt, trace.original)
            return await self.generator.ask(Request(given, Sampling(0.0, max_tokens=self.config.max_tokens)))

        came = await together([again(prompts[name], trace) for name in names for trace in traces])
        wanted = [(name, gain, trace) for name, gain in zip(names, gains, strict=True) for trace in traces]
        return [
            _row(group, name, trace, gain, one) for (name, gain, trace), one in zip(wanted, came, strict=True)
        ]  # fmt: skip


def _row(group: Group, name: str, trace: Trace, gain: float | None, came: Completion | Failure) -> AgainRow:
    if isinstance(came, Failure):
        return AgainRow(group.id, name, trace.id, gain, None, None, None, told(came))
    text = came.text
    return AgainRow(group.id, name, trace.id, gain, text, round(rouge_l(text, trace.rewritten), 5),
                    text.split() == trace.rewritten.split())  # fmt: skip


def behaviour_of(rows: Sequence[AgainRow]) -> list[dict[str, Any]]:
    """For each kind of prompt: groups, mean likelihood gain (nats a token), mean ROUGE-L of the text written again, the
    share of texts that came out the same, and how many failed."""
    found = []
    for name in (PREDICTED, TRUE, CONSTANT, OTHER):
        mine = [row for row in rows if row.name == name]
        if not mine:
            continue
        gains = {row.group_id: row.likelihood for row in mine if row.likelihood is not None}
        came = [row for row in mine if row.text is not None]
        found.append({
            "prompt": name, "groups": len({row.group_id for row in mine}),
            "gain": fmean(gains.values()) if gains else None,
            "rouge_l": fmean(row.rouge_l for row in came if row.rouge_l is not None) if came else None,
            "same": fmean(bool(row.same) for row in came) if came else None, "failed": len(mine) - len(came),
        })  # fmt: skip
    return found
