"""Divergences from hidden states, a chunk of tokens at a time, with their gradients in closed form.

The output layer is frozen. So the gradient of a token's loss by its logits (for the forward KL simply p_s − p_t) can be
computed with the loss, taken through the output layer at once, and forgotten: of the size of the vocabulary there is
never more than one chunk, neither logits nor gradient. Temperature 1 throughout.

Shape letters: N tokens, V vocabulary, D hidden size, K stored tokens, W outcomes (V, or K and the tail).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from promptmill.train.head import Head

Divergence = Literal["forward", "reverse", "jsd"]
CPU_CELLS, GPU_CELLS = 1 << 24, 1 << 26  # logits in a chunk: three matrices of this size exist at a time
LEAST_TAIL = 1e-8  # what a stored teacher leaves for the other tokens where it rounds to nothing


class TokenLosses(NamedTuple):
    """total: the weighted sum over tokens, differentiable by the hidden states. each_N: every token's loss, without
    weight or gradient."""

    total: Tensor
    each_N: Tensor


class Target(Protocol):
    """What the student shall become at each of N tokens."""

    def part(self, rows: slice, logits_CV: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Losses (C,) of the tokens `rows` and their gradients by the student's logits (C, V), which may be
        overwritten."""
        ...


class Memory:
    """Matrices as large as a chunk's logits, used again for every chunk: on a CPU new memory of that size costs as
    much as what is computed in it."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def take(self, name: str, rows: int, columns: int, like: Tensor) -> Tensor:
        """(rows, columns), with anything in it; what was taken by this name before is overwritten."""
        if name not in self._kept or self._kept[name].shape[0] < rows:
            dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
            self._kept[name] = torch.empty(rows, columns, dtype=dtype, device=like.device)
        return self._kept[name][:rows]

    def logits(self, head: Head, hidden_CD: Tensor) -> Tensor:
        """In the memory "logits", where that is possible."""
        return head.logits(hidden_CD, self.take("logits", len(hidden_CD), head.vocabulary, hidden_CD))

    def log_softmax(self, logits_CV: Tensor, name: str) -> Tensor:
        return torch.log_softmax(logits_CV, -1, out=self.take(name, len(logits_CV), logits_CV.shape[1], logits_CV))


def token_losses(
    hidden_ND: Tensor, head: Head, target: Target, *, weights_N: Tensor | None = None, chunk: int | None = None
) -> TokenLosses:
    """The losses of N tokens whose logits are head(hidden_ND), and their sum. chunk: as in `each_loss`."""
    each_N = each_loss(hidden_ND, head, target, chunk=chunk)
    return TokenLosses((each_N if weights_N is None else each_N * weights_N).sum(), each_N.detach())


def each_loss(hidden_ND: Tensor, head: Head, target: Target, *, chunk: int | None = None) -> Tensor:
    """(N,): the losses of N tokens whose logits are head(hidden_ND), each differentiable by the hidden states, for
    losses that are not linear in them. chunk: tokens at a time; it changes no value."""
    cells = CPU_CELLS if hidden_ND.device.type == "cpu" else GPU_CELLS
    step = chunk or max(1, cells // head.vocabulary)
    wanted = hidden_ND.requires_grad and torch.is_grad_enabled()
    each_N: Tensor = _Chunked.apply(hidden_ND, head, target, step, wanted)  # type: ignore[no-untyped-call]
    return each_N


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, head: Head, target: Target, step: int, wanted: bool) -> Tensor:
        exact = torch.float64 if hidden_ND.dtype == torch.float64 else torch.float32
        each_N = torch.empty(len(hidden_ND), dtype=exact, device=hidden_ND.device)
        gradient_ND = torch.empty_like(hidden_ND) if wanted else None
        memory = Memory()
        for low in range(0, len(hidden_ND), step):
            rows = slice(low, low + step)
            logits_CV = memory.logits(head, hidden_ND[rows])
            slope_CV = head.slope(logits_CV) if wanted else None
            each_N[rows], by_logits_CV = target.part(rows, logits_CV, memory)
            if gradient_ND is not None:
                gradient_ND[rows] = head.pull_back(by_logits_CV, slope_CV)
        ctx.save_for_backward(gradient_ND)
        return each_N

    @staticmethod
    def backward(ctx: Any, *by_each: Tensor) -> tuple[Tensor | None, ...]:
        (gradient_ND,) = ctx.saved_tensors
        return (gradient_ND * by_each[0][:, None]).to(gradient_ND.dtype), None, None, None, None


@dataclass(frozen=True)
class FromHidden:
    """A teacher known by its hidden states and its output layer: all its logits, exactly.

    divergence: "forward" KL(teacher ‖ student), "reverse" KL(student ‖ teacher), or "jsd": the generalised
    Jensen-Shannon divergence, beta KL(teacher ‖ m) + (1 − beta) KL(student ‖ m) with m = beta teacher + (1 − beta)
    student (Agarwal et al., arXiv 2306.13649); 0 < beta < 1.
    """

    hidden_ND: Tensor
    head: Head
    divergence: Divergence = "forward"
    beta: float = 0.5

    def part(self, rows: slice, logits_CV: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        student_CV = memory.log_softmax(logits_CV, "student")
        del logits_CV
        teacher_CV = memory.log_softmax(memory.logits(self.head, self.hidden_ND[rows]), "teacher")
        free_CV = memory.take("logits", len(student_CV), student_CV.shape[1], student_CV)
        return diverge(self.divergence, student_CV, teacher_CV, self.beta, free_CV)


@dataclass(frozen=True)
class FromTopK:
    """A teacher known by the log-probs of its K likeliest tokens; the others are one outcome, the tail.

    So the divergence is between distributions over K + 1 outcomes (K where the vocabulary has no others), and never
    more than that over the vocabulary.

    logprobs_NW: of the tokens ids_NK and then of the tail, as `top_k` gives them. Without the tail's column the tail is
    what is missing from 1, which rounding makes wrong where it is small.
    """

    ids_NK: Tensor
    logprobs_NW: Tensor
    divergence: Divergence = "forward"
    beta: float = 0.5

    def part(self, rows: slice, logits_CV: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        ids_CK = self.ids_NK[rows].long()
        kept_CK = logits_CV.gather(-1, ids_CK)
        if ids_CK.shape[1] == logits_CV.shape[1]:
            student_CK, teacher_CK = kept_CK.log_softmax(-1), self._teacher(rows, logits_CV, False)
            losses_C, by_kept_CK = diverge(self.divergence, student_CK, teacher_CK, self.beta)
            return losses_C, logits_CV.scatter_(-1, ids_CK, by_kept_CK)
        others_CV = logits_CV.scatter_(-1, ids_CK, -math.inf)
        most = others_CV.max(-1, keepdim=True)
        share_CV = torch.softmax(
            others_CV, -1, out=memory.take("student", len(others_CV), others_CV.shape[1], others_CV)
        )
        others_C1 = most.values - share_CV.gather(-1, most.indices).log()  # logsumexp, in a third of its time
        # Normalised here, over K + 1 outcomes: over the vocabulary it would cost a pass more.
        student_CW = torch.cat([kept_CK, others_C1], dim=-1).log_softmax(-1)
        losses_C, by_CW = diverge(self.divergence, student_CW, self._teacher(rows, logits_CV, True), self.beta)
        # The tail's gradient falls on its tokens by their share of it.
        by_logits_CV = share_CV.mul_(by_CW[:, -1:])
        return losses_C, by_logits_CV.scatter_(-1, ids_CK, by_CW[:, :-1])

    def _teacher(self, rows: slice, like: Tensor, tail: bool) -> Tensor:
        """Log-probs over K outcomes, or with the tail over K + 1. Rounding is taken out: they sum to 1."""
        width = self.ids_NK.shape[1]
        logprobs_CW = self.logprobs_NW[rows].to(like.dtype)
        kept_CK, tail_C1 = logprobs_CW[:, :width], logprobs_CW[:, width:]
        if not tail:
            return kept_CK.log_softmax(-1)
        if not tail_C1.shape[1]:
            tail_C1 = (1 - kept_CK.exp().sum(-1, keepdim=True)).clamp(min=0).log()
        return torch.cat([kept_CK, tail_C1.clamp(min=math.log(LEAST_TAIL))], dim=-1).log_softmax(-1)


@dataclass(frozen=True)
class FromSamples:
    """The teacher's tokens themselves: cross-entropy."""

    ids_N: Tensor

    def part(self, rows: slice, logits_CV: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        student_CV = memory.log_softmax(logits_CV, "student")
        ids_C1 = self.ids_N[rows, None]
        kept_C1 = student_CV.gather(-1, ids_C1)
        by_logits_CV = student_CV.exp_().scatter_add_(-1, ids_C1, -torch.ones_like(kept_C1))
        return -kept_C1[:, 0], by_logits_CV


def diverge(
    divergence: Divergence, student_NW: Tensor, teacher_NW: Tensor, beta: float = 0.5, free_NW: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Divergence of normalised log-probs: values (N,), gradients by the student's logits (N, W). Both are
    overwritten; free_NW: memory to work in."""
    if divergence == "forward":
        p_NW = torch.exp(teacher_NW, out=free_NW)
        losses_N = _row_products(p_NW, teacher_NW.sub_(student_NW))
        return losses_N, student_NW.exp_().sub_(p_NW)
    if divergence == "reverse":
        ratio_NW = teacher_NW.neg_().add_(student_NW)
        q_NW = student_NW.exp_()
        losses_N = _row_products(q_NW, ratio_NW)
        return losses_N, ratio_NW.sub_(losses_N[:, None]).mul_(q_NW)
    middle_NW = torch.logaddexp(teacher_NW + math.log(beta), student_NW + math.log1p(-beta))
    of_teacher_N = _row_products(teacher_NW.exp(), teacher_NW.sub_(middle_NW))
    ratio_NW = middle_NW.neg_().add_(student_NW)
    q_NW = student_NW.exp_()
    of_student_N = _row_products(q_NW, ratio_NW)
    gradient_NW = ratio_NW.sub_(of_student_N[:, None]).mul_(q_NW).mul_(1 - beta)
    return beta * of_teacher_N + (1 - beta) * of_student_N, gradient_NW


def _row_products(left_NW: Tensor, right_NW: Tensor) -> Tensor:
    """Sums of products along rows, without a third matrix."""
    with torch.autocast(left_NW.device.type, enabled=False):
        return torch.bmm(left_NW[:, None], right_NW[:, :, None])[:, 0, 0]


def top_k(hidden_ND: Tensor, head: Head, k: int) -> tuple[Tensor, Tensor]:
    """What FromTopK needs, from a teacher's hidden states: ids (N, K) int32, likeliest first, and log-probs (N, K + 1)
    float16, the tail's last (N, K where k takes in the whole vocabulary). exp of the tail is the share not captured."""
    cells = CPU_CELLS if hidden_ND.device.type == "cpu" else GPU_CELLS
    ids, logprobs = [], []
    with torch.no_grad():
        for part_CD in torch.split(hidden_ND, max(1, cells // head.vocabulary)):
            all_CV = head.logits(part_CD).log_softmax(-1)
            best = all_CV.topk(min(k, head.vocabulary), dim=-1)
            columns = [best.values]
            if k < head.vocabulary:
                tail_C1 = all_CV.scatter_(-1, best.indices, -math.inf).logsumexp(-1, keepdim=True)
                columns.append(tail_C1.clamp(min=math.log(LEAST_TAIL)))
            ids.append(best.indices.int())
            logprobs.append(torch.cat(columns, dim=-1).half())
    return torch.cat(ids), torch.cat(logprobs)
