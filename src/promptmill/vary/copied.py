"""A guard: an instruction must hold a lesson, not a piece of the train examples that its writer was shown."""

from __future__ import annotations

from collections.abc import Sequence

from promptmill.vary.scene import Working

LONGEST = 40
"""Characters of a train example that may stand in a new instruction."""
SHORTEST = 12
"""An input shorter than this may: a word or two of it says nothing of where it came from."""


def copies(text: str, before: str, shown: Sequence[Working]) -> bool:
    """Whether `text` repeats a long piece of a shown example, or a short field whole, that `before` did not have.

    A short output or gold may be repeated: it is often one of the answers to choose from.
    """
    inputs = [text for one in shown for text in (one.shown, *(value for _, value in one.fields))]
    pieces = [piece for text in dict.fromkeys(inputs) for piece in _pieces(text, SHORTEST)]
    pieces += [piece for one in shown for answer in (one.output, one.gold) for piece in _pieces(answer, LONGEST)]
    return any(piece in text and piece not in before for piece in pieces)


def _pieces(text: str, shortest: int) -> list[str]:
    text = text.strip()
    if len(text) < shortest:
        return []
    size = min(LONGEST, len(text))
    return [text[at : at + size] for at in range(len(text) - size + 1)]
