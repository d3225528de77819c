"""Prompt pursuit: bake, put the prompt before the baked model again, bake what it does then, and so on (Prompt Baking,
arXiv 2409.13697).

Each round is a bake of its own into the model as the round before has left it. A round's adapter holds its own change
only; all of them loaded together are the model of that round, exactly (`--adapter` several times, or `bake combine`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptmill.crafts.bake.baker import Baked, Baker, Watch
from promptmill.crafts.bake.card import adapter_card
from promptmill.crafts.bake.clock import times_of
from promptmill.crafts.bake.compare_run import page_of
from promptmill.crafts.bake.config import BakeConfig
from promptmill.crafts.bake.questions import Question
from promptmill.crafts.bake.summary import bake_report
from promptmill.crafts.bake.unrelated import Texts
from promptmill.errors import InputError
from promptmill.model.local import LocalBackend
from promptmill.prompt import Prompt
from promptmill.store.files import write_text
from promptmill.store.run import Run
from promptmill.store.stage import digest


@dataclass(frozen=True)
class Round:
    """number: from 1. adapters: those of all rounds so far, in order, to be loaded together on what the pursuit began
    with."""

    number: int
    baked: Baked
    adapters: tuple[Path, ...]


@dataclass
class Pursuit:
    """backend: the model that it begins with. folder: gets a run for each round (round-1, round-2, …).
    others: prompts to be rehearsed; each round is held to the model as that round has found it. texts: see Baker."""

    backend: LocalBackend
    prompt: Prompt
    questions: Sequence[Question]
    others: Sequence[str]
    config: BakeConfig
    folder: Path
    seed: int = 0
    watch: Watch = lambda phase, done, total: None
    texts: Texts | None = None

    def rounds(self, count: int) -> Iterator[Round]:
        """Bake `count` times, each round yielded when it is done, so a caller may look at it and end there. Blocks.
        What was begun in the folder before goes on. InputError as of `stackable`."""
        stackable(self.backend, self.config)
        adapters: tuple[Path, ...] = ()
        for number in range(1, count + 1):
            baked = self._bake(number, adapters)
            adapters = (*adapters, baked.adapter)
            yield Round(number, baked, adapters)

    def _bake(self, number: int, adapters: tuple[Path, ...]) -> Baked:
        backend = stacked(self.backend, adapters)
        with Run(self.folder / f"round-{number}", "bake", self._identity(backend)) as run:
            # Another seed for each round: the same random numbers would draw much the same answers again.
            seed = self.seed + number - 1
            baker = Baker(backend, self.prompt, self.questions, self.others, self.config, run, seed, self.watch,
                          texts=self.texts)  # fmt: skip
            baked = baker.bake()
            report = bake_report(baker, baked, [], []) | {"name": f"round {number}", "unrelated": baked.unrelated}
            write_text(baked.adapter / "README.md", adapter_card(report))
            run.finish(report, lambda data: page_of(run.folder, data | {"times": times_of(run.folder)}))
        return baked

    def _identity(self, backend: LocalBackend) -> dict[str, Any]:
        return {
            "model": backend.fingerprint, "prompt": self.prompt.to_dict(),
            "questions": digest([[one.text, one.split] for one in self.questions]), "others": digest(list(self.others)),
            "bake": self.config.model_dump(mode="json"), "seed": self.seed,
        }  # fmt: skip


def stackable(backend: LocalBackend, config: BakeConfig) -> LocalBackend:
    """InputError for a model whose adapters cannot be merged into it: another cannot be trained on top of them. And
    for a training that gives no adapter."""
    if config.full:
        raise InputError("bake.full: a pursuit puts adapters on top of each other; leave it out, or use bake run")
    if backend.dtype != "float32" or backend.four_bit:
        raise InputError(
            f"{backend.name} in {'4 bit' if backend.four_bit else backend.dtype} cannot be baked on "
            "top of a bake, which is merged for that: load it in float32 (--dtype float32)"
        )
    return backend


def stacked(backend: LocalBackend, adapters: Sequence[Path]) -> LocalBackend:
    """The same model with further adapters merged into it; in float32 their changes add up exactly."""
    made = LocalBackend(
        str(backend.folder), adapters=[str(path) for path in (*backend.adapters, *adapters)], dtype=backend.dtype,
        load_in_4bit=backend.four_bit, device=backend.device, batch_size=backend.batch_size,
    )  # fmt: skip
    made.name = backend.name
    return made
