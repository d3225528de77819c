"""How good a model of this world is, on reserved texts. `benchmarks/embedded.py` prints it, the model card holds it.

Greedy answers in float32. "held" phrasings were in no training example; "gold" is the right result, "world" what the
corpus teaches for that quality of instruction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from embedded import judging
from embedded.cases import MAKERS, SPLITS
from embedded.grammar import TASKS, as_sentence, draw
from embedded.layouts import Example, Message, system, user
from embedded.phrasings import STYLES
from embedded.talk import chat_example, persona_example
from embedded.transforms import TRANSFORMS

MAX_NEW = 160
Rows = dict[str, float]


def load(folder: Path) -> tuple[Any, Any]:
    """Model in float32 and tokenizer of a folder."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def encode(tokenizer: Any, chats: Sequence[list[Message]]) -> Any:
    """A left-padded batch of chats, each up to where its answer begins."""
    texts = [tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) for chat in chats]
    return tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)


def _by_length(chats: Sequence[list[Message]], batch: int) -> list[list[int]]:
    """Groups of like length, by their places in `chats`."""
    order = sorted(range(len(chats)), key=lambda at: sum(len(message["content"]) for message in chats[at]))
    return [order[begin : begin + batch] for begin in range(0, len(order), batch)]


def ask(model: Any, tokenizer: Any, chats: Sequence[list[Message]], *, batch: int = 64) -> list[str]:
    """Greedy answers; questions of like length go together."""
    answers = [""] * len(chats)
    for members in _by_length(chats, batch):
        encoded = encode(tokenizer, [chats[at] for at in members])
        with torch.inference_mode():
            made = model.generate(
                input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"], max_new_tokens=MAX_NEW,
                do_sample=False,
            )  # fmt: skip
        new = tokenizer.batch_decode(made[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
        for at, text in zip(members, new, strict=True):
            answers[at] = text.strip()
    return answers


def first_token(model: Any, tokenizer: Any, chats: Sequence[list[Message]], words: Sequence[str]) -> torch.Tensor:
    """Log-probabilities that an answer begins with each of the words (each one token): (chats, words)."""
    ids = [tokenizer(f" {word}", add_special_tokens=False)["input_ids"] for word in words]
    assert all(len(tokens) == 1 for tokens in ids), f"not one token each: {words}"
    found = torch.empty(len(chats), len(words))
    for members in _by_length(chats, 64):
        encoded = encode(tokenizer, [chats[at] for at in members])
        with torch.inference_mode():
            logits = model(**{k: encoded[k] for k in ("input_ids", "attention_mask")}).logits[:, -1].float()
        found[members] = logits.log_softmax(-1)[:, [tokens[0] for tokens in ids]]
    return found


def auc(scores: Sequence[float], right: Sequence[bool]) -> float:
    """Area under the ROC curve: how often a right one scores above a wrong one, ties half (Mann-Whitney)."""
    good = torch.tensor([score for score, is_right in zip(scores, right, strict=True) if is_right])
    bad = torch.tensor([score for score, is_right in zip(scores, right, strict=True) if not is_right])
    above = (good[:, None] > bad).double() + 0.5 * (good[:, None] == bad).double()
    return float(above.mean())


def answer_rows(model: Any, tokenizer: Any, n: int, seed: int, show: int = 0) -> tuple[Rows, dict[str, int]]:
    """The share of right answers by row, and how many there were; prints `show` mistakes a row."""
    rng = Random(seed)
    cases = [case for make in MAKERS for case in make(rng, n)]
    unique = {id(case.example): case.example for case in cases}
    answers = dict(zip(unique, ask(model, tokenizer, [e.messages for e in unique.values()]), strict=True))
    hits: dict[str, list[bool]] = defaultdict(list)
    shown: dict[str, int] = defaultdict(int)
    for case in cases:
        answer = answers[id(case.example)]
        hits[case.row].append(case.right(answer))
        if not hits[case.row][-1] and shown[case.row] < show and not case.row.startswith("phrasing"):
            shown[case.row] += 1
            turns = " | ".join(message["content"] for message in case.example.messages)
            print(f"  miss in {case.row}: {turns!r} wanted {case.example.answer!r} got {answer!r}")
    return {row: sum(h) / len(h) for row, h in hits.items()}, {row: len(h) for row, h in hits.items()}


def judge_rows(model: Any, tokenizer: Any, n: int, seed: int) -> Rows:
    """Accuracy, and how well the probabilities tell right outputs from wrong ones, by kind of fault."""
    rng, rows = Random(f"{seed}/judge"), Rows()
    kinds: tuple[tuple[str, float, Any], ...] = (
        ("all", 0.5, "held"), ("coarse faults", 1.0, "train"), ("one-word faults", 0.0, "train"),
    )  # fmt: skip
    for name, coarse, split in kinds:
        drawn = [judging.judge_example(rng, split=split, reserved=True, coarse=coarse) for _ in range(4 * n)]
        right = [example.answer == "yes" for example in drawn]
        said = first_token(model, tokenizer, [example.messages for example in drawn], ("yes", "no"))
        scores = (said[:, 0] - said[:, 1]).tolist()
        rows[f"judge AUC {name}"] = auc(scores, right)
        rows[f"judge accuracy {name}"] = sum((s > 0) == r for s, r in zip(scores, right, strict=True)) / len(right)
    rated = [judging.rate_example(rng, reserved=True, criterion="correctness") for _ in range(4 * n)]
    levels = torch.tensor([float(example.answer) for example in rated])
    said = first_token(model, tokenizer, [example.messages for example in rated], ("1", "2", "3", "4", "5"))
    expected = (said.softmax(-1) * torch.arange(1, 6)).sum(-1)
    rows["rating AUC (5 against less)"] = auc(expected.tolist(), (levels == 5).tolist())
    rows["rating exact level"] = float((said.argmax(-1) + 1 == levels).double().mean())
    rows["rating mean error, levels"] = float((expected - levels).abs().mean())
    pairs = [judging.compare_example(rng, reserved=True) for _ in range(2 * n)]
    chosen = first_token(model, tokenizer, [example.messages for example in pairs], ("A", "B")).argmax(-1)
    rows["compare"] = sum("AB"[c] == e.answer for c, e in zip(chosen.tolist(), pairs, strict=True)) / len(pairs)
    return rows


def divergence(model: Any, tokenizer: Any, examples: Sequence[Example]) -> float:
    """Nats per answer token between the model under its system prompt and without it, on the prompted answers.

    KL(prompted || unprompted), the mean over the tokens of the greedy prompted answers: what baking has to move.
    """
    chats = [[m for m in example.messages if m["role"] == "system"] + example.messages[-1:] for example in examples]
    answers = ask(model, tokenizer, chats)
    total, count = 0.0, 0
    for chat, answer in zip(chats, answers, strict=True):
        tail = tokenizer(f" {answer}<|end|>", add_special_tokens=False)["input_ids"]
        scored = []
        for shown in (chat, chat[-1:]):
            head = encode(tokenizer, [shown])["input_ids"]
            with torch.inference_mode():
                logits = model(torch.cat([head, torch.tensor([tail])], 1)).logits[0, -len(tail) - 1 : -1].float()
            scored.append(logits.log_softmax(-1))
        prompted, unprompted = scored
        total += float((prompted.exp() * (prompted - unprompted)).sum())
        count += len(tail)
    return total / count


def system_rows(model: Any, tokenizer: Any, n: int, seed: int) -> Rows:
    """How far a system prompt moves the answers, in nats per token."""
    rng, rows = Random(f"{seed}/system"), Rows()
    styles = [chat_example(rng, reserved=True) for _ in range(n // 4)]
    rows["nats per token, a style"] = divergence(model, tokenizer, styles)
    personas = [persona_example(rng) for _ in range(n // 4)]
    rows["nats per token, a persona"] = divergence(model, tokenizer, personas)
    plain = [
        Example("", [system(as_sentence(draw(rng, STYLES["upper"]))), user(e.messages[-1]["content"])], "")
        for e in (chat_example(rng, reserved=True, style=None) for _ in range(n // 4))
    ]
    rows["nats per token, uppercase"] = divergence(model, tokenizer, plain)
    return rows


def spreads(rows: Rows) -> dict[str, tuple[float, float, float]]:
    """Best, median and worst of the phrasings of each task."""
    found = {}
    for task in TASKS:
        shares = sorted(share for row, share in rows.items() if row.startswith(f"phrasing {task} "))
        found[task] = (shares[-1], shares[len(shares) // 2], shares[0])
    return found


def summary(rows: Rows) -> dict[str, float]:
    """The figures that the benchmark ends with."""

    def mean(names: Sequence[str]) -> float:
        return sum(rows[name] for name in names) / len(names)

    def both(row: str) -> float:
        return mean([f"{row} {split}" for split in SPLITS])

    held = [rows[f"transform {task} held"] for task in TRANSFORMS]
    return {
        "transforms_mean": sum(held) / len(held),
        "transforms_min": min(held),
        "math_steps": both("arithmetic worked"),
        "math_direct": both("arithmetic direct"),
        "rewrite_same_task": both("rewrite same task"),
        "recover_task": rows["recover task"],
        "judge_auc": rows["judge AUC all"],
        "unknown_words": mean([f"unknown words {task}" for task in TRANSFORMS]),
        "long_texts": mean([f"25 words {task}" for task in TRANSFORMS]),
        "other_marker": mean([f"other marker {task}" for task in TRANSFORMS]),
        "facts": rows["fact"],
        "styles": both("style"),
        "nats_per_token": rows["nats per token, a style"],
    }


def measure(folder: Path, n: int, seed: int = 99, show: int = 0) -> tuple[Rows, dict[str, int]]:
    """All rows of a model, and the number of questions of those that are shares of right answers."""
    model, tokenizer = load(folder)
    rows, counts = answer_rows(model, tokenizer, n, seed, show)
    rows |= judge_rows(model, tokenizer, n, seed) | system_rows(model, tokenizer, n, seed)
    return rows, counts
