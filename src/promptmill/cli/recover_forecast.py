"""What a recovery may cost, before it is begun."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from promptmill.cli.options import Given
from promptmill.cli.screen import err
from promptmill.crafts.recover.candidates import per_trace
from promptmill.crafts.recover.config import RecoverConfig
from promptmill.crafts.recover.sets import Sets, alone, in_groups
from promptmill.crafts.recover.traces import Group

PROMPTS = 4
"""Of a group with a known prompt texts are written again under so many: behaviour.py names them."""
ANSWERS, SCORES, AGAIN = "answers", "scores", "texts written again"


def calls_of(config: RecoverConfig, groups: Sequence[Group]) -> dict[str, int]:
    """Calls at most, by what they are for, to predict these."""
    one, rank = config.candidates, config.rank
    pooled = [min(len(group.traces), one.pooled) for group in groups]
    together = one.together if one.draws else 0
    scored = [min(len(group.traces), rank.scored) for group in groups]
    texts = config.behaviour.texts
    again = [min(len(group.traces), texts) if group.prompt is not None else 0 for group in groups]
    scores = sum(scored) * ((one.most + 1) * rank.likelihood + rank.posterior)
    scores += sum(count * (PROMPTS + 1) for count, told in zip(scored, again, strict=True) if told) * rank.likelihood
    return _told({
        ANSWERS: sum(per_trace(one.draws, count) * count + (together if count > 1 else 0) for count in pooled),
        SCORES: scores + rank.likelihood + rank.posterior if scores else 0,  # and whether it scores at all
        AGAIN: PROMPTS * sum(again),
    })  # fmt: skip


def calls_to_train(config: RecoverConfig, sets: Sets) -> dict[str, int]:
    """The same for a training with its test."""
    dev = [*alone(sets.dev), *in_groups(sets.dev)]
    found = calls_of(config.model_copy(update={"behaviour": config.behaviour.model_copy(update={"texts": 0})}), dev)
    tested = [group for groups in sets.units.values() for group in groups]
    for what, count in calls_of(config, tested).items():
        found[what] = found.get(what, 0) + count
    stages = {"base": 0, "sft": 2, "dpo": 3}[config.learn.until]
    single = len(sets.dev) + sum(len(some) for some in sets.tests.values())
    lesson = (len(sets.train) + len(sets.dev)) * config.learn.draws if config.learn.until == "dpo" else 0
    return _told(found | {ANSWERS: found.get(ANSWERS, 0) + stages * single + lesson})


def _told(calls: Mapping[str, int]) -> dict[str, int]:
    return {what: count for what, count in calls.items() if count}


def show_forecast(most: Mapping[str, int], given: Given) -> bool:
    """Say what is to come; True where no more was asked for."""
    told = ", ".join(f"{count:,} {what}" for what, count in most.items())
    err.print(f"forecast: {f'at most {told}' if told else 'no model is asked'}", soft_wrap=True)
    if given["forecast"] and given["json_"]:
        print(json.dumps(most))
    return bool(given["forecast"])
