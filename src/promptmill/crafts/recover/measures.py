"""What recovered prompts are worth against the true ones, beside what is had without any recovering.

Every figure is a mean with its interval by bootstrap over prompt clusters, and every cosine says in which space it was
measured: figures of two spaces never stand in one column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from promptmill.crafts.recover.config import CONSTANT
from promptmill.crafts.recover.space import Space, scs
from promptmill.measure.statistics import bootstrap_interval
from promptmill.score.overlap import token_f1
from promptmill.score.rouge import rouge_l
from promptmill.vary.dedup import exactly

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from promptmill.measure.statistics import Total

Measure = Callable[[str, str], float]
"""(guess, truth) to a number, higher for a better guess, 0 to 1."""
DIGITS = 5
CONSTANT_ARM, OTHER_ARM, SELF_ARM = "constant", "another's prompt", "itself"


@dataclass(frozen=True, slots=True)
class Truth:
    """What a guess is held against. cluster: of the prompt; truths of one cluster are not independent."""

    prompt: str
    cluster: str


def is_exact(guess: str, truth: str) -> bool:
    """Whether both are the same text, case, spacing and a full stop at the end aside."""
    return _plain(guess) == _plain(truth)


def scs_column(space: Space) -> str:
    return f"scs ({space.name})"


def columns(space: Space, more: Mapping[str, Measure] | None = None) -> list[str]:
    """The figures of a row, in order. BLEU is one of them where sacrebleu is installed."""
    bleu = ["BLEU"] if find_spec("sacrebleu") else []
    return ["exact", scs_column(space), "token F1", "ROUGE-L", *bleu, *(more or {})]


def measured(
    guesses: Sequence[str | None], truths: Sequence[Truth], space: Space, seed: int = 0,
    more: Mapping[str, Measure] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """n: guesses that are there; unanswered: those that are not, which are in no figure; clusters; and for each of
    `columns` [mean, lo, hi], or None where there is no guess. more: measures of one's own by name.

    BLEU is the corpus score of all guesses. ValueError where there are not as many guesses as truths.
    """
    if len(guesses) != len(truths):
        raise ValueError(f"{len(guesses)} guesses for {len(truths)} truths")
    pairs = [(guess, truth) for guess, truth in zip(guesses, truths, strict=True) if guess is not None]
    said, true = [guess for guess, _ in pairs], [truth.prompt for _, truth in pairs]
    clusters = [truth.cluster for _, truth in pairs]
    row: dict[str, Any] = {"n": len(said), "unanswered": len(guesses) - len(said), "clusters": len(set(clusters))}
    if not said:
        return {**row, **dict.fromkeys(columns(space, more))}
    by_text: dict[str, Measure] = {"exact": is_exact, "token F1": token_f1, "ROUGE-L": rouge_l, **(more or {})}
    for name in columns(space, more):
        if name == "BLEU":
            row[name] = _bleu(said, true, clusters, seed)
        elif name == scs_column(space):
            # What is embedded beside a text moves its vector's last digits: equal figures must be seen to be equal.
            row[name] = interval_of(scs(space, said, true).round(DIGITS), clusters, seed)
        else:
            row[name] = interval_of([by_text[name](*pair) for pair in zip(said, true, strict=True)], clusters, seed)
    return row


def interval_of(values: Sequence[float] | NDArray[np.float64], clusters: Sequence[str], seed: int = 0) -> list[float]:
    """[mean, lo, hi] of values from -1 to 1, n >= 1; whole clusters are drawn. Values that are all equal have an
    interval too: as wide as so few clusters leave open."""
    values_n = np.asarray(values, dtype=np.float64)
    # `bootstrap_interval` knows scores from 0 to 1: where no value is below that the plain ones have the tighter bound.
    low = -1.0 if (values_n < 0).any() else 0.0
    lo, hi = bootstrap_interval((values_n - low) / (1 - low), _mean, seed, groups=clusters)
    return [float(values_n.mean()), lo * (1 - low) + low, hi * (1 - low) + low]


def baselines(truths: Sequence[Truth], seed: int = 0, constant: str = CONSTANT) -> dict[str, list[str | None]]:
    """What is had without recovering: one prompt for everything, another group's prompt, and the truth itself."""
    return {
        CONSTANT_ARM: [constant] * len(truths),
        OTHER_ARM: others(truths, seed),
        SELF_ARM: [truth.prompt for truth in truths],
    }


def others(truths: Sequence[Truth], seed: int = 0) -> list[str | None]:
    """For each the prompt of another at random, of another cluster where there is one.

    Every prompt is given once where no cluster has more than half of them; else some come more often. One alone: None.
    """
    if len(truths) < 2:
        return [None] * len(truths)
    rng = np.random.default_rng(seed)
    names = [truth.cluster for truth in truths]
    if len(set(names)) == 1:
        names = [str(at) for at in range(len(truths))]
    members: dict[str, list[int]] = {}
    for at in rng.permutation(len(names)):
        members.setdefault(names[at], []).append(int(at))
    # Clusters stand one after another, so a turn by the size of the largest one leads out of every cluster.
    order = [at for several in members.values() for at in several]
    largest, count = max(map(len, members.values())), len(order)
    turn = int(rng.integers(largest, count - largest + 1)) if 2 * largest <= count else 0
    given: list[str | None] = [None] * count
    begin = 0
    for several in members.values():
        end = begin + len(several)
        for place in range(begin, end):
            drawn = (place + turn) % count if turn else int(rng.integers(count - len(several)))
            foreign = drawn if turn or drawn < begin else drawn + len(several)
            given[order[place]] = truths[order[foreign]].prompt
        begin = end
    return given


def arms(
    picks: Mapping[str, Sequence[str | None]], truths: Sequence[Truth], space: Space, seed: int = 0,
    constant: str = CONSTANT, more: Mapping[str, Measure] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Rows of a table, a row for each way of picking a prompt for each truth, by name, the baselines first (a pick of
    a baseline's name takes its place)."""
    ways = {**baselines(truths, seed, constant), **picks}
    return [{"arm": name, **measured(guesses, truths, space, seed, more)} for name, guesses in ways.items()]


def _plain(text: str) -> str:
    return exactly(text).rstrip(" .")


def _mean(sums: NDArray[np.float64], n: NDArray[np.float64] | int) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = sums[..., -1] / n
    return mean


def _bleu(said: Sequence[str], true: Sequence[str], clusters: Sequence[str], seed: int) -> list[float]:
    from promptmill.score.bleu import Bleu

    scorer = Bleu()
    total: Total = scorer.total
    rows = np.array([scorer.score(guess, (truth,), {}).row for guess, truth in zip(said, true, strict=True)])
    return [float(scorer.total(rows.sum(axis=0), len(rows))), *bootstrap_interval(rows, total, seed, groups=clusters)]
