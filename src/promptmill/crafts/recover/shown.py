"""Texts as a model is shown them: a long one without its middle."""

from __future__ import annotations

from promptmill.crafts.recover.candidates import Shorten
from promptmill.crafts.recover.synthesize.clean import cut_middle
from promptmill.crafts.recover.synthesize.rewriting import pieces_of
from promptmill.model.gate import Model


def shortener(model: Model, longest: int) -> Shorten:
    """longest: tokens of a text at most; words where the model's tokenizer is not here."""
    pieces = pieces_of(model)
    return lambda text: cut_middle(text, longest, pieces)
