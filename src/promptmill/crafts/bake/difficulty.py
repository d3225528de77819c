"""How far the model without the prompt is from the model with it, before anything is trained.

The mean KL divergence per token on the sampled answers, KL(prompted ‖ unprompted). By the notebooks of the original
(arXiv 2409.13697) it goes with the loss that is left after a bake, r = 0.82: what begins far away ends farther away.

Shape letters as in draw.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptmill.crafts.bake.draw import shared_prefix
from promptmill.crafts.bake.trajectories import TopScores, Trajectory, read_trajectories
from promptmill.errors import InputError
from promptmill.model.local.cache import Prefix
from promptmill.model.local.decode import LOGITS
from promptmill.model.local.folded import new_state
from promptmill.model.local.loaded import Loaded
from promptmill.store.files import write_json

FILE = "initial-kl.json"


@dataclass(frozen=True, eq=False)
class Difficulty:
    """KL divergences in nats.

    by_position: [T], the mean at each place of an answer, over the answers that are as long; counts: [T], how many.
    of_answers:  the mean per token of each answer, in the order of the trajectories.
    exact:       False where it comes from the k best scores and the rest in one: then it is a lower bound.
    """

    by_position: NDArray[np.float64]
    counts: NDArray[np.int64]
    of_answers: NDArray[np.float64]
    exact: bool

    @property
    def per_token(self) -> float:
        return float(self.by_position @ self.counts / self.counts.sum())

    def to_dict(self) -> dict[str, Any]:
        """For a report: plain numbers."""
        return {
            "kl_per_token": self.per_token, "first_token": float(self.by_position[0]),
            "tokens": int(self.counts.sum()), "answers": len(self.of_answers), "exact": self.exact,
            "by_position": self.by_position.tolist(), "counts": self.counts.tolist(),
        }  # fmt: skip


def initial_kl(
    loaded: Loaded, trajectories: Iterable[Trajectory], *, batch_size: int = 32, exact: bool = False
) -> Difficulty:
    """The KL of the prompted model to the bare one on the trajectories' tokens, the first one among them.

    The teacher is what was kept: hidden states (exact) or the k best scores; where nothing was kept, or `exact` is
    asked for, it is computed anew. InputError where there are no trajectories.
    """
    rest, found, told = iter(trajectories), [], set()
    measure = _Measure(loaded)
    while batch := list(islice(rest, batch_size)):
        kinds = {_kind(one, exact) for one in batch}
        told |= kinds
        if len(kinds) > 1:
            raise InputError("some trajectories have teacher scores and some have none; measure them apart")
        found += measure.of(batch, kinds.pop())
    if not found:
        raise InputError("there are no trajectories to measure the initial KL on; sample some first")
    longest = max(map(len, found))
    sums, counts = np.zeros(longest), np.zeros(longest, np.int64)
    for one in found:
        sums[: len(one)] += one
        counts[: len(one)] += 1
    return Difficulty(sums / counts, counts, np.array([one.mean() for one in found]), "topk" not in told)


def initial_kl_of(loaded: Loaded, stage: Path) -> dict[str, Any]:
    """`initial_kl` on a folder of trajectories, for a report; kept beside them, so that it is measured once."""
    path = stage / FILE
    try:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        kept = initial_kl(loaded, read_trajectories(stage)).to_dict()
        write_json(path, kept)
    except ValueError:
        raise InputError(f"{path}: cannot be read; remove it, and it is measured again") from None
    return kept


def _kind(trajectory: Trajectory, exact: bool) -> str:
    if trajectory.hidden is not None:
        return "hidden"
    return "online" if exact or trajectory.scores is None else "topk"


class _Measure:
    """Batches of trajectories to KL divergences; the last prompt's prefix is kept for the next batch."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.prefix: Prefix | None = None

    @torch.inference_mode()
    def of(self, batch: Sequence[Trajectory], kind: str) -> list[NDArray[np.float64]]:
        """The KL at each token of each trajectory, [T]."""
        device, lengths = self.loaded.model.device, [len(one.answer_ids) for one in batch]
        kl_B_T = torch.zeros((len(batch), max(lengths)), dtype=torch.float64)
        ids_B_T = torch.from_numpy(_padded([one.answer_ids for one in batch])).long().to(device)
        chunks = self._logits([_tuple(one.bare_context_ids) for one in batch], None, ids_B_T)
        if kind == "online":
            contexts = [_tuple(one.context_ids) for one in batch]
            taught = self._logits(contexts, self._prefix(contexts), ids_B_T)
            for (low, student_B_T_V), (_, teacher_B_T_V) in zip(chunks, taught, strict=True):
                kl_B_T[:, low : low + student_B_T_V.shape[1]] = kl_of_logits(teacher_B_T_V, student_B_T_V).cpu()
        elif kind == "hidden":
            head = self.loaded.model.get_output_embeddings()
            hidden_B_T_W = torch.from_numpy(_padded([one.hidden for one in batch])).to(device, head.weight.dtype)
            for low, student_B_T_V in chunks:
                part = slice(low, low + student_B_T_V.shape[1])
                kl_B_T[:, part] = kl_of_logits(head(hidden_B_T_W[:, part]), student_B_T_V).cpu()
        else:
            top = [one.scores for one in batch if one.scores is not None]
            for low, student_B_T_V in chunks:
                part = slice(low, low + student_B_T_V.shape[1])
                kl_B_T[:, part] = _kl_of_top(top, part, student_B_T_V).cpu()
        return [kl_B_T[row, :length].numpy() for row, length in enumerate(lengths)]

    def _prefix(self, contexts: list[tuple[int, ...]]) -> Prefix | None:
        kept = self.prefix
        if kept is None or any(context[: len(kept.ids)] != kept.ids or len(context) == len(kept.ids)
                               for context in contexts):  # fmt: skip
            self.prefix = shared_prefix(self.loaded.model, contexts)
        return self.prefix

    def _logits(
        self, contexts: list[tuple[int, ...]], prefix: Prefix | None, ids_B_T: Tensor
    ) -> Iterator[tuple[int, Tensor]]:
        """The logits before each token of the answers, in chunks of (place of the first, (B, T, V))."""
        state = new_state(self.loaded.model, prefix)
        logits_B_V = state.start(contexts)
        yield 0, logits_B_V[:, None]
        last, step = ids_B_T.shape[1] - 1, max(1, LOGITS // logits_B_V.numel())
        for low in range(0, last, step):
            yield low + 1, state.extend(ids_B_T[:, low : min(last, low + step)])


def kl_of_logits(teacher_X_V: Tensor, student_X_V: Tensor) -> Tensor:
    """KL(teacher ‖ student) of two distributions given as logits, (...)."""
    teacher_X_V, student_X_V = teacher_X_V.float().log_softmax(-1), student_X_V.float().log_softmax(-1)
    probs_X_V = teacher_X_V.exp()
    # A token that the model rules out has no part in the sum, and minus infinity twice is no number.
    return torch.where(probs_X_V > 0, probs_X_V * (teacher_X_V - student_X_V), 0.0).sum(-1)


def kl_of_top(ids_X_K: Tensor, logprobs_X_K: Tensor, tail_X: Tensor, student_X_V: Tensor) -> Tensor:
    """KL(teacher ‖ student) where of the teacher the K best tokens are known and the others together, (...). Never more
    than the whole KL. The stored scores are made to sum to one, as their rounding does not."""
    student_X_V = student_X_V.float()
    total_X_1 = student_X_V.logsumexp(-1, keepdim=True)
    other_X = student_X_V.scatter(-1, ids_X_K, float("-inf")).logsumexp(-1) - total_X_1[..., 0]
    probs_X_K = logprobs_X_K.float().exp()
    mass_X = probs_X_K.sum(-1) + tail_X
    probs_X_K, tail_X = probs_X_K / mass_X[..., None], tail_X / mass_X
    known_X_K = torch.where(
        probs_X_K > 0, probs_X_K * (probs_X_K.log() - student_X_V.gather(-1, ids_X_K) + total_X_1), 0.0
    )
    return known_X_K.sum(-1) + torch.where(tail_X > 0, tail_X * (tail_X.log() - other_X), 0.0)


def _kl_of_top(scores: Sequence[TopScores], part: slice, student_B_T_V: Tensor) -> Tensor:
    device = student_B_T_V.device
    ids, logprobs, tail = (
        torch.from_numpy(_padded([getattr(one, name)[part] for one in scores], student_B_T_V.shape[1])).to(device)
        for name in ("ids", "logprobs", "tail")
    )
    return kl_of_top(ids.long(), logprobs, tail, student_B_T_V)


def _padded(rows: Sequence[Any], width: int | None = None) -> NDArray[Any]:
    """Arrays (T, ...) of several lengths as one (B, T, ...), zeros behind the shorter ones."""
    width = width or max(map(len, rows))
    out = np.zeros((len(rows), width, *rows[0].shape[1:]), rows[0].dtype)
    for place, row in enumerate(rows):
        out[place, : len(row)] = row
    return out


def _tuple(ids: NDArray[np.int32]) -> tuple[int, ...]:
    return tuple(ids.tolist())
