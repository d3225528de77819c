"""The training run: seeded, checkpointed, resumable. `train` starts or continues one.

In phases, counted in tokens: each is a mixture with a warm-up, a steady rate perhaps, and a straight decay to nothing;
the later ones have more of what is learned late. The matrices go to Muon, the rest to AdamW. A checkpoint is one file
of tensors and plain values, read with weights_only: no code can come out of it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from embedded import data, tokenizer
from embedded.corpus import MIXTURES
from embedded.lean import LeanLlama, Shape, to_transformers


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a run: so many tokens of a mixture (a name in corpus.MIXTURES), after a warm-up at this rate.

    steady: the share of them before the rate goes down, in a straight line to nothing.
    """

    mixture: str
    tokens: int
    rate: float
    steady: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of a run. warmup: tokens at the start of each phase in which the rate goes up."""

    seed: int
    phases: tuple[Phase, ...]
    warmup: int = 300_000
    batch_tokens: int = 4096
    shard_examples: int = 20_000
    weight_decay: float = 0.02

    def begin(self, phase: int) -> int:
        """Tokens before a phase."""
        return sum(one.tokens for one in self.phases[:phase])

    @property
    def total(self) -> int:
        return self.begin(len(self.phases))

    @classmethod
    def read(cls, data: dict[str, Any]) -> Plan:
        """What `asdict` gave."""
        return cls(**data | {"phases": tuple(Phase(**phase) for phase in data["phases"])})


@dataclass(slots=True)
class Progress:
    """How far a run is: phase, shard and batches done in it, steps, tokens seen and learned from, seconds spent."""

    shard: int = 0
    batch: int = 0
    step: int = 0
    tokens: int = 0
    answer_tokens: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    phase: int = 0


@dataclass(slots=True)
class Run:
    """All that changes in a run."""

    plan: Plan
    model: LeanLlama
    optimizers: list[torch.optim.Optimizer]
    progress: Progress = field(default_factory=Progress)

    @classmethod
    def start(cls, plan: Plan, shape: Shape) -> Run:
        torch.manual_seed(plan.seed)
        model = LeanLlama(shape)
        matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and name != "embedding"]
        others = [p for name, p in model.named_parameters() if p.ndim != 2 or name == "embedding"]
        muon = torch.optim.Muon(
            matrices,
            lr=plan.phases[0].rate,
            momentum=0.95,
            weight_decay=plan.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        adam = torch.optim.AdamW(others, lr=plan.phases[0].rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        return cls(plan, model, [muon, adam])

    def rate(self) -> float:
        """The learning rate at the tokens seen so far."""
        plan, phase = self.plan, self.plan.phases[self.progress.phase]
        seen = self.progress.tokens - plan.begin(self.progress.phase)
        warm = (seen + plan.batch_tokens) / plan.warmup
        left = (phase.tokens - seen) / (phase.tokens * (1 - phase.steady))
        return phase.rate * min(1.0, warm, max(left, 0.01))

    def step(self, batch: data.Batch) -> float:
        """One update; gives the loss."""
        rate = self.rate()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        losses = F.cross_entropy(self.model(batch.rows, batch.chosen).float(), batch.targets, reduction="none")
        loss = (losses * batch.weights).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.progress.step += 1
        self.progress.tokens += batch.tokens
        self.progress.answer_tokens += len(batch.targets)
        return loss.item()

    def save(self, path: Path) -> None:
        """Write the checkpoint whole or not at all."""
        state = {
            "plan": asdict(self.plan), "shape": asdict(self.model.shape), "progress": asdict(self.progress),
            "model": self.model.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers],
            "rng": torch.get_rng_state(),
        }  # fmt: skip
        torch.save(state, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)

    @classmethod
    def load(cls, path: Path) -> Run:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        run = cls.start(Plan.read(state["plan"]), Shape(**state["shape"]))
        run.model.load_state_dict(state["model"])
        for optimizer, saved in zip(run.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        torch.set_rng_state(state["rng"])
        run.progress = Progress(**state["progress"])
        return run


def load_or_train_tokenizer(folder: Path, seed: int) -> PreTrainedTokenizerFast:
    if not (folder / "tokenizer.json").exists():
        tokenizer.train_tokenizer(seed).save_pretrained(folder)
    loaded: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(folder)
    return loaded


def export(run: Run, folder: Path, fast: PreTrainedTokenizerFast) -> None:
    """The model and its tokenizer as transformers loads them, in float16."""
    to_transformers(run.model).half().save_pretrained(folder)
    fast.save_pretrained(folder)


def stream(run: Run, fast: PreTrainedTokenizerFast) -> Iterator[data.Batch]:
    """The batches from where a run stands; its position moves on with each."""
    plan, progress = run.plan, run.progress
    while progress.tokens < plan.total:
        end = plan.begin(progress.phase + 1)
        if progress.tokens >= end:
            progress.phase, progress.shard, progress.batch = progress.phase + 1, progress.shard + 1, 0
            continue
        mixture = MIXTURES[plan.phases[progress.phase].mixture]
        shard = data.make_shard(fast.backend_tokenizer, plan.seed, progress.shard, plan.shard_examples, mixture)
        for number, batch in enumerate(data.batches(shard, plan.seed, progress.shard, plan.batch_tokens)):
            if number < progress.batch:
                continue
            progress.batch = number + 1
            yield batch
            if progress.tokens >= end:
                break
        else:
            progress.shard, progress.batch = progress.shard + 1, 0


def train(
    folder: Path,
    plan: Plan,
    shape: Shape,
    *,
    log_every: float = 20,
    save_every: float = 120,
    until_step: int | None = None,
) -> Run:
    """Train in a folder, from its checkpoint where there is one (its plan counts then). Exports at each checkpoint.

    until_step: stop there, with a checkpoint, as if interrupted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fast = load_or_train_tokenizer(folder / "tokenizer", plan.seed)
    checkpoint = folder / "checkpoint.pt"
    sized = replace(shape, vocabulary=(len(fast) + 7) // 8 * 8)
    run = Run.load(checkpoint) if checkpoint.exists() else Run.start(plan, sized)
    parameters = sum(p.numel() for p in run.model.parameters())
    print(json.dumps({"parameters": parameters} | asdict(run.plan)), flush=True)
    progress = run.progress
    begun = (time.monotonic() - progress.wall, time.process_time() - progress.cpu)
    logged = saved = time.monotonic()
    losses: list[float] = []

    def keep() -> None:
        run.save(checkpoint)
        export(run, folder / "export", fast)
        (folder / "progress.json").write_text(json.dumps(asdict(progress)) + "\n", encoding="utf-8")

    for batch in stream(run, fast):
        losses.append(run.step(batch))
        now = time.monotonic()
        progress.wall, progress.cpu = now - begun[0], time.process_time() - begun[1]
        if now - logged > log_every:
            _log(run, sum(losses) / len(losses))
            logged, losses = now, []
        if now - saved > save_every:
            keep()
            saved = time.monotonic()
        if progress.step == until_step:
            break
    _log(run, sum(losses) / max(1, len(losses)))
    keep()
    return run


def _log(run: Run, loss: float) -> None:
    p = run.progress
    print(
        f"step {p.step} tokens {p.tokens / 1e6:.2f}M loss {loss:.4f} rate {run.rate():.5f} wall {p.wall:.0f}s "
        f"cpu {p.cpu:.0f}s {p.tokens / p.wall:,.0f} tok/s",
        flush=True,
    )
