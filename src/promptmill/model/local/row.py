"""One answer in the making: its tokens so far, when it ends, and the text that they spell. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from promptmill.model.constraint import met, wanted
from promptmill.model.local.work import Drawn, Draws, Token

if TYPE_CHECKING:
    from llguidance import LLMatcher

Decode = Callable[[Sequence[int], int | None], str]


class Spelling:
    """How tokens become text. decode: token ids, and the token before them or None, to text; eos: what ends answers."""

    def __init__(self, decode: Decode, eos: frozenset[int]):
        self.decode, self.eos = decode, eos
        self._pieces: dict[int, str] = {}

    def piece(self, token: int) -> str:
        """The text of one token by itself."""
        if token not in self._pieces:
            self._pieces[token] = self.decode([token], None)
        return self._pieces[token]


@dataclass
class Row:
    """One answer being drawn. guide: what its tokens may be, where it is constrained; missed: why it cannot be drawn,
    or does not meet its constraint."""

    work: Draws
    seed: int
    spelling: Spelling
    guide: LLMatcher | None = None
    missed: str = ""
    ids: list[int] = field(default_factory=list)
    logs: list[Token] = field(default_factory=list)
    tokens: int = 0
    finish: str = ""
    text: str | None = None
    stop: str | None = None

    def push(self, token: int) -> bool:
        """Take a token; False when the answer has ended."""
        self.tokens += 1
        if token in self.spelling.eos:
            self.finish = "stop"
            del self.logs[len(self.ids) :]
            return False
        self.ids.append(token)
        if self.guide is not None and not self._guided(self.guide, token):
            return False
        if self.work.stop and self._stopped(token):
            return False
        if self.tokens >= self.work.limit:
            self.finish = "length"
            return False
        return True

    def _guided(self, guide: LLMatcher, token: int) -> bool:
        """Tell the guide; False where nothing may follow, as the answer is complete or the guide has given up."""
        if not guide.consume_token(token):
            self.missed = f"the constraint cannot be followed here ({' '.join(guide.get_error().split())[:120]})"
            return False
        if guide.is_stopped():  # the end token would be all that is allowed: it need not be generated
            self.finish = "stop"
            return False
        return True

    def _stopped(self, token: int) -> bool:
        """Whether a stop text is complete. It can only have been completed by this token, so most tokens are ruled out
        by their own text; a piece of a multi-byte character (U+FFFD) never is."""
        piece = self.spelling.piece(token)
        if "\ufffd" not in piece and not any(stop[-1] in piece for stop in self.work.stop):
            return False
        text = self.decoded(len(self.ids))
        ends = [(at, -len(stop), stop) for stop in self.work.stop if (at := text.find(stop)) >= 0]
        if not ends:
            return False
        at, _, self.stop = min(ends)
        self.text, self.finish = text[:at], "stop"
        self._drop_logs(self.text)
        return True

    def _drop_logs(self, text: str) -> None:
        """Keep the log-probabilities of the tokens that spell `text`."""
        while self.logs and len(self.decoded(len(self.logs) - 1)) >= len(text):
            self.logs.pop()

    def decoded(self, count: int) -> str:
        """What the first tokens spell, without the white space that belongs to the prompt."""
        text = self.spelling.decode(self.ids[:count], self.work.after)
        if self.work.shape:
            return text.removeprefix(self.work.shape.lead)
        return text.lstrip() if self.work.lstrip else text

    def result(self) -> Drawn:
        text = self.decoded(len(self.ids)) if self.text is None else self.text
        if self.work.shape and not self.missed:
            text = self._shaped(text)
        return Drawn(text, self.finish or "length", self.tokens, self.logs, self.stop, self.missed)

    def _shaped(self, text: str) -> str:
        """The constrained answer alone; it has `missed` where it was cut before it was complete."""
        shape = self.work.shape
        assert shape is not None
        if self.stop is not None:
            if met(shape.constraint, text) is None:
                self.missed = f"the answer {text[:60]!r}, ended by a stop text, {wanted(shape.constraint)}"
            return text
        if self.guide is not None and not self.guide.is_accepting():
            why = self.guide.get_error() or f"it was cut after {self.tokens} tokens, before it was complete"
            self.missed = f"the answer {text[:60]!r} does not meet its constraint: {' '.join(why.split())[:120]}"
        if shape.suffix and text.endswith(shape.suffix):
            text = text.removesuffix(shape.suffix)
            self._drop_logs(text)
        return text
