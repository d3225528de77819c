"""Between chat messages and token ids: templates, the space before an answer, the end of a turn. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError

from promptmill.model.chat import CallError, plain_text
from promptmill.prompt import Message

PROBE = "answer"
TAIL = 64  # characters of a context that can touch how the text after it is cut into tokens


def leading_of(asked: str, answered: str, answer: str = PROBE) -> str:
    """The white space that a template writes between the assistant's tag and its answer.

    asked:    a rendered question, ready for the answer. answered: the same conversation with `answer` in it.
    Answers that the model was trained on begin with this white space, so it is generated before a free answer, and
    given before a text that is to be scored. "" where the tag itself ends in it, or where something else stands there.
    """
    if not answered.startswith(asked):
        return ""
    between, found, _ = answered[len(asked) :].partition(answer)
    return between if found and not between.strip() else ""


def ending_of(asked: str, answered: str, answer: str = PROBE) -> str:
    """What a template writes behind the assistant's answer (the end-of-turn tag, maybe more)."""
    return answered[len(asked) :].partition(answer)[2] if answered.startswith(asked) else ""


def fold_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The system text put before the first user turn, for templates that know no system role."""
    system = "\n\n".join(text for role, text in messages if role == "system")
    rest = [(role, text) for role, text in messages if role != "system"]
    if system:
        at = next((index for index, (role, _) in enumerate(rest) if role == "user"), None)
        if at is None:
            rest.insert(0, ("user", system))
        else:
            rest[at] = ("user", f"{system}\n\n{rest[at][1]}")
    return tuple(rest)


class ChatTokenizer:
    """A tokenizer with what must be known about its chat template, found out once.

    leading: white space between the assistant's tag and an answer (see `leading_of`).
    end:     the token that ends an answer in the template, or the tokenizer's end token, or None.
    fast:    the tokenizer of the tokenizers library, or None where this one is not made with it.
    """

    def __init__(self, tokenizer: Any, eos: frozenset[int]):
        self.tokenizer = tokenizer
        # The Rust tokenizer itself: quicker, and safe from two threads as long as nobody changes its settings.
        self.fast = getattr(tokenizer, "backend_tokenizer", None) if tokenizer.is_fast else None
        if self.fast is not None:
            self.fast.no_truncation()
            self.fast.no_padding()
        self.templated = bool(tokenizer.chat_template)
        self.folds_system = self.templated and not self._takes_system()
        self.leading: str
        self.end: int | None
        self.leading, self.end = self._edges(eos) if self.templated else ("", tokenizer.eos_token_id)
        self.encode_chat = lru_cache(maxsize=4096)(self._encode_chat)
        self.continuation = lru_cache(maxsize=65536)(self._continuation)

    def render(self, messages: tuple[Message, ...], prefix: str = "") -> str:
        """The prompt as text, ready for the answer, which begins with `prefix`. CallError "refused" where the template
        does not take these messages."""
        if not self.templated:
            return plain_text(messages) + prefix
        try:
            asked = self._apply(fold_system(messages) if self.folds_system else messages)
        except TemplateError as error:
            raise CallError("refused", f"the model's chat template refuses these messages ({_line(error)})") from None
        return asked + self.leading + prefix if prefix else asked

    def _encode_chat(self, messages: tuple[Message, ...], prefix: str = "") -> tuple[int, ...]:
        """Tokens of `render`; no special tokens are added, the template has written them."""
        return tuple(self.encode(self.render(messages, prefix)))

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """special: add what the tokenizer adds to raw text (a beginning-of-text token)."""
        if self.fast is not None:
            return list(self.fast.encode(text, add_special_tokens=special).ids)
        ids: list[int] = self.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]
        return ids

    def decode(self, ids: Sequence[int], after: int | None = None) -> str:
        """Text of tokens without special ones. after: the token before them, where a space between the two must not be
        lost (some tokenizers drop it at the beginning of a text)."""
        kept = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        if after is None:
            return str(self.tokenizer.decode(list(ids), **kept))
        before, joint = (str(self.tokenizer.decode(list(part), **kept)) for part in ([after], [after, *ids]))
        # Where the two meet inside a multi-byte character neither half is a text.
        return joint[len(before) :] if joint.startswith(before) else self.decode(ids)

    def _continuation(self, tail: str, text: str) -> tuple[int, ...]:
        """Tokens of `text` as they follow a context that ends in `tail`: cut together with it where that leaves the
        context's own tokens as they are (a prompt's tokens are fixed before the answer begins), else by itself."""
        before, joint = self.encode(tail), self.encode(tail + text)
        return tuple(joint[len(before) :] if joint[: len(before)] == before else self.encode(text))

    def continuations(
        self, messages: tuple[Message, ...], prefix: str, texts: Sequence[str]
    ) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
        """Tokens of the prompt, and of each text as the assistant's answer to it (or as what follows `prefix`)."""
        given, lead = self.begin(prefix)
        tail = self.render(messages, given)[-TAIL:]
        return self.encode_chat(messages, given), tuple(self.continuation(tail, lead + text) for text in texts)

    def begin(self, prefix: str) -> tuple[str, str]:
        """What of an answer is given, and the white space before the rest of it: that of the template, or the spaces at
        the end of the prefix. It is generated and not given, as it is one token with the word after it."""
        given = prefix.rstrip(" ")
        return given, prefix[len(given) :] if given else self.leading

    def _apply(self, messages: Sequence[Message], *, ask: bool = True) -> str:
        rows = [{"role": role, "content": text} for role, text in messages]
        return str(self.tokenizer.apply_chat_template(rows, add_generation_prompt=ask, tokenize=False))

    def _edges(self, eos: frozenset[int]) -> tuple[str, int | None]:
        """`leading` and `end`."""
        try:
            asked = self._apply((("user", "question"),))
            answered = self._apply((("user", "question"), ("assistant", PROBE)), ask=False)
        except TemplateError:  # a template for other conversations than these: nothing can be told
            return "", self.tokenizer.eos_token_id
        ends = [token for token in self.encode(ending_of(asked, answered).strip()) if token in eos]
        return leading_of(asked, answered), ends[0] if ends else self.tokenizer.eos_token_id

    def _takes_system(self) -> bool:
        """Some templates raise at a system message, others leave it out without a word."""
        try:
            return "system text" in self._apply((("system", "system text"), ("user", "question")))
        except TemplateError:
            return False


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
