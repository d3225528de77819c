"""BLEU over a whole set: counted by sacrebleu, summed as every score here is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from promptmill.errors import InputError
from promptmill.score.reading import spoken
from promptmill.score.scorer import Score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sacrebleu.metrics.bleu import BLEU

ORDER = 4
TOKENIZERS = ("13a", "intl", "zh", "char", "none")
"""Those of sacrebleu's that need neither another package nor a download."""


@dataclass(frozen=True, slots=True)
class Bleu:
    """Corpus BLEU, 0 to 1, as sacrebleu has it by default (Post 2018): orders 1 to 4, exponential smoothing.

    tokenize:  how sacrebleu cuts the texts into words. lowercase: whether case is left out.
    The value of one item is its sentence BLEU with effective order. Statistics: answer's length, the closest gold's
    length, matches of each order, n-grams of each order, value.
    """

    tokenize: str = "13a"
    lowercase: bool = False
    metric: BLEU = field(init=False, repr=False, compare=False)
    name: ClassVar[str] = "bleu"
    binary: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.tokenize not in TOKENIZERS:
            raise InputError(f"scorer bleu: unknown tokenize {self.tokenize!r} (known: {', '.join(TOKENIZERS)})")
        try:
            from sacrebleu.metrics.bleu import BLEU
        except ImportError:
            raise InputError("scorer bleu needs sacrebleu, in the extra: pip install 'promptmill[text]'") from None
        metric = BLEU(lowercase=self.lowercase, tokenize=self.tokenize, max_ngram_order=ORDER, effective_order=True)
        object.__setattr__(self, "metric", metric)

    def score(self, answer: str, gold: tuple[str, ...], fields: Mapping[str, str]) -> Score:
        text = spoken(answer)
        found = self.metric.sentence_score(text, list(gold))
        value = min(1.0, found.score / 100)  # rounding brings a hundred and a little more
        counted = (found.sys_len, found.ref_len, *found.counts, *found.totals)
        return Score(value, text or None, (*map(float, counted), value))

    def total(self, sums: NDArray[np.float64], n: NDArray[np.float64] | int) -> NDArray[np.float64]:
        """sacrebleu's `compute_bleu` over whole arrays, for a bootstrap asks for thousands of scores.

        An order without matches counts as 1/2, 1/4, … of one; a set without any match, or with no text of four words,
        has 0.
        """
        import numpy as np

        ours, theirs = sums[..., 0], sums[..., 1]
        matches, grams = sums[..., 2 : 2 + ORDER], sums[..., 2 + ORDER : 2 + 2 * ORDER]
        missing = matches == 0
        some = ~missing.all(axis=-1) & (grams > 0).all(axis=-1)
        smoothed = np.where(missing, 0.5 ** np.cumsum(missing, axis=-1), matches)
        precision = np.divide(smoothed, grams, out=np.ones_like(smoothed), where=grams > 0)
        too_short = np.divide(theirs, ours, out=np.ones_like(ours), where=ours > 0)
        brevity = np.exp(np.minimum(0.0, 1 - too_short))
        score: NDArray[np.float64] = np.where(some, brevity * np.exp(np.log(precision).mean(axis=-1)), 0.0)
        return score
