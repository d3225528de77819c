"""Whether a round has made the rewriter better. A rewriter that goes on learning from its own rewrites may lose again
what it had, so a later round has to earn its place, on dev prompts that nothing was learned from."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, variance

from promptmill.crafts.rewrite.values import Margin


@dataclass(frozen=True)
class Progress:
    """before, after: the mean value, 0 to 1, of the first answers of the rewriter before the round and after it.
    broken: the shares of all their first answers that break a rule, before and after."""

    before: float
    after: float
    margin: Margin
    broken: tuple[float, float] = (0.0, 0.0)

    def earned(self, z: float) -> bool:
        """Whether the round has gained anything, and more than `z` standard errors, and breaks no more rules. What
        breaks a rule counts as the prompt itself: that alone would speak for a rewriter whose other answers are worse
        than the prompts."""
        return self.margin.believed(z, 0.0) and self.broken[1] <= self.broken[0]


@dataclass(frozen=True)
class Worth:
    """Of a rewriter's first answers to the dev prompts: the panel's value, 0 to 1, by base_id, and the share that
    breaks a rule."""

    values: Mapping[str, float]
    broken: float


def progress(of_before: Worth, of_after: Worth, clusters: Mapping[str, str]) -> Progress | None:
    """clusters: of each base prompt. The standard error is over clusters, since prompts that say nearly the same gain
    nearly the same; without a second one it is infinite. None where no prompt has both values."""
    before, after = of_before.values, of_after.values
    both = sorted(before.keys() & after.keys())
    if not both:
        return None
    by_cluster: dict[str, list[float]] = defaultdict(list)
    for base in both:
        by_cluster[clusters[base]].append(after[base] - before[base])
    gain = fmean(after[base] - before[base] for base in both)
    # Of a mean over prompts, by the sums of its clusters (the ratio estimator of cluster sampling).
    count, mean_size = len(by_cluster), len(both) / len(by_cluster)
    residuals = [sum(one - gain for one in several) / mean_size for several in by_cluster.values()]
    se = math.sqrt(variance(residuals) / count) if count > 1 else math.inf
    mean_before, mean_after = (fmean(values[base] for base in both) for values in (before, after))
    return Progress(mean_before, mean_after, Margin(gain, se, len(both)), (of_before.broken, of_after.broken))
