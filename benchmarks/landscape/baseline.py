"""Random search: a rewrite of the best prompt so far, kept where it does better on the same fixed examples."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.landscape.record import Recorder
from benchmarks.landscape.world import Case, Landscape
from benchmarks.landscape.writer import Writer

REQUEST = "Write a new variation of this instruction. Reply with the new instruction only.\n\nInstruction: {}"


@dataclass
class RandomSearch:
    """examples: how many each prompt is measured on. The writer is shown no failures."""

    landscape: Landscape
    examples: int = 50
    seed: int = 0
    task_calls: int = 0
    writer_calls: int = 0

    def run(self, budget: int) -> Recorder:
        """Until so many task calls are made."""
        train = self.landscape.splits["train"]
        sample = random.Random(f"random search {self.seed}").sample(train, self.examples)
        writer, recorder = Writer(self.landscape), Recorder(lambda: self.task_calls)
        best = self.landscape.seed_prompt
        recorder.note(best)
        reached = self._score(best, sample)
        while self.task_calls + self.examples <= budget:
            self.writer_calls += 1
            made = writer.write([REQUEST.format(best)], f"{self.seed}/{self.writer_calls}")
            score = self._score(made, sample)
            if score > reached:
                best, reached = made, score
                recorder.note(best)
        return recorder

    def _score(self, prompt: str, sample: Sequence[Case]) -> int:
        self.task_calls += len(sample)
        return sum(self.landscape.answer((prompt, case.text)) == case.gold for case in sample)
