"""Texts as a model is shown them: a long one without its middle, by the model's own tokens where they are at hand."""

from __future__ import annotations

from promptmill.crafts.recover.candidates import Shorten
from promptmill.crafts.recover.synthesize.clean import cut_middle, words
from promptmill.model.gate import Model
from promptmill.model.local import LocalBackend


def shortener(model: Model, longest: int) -> Shorten:
    """longest: tokens of a text at most; words where the model's tokenizer is not here."""
    backend = model.backend
    fast = backend.chat.fast if isinstance(backend, LocalBackend) else None
    if fast is None:
        return lambda text: cut_middle(text, longest, words)

    def pieces(text: str) -> list[tuple[int, int]]:
        return [(low, high) for low, high in fast.encode(text, add_special_tokens=False).offsets if high > low]

    return lambda text: cut_middle(text, longest, pieces)
