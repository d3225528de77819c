"""Contrast: a text shall lie nearer to its good relatives than to its bad ones in the model's hidden states (InfoNCE:
van den Oord et al., arXiv 1807.03748, equation 4).

Shape letters: T texts, S columns, D hidden size, P positives and N negatives of one anchor.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from promptmill.errors import InputError
from promptmill.model.local.load import context_of
from promptmill.train.batches import Batch
from promptmill.train.distil import Loss, Objective
from promptmill.train.head import hidden_states, inner_model

Text = tuple[int, ...]


@dataclass(frozen=True)
class Contrast:
    """Token ids of a text, of those that shall lie near it, and of those that shall not."""

    anchor: Text
    positives: tuple[Text, ...]
    negatives: tuple[Text, ...]

    @property
    def texts(self) -> tuple[Text, ...]:
        return (self.anchor, *self.positives, *self.negatives)


def pooled(model: Any, texts: Sequence[Text], device: torch.device | str = "cpu") -> Tensor:
    """(T, D): the mean of each text's final hidden states, as the output layer would get them; differentiable, float32
    at least. InputError for a text that the model's context does not hold."""
    longest, most = max(map(len, texts)), context_of(inner_model(model).config)
    if longest > most:
        raise InputError(f"a text to compare has {longest} tokens; the model's context holds {most}: shorten it")
    # Padding on the right is seen by no token of a causal model.
    ids_T_S = torch.tensor([[*text, *[0] * (longest - len(text))] for text in texts], device=device)
    lengths_T1 = torch.tensor([[len(text)] for text in texts], device=device)
    real_T_S = torch.arange(longest, device=device)[None] < lengths_T1
    hidden_T_S_D = hidden_states(model, input_ids=ids_T_S, use_cache=False)
    if hidden_T_S_D.dtype != torch.float64:
        hidden_T_S_D = hidden_T_S_D.float()
    return hidden_T_S_D.masked_fill(~real_T_S[..., None], 0.0).sum(1) / lengths_T1


def info_nce(anchor_D: Tensor, positives_PD: Tensor, negatives_ND: Tensor, tau: float) -> Tensor:
    """The mean over positives of minus the log of the positive's share: exp(cos / tau) over the sum of its own and the
    negatives'. Positives do not compete with each other. 0 without negatives."""
    if not len(negatives_ND):
        return positives_PD.sum() * 0.0
    near_P = F.cosine_similarity(anchor_D[None], positives_PD, dim=-1) / tau
    far_N = F.cosine_similarity(anchor_D[None], negatives_ND, dim=-1) / tau
    return -F.logsigmoid(near_P - far_N.logsumexp(0)).mean()


@dataclass(frozen=True)
class WithContrast:
    """An objective plus `weight` times InfoNCE on mean-pooled hidden states, for each that the batch counts.

    Each batch compares `rows` contrasts, drawn by its number. tau: the temperature. in_batch: the other drawn anchors
    are negatives too, unless they are one of the contrast's own texts. parts: "contrast" is the mean over anchors. Give
    the plain objective for validation.
    """

    objective: Objective
    contrasts: Sequence[Contrast]
    weight: float = 0.1
    tau: float = 0.1
    rows: int = 4
    seed: int = 0
    in_batch: bool = False

    def __post_init__(self) -> None:
        if not self.contrasts:
            raise InputError("there is nothing to compare: no contrasts")
        if not (self.tau > 0 and self.weight >= 0 and self.rows > 0):
            raise InputError(
                f"contrast: tau {self.tau} and rows {self.rows} must be above 0, weight {self.weight} not below it"
            )
        for number, one in enumerate(self.contrasts):
            if not all(one.texts):
                raise InputError(f"contrast {number} has a text without tokens: it needs one at least")
            if not one.positives or not (one.negatives or self.in_batch):
                missing = "negatives" if one.positives else "positives"
                raise InputError(f"contrast {number} has no {missing}: it needs one of each at least")

    def loss(self, model: Any, batch: Batch) -> Loss:
        draw = random.Random(f"contrast {self.seed} {batch.epoch} {batch.number}")
        chosen = draw.sample(list(self.contrasts), min(self.rows, len(self.contrasts)))
        main = self.objective.loss(model, batch)
        each = self._each(model, chosen, batch.ids_B_S.device)
        parts = main.parts | {"contrast": (each.sum().item(), float(len(chosen)))}
        return Loss(main.total + self.weight * main.count * each.mean(), main.count, parts)

    def _each(self, model: Any, chosen: Sequence[Contrast], device: torch.device) -> Tensor:
        """The loss of each contrast. A text that several of them have is read once."""
        place: dict[Text, int] = {}
        for one in chosen:
            for text in one.texts:
                place.setdefault(text, len(place))
        states_TD = pooled(model, list(place), device)
        losses = []
        for one in chosen:
            others = dict.fromkeys(other.anchor for other in chosen if other.anchor not in one.texts)
            negatives = [*one.negatives, *(others if self.in_batch else ())]
            near, far = ([place[text] for text in texts] for texts in (one.positives, negatives))
            losses.append(info_nce(states_TD[place[one.anchor]], states_TD[near], states_TD[far], self.tau))
        return torch.stack(losses)
