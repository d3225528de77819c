"""What predictions are worth where the true prompts are known: every way of choosing beside the baselines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from promptmill.crafts.recover.behaviour import behaviour_of
from promptmill.crafts.recover.confidence import reliability, risk_coverage
from promptmill.crafts.recover.config import RankConfig
from promptmill.crafts.recover.measures import Measure, Truth, arms, interval_of, others
from promptmill.crafts.recover.predicting import Predictor
from promptmill.crafts.recover.ranking import Prediction
from promptmill.crafts.recover.space import Space, scs
from promptmill.crafts.recover.synthesize.clean import MARK
from promptmill.crafts.recover.traces import Group

ARMS = ("zero-shot", "few-shot", "together", "retrieval", "mbr", "likelihood", "posterior", "critic", "all")
"""Ways of choosing, in the order of the table: see `ranking.picks_of`."""
EXAMPLES = 12
SHOWN = 600
"""Characters of an example's text, at either end."""


async def evaluated(
    predictor: Predictor, name: str, groups: Sequence[Group], predicted: Sequence[Prediction], seed: int,
    more: dict[str, Measure] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The report of predictions of groups whose prompts are known.

    space: in which cosines are; arms: rows of `measures.arms`; behaviour: rows of `behaviour_of`; and what
    `_of_first_ones` gives. Asks the generator for the texts that it writes under the recovered prompts; raises what
    `Model.ask` raises.
    """
    space, config = predictor.rater.space, predictor.rater.config
    truths = [Truth(group.prompt or "", group.cluster or group.prompt or "") for group in groups]
    clusters = [one.cluster for one in truths]
    foreign = others(truths, seed)
    again = await predictor.again(name, groups, predicted, foreign)
    picks = {arm: [one.picks.get(arm) for one in predicted] for arm in ARMS}
    known = {arm: guesses for arm, guesses in picks.items() if any(guess is not None for guess in guesses)}
    return {
        "name": name, "groups": len(groups), "traces": sum(len(one.traces) for one in groups),
        "clusters": len(set(clusters)), "space": space.name,
        "arms": arms(known, truths, space, seed, config.generic, more),
        "behaviour": behaviour_of(again), **_of_first_ones(groups, predicted, clusters, space, config, seed),
    }  # fmt: skip


def _of_first_ones(
    groups: Sequence[Group], predicted: Sequence[Prediction], clusters: Sequence[str], space: Space, config: RankConfig,
    seed: int,
) -> dict[str, Any]:  # fmt: skip
    """told: groups with a candidate. Of these alone right: [share, lo, hi] of first candidates that come near enough to
    the truth, and reliability and coverage of the confidence; None and empty where there is none."""
    there = [at for at, one in enumerate(predicted) if one.prompt is not None]
    if not there:
        return {"told": 0, "right": None, "reliability": None, "coverage": []}
    every = right_ones(groups, predicted, space, config)
    hits, confidences = [every[at] for at in there], [predicted[at].confidence for at in there]
    calibrated = reliability(confidences, hits)
    return {
        "told": len(there), "right": interval_of([float(one) for one in hits], [clusters[at] for at in there], seed),
        "reliability": {**calibrated._asdict(), "bins": [one._asdict() for one in calibrated.bins]},
        "coverage": [one._asdict() for one in risk_coverage(confidences, hits)],
    }  # fmt: skip


def right_ones(
    groups: Sequence[Group], predicted: Sequence[Prediction], space: Space, config: RankConfig
) -> list[bool]:
    """Whether each first candidate comes near enough to the truth; one that is not there does not."""
    near = iter(scs(space, [one.prompt for one in predicted if one.prompt is not None],
                    [group.prompt or "" for group, one in zip(groups, predicted, strict=True) if one.prompt is not None]
                    ).tolist())  # fmt: skip
    return [one.prompt is not None and next(near) >= config.right for one in predicted]


def counted(predicted: Sequence[Prediction]) -> dict[str, Any]:
    """Of any predictions: how many, how many without a candidate, and how many that cannot tell."""
    kinds = Counter(
        "no candidate" if one.prompt is None else "cannot tell" if one.abstained else "told" for one in predicted
    )
    return {"groups": len(predicted), "told": kinds["told"], "cannot_tell": kinds["cannot tell"],
            "no_candidate": kinds["no candidate"]}  # fmt: skip


def examples(groups: Sequence[Group], predicted: Sequence[Prediction]) -> list[dict[str, Any]]:
    """The first ones, for the page."""
    return [
        {
            "id": group.id, "original": _cut(group.traces[0].original), "rewritten": _cut(group.traces[0].rewritten),
            "prompt": group.prompt, "confidence": one.confidence, "abstained": one.abstained,
            "candidates": [{"prompt": each.prompt, "score": each.score} for each in one.candidates[:3]],
        }
        for group, one in list(zip(groups, predicted, strict=True))[:EXAMPLES]
    ]  # fmt: skip


def _cut(text: str | None) -> str | None:
    """A long text without its middle."""
    return text if text is None or len(text) <= 2 * SHOWN else f"{text[:SHOWN].rstrip()}{MARK}{text[-SHOWN:].lstrip()}"
