"""How a prompt and the text that it is about are put to the model that rewrites."""

from __future__ import annotations

from typing import Literal

from promptmill.prompt import Message

Layout = Literal["system", "user", "text_first"]


def messages(layout: Layout, prompt: str, original: str | None) -> tuple[Message, ...]:
    """system: the prompt in the system turn and the text in the user's; user: one turn, the prompt before the text;
    text_first: one turn, the text before the prompt. Without a text before (None) the prompt is the user's turn.

    Both stand word for word, braces too. Templates without a system role get the first as the second."""
    if original is None:
        return (("user", prompt),)
    if layout == "system":
        return (("system", prompt), ("user", original))
    return (("user", f"{prompt}\n\n{original}" if layout == "user" else f"{original}\n\n{prompt}"),)
