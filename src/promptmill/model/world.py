"""How far a text lies outside the embedded models' world, by their own tokenizer.

The embedded models know a small closed world. A word of it is one token for them; any other word is spelt in pieces
that they have hardly seen, and what they answer to it means little. Whoever asks such things is told so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, TypeVar

from promptmill.errors import ModelError
from promptmill.model.embedded import embedded_path

if TYPE_CHECKING:
    from tokenizers import Encoding

    from promptmill.model.chat import Request
    from promptmill.model.load import ModelConfig

T = TypeVar("T")

TOO_MANY_UNKNOWN = 0.2
"""A larger share of unknown words than this is warned of."""
SAMPLE = 100
"""So many requests of a task show what its words are."""


def warnings_for(config: ModelConfig, requests: Iterable[Request]) -> list[str]:
    """What must be said before these requests are sent: nothing, or that the model does not know their words."""
    if not config.embedded:
        return []
    share = unknown_share(config.name, (text for request in requests for text in _texts(request)))
    if share <= TOO_MANY_UNKNOWN:
        return []
    return [
        f"{share * 100:.0f} % of the words in what is asked are unknown to the {config.name} model; it knows a small "
        "closed world (docs/embedded-model.md) and will mostly be wrong here"
    ]


def unknown_share(name: str, texts: Iterable[str]) -> float:
    """The share of words in `texts` that the embedded model of this name has no token for; 0 where there are no words.

    A word is a piece of letters alone, as the model's own tokenizer cuts it; digits and marks are always known.
    """
    from tokenizers import Tokenizer  # alone quick to load, unlike transformers

    path = embedded_path(name) / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises no narrower kind
        raise ModelError(f"{path}: cannot be read ({error}); reinstall promptmill") from None
    words = unknown = 0
    for text, times in Counter(texts).items():
        spaced = f" {text}"  # as in the chat template: a turn's first word is the same token as inside a text
        for piece, tokens in _pieces(spaced, tokenizer.encode(spaced, add_special_tokens=False)):
            if piece.isalpha():
                words += times
                unknown += times * (tokens > 1)
    return unknown / words if words else 0.0


def spread(items: Sequence[T], count: int = SAMPLE) -> Sequence[T]:
    """At most `count` of the items, from all over: the first ones of a sorted file would be no fair sample."""
    return items[:: max(1, -(-len(items) // count))]


def _texts(request: Request) -> list[str]:
    return [*(content for _, content in request.messages), request.prefix]


def _pieces(text: str, encoding: Encoding) -> Iterable[tuple[str, int]]:
    """(piece, number of its tokens) in order; the space before a piece is dropped."""
    for _, tokens in groupby(zip(encoding.word_ids, encoding.offsets, strict=True), key=itemgetter(0)):
        spans = [span for _, span in tokens]
        yield text[spans[0][0] : spans[-1][1]].strip(), len(spans)
