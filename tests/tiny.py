"""Small random models with a real tokenizer and chat template, built in a moment and saved as a Hugging Face folder;
questions to put to them, and what transformers itself answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promptmill.model.chat import Completion, Request, Sampling, ScoreRequest

SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
# The embedded model's template: answers begin with a space.
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|> {{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TEXTS = [
    "the quick brown fox jumps over the lazy dog",
    "answer yes or no , please : is the sky blue ?",
    "reverse the words of the text and write them in uppercase",
    "my cat and our dog like red apples and green pears",
    "positive negative neutral maybe yes please no thanks",
]


def tiny_tokenizer(vocab: int = 400, template: str | None = TEMPLATE) -> Any:
    """A byte-level BPE tokenizer trained on a few sentences: 256 bytes, five special tokens, the rest merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>")
    fast.chat_template = template
    return fast


def tiny_config(kind: str, vocab: int, **changes: Any) -> Any:
    """A config of a few thousand weights. kind: a transformers model type; mistral gets a sliding window of 24."""
    from transformers import AutoConfig

    common: dict[str, Any] = {"vocab_size": vocab, "pad_token_id": 0, "eos_token_id": 1, "initializer_range": 0.3}
    if kind == "gpt2":
        common |= {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 256, "bos_token_id": 1}
    elif kind == "bloom":
        common |= {"hidden_size": 48, "n_layer": 2, "n_head": 4}
    else:
        common |= {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        common |= {"num_key_value_heads": 2, "head_dim": 12, "max_position_embeddings": 256, "bos_token_id": None}
        common |= {"tie_word_embeddings": False}
    if kind == "mistral":
        common["sliding_window"] = 24
    return AutoConfig.for_model(kind, **(common | changes))


def tiny_model(
    folder: Path, kind: str = "llama", *, seed: int = 0, template: str | None = TEMPLATE, **changes: Any
) -> Path:
    """Build a random model of `kind` with the tiny tokenizer and save both in `folder`, which is returned."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    tokenizer = tiny_tokenizer(template=template)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(kind, len(tokenizer), **changes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


WORDS = " ".join(TEXTS).split()
SYSTEM = "answer yes or no , please : " + " ".join(WORDS[:20])


def question(text: str, **changes: Any) -> Request:
    sampling = {key: changes.pop(key) for key in list(changes) if key in Sampling.__dataclass_fields__}
    return Request((("system", SYSTEM), ("user", text)), Sampling(**{"max_tokens": 16, **sampling}), **changes)


def questions(count: int, **changes: Any) -> list[Request]:
    rng = random.Random(5)
    return [question(" ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 30))), **changes) for _ in range(count)]


def ask(backend: Any, requests: Sequence[Any]) -> list[Any]:
    """All at once; a CallError is given back in its place."""

    async def run() -> list[Any]:
        await backend.open()
        try:
            calls = [backend.score(r) if isinstance(r, ScoreRequest) else backend.complete(r) for r in requests]
            return await asyncio.gather(*calls, return_exceptions=True)
        finally:
            await backend.close()

    return asyncio.run(run())


def texts_of(completions: Sequence[Completion]) -> list[list[str]]:
    return [[answer.text for answer in completion.answers] for completion in completions]


def reference(folder: Path) -> Any:
    """The model as transformers loads it."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def direct(backend: Any, model: Any, prompt: str, answer: str, end: bool = False) -> float:
    """The log-probability of `answer` after `prompt` by one plain forward pass."""
    import torch

    ids, tail = backend.chat.encode(prompt), backend.chat.encode(answer) + ([1] if end else [])
    logs = model(torch.tensor([ids + tail])).logits[0].log_softmax(-1)
    return sum(logs[len(ids) - 1 + index, token].item() for index, token in enumerate(tail))


def generated(model: Any, ids: Sequence[int], new: int) -> list[int]:
    """New tokens by transformers' greedy generate, one prompt at a time."""
    import torch

    ids_1_T = torch.tensor([list(ids)])
    mask = torch.ones_like(ids_1_T)
    out = model.generate(ids_1_T, attention_mask=mask, max_new_tokens=new, do_sample=False, pad_token_id=0)
    return [int(token) for token in out[0, len(ids) :]]
