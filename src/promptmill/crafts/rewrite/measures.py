"""What a test of rewrites comes to: gains with intervals over clusters of base prompts, win rates with length held
equal, and what learning one domain after another has kept (ACC, BWT, forgetting)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from promptmill.measure.statistics import bootstrap_interval, paired_bootstrap


def gain(
    before: Sequence[float], after: Sequence[float], seed: int = 0, clusters: Sequence[str] | None = None
) -> dict[str, Any]:
    """Means of values paired by base prompt, and the mean difference with its 95 % bootstrap interval. clusters: of
    each base prompt; whole ones are drawn, since prompts that say nearly the same gain nearly the same. Without them
    each prompt is one of its own. None for all of it where there are no pairs."""
    if not before:
        return {"n": 0, "clusters": 0, "before": None, "after": None, "gain": None, "lo": None, "hi": None, "p": None}
    found = paired_bootstrap(before, after, lambda sums, n: sums[..., -1] / n, seed, groups=clusters)
    return {"n": len(before), "clusters": len(before if clusters is None else set(clusters)), "before": fmean(before),
            "after": fmean(after), **found._asdict()}  # fmt: skip


def win_rate(
    wins: Sequence[float], lengths: Sequence[tuple[int, int]], seed: int = 0, clusters: Sequence[str] | None = None
) -> dict[str, Any]:
    """wins: the judges' mean probability, asked in both orders, that the rewrite's answer is better than the prompt's;
    a tie is 0.5. lengths: words of the two answers, the prompt's first. clusters: as in `gain`.

    rate: the share of wins (ties half); controlled: what a straight line through the wins by the difference in length
    (in standard deviations) says where both are as long, after AlpacaEval's length-controlled win rate (Dubois et al.,
    arXiv 2404.04475), which fits a logistic one.
    """
    if not wins:
        return {"n": 0, "rate": None, "lo": None, "hi": None, "controlled": None}
    won = [1.0 if one > 0.5 else 0.5 if one == 0.5 else 0.0 for one in wins]
    lo, hi = bootstrap_interval(won, lambda sums, n: sums[..., -1] / n, seed, groups=clusters)
    return {"n": len(won), "rate": fmean(won), "lo": lo, "hi": hi, "controlled": _at_equal_length(won, lengths)}


def _at_equal_length(won: Sequence[float], lengths: Sequence[tuple[int, int]]) -> float:
    differences = [float(b - a) for a, b in lengths]
    middle = fmean(differences)
    spread = math.fsum((one - middle) ** 2 for one in differences)
    if spread == 0:
        return fmean(won)
    slope = math.fsum((one - middle) * value for one, value in zip(differences, won, strict=True)) / spread
    return min(1.0, max(0.0, fmean(won) - slope * middle))


def continual(
    after: Sequence[Mapping[str, float]], order: Sequence[str], before: Mapping[str, float]
) -> dict[str, Any]:
    """What learning domain after domain has come to (Lopez-Paz & Ranzato, arXiv 1706.08840; Chaudhry et al., arXiv
    1801.10112).

    after[i][j]: the score on domain j after round i + 1; order: the domain learned in each round; before: scores of the
    rewriter that had learned nothing. ACC: the mean over domains at the end. BWT: what later rounds have changed of
    what a domain had when it was learned. forgetting: what is gone of the best that it ever had before the end. FWT:
    what a domain had gained before it was learned itself.
    """
    last, domains = after[-1], list(dict.fromkeys(order))
    learned = {domain: at for at, domain in enumerate(order)}  # the last time, where it was learned more than once
    earlier = [domain for domain in domains if learned[domain] < len(after) - 1]
    backward = [last[domain] - after[learned[domain]][domain] for domain in earlier]
    lost = [max(one[domain] for one in after[:-1]) - last[domain] for domain in earlier]
    later = [domain for domain in domains if order.index(domain)]
    forward = [after[order.index(domain) - 1][domain] - before[domain] for domain in later]
    return {
        "acc": fmean(last[domain] for domain in domains), "bwt": fmean(backward) if backward else None,
        "forgetting": fmean(lost) if lost else None, "fwt": fmean(forward) if forward else None,
    }  # fmt: skip
