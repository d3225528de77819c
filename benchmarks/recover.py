"""What a shared beginning brings to the scoring of candidates: all candidates of a trace at once against one by one.

    python benchmarks/recover.py [--candidates 16] [--traces 2] [--repeats 5] [--models embedded random]

What recover weighs candidates by, through its own `Rater`:

posterior   the recoverer's log-probability of each candidate; its request, with both texts in it, is computed once
system      the generator's likelihood of the rewritten text, the candidate in the system turn: before the original, so
            that nothing but the first words of the template is shared
user        the same with both in one turn, the candidate first
text_first  the same with the original first: template and original are shared
default     posterior and system, which is what a run does unless it is told otherwise

Each in three ways, by turns, in alternating order; medians of CPU seconds of one thread:

shared      the local backend as it is: batches, and beginnings that are kept
alone       the local backend too, but a call for each candidate, each alone in its batch and with nothing kept
plain       transformers: a forward pass over the whole sequence for each candidate, log-probabilities of its end

A row is one candidate of one trace. The likelihood of the generic prompt, which every gain is measured against, is
computed once for a trace in all three ways. Rendering and tokenising are in all times. The models: the embedded one
with texts of about a hundred tokens, and a random one of a more usual shape (4 layers, width 256, vocabulary 8,192)
with texts of 300 to 480. All three ways must give the same scores. The last line is one JSON object: rows a second of
shared over plain; prefix_ratio is that of posterior, where a trace's candidates share template and texts, the lower
one of the models.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast, get_args

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.local import WORDS  # noqa: E402
from benchmarks.recover_world import draw_prompts  # noqa: E402
from promptmill.crafts.recover.candidates import request_of  # noqa: E402
from promptmill.crafts.recover.config import CONSTANT, RankConfig  # noqa: E402
from promptmill.crafts.recover.layout import Layout, messages  # noqa: E402
from promptmill.crafts.recover.parts import Rater  # noqa: E402
from promptmill.crafts.recover.space import Grams  # noqa: E402
from promptmill.crafts.recover.traces import Group, Trace  # noqa: E402
from promptmill.model.chat import ScoreRequest  # noqa: E402
from promptmill.model.embedded import embedded_path  # noqa: E402
from promptmill.model.gate import Model, run_blocking  # noqa: E402
from promptmill.model.local import LocalBackend  # noqa: E402
from promptmill.model.local.loading import quiet  # noqa: E402
from promptmill.prompt import Message  # noqa: E402
from promptmill.vary.wording import load_wording  # noqa: E402

WORDING = load_wording()
POSTERIOR, DEFAULT = "posterior", (RankConfig().layout, "posterior")
SCORINGS = (POSTERIOR, *get_args(Layout))
WAYS = ("shared", "alone", "plain")
SAME = 1e-4  # nats (for a likelihood: a token) by which scores of different ways may differ
SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|unknown|>"]
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|> {{ m['content'] }} <|end|> {% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

Score = tuple[float, int]
"""Summed log-probability of a text, and its tokens."""
Ask = Callable[[tuple[Message, ...], str], Awaitable[Score]]


@dataclass(frozen=True)
class Sizes:
    """Of the random model, and words of its texts and candidates; a word is a token. embedded: words of a text for the
    embedded model, about two tokens each."""

    layers: int = 4
    width: int = 256
    vocabulary: int = 8192
    texts: tuple[int, int] = (300, 480)
    candidates: tuple[int, int] = (8, 24)
    embedded: tuple[int, int] = (40, 60)


FULL = Sizes()


@dataclass(frozen=True)
class Ground:
    """A model and what it scores."""

    name: str
    folder: str
    group: Group
    candidates: list[str]

    @property
    def rows(self) -> int:
        return len(self.group.traces) * len(self.candidates)


def embedded_ground(candidates: int, traces: int, sizes: Sizes) -> Ground:
    """Prompts of its world. Texts of its words in any order: what they say is nothing to the time."""
    prompts = [text for text, _ in draw_prompts(candidates, seed=3)]
    return Ground("embedded", str(embedded_path()), drawn_group(WORDS, traces, sizes.embedded), prompts)


def random_ground(candidates: int, traces: int, sizes: Sizes, folder: Path) -> Ground:
    """A model with random weights, saved in `folder`; candidates that do not begin alike."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = [f"w{number}" for number in range(len(SPECIAL), sizes.vocabulary)]
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(SPECIAL + words)}, SPECIAL[-1]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=SPECIAL[0], eos_token=SPECIAL[1])
    fast.add_special_tokens({"additional_special_tokens": SPECIAL[2:]})
    fast.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=sizes.vocabulary, hidden_size=sizes.width, intermediate_size=sizes.width * 11 // 4,
        num_hidden_layers=sizes.layers, num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=4096,
        initializer_range=0.08, tie_word_embeddings=False, bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    with quiet():
        LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    rng = random.Random(3)
    prompts = [drawn_text(rng, words, sizes.candidates) for _ in range(candidates)]
    return Ground("random", str(folder), drawn_group(words, traces, sizes.texts), prompts)


def drawn_group(words: Sequence[str], traces: int, count: tuple[int, int]) -> Group:
    rng = random.Random(7)
    texts = [(drawn_text(rng, words, count), drawn_text(rng, words, count)) for _ in range(traces)]
    return Group("group", tuple(Trace(str(at), *both) for at, both in enumerate(texts)))


def drawn_text(rng: random.Random, words: Sequence[str], count: tuple[int, int]) -> str:
    return " ".join(rng.choice(words) for _ in range(rng.randint(*count)))


def as_it_is(text: str) -> str:
    return text


async def one_by_one(ground: Ground, scoring: str, ask: Ask) -> list[float]:
    """What `Rater` gives for each candidate, a question at a time."""
    found: list[list[float]] = []
    for trace in ground.group.traces:
        if scoring == POSTERIOR:
            asked = request_of(WORDING, trace, as_it_is)
            found.append([(await ask(asked, text))[0] for text in ground.candidates])
            continue
        layout = cast(Layout, scoring)
        scores = [
            await ask(messages(layout, prompt, trace.original), trace.rewritten)
            for prompt in (CONSTANT, *ground.candidates)
        ]
        found.append([(summed - scores[0][0]) / tokens for summed, tokens in scores[1:]])
    return [statistics.fmean(of_candidate) for of_candidate in zip(*found, strict=True)]


def shared(ground: Ground, scoring: str, backend: LocalBackend) -> list[float]:
    """By the craft itself. RuntimeError where a call fails."""
    model = Model(backend)
    config = RankConfig() if scoring == POSTERIOR else RankConfig(layout=cast(Layout, scoring))
    rater = Rater(Grams(), config, WORDING, as_it_is, generator=model, recoverer=model)

    async def rated() -> tuple[list[float | None], str | None]:
        async with model:
            if scoring == POSTERIOR:
                return await rater.posterior(ground.group, ground.candidates)
            return await rater.likelihood(ground.group, ground.candidates)

    found, failed = run_blocking(rated())
    known = [one for one in found if one is not None]
    if failed or len(known) < len(found):
        raise RuntimeError(f"{ground.name}, {scoring}: there are candidates without a score ({failed})")
    return known


def alone(ground: Ground, scoring: str, backend: LocalBackend) -> list[float]:
    async def ask(asked: tuple[Message, ...], text: str) -> Score:
        forget(backend)
        scores = await backend.score(ScoreRequest(asked, (text,)))
        return scores.logprobs[0], scores.tokens[0]

    async def rated() -> list[float]:
        await backend.open()
        try:
            return await one_by_one(ground, scoring, ask)
        finally:
            await backend.close()

    return run_blocking(rated())


def plain(ground: Ground, scoring: str, model: Any, backend: LocalBackend) -> list[float]:
    """backend: for its tokens alone."""

    async def ask(asked: tuple[Message, ...], text: str) -> Score:
        forget(backend)
        ids, (answer,) = backend.chat.continuations(asked, "", (text,))
        with torch.inference_mode():
            logits_T_V = model(input_ids=torch.tensor([[*ids, *answer]]), use_cache=False).logits[0, len(ids) - 1 : -1]
            logs_T_1 = logits_T_V.log_softmax(-1).gather(-1, torch.tensor(answer)[:, None])
        return logs_T_1.double().sum().item(), len(answer)

    return run_blocking(one_by_one(ground, scoring, ask))


def forget(backend: LocalBackend) -> None:
    backend.forget()
    backend.chat.continuation.cache_clear()


def turns(ground: Ground, repeats: int) -> tuple[dict[tuple[str, str], float], float]:
    """Median CPU seconds of each scoring in each way, and the largest difference between two ways; the first turn
    warms up and is not counted. RuntimeError where scores differ by more than SAME."""
    from transformers import AutoModelForCausalLM

    settings: dict[str, Any] = {"dtype": "float32", "device": "cpu", "threads": 1}
    batches = LocalBackend(ground.folder, **settings)
    single = LocalBackend(ground.folder, **settings, batch_size=1)
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(ground.folder, dtype=torch.float32, use_safetensors=True).eval()
    told(ground, batches)
    ways: dict[str, Callable[[Ground, str], list[float]]] = {
        "shared": partial(shared, backend=batches), "alone": partial(alone, backend=single),
        "plain": partial(plain, model=model, backend=batches),
    }  # fmt: skip
    spent: dict[tuple[str, str], list[float]] = {(scoring, way): [] for scoring in SCORINGS for way in WAYS}
    apart = 0.0
    for turn in range(repeats + 1):
        for scoring in SCORINGS:
            scores: dict[str, list[float]] = {}
            for way in WAYS if turn % 2 else WAYS[::-1]:
                forget(batches)
                begin = time.process_time()
                scores[way] = ways[way](ground, scoring)
                if turn:
                    spent[scoring, way].append(time.process_time() - begin)
            apart = max(apart, *(distance(scores[way], scores["plain"]) for way in WAYS))
            if apart > SAME:
                raise RuntimeError(f"{ground.name}, {scoring}: the scores of two ways differ by {apart:.2g}")
    return {key: statistics.median(seconds) for key, seconds in spent.items()}, apart


def distance(some: Sequence[float], others: Sequence[float]) -> float:
    return max(abs(one - other) for one, other in zip(some, others, strict=True))


def told(ground: Ground, backend: LocalBackend) -> None:
    texts = [text for one in ground.group.traces for text in (one.original or "", one.rewritten)]
    lengths, prompts = ([len(backend.chat.encode(text)) for text in some] for some in (texts, ground.candidates))
    print(f"{ground.name}: {len(prompts)} candidates of {min(prompts)} to {max(prompts)} tokens, "
          f"{len(ground.group.traces)} traces, texts of {min(lengths)} to {max(lengths)} tokens")  # fmt: skip


def table(ground: Ground, medians: dict[tuple[str, str], float], apart: float) -> dict[str, float]:
    """Print rows a CPU second; the ratio of shared to plain for each scoring."""
    found = {}
    print("             rows/CPU-s: shared    alone    plain   shared/plain  shared/alone")
    for scoring in (*SCORINGS, "default"):
        parts = DEFAULT if scoring == "default" else (scoring,)
        seconds = {way: sum(medians[part, way] for part in parts) for way in WAYS}
        rows = "".join(f"{ground.rows / seconds[way]:9.1f}" for way in WAYS)
        found[scoring] = seconds["plain"] / seconds["shared"]
        print(f"  {scoring:20}{rows:>29}{found[scoring]:15.2f}{seconds['alone'] / seconds['shared']:14.2f}")
    print(f"  scores differ by {apart:.1g} at most")
    return found


def main(given: Sequence[str] | None = None, sizes: Sizes = FULL) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--traces", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=["embedded", "random"], choices=["embedded", "random"])
    args = parser.parse_args(given)
    torch.set_num_threads(1)
    figures, differences = {}, []
    with TemporaryDirectory() as folder:
        for name in dict.fromkeys(args.models):
            if name == "embedded":
                ground = embedded_ground(args.candidates, args.traces, sizes)
            else:
                ground = random_ground(args.candidates, args.traces, sizes, Path(folder))
            medians, apart = turns(ground, args.repeats)
            found = table(ground, medians, apart)
            figures |= {f"{name}_{scoring}": round(ratio, 2) for scoring, ratio in found.items()}
            differences.append(apart)
    lowest = min(ratio for name, ratio in figures.items() if name.endswith("_posterior"))
    print(json.dumps({"prefix_ratio": lowest, **figures, "difference": float(f"{max(differences):.1g}")}))


if __name__ == "__main__":
    main()
