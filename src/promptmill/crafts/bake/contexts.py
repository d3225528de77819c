"""What stands before an answer, with the prompt and without it, as token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptmill.crafts.bake.config import BakeSampleConfig
from promptmill.crafts.bake.questions import Question
from promptmill.errors import InputError, ModelError
from promptmill.model.backend import Backend
from promptmill.model.chat import CallError
from promptmill.model.local import LocalBackend
from promptmill.model.local.load import context_of
from promptmill.model.local.loaded import Loaded
from promptmill.prompt import Message, Prompt, holes

PLAIN = Prompt()


@dataclass(frozen=True, slots=True)
class Context:
    """prompted: tokens before the answer with the prompt. bare: without it."""

    prompted: tuple[int, ...]
    bare: tuple[int, ...]


def bakeable(backend: Backend) -> LocalBackend:
    """The backend of a model whose weights are at hand. InputError for one on a server or out of a script."""
    if not isinstance(backend, LocalBackend):
        raise InputError(
            f"{backend.name} cannot be baked: its weights are not here; "
            "give --model a model folder, a Hugging Face name or embedded"
        )
    return backend


def fields_of(question: str) -> Mapping[str, str]:
    """What the holes of a baked prompt are filled with: {input} or {question}, whichever it uses."""
    return {"input": question, "question": question}


def check_prompt(prompt: Prompt, loaded: Loaded) -> None:
    """InputError for a prompt that says nothing, takes two turns, or needs a role that the model does not have."""
    if prompt.then:
        raise InputError("a prompt with a second turn (then) cannot be baked; leave that part out")
    if prompt == PLAIN or not (prompt.system or prompt.demos or prompt.prefix or prompt.user.strip() != "{input}"):
        raise InputError("the prompt to bake is empty: it says nothing beside the question")
    _check_holes(prompt, "the prompt to bake")
    if prompt.system and loaded.chat.folds_system:
        raise InputError(
            f"the chat template of {loaded.name} has no system role; put the prompt in the user turn: "
            "write {input} where the question goes"
        )


def _check_holes(prompt: Prompt, which: str) -> None:
    other = sorted(prompt.holes - set(fields_of("")))
    if other:
        raise InputError(f"{which} has the hole {{{other[0]}}}; the question goes where {{input}} stands, nothing else")
    if not holes(prompt.user):
        raise InputError(f"{which} has a user's turn without the question; write {{input}} where it goes")


def contexts(loaded: Loaded, prompt: Prompt, questions: Sequence[Question], config: BakeSampleConfig) -> list[Context]:
    """The two contexts of each question, in order.

    A prefix of the prompt stands in the prompted context only: what is baked is how the answer goes on after it.
    InputError where one of them, with the longest answer, does not fit the model's context: nothing is ever cut.
    """
    check_prompt(prompt, loaded)
    made = [
        Context(
            _encode(loaded, prompt.render(fields_of(question.text)), prompt.prefix),
            _encode(loaded, *_bare(loaded, question.text, config.unprompted)),
        )
        for question in questions
    ]
    for question, context in zip(questions, made, strict=True):
        _check_fits(loaded, question, max(len(context.prompted), len(context.bare)), config)
    return made


class EmptySystem(Prompt):
    """Nothing but the question, behind a system turn that is there and empty."""

    __slots__ = ()

    def render(self, fields: Mapping[str, str]) -> tuple[Message, ...]:
        return (("system", ""), *Prompt.render(self, fields))


def bare_prompt(unprompted: str) -> Prompt:
    """What stands in the baked prompt's place (see BakeSampleConfig.unprompted)."""
    if unprompted == "none":
        return PLAIN
    return EmptySystem() if unprompted == "empty" else Prompt.of(unprompted, PLAIN)


def _bare(loaded: Loaded, question: str, unprompted: str) -> tuple[tuple[Message, ...], str]:
    """Messages and prefix without the prompt."""
    prompt = bare_prompt(unprompted)
    _check_holes(prompt, "the prompt in its place (unprompted)")
    if loaded.chat.folds_system and (prompt.system or unprompted == "empty"):
        raise InputError(
            f"unprompted={unprompted[:40]!r} is a system turn, and the chat template of {loaded.name} has no system "
            "role; take unprompted=none, or a text with {input} where the question goes"
        )
    return prompt.render(fields_of(question)), ""


def unprompted_in(loaded: Loaded, question: str, bare: Sequence[int]) -> str | None:
    """Which of the named forms a context without the prompt has; None for another."""
    for name in ("none",) if loaded.chat.folds_system else ("none", "empty"):
        if _encode(loaded, bare_prompt(name).render(fields_of(question)), "") == tuple(bare):
            return name
    return None


def _encode(loaded: Loaded, messages: tuple[Message, ...], prefix: str) -> tuple[int, ...]:
    given, _ = loaded.chat.begin(prefix)
    try:
        ids = loaded.chat.encode_chat(messages, given)
    except CallError as error:
        raise InputError(f"{loaded.name}: {error.detail}") from None
    if not ids:
        raise InputError(f"{loaded.name}: a question without its prompt comes to no token at all; give it some text")
    return ids


def _check_fits(loaded: Loaded, question: Question, tokens: int, config: BakeSampleConfig) -> None:
    if tokens + config.max_new_tokens > loaded.context:
        raise InputError(
            f"the prompt with the question {question.text[:40]!r} has {tokens} tokens and the answer up to "
            f"{config.max_new_tokens}, but the context of {loaded.name} is {loaded.context}; "
            "shorten the prompt, leave the question out, or lower max_new_tokens"
        )


def without_weights(backend: LocalBackend) -> Loaded:
    """Enough of a model to make contexts and to see whether they fit: tokenizer and configuration, `model` is None.
    ModelError where these cannot be read."""
    told = _configuration(backend)
    return Loaded(None, backend.chat, frozenset(), context_of(told), backend.name, backend.fingerprint)


def vocabulary_of(backend: LocalBackend) -> int:
    """How many tokens the model knows; ids are below it."""
    return int(_configuration(backend).get_text_config(decoder=True).vocab_size)


def _configuration(backend: LocalBackend) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(backend.folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError) as error:
        line = " ".join(str(error).split())[:160]
        raise ModelError(f"{backend.folder}: the configuration cannot be read ({line})") from None
