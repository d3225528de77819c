"""What a search believed to be its best prompt, by task calls: so any search can be read at any budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

MARKS = (1000, 3000, 10000)


@dataclass
class Recorder:
    """calls: gives the task calls made so far. `note` whenever the search's own belief may have changed.

    rows: (task calls, prompt), one for each change of belief. What the truth is plays no part here: a search that takes
    a lucky prompt for the best one is told so by `curve`.
    """

    calls: Callable[[], int]
    rows: list[tuple[int, str]] = field(default_factory=list)

    def note(self, prompt: str) -> None:
        if not self.rows or self.rows[-1][1] != prompt:
            self.rows.append((self.calls(), prompt))

    def at(self, budget: int) -> str | None:
        """The prompt that the search would have returned after so many task calls; None where it had none yet."""
        held = [prompt for calls, prompt in self.rows if calls <= budget]
        return held[-1] if held else None

    def curve(self, quality: Callable[[str], float], marks: Iterable[int] = MARKS, start: str = "") -> dict[str, float]:
        """True quality at each mark. start: the prompt before there was any belief."""
        return {str(mark): round(quality(held if (held := self.at(mark)) is not None else start), 4) for mark in marks}


def result_line(
    optimizer: str, seed: int, variant: str, calls: tuple[int, int], quality: float, curve: dict[str, float]
) -> dict[str, object]:
    """What every driver prints as JSON. calls: task and writer."""
    return {
        "optimizer": optimizer, "seed": seed, "variant": variant, "task_calls": calls[0], "writer_calls": calls[1],
        "quality": round(quality, 4), "curve": curve,
    }  # fmt: skip
