"""How a recoverer learns: from true prompts first, then from preferences among the prompts that it then answers itself.

Pairs of the truth against what another model guessed teach how people write, not what they asked for; so both of a pair
come from the recoverer itself, or the better one is the truth, and the worse one says clearly less of it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from promptmill.crafts.recover.candidates import ZERO_SHOT
from promptmill.crafts.recover.config import LearnConfig
from promptmill.crafts.recover.space import Space, scs
from promptmill.crafts.recover.tables import DrawRow
from promptmill.crafts.recover.traces import Trace
from promptmill.errors import InputError
from promptmill.model.load import ModelConfig
from promptmill.model.local import LocalBackend
from promptmill.prompt import Message
from promptmill.train.answers import Answered, Preferred, Taught, Teaching, trainable
from promptmill.train.course import Course
from promptmill.train.settings import TrainSettings
from promptmill.vary.dedup import exactly

STAGES = ("base", "sft", "dpo")
"""What a recoverer has learned: nothing, the true prompts, preferences on top of them. The simpler ones first."""
BLOCK = 256
"""Traces whose answers are compared at a time."""
ROUNDING = 1e-9
Asks = Callable[[Trace], tuple[Message, ...]]
"""What the recoverer is asked about a trace."""
Watch = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class PreferredRow:
    """Of two prompts for a trace the better one and the worse one. gap: by how much, in sharpened cosine with the
    truth. gold: whether the better one is the truth itself."""

    trace_id: str
    chosen: str
    rejected: str
    gap: float
    gold: bool


@dataclass(frozen=True)
class Paired:
    """left_out: traces without a pair, by the reason: unanswered (the recoverer gave no prompt), same (both are one),
    gap (the worse one is nearly as good), poor (the better one is not good), ratio (their lengths differ too much).
    When they are learned, context is a reason too: they are longer than the model's."""

    pairs: tuple[PreferredRow, ...]
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class Learned:
    """What came of a stage. adapters: all that are loaded with it, those that the model had to begin with too."""

    stage: str
    adapters: tuple[Path, ...]
    report: dict[str, Any]

    def model(self, kind: ModelConfig) -> ModelConfig:
        """The recoverer that has learned this. kind: as it was to begin with."""
        return kind.model_copy(update={"adapters": [str(path) for path in self.adapters]})


def balanced(traces: Sequence[Trace], most: int, seed: int) -> list[Trace]:
    """At most so many traces of one cluster, in their order. Which ones follows from seed and id alone, so traces that
    come to other clusters change nothing."""
    ranked: dict[str, list[tuple[str, int]]] = {}
    for at, trace in enumerate(traces):
        ranked.setdefault(_cluster(trace), []).append((_hash("balanced", seed, trace.id), at))
    kept = {at for several in ranked.values() for _, at in sorted(several)[:most]}
    return [trace for at, trace in enumerate(traces) if at in kept]


def weights(traces: Sequence[Trace]) -> list[float]:
    """Of each trace, so that every cluster counts alike; their mean is 1."""
    sizes = Counter(map(_cluster, traces))
    return [len(traces) / (len(sizes) * sizes[_cluster(trace)]) for trace in traces]


def pairs_of(
    draws: Iterable[DrawRow], traces: Sequence[Trace], space: Space, config: LearnConfig, seed: int, least: float = -1.0
) -> Paired:
    """A pair for each trace, or the reason why there is none.

    The worse one is the worst of the recoverer's answers when it was shown nothing else (other draws are passed over),
    by the space's sharpened cosine with the truth. The better one is the best of them; or the truth, for the share
    `config.gold` of the traces, by a hash of their ids. Lengths are compared in characters. least: sharpened cosine
    that the better one must have: the best of wrong answers is wrong too.
    """
    answers: dict[str, list[str]] = {trace.id: [] for trace in traces}
    for row in sorted((one for one in draws if one.source == ZERO_SHOT), key=lambda one: one.draw):
        if row.text is not None and row.trace_id in answers:
            answers[row.trace_id].append(row.text)
    pairs, left_out = list[PreferredRow](), Counter[str]()
    for low in range(0, len(traces), BLOCK):
        part = traces[low : low + BLOCK]
        told = [(_truth(trace), text) for trace in part for text in answers[trace.id]]
        scored = iter(scs(space, [text for _, text in told], [truth for truth, _ in told]).tolist())
        for trace in part:
            pair = _pair(trace, [(next(scored), text) for text in answers[trace.id]], config, seed, least)
            if isinstance(pair, str):
                left_out[pair] += 1
            else:
                pairs.append(pair)
    return Paired(tuple(pairs), dict(sorted(left_out.items())))


def _pair(
    trace: Trace, scored: Sequence[tuple[float, str]], config: LearnConfig, seed: int, least: float
) -> PreferredRow | str:
    """The pair, or why there is none. Of answers that are equally good the first one counts."""
    if not scored:
        return "unanswered"
    gold = int(_hash("gold", seed, trace.id), 16) / 16**16 < config.gold
    best = (1.0, _truth(trace)) if gold else max(scored, key=lambda one: one[0])
    worst = min(scored, key=lambda one: one[0])
    gap, (shorter, longer) = best[0] - worst[0], sorted((len(best[1]), len(worst[1])))
    if exactly(best[1]) == exactly(worst[1]):
        return "same"
    if gap < config.gap:
        return "gap"
    if best[0] < least:
        return "poor"
    if longer > config.ratio * shorter:
        return "ratio"
    return PreferredRow(trace.id, best[1], worst[1], round(gap, 6), gold)


def choose(scores: Mapping[str, float | None]) -> str:
    """The stage with the highest score; of those that are alike the simpler one. A stage without a score (None) is not
    chosen. InputError where none has one."""
    known = [(score, stage) for stage in STAGES if (score := scores.get(stage)) is not None]
    if not known:
        raise InputError("there are no dev traces to choose the best recoverer by: give some the split dev")
    most = max(score for score, _ in known)
    return next(stage for score, stage in known if score >= most - ROUNDING)


@dataclass(frozen=True)
class Learner:
    """kind: the recoverer as it is to begin with. folder: gets each stage's training in a folder of its name."""

    kind: ModelConfig
    config: LearnConfig
    folder: Path
    asks: Asks
    seed: int = 0
    on_row: Callable[[Mapping[str, Any]], None] = lambda row: None
    watch: Watch = lambda phase, done, total: None

    @cached_property
    def backend(self) -> LocalBackend:
        """InputError where the recoverer cannot be trained; no weights are read."""
        return trainable(self.kind, self.config.lora, "recover train")

    @property
    def base(self) -> Learned:
        return Learned("base", self.backend.adapters, {"stage": "base"})

    def lesson(self, traces: Sequence[Trace], split: str) -> list[Trace]:
        """Those of a split that are learned from (train) or looked at (dev), no cluster too often. InputError for one
        without a prompt."""
        mine = [trace for trace in traces if trace.split == split]
        for trace in mine:
            _truth(trace)
        return balanced(mine, self.config.cluster, self.seed)

    def sft(self, traces: Sequence[Trace]) -> Learned:
        """Learn the true prompts of train traces and keep what is best on those of dev; blocks. Goes on where an
        earlier session was. InputError where there is nothing to learn from."""
        train, dev = self.lesson(traces, "train"), self.lesson(traces, "dev")
        clusters, every = set(map(_cluster, train)), sum(trace.split == "train" for trace in traces)
        if not train:
            raise InputError("recover train: there is no trace of the split train, so there is nothing to learn from")
        teaching = self._teaching("sft", self.backend, self.config.train)
        taught = teaching.on_answers(self._answered(train), self._answered(dev))
        return Learned("sft", taught.adapters, {
            "stage": "sft", "examples": len(train), "dev_examples": len(dev), "clusters": len(clusters),
            "left_out": {"cluster": every - len(train), **_too_long(taught)}, **_course(taught),
        })  # fmt: skip

    def dpo(self, before: Learned, traces: Sequence[Trace], paired: Paired) -> Learned:
        """Learn preferences on top of an earlier stage, whose own answers they are among; blocks. Where there is no
        pair of train traces nothing is learned: the stage is as the one before, and says why."""
        pairs = {split: self._preferred(traces, paired, split) for split in ("train", "dev")}
        learned = {trace.id for trace in traces if trace.split == "train"}
        gold = sum(one.gold for one in paired.pairs if one.trace_id in learned)
        told = {
            "stage": "dpo", "pairs": len(pairs["train"]), "dev_pairs": len(pairs["dev"]), "gold": gold,
            "left_out": dict(paired.left_out),
        }  # fmt: skip
        if not pairs["train"]:
            return Learned(
                "dpo", before.adapters, told | {"skipped": "no pair of answers differs enough to learn from"}
            )
        backend = trainable(before.model(self.kind), self.config.lora, "recover train")
        teaching = self._teaching("dpo", backend, self.config.preference)
        config = self.config
        taught = teaching.on_preferences(pairs["train"], pairs["dev"], beta=config.beta, sft=config.sft)
        left_out = {**paired.left_out, **_too_long(taught)}
        return Learned("dpo", taught.adapters, told | {"left_out": left_out} | _course(taught))

    def _answered(self, traces: Sequence[Trace]) -> list[Answered]:
        return [
            Answered(self.asks(trace), _truth(trace), weight)
            for trace, weight in zip(traces, weights(traces), strict=True)
        ]

    def _preferred(self, traces: Sequence[Trace], paired: Paired, split: str) -> list[Preferred]:
        by_id = {trace.id: trace for trace in traces if trace.split == split}
        return [
            Preferred(self.asks(by_id[one.trace_id]), one.chosen, one.rejected)
            for one in paired.pairs
            if one.trace_id in by_id
        ]

    def _teaching(self, stage: str, backend: LocalBackend, settings: TrainSettings) -> Teaching:
        def stepped(course: Course) -> None:
            self.watch(f"{stage}: train", course.step, course.steps)

        return Teaching(
            backend, self.config.lora, settings, self.folder / stage, self.seed,
            on_row=lambda row: self.on_row({"stage": stage, **row}), on_step=stepped,
        )  # fmt: skip


def _too_long(taught: Taught) -> dict[str, int]:
    """Examples that the model's context does not hold, where there are any."""
    count = taught.more["left_out"]
    return {"context": count} if count else {}


def _course(taught: Taught) -> dict[str, Any]:
    """How a training went, for the report."""
    outcome = taught.outcome
    losses = [row["loss"] for row in outcome.rows if "loss" in row]
    return {
        "steps": outcome.steps, "ended": outcome.ended,
        "loss": {"first": losses[0], "last": losses[-1]} if losses else None,
        "validation": {"first": outcome.first, "best": outcome.best, "best_step": outcome.best_step},
        "rows": list(outcome.rows),
    }  # fmt: skip


def _cluster(trace: Trace) -> str:
    """Its cluster; of a trace without one its prompt, case and spacing aside."""
    return f"cluster {trace.cluster}" if trace.cluster is not None else f"prompt {exactly(trace.prompt or '')}"


def _truth(trace: Trace) -> str:
    if trace.prompt is None:
        raise InputError(f"trace {trace.id!r} has no rewrite_prompt, which is what is to be learned")
    return trace.prompt


def _hash(what: str, seed: int, name: str) -> str:
    """Sixteen hexadecimal digits."""
    return hashlib.sha256(f"{what} {seed} {name}".encode()).hexdigest()[:16]
