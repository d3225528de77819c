"""Tokens that a constrained answer may go on with: grammars by llguidance, the mask on the logits our own.

`llguidance.torch` would do both, but costs ten seconds at its first use (it compiles a kernel); the mask of a step is a
few bytes, and numpy unpacks it in microseconds.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from promptmill.model.constraint import JsonSchema, Regex, framed
from promptmill.model.local.work import Shape

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

KEPT_GRAMMARS = 256
# One way to write JSON, that of json.dumps: left free, models lose themselves in white space.
JSON_STYLE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class GrammarError(Exception):
    """The constraint cannot be generated: one line says why."""


class Grammars:
    """The constraints of one model, compiled. Its tokenizer is read at the first use, which takes up to a second for
    large vocabularies. Used by one thread at a time.

    tokenizer: of the tokenizers library, or None where the model has none of these. It need not be able to merge: all
               that matters is which bytes each token stands for.
    vocab:     logits of the model, which may be more than there are tokens.
    """

    def __init__(self, tokenizer: Any, eos: frozenset[int], vocab: int):
        self._read, self._eos, self._vocab = tokenizer, sorted(eos), vocab
        self._tokenizer: LLTokenizer | None = None
        self._made: OrderedDict[Shape, LLMatcher] = OrderedDict()

    def guides(self, shape: Shape, count: int) -> list[LLMatcher]:
        """One guide for each of `count` answers. GrammarError where there can be none."""
        made = self._made.get(shape)
        if made is None:
            made = self._made[shape] = self._make(shape)
            while len(self._made) > KEPT_GRAMMARS:
                self._made.popitem(last=False)
        self._made.move_to_end(shape)
        return [made.deep_copy() for _ in range(count)]

    def _make(self, shape: Shape) -> LLMatcher:
        from llguidance import LLMatcher, LLTokenizer

        if self._tokenizer is None:
            if self._read is None:
                raise GrammarError("this model's tokenizer is a slow one, which cannot be constrained")
            try:
                self._vocab = max(self._vocab, self._read.get_vocab_size(with_added_tokens=True))
                self._tokenizer = LLTokenizer(self._read.to_str(), n_vocab=self._vocab, eos_token=self._eos)
            except Exception as error:  # llguidance raises no narrower kind
                raise GrammarError(f"this model's tokenizer cannot be constrained ({_line(str(error))})") from None
        made = LLMatcher(self._tokenizer, grammar_of(shape), log_level=0)
        if made.is_error():
            raise GrammarError(f"the constraint cannot be generated ({_line(made.get_error())})")
        return made

    def mask(self, logits_B_V: Tensor, guides: Sequence[LLMatcher | None]) -> Tensor:
        """The logits with minus infinity where a row's guide allows no token; rows without a guide as they are.

        A row whose guide allows nothing at all is left free too: whatever is drawn, the guide then refuses it with its
        reason.
        """
        index = [at for at, guide in enumerate(guides) if guide is not None]
        if not index:
            return logits_B_V
        bits = b"".join(guide.compute_bitmask() for guide in guides if guide is not None)
        bits_R_W = np.frombuffer(bits, dtype=np.uint8).reshape(len(index), -1)
        allowed_R_V = np.unpackbits(bits_R_W, axis=1, count=logits_B_V.shape[1], bitorder="little").view(bool)
        allowed_R_V |= ~allowed_R_V.any(axis=1, keepdims=True)
        refused_R_V = torch.from_numpy(~allowed_R_V).to(logits_B_V.device)
        if len(index) == len(guides):
            return logits_B_V.masked_fill(refused_R_V, float("-inf"))
        at_R = torch.tensor(index, device=logits_B_V.device)
        return logits_B_V.index_copy(0, at_R, logits_B_V[at_R].masked_fill(refused_R_V, float("-inf")))


def grammar_of(shape: Shape) -> str:
    """In llguidance's language, for all that is generated."""
    from llguidance import LLMatcher

    constraint = framed(shape.constraint, shape.lead, shape.suffix)
    if isinstance(constraint, Regex):
        return LLMatcher.grammar_from_regex(constraint.pattern)
    assert isinstance(constraint, JsonSchema)
    schema = json.dumps(constraint.schema | {"x-guidance": JSON_STYLE})
    parts = [*([json.dumps(shape.lead)] if shape.lead else []), "answer"]
    return LLMatcher.grammar_from_lark(f"start: {' '.join(parts)}\nanswer: %json {schema}\n")


def _line(text: str) -> str:
    """llguidance explains itself over several lines, with a drawing; the first that says something is kept."""
    lines = [line.strip() for line in text.splitlines()]
    said = next((line for line in lines if line.startswith("error:")), lines[0] if lines else "")
    return re.sub(r"^(error|at \d+\(\d+\)): ", "", said)[:160]
