"""Half-baking: what a baked model is at other strengths of its adapter (Prompt Baking, arXiv 2409.13697).

Strength 0 is the model as it was, 1 as it was trained, between them it is baked in part. All here works on a model in
memory, wrapped by peft; the same strength is written out by `promptmill bake export --strength`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from promptmill.measure.evaluate import Stats
from promptmill.model.local.loaded import Loaded
from promptmill.prompt import Message, Prompt
from promptmill.score.scorer import Scorer, corpus_score
from promptmill.tasks.task import Example, Task

if TYPE_CHECKING:
    from promptmill.train.batches import Item

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
ROWS = 64


@dataclass(frozen=True)
class Trial:
    """Examples of a task under a prompt, to be answered greedily with at most so many new tokens."""

    task: Task
    prompt: Prompt
    examples: Sequence[Example]
    max_new_tokens: int = 128


@dataclass(frozen=True)
class Point:
    """kl: to the prompted model, nats a token, on the items of the sweep. stats: for each trial, in order, the scores'
    additive statistics by example id; two points are compared with measure.compare.compare_paired."""

    strength: float
    kl: float
    stats: tuple[Mapping[str, Stats], ...]

    def scores(self, scorers: Sequence[Scorer]) -> list[float]:
        return [corpus_score(scorer, rows.values()) for scorer, rows in zip(scorers, self.stats, strict=True)]


def swept(
    model: Any, loaded: Loaded, items: Sequence[Item], trials: Sequence[Trial], strengths: Sequence[float] = STRENGTHS
) -> list[Point]:
    """The model at each strength, in order; afterwards it is as it was.

    model: with a LoRA adapter (peft). loaded: of the same base, for its chat template and end tokens. items: held-out
    answers of the prompted model with their teacher (see baker.item_of).
    """
    from promptmill.train.targets import at_strength

    found = []
    for strength in strengths:
        with at_strength(model, strength):
            stats = tuple(answered(model, loaded, trial) for trial in trials)
            found.append(Point(strength, kl_per_token(model, items), stats))
    return found


def kl_per_token(model: Any, items: Sequence[Item], rows: int = ROWS) -> float:
    """Mean KL(teacher || model) in nats over the answers' tokens, as the model stands. A teacher that is not stored is
    the model without its adapter; without one (merged, say) the items must have theirs stored."""
    import torch

    from promptmill.train.batches import Seen, collate
    from promptmill.train.distil import Distil
    from promptmill.train.head import answering, head_of
    from promptmill.train.teacher import OnlineTeacher

    head, device = head_of(model), next(model.parameters()).device
    asked = any(isinstance(item.teacher, Seen) for item in items)
    objective = Distil(head, OnlineTeacher(model, head) if asked else None)
    total = count = 0.0
    with torch.no_grad(), answering(model):
        for low in range(0, len(items), rows):
            loss = objective.loss(model, collate(items[low : low + rows], device))
            total, count = total + loss.total.item(), count + loss.count
    return total / count


def answered(model: Any, loaded: Loaded, trial: Trial) -> dict[str, Stats]:
    """The statistics of the model's greedy answers, by example id."""
    scorer = trial.task.scorer
    asked = [(trial.prompt.render(one.fields), trial.prompt.prefix) for one in trial.examples]
    answers = greedy(model, loaded, asked, trial.max_new_tokens)
    return {
        one.id: scorer.score(answer, one.gold, one.fields).row
        for one, answer in zip(trial.examples, answers, strict=True)
    }


def greedy(
    model: Any, loaded: Loaded, asked: Sequence[tuple[tuple[Message, ...], str]], most: int, rows: int = ROWS
) -> list[str]:
    """The likeliest answer to each (messages, prefix), token by token, in order."""
    contexts = [loaded.chat.encode_chat(messages, loaded.chat.begin(prefix)[0]) for messages, prefix in asked]
    order = sorted(range(len(contexts)), key=lambda at: len(contexts[at]))
    answers = [""] * len(contexts)
    for low in range(0, len(order), rows):
        places = order[low : low + rows]
        for at, ids in zip(places, _extended(model, [contexts[at] for at in places], loaded.eos, most), strict=True):
            answers[at] = loaded.chat.decode(ids).strip()
    return answers


def _extended(model: Any, contexts: Sequence[Sequence[int]], ends: frozenset[int], most: int) -> list[list[int]]:
    import torch
    from transformers import GenerationConfig

    from promptmill.train.head import answering

    width, device = max(map(len, contexts)), next(model.parameters()).device
    ids = [[0] * (width - len(context)) + list(context) for context in contexts]
    mask = [[0] * (width - len(context)) + [1] * len(context) for context in contexts]
    stop = sorted(ends)
    plain = GenerationConfig()  # a repetition penalty of the model's own, say, plays no part
    with torch.inference_mode(), answering(model):
        out = model.generate(
            input_ids=torch.tensor(ids, device=device), attention_mask=torch.tensor(mask, device=device),
            generation_config=plain, max_new_tokens=most, do_sample=False, eos_token_id=stop or None,
            pad_token_id=stop[0] if stop else 0,
        )  # fmt: skip
    return [_before_end(row, ends) for row in out[:, width:].tolist()]


def _before_end(tokens: Sequence[int], ends: frozenset[int]) -> list[int]:
    length = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return list(tokens[:length])


def is_monotone(values: Sequence[float], slack: float = 0.0) -> bool:
    """Whether no value is below the one before it by more than `slack`."""
    return all(after >= before - slack for before, after in pairwise(values))
