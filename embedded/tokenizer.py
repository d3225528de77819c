"""Byte-level BPE over the corpus, and the chat template.

A turn is `<|role|> content<|end|>`: the space belongs to the content's first word, so that a word at the start of a
turn is the same token as inside a text. An answer therefore starts with a space, which decoding leaves to be stripped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from embedded.corpus import corpus
from embedded.layouts import Message

PAD, END = "<|pad|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
VOCABULARY = 2048
MAX_LENGTH = 512
# Words, single digits (so that numbers are read digit by digit), marks, space; a space goes with what follows it.
_PIECES = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# The answer is marked for assistant masks; its end token is a part of it.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "{{- '<|assistant|>' -}}{%- generation -%}{{- ' ' + message['content'] + '<|end|>' -}}{%- endgeneration -%}"
    "{%- else -%}"
    "{{- '<|' + message['role'] + '|> ' + message['content'] + '<|end|>' -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def render(messages: list[Message]) -> str:
    """What the chat template writes, up to where the answer starts (faster than the template)."""
    return "".join(f"<|{m['role']}|> {m['content']}{END}" for m in messages) + "<|assistant|>"


def _contents(seed: int, count: int) -> Iterator[str]:
    for example in corpus(f"{seed}/tokenizer", count):
        for message in example.messages:
            yield " " + message["content"]
        yield " " + example.answer


def train_tokenizer(seed: int, *, examples: int = 30_000, vocabulary: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """A tokenizer of the corpus of this seed."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=20,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_contents(seed, examples), trainer)
    return wrap(tokenizer)


def wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """For transformers: special tokens, left padding, the chat template."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=list(ROLES),
        padding_side="left",
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def load(folder: Path) -> Tokenizer:
    """The plain tokenizer of a folder that transformers wrote."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
