"""Is prompt b better than prompt a? Paired, over the examples that both answered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from promptmill.measure.statistics import Gain, mcnemar_exact, paired_bootstrap, paired_interval
from promptmill.score.scorer import Scorer

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """b against a.

    n:              examples that both answered; only these count.
    score_a, _b:    corpus scores over them (nan for n = 0).
    gain, lo, hi, p: b's score less a's, its 95 % interval, and the two-sided p of "no difference".
    only_a, only_b: examples that only one answered: left out, and to be told, for they may not be missing by chance.
    wins, losses:   examples where b's value is above a's, and below.
    method:         how interval and p were found.
    """

    n: int
    score_a: float
    score_b: float
    gain: float
    lo: float
    hi: float
    p: float
    method: str
    only_a: int
    only_b: int
    wins: int
    losses: int

    @property
    def verdict(self) -> str:
        """ "better" or "worse" where p is below .05 and the interval leaves out 0; else "no difference shown"."""
        if self.p < ALPHA and self.lo > 0:
            return "better"
        if self.p < ALPHA and self.hi < 0:
            return "worse"
        return "no difference shown"

    def to_dict(self) -> dict[str, Any]:
        """The fields and the verdict, for JSON: what is not a number (n = 0) is None."""
        values = asdict(self)
        unknown = [key for key, value in values.items() if isinstance(value, float) and math.isnan(value)]
        return values | dict.fromkeys(unknown) | {"verdict": self.verdict}


def compare_paired(
    a: Mapping[str, tuple[float, ...]], b: Mapping[str, tuple[float, ...]], scorer: Scorer, seed: int = 0
) -> Comparison:
    """Compare two sets of `Score.row` by example id.

    A binary scorer whose values are all 0 or 1: exact McNemar test with Tango's interval. Else (other scorers, means
    over repeated answers): paired bootstrap. The order of the examples plays no part.
    """
    import numpy as np

    both = sorted(a.keys() & b.keys())
    missing = {"only_a": len(a) - len(both), "only_b": len(b) - len(both)}
    if not both:
        nan = math.nan
        return Comparison(
            0, nan, nan, nan, -1.0, 1.0, 1.0, "none: no example was answered by both", **missing, wins=0, losses=0
        )
    rows_a, rows_b = (np.asarray([side[key] for key in both], dtype=np.float64) for side in (a, b))
    n = len(both)
    score_a, score_b = (float(scorer.total(rows.sum(axis=0), n)) for rows in (rows_a, rows_b))
    wins, losses = int((rows_b[:, -1] > rows_a[:, -1]).sum()), int((rows_b[:, -1] < rows_a[:, -1]).sum())
    if scorer.binary and np.isin(rows_a, (0.0, 1.0)).all() and np.isin(rows_b, (0.0, 1.0)).all():
        found = Gain(score_b - score_a, *paired_interval(wins, losses, n), mcnemar_exact(wins, losses))
        method = "exact McNemar test, Tango score interval"
    else:
        found = paired_bootstrap(rows_a, rows_b, scorer.total, seed)
        method = "paired bootstrap, 2000 draws"
    return Comparison(n, score_a, score_b, *found, method, **missing, wins=wins, losses=losses)
