"""Texts as a model is shown them: a long one without its middle."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path

from promptmill.crafts.recover.candidates import Shorten
from promptmill.crafts.recover.synthesize.clean import cut_middle
from promptmill.crafts.recover.synthesize.rewriting import pieces_of
from promptmill.model.gate import Model
from promptmill.model.local import LocalBackend
from promptmill.model.local.loading import read_json
from promptmill.model.lockstep import behind

ROOM = 128
"""Tokens that a request has beside its texts: its own words, and the template's."""
KEPT = 256
"""Texts that are remembered as they are shown: a trace is asked about many times over."""
LEAST = 16
"""Tokens of a text that are shown however little room there is."""


def shortener(model: Model, longest: int, answer: int = 0, texts: int = 2) -> Shorten:
    """longest: tokens of a text at most; words where the model's tokenizer is not here. Where the model's context is
    known a text gets no more than leaves room for an answer of `answer` tokens, with `texts` of them in one request."""
    pieces, backend = pieces_of(model), behind(model.backend)

    def most() -> int:
        context = _context(backend.folder) if isinstance(backend, LocalBackend) else None
        return longest if context is None else min(longest, max(LEAST, (context - answer - ROOM) // texts))

    @lru_cache(KEPT)
    def shorten(text: str) -> str:
        return cut_middle(text, most(), pieces)

    return shorten


@cache
def _context(folder: Path) -> int | None:
    """Tokens of prompt and answer together; None where the model does not say."""
    config = read_json(folder / "config.json")
    for part in (config.get("text_config"), config):
        for name in ("max_position_embeddings", "n_positions"):
            if isinstance(part, dict) and isinstance(found := part.get(name), int):
                return found
    return None
