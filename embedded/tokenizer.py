"""Whole words of the corpus, single bytes for all others, and the chat template.

It is a byte-level BPE without merges: a piece (a word with the space before it, a digit, a mark) that the vocabulary
knows is one token, any other is spelt out. So an unknown word always comes as letters, and what is to be done to
letters (a capital for each, the first one alone, a copy of them) need not be learned piece by piece.

A turn is `<|role|> content<|end|>`: the space belongs to the content's first word, so that a word at the start of a
turn is the same token as inside a text. An answer therefore starts with a space, which decoding leaves to be stripped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from embedded.corpus import corpus
from embedded.layouts import Message

PAD, END = "<|pad|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
VOCABULARY = 2560
RARE = 25  # pieces that come up no more often are spelt out
MAX_LENGTH = 1024
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


def train_tokenizer(
    seed: int, *, examples: int = 60_000, vocabulary: int = VOCABULARY, rare: int = RARE
) -> PreTrainedTokenizerFast:
    """A tokenizer of the corpus of this seed: its most frequent pieces that came up more than `rare` times."""
    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    counts = Counter(piece for text in _contents(seed, examples) for piece, _ in split.pre_tokenize_str(text))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = [PAD, END, *ROLES]
    ranked = sorted(
        (piece for piece, n in counts.items() if n > rare and len(piece) > 1), key=lambda p: (-counts[p], p)
    )
    pieces = [*specials, *alphabet, *ranked[: vocabulary - len(specials) - len(alphabet)]]
    tokenizer = Tokenizer(models.BPE({piece: index for index, piece in enumerate(pieces)}, [], ignore_merges=True))
    tokenizer.add_special_tokens(specials)
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
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
