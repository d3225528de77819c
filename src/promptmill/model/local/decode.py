"""The decoding loop: answers drawn, or given continuations rated, for a batch whose prompts begin alike.

Shape letters as in cache.py: B rows, T new tokens, V vocabulary. Plain torch and a tokenizer; no event loop here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from promptmill.model.local.cache import Prefix, State, can_share
from promptmill.model.local.constrain import GrammarError, Grammars
from promptmill.model.local.folded import compute_prefix, new_state
from promptmill.model.local.row import Decode, Row, Spelling
from promptmill.model.local.work import Drawn, Draws, Rated, Rates, Token, Work

COMPACT = 0.75  # finished rows leave when at most this share of the batch is still going
LEAST_SHARED = 8  # tokens: a shorter common beginning is not worth its own forward pass
KEPT_PREFIXES = 16
KEPT_BYTES = 1 << 30  # of all kept prefixes; the last one is kept whatever its size
LOGITS = 1 << 26  # most logits held at once (256 MB in float32)
# What a CPU computes at once of a batch that is rated: more does not stay in its cache (a quarter off the time for a
# model of 1M parameters). Tokens that the rows hold, and logits that are normalised.
CPU_TOKENS = 2048
CPU_LOGITS = 1 << 18


class Engine:
    """A model in memory and the prefixes that it has lately computed. Used by one thread at a time.

    decode: token ids, and the token before them or None, to text. eos: tokens that end an answer. tokenizer: the
    tokenizers library's, for constrained answers.
    """

    def __init__(self, model: Any, decode: Decode, eos: frozenset[int], tokenizer: Any = None, *, share: bool = True):
        self.model, self.spelling = model, Spelling(decode, eos)
        self.grammars = Grammars(tokenizer, eos, model.config.get_text_config().vocab_size)
        self.share = share and can_share(model)
        self._prefixes: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()
        self._last: tuple[int, ...] = ()

    @torch.inference_mode()
    def draw(self, batch: Sequence[Draws], shared: int) -> list[list[Drawn]]:
        """Answers for each of `batch`, in order; `shared` tokens begin all prompts."""
        rows = [row for work in batch for row in self._rows(work)]
        state, logits_B_V = self._start(batch, self._prefix(batch, shared))
        _generate(state, logits_B_V, rows, self.grammars)
        drawn = iter([row.result() for row in rows])
        return [[next(drawn) for _ in work.seeds] for work in batch]

    @torch.inference_mode()
    def rate(self, batch: Sequence[Rates], shared: int) -> list[list[Rated]]:
        """Log-probabilities of the tokens of each continuation, in order."""
        prefix = self._prefix(batch, shared)
        # Those with answers of about one length side by side: little is padding.
        order = sorted(range(len(batch)), key=lambda at: (_longest(batch[at]), len(batch[at].ids)))
        most = CPU_TOKENS if self.model.device.type == "cpu" else None
        rated: dict[int, list[Rated]] = {}
        for part in _parts(batch, order, shared, most):
            rated |= zip(part, self._rate([batch[at] for at in part], prefix), strict=True)
        return [rated[at] for at in range(len(batch))]

    def _rate(self, batch: Sequence[Rates], prefix: Prefix | None) -> list[list[Rated]]:
        state, logits_B_V = self._start(batch, prefix)
        texts = [text for work in batch for text in work.continuations]
        top = max(work.top for work in batch)
        rated: list[Rated] = [[] for _ in texts]
        width = max(map(len, texts), default=0)
        ids_B_T = torch.tensor([list(text) + [0] * (width - len(text)) for text in texts], device=logits_B_V.device)
        if width:
            _note(rated, texts, 0, logits_B_V[:, None], ids_B_T[:, :1], top)
        step = max(1, LOGITS // logits_B_V.numel())
        for low in range(0, width - 1, step):
            high = min(width - 1, low + step)
            logits_B_T_V = state.extend(ids_B_T[:, low:high])
            _note(rated, texts, low + 1, logits_B_T_V, ids_B_T[:, low + 1 : high + 1], top)
        given = iter(rated)
        return [[next(given) for _ in work.continuations] for work in batch]

    def forget(self) -> None:
        self._prefixes.clear()
        self._last = ()

    def _rows(self, work: Draws) -> list[Row]:
        """A row for each answer; where the constraint cannot be generated, one that has ended with the reason."""
        try:
            guides = self.grammars.guides(work.shape, work.rows) if work.shape else [None] * work.rows
        except GrammarError as error:
            return [Row(work, seed, self.spelling, missed=str(error)) for seed in work.seeds]
        return [Row(work, seed, self.spelling, guide) for seed, guide in zip(work.seeds, guides, strict=True)]

    def _start(self, batch: Sequence[Work], prefix: Prefix | None) -> tuple[State, Tensor]:
        """Run the prompts and repeat each row as often as it is wanted."""
        state = new_state(self.model, prefix)
        logits_B_V = state.start([work.ids for work in batch])
        if any(work.rows != 1 for work in batch):
            index_B = torch.repeat_interleave(torch.tensor([work.rows for work in batch])).to(logits_B_V.device)
            state.select(index_B)
            logits_B_V = logits_B_V[index_B]
        return state, logits_B_V

    def _prefix(self, batch: Sequence[Work], shared: int) -> Prefix | None:
        """The beginning that all prompts share, computed now or kept from an earlier batch. A single prompt shares with
        the one before it."""
        if not self.share:
            return None
        prompts = [work.ids for work in batch]
        first = prompts[0]
        if len(prompts) == 1:
            shared = min(_common(first, self._last), len(first) - 1)
        self._last = first
        best = max(((_common(ids, first[:shared]), ids) for ids in self._prefixes), default=(0, ()))
        length, ids = best
        # Texts that happen to begin alike make this batch's common beginning a little longer than the prompt itself:
        # what is kept from the last batch is then nearly as good, and costs nothing.
        if length >= max(LEAST_SHARED, shared - 2 * LEAST_SHARED):
            self._prefixes.move_to_end(ids)
            return self._prefixes[ids].crop(length)
        if shared < LEAST_SHARED:
            return None
        made = self._prefixes[first[:shared]] = compute_prefix(self.model, first[:shared])
        while len(self._prefixes) > KEPT_PREFIXES or (
            len(self._prefixes) > 1 and sum(prefix.nbytes for prefix in self._prefixes.values()) > KEPT_BYTES
        ):
            self._prefixes.popitem(last=False)
        return made


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    for index, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return index
    return min(len(a), len(b))


def _longest(work: Rates) -> int:
    return max(map(len, work.continuations), default=0)


def _parts(batch: Sequence[Rates], order: Sequence[int], shared: int, most: int | None) -> list[list[int]]:
    """`order` cut into runs whose rows hold at most `most` tokens beside the `shared` ones; one work always fits."""
    parts: list[list[int]] = []
    rows = prompt = answer = 0
    for at in order:
        work = batch[at]
        rows, prompt, answer = rows + work.rows, max(prompt, len(work.ids)), max(answer, _longest(work))
        if parts and (most is None or rows * (prompt - shared + answer) <= most):
            parts[-1].append(at)
        else:
            parts.append([at])
            rows, prompt, answer = work.rows, len(work.ids), _longest(work)
    return parts


class Sampler:
    """Next tokens for the rows of a batch: the most probable one, or drawn by inverting the distribution function at a
    number of the row's own random stream. So a row's draw does not depend on the rows beside it."""

    def __init__(self, rows: Sequence[Row], device: torch.device):
        # Counter-based bits, which numpy promises never to change (its higher functions it does not).
        self.streams = [np.random.Philox(row.seed) if row.work.temperature > 0 else None for row in rows]
        self.device = device
        self.works = [row.work for row in rows]
        self._group()

    def select(self, keep: Sequence[int]) -> None:
        self.streams, self.works = [self.streams[i] for i in keep], [self.works[i] for i in keep]
        self._group()

    def _group(self) -> None:
        drawn = [i for i, work in enumerate(self.works) if work.temperature > 0]
        plain = [i for i in drawn if self.works[i].top_p >= 1]
        nucleus = [i for i in drawn if self.works[i].top_p < 1]
        self.plain, self.nucleus = plain, nucleus
        self.temperature_B_1, self.top_p_B_1 = (
            torch.tensor([getattr(work, name) for work in self.works], device=self.device)[:, None]
            for name in ("temperature", "top_p")
        )

    def pick(self, logits_B_V: Tensor) -> Tensor:
        """Next tokens (B,)."""
        picked_B = logits_B_V.argmax(-1)
        if self.plain:
            index = torch.tensor(self.plain, device=self.device)
            probs = self._probs(logits_B_V, index)
            picked_B[index] = invert(probs, self._numbers(self.plain))
        if self.nucleus:
            index = torch.tensor(self.nucleus, device=self.device)
            probs, order = self._probs(logits_B_V, index).sort(dim=-1, descending=True, stable=True)
            before = probs.cumsum(-1) - probs
            probs = probs.masked_fill(before >= self.top_p_B_1[index], 0.0)
            at = invert(probs, self._numbers(self.nucleus))
            picked_B[index] = order.gather(-1, at[:, None])[:, 0]
        return picked_B

    def _probs(self, logits_B_V: Tensor, index: Tensor) -> Tensor:
        return (logits_B_V[index].float() / self.temperature_B_1[index]).softmax(-1)

    def _numbers(self, rows: list[int]) -> Tensor:
        """One number in [0, 1) from the stream of each of `rows`, (B, 1), float64."""
        numbers = [(int(stream.random_raw()) >> 11) * 2.0**-53 for stream in (self.streams[i] for i in rows) if stream]
        return torch.tensor(numbers, device=self.device, dtype=torch.float64)[:, None]


def invert(probs_B_V: Tensor, numbers_B_1: Tensor) -> Tensor:
    """The first token at which the cumulated probability exceeds the number, (B,); probs need not sum to one."""
    cumulated = probs_B_V.double().cumsum(-1)
    total = cumulated[:, -1:].contiguous()
    # The last token of non-zero probability is where the sum first reaches its total; rounding must not pass it.
    last = torch.searchsorted(cumulated, total)
    return torch.minimum(torch.searchsorted(cumulated, numbers_B_1 * total, right=True), last)[:, 0]


def _generate(state: State, logits_B_V: Tensor, rows: list[Row], grammars: Grammars) -> None:
    """Extend the rows token by token until all have ended. Ended rows are carried along until enough of them have."""
    sampler = Sampler(rows, logits_B_V.device)
    going = [row.work.limit > 0 and not row.missed for row in rows]
    top = max((row.work.top for row in rows if row.work.top is not None), default=None)
    while any(going):
        guides = [row.guide if goes else None for row, goes in zip(rows, going, strict=True)]
        ids_B = sampler.pick(grammars.mask(logits_B_V, guides))
        if top is not None:
            _log(rows, going, logits_B_V, ids_B, top)
        for index, token in enumerate(ids_B.tolist()):
            if going[index]:
                going[index] = rows[index].push(token)
        alive = [index for index, goes in enumerate(going) if goes]
        if not alive:
            return
        if len(alive) <= COMPACT * len(rows):
            index_B = torch.tensor(alive, device=ids_B.device)
            state.select(index_B)
            sampler.select(alive)
            ids_B, rows, going = ids_B[index_B], [rows[i] for i in alive], [True] * len(alive)
        logits_B_V = state.extend(ids_B[:, None])[:, -1]


def _log(rows: list[Row], going: list[bool], logits_B_V: Tensor, ids_B: Tensor, top: int) -> None:
    """Note each row's chosen token with its log-probability under the model itself (temperature 1, no top_p)."""
    tokens = _tokens(logits_B_V[:, None], ids_B[:, None], top)
    for row, goes, (token,) in zip(rows, going, tokens, strict=True):
        if goes and row.work.top is not None:
            row.logs.append(Token(token.id, token.logprob, token.top[: row.work.top]))


def _note(
    rated: list[Rated], texts: list[tuple[int, ...]], at: int, logits_B_T_V: Tensor, ids_B_T: Tensor, top: int
) -> None:
    """Add the tokens from place `at` on to what is rated, each text only as far as it goes."""
    for given, text, tokens in zip(rated, texts, _tokens(logits_B_T_V, ids_B_T, top), strict=True):
        given.extend(tokens[: max(0, len(text) - at)])


def _tokens(logits_B_T_V: Tensor, ids_B_T: Tensor, top: int) -> list[list[Token]]:
    vocabulary = logits_B_T_V.shape[-1]
    step = max(1, (CPU_LOGITS if logits_B_T_V.device.type == "cpu" else LOGITS) // vocabulary)
    tokens: list[Token] = []
    parts = torch.split(logits_B_T_V.reshape(-1, vocabulary), step)
    for part_N_V, ids_N in zip(parts, torch.split(ids_B_T.reshape(-1), step), strict=True):
        logs_N_V = part_N_V.float().log_softmax(-1)
        chosen = logs_N_V.gather(-1, ids_N[:, None])[:, 0].tolist()
        tops = _tops(logs_N_V, top) if top else [()] * len(chosen)
        tokens += map(Token, ids_N.tolist(), chosen, tops)
    count = ids_B_T.shape[1]
    return [tokens[low : low + count] for low in range(0, len(tokens), count)]


def _tops(logs_N_V: Tensor, top: int) -> list[tuple[tuple[int, float], ...]]:
    best, which = logs_N_V.topk(min(top, logs_N_V.shape[-1]), dim=-1)
    return [tuple(zip(ids, logs, strict=True)) for ids, logs in zip(which.tolist(), best.tolist(), strict=True)]
