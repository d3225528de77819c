"""What a pursuit has brought: how far each round has come, and whether the rounds after the first were worth it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptmill.crafts.bake.pursuit import Pursuit, Round
from promptmill.crafts.bake.summary import base_of
from promptmill.crafts.bake.trajectories import read_trajectories
from promptmill.crafts.bake.worth import Behaviour
from promptmill.measure.compare import Comparison, compare_paired
from promptmill.model.local.loaded import Loaded

WORDS = {"better": "iterating gained", "worse": "iterating lost"}


@dataclass(frozen=True)
class Reached:
    """What a round has come to. kl_to_start: KL per token of the model without the prompt to the prompted one as it was
    before any round. behaviour: on each task."""

    round: Round
    kl_to_start: float | None
    behaviour: tuple[Behaviour, ...]

    def to_dict(self) -> dict[str, Any]:
        baked = self.round.baked
        return {
            "number": self.round.number, "adapter": f"round-{self.round.number}/{baked.adapter.name}",
            "first": baked.outcome.first, "best": baked.outcome.best, "drop": baked.drop,
            "kl_to_start": self.kl_to_start, "unrelated": baked.unrelated,
            "steps": baked.outcome.steps, "tokens": baked.outcome.tokens,
            "behaviour": _scores(self.behaviour, "baked", "baked_prompted"),
        }  # fmt: skip


def kl_to_start(pursuit: Pursuit, first: Round, loaded: Loaded) -> float | None:
    """KL per token of `loaded` without the prompt to the prompted model with which the pursuit began, on the held-out
    answers that this one has drawn in round 1. None where nothing was held out, or where nothing of the teacher was
    kept: it is not at hand any more."""
    from promptmill.crafts.bake.difficulty import initial_kl

    folder: Path = pursuit.folder / "round-1" / "stages" / str(first.baked.sampling["stage"])
    held = [one for one in read_trajectories(folder, "validation") if len(one.answer_ids)]
    if not held or first.baked.sampling["teacher"] == "online":
        return None
    return initial_kl(loaded, held).per_token


def pursuit_report(pursuit: Pursuit, reached: Sequence[Reached]) -> dict[str, Any]:
    """report.json of one round or more."""
    first, last = reached[0], reached[-1]
    gained = [
        (one.task.name, compare_paired(one.evaluations["baked"].stats, after.evaluations["baked"].stats,
                                       one.task.scorer))
        for one, after in zip(first.behaviour, last.behaviour, strict=True)
    ]  # fmt: skip
    start = {
        "number": 0, "first": None, "best": None, "kl_to_start": first.round.baked.outcome.first,
        "behaviour": _scores(first.behaviour, "unprompted", "prompted"),
    }  # fmt: skip
    warnings = dict.fromkeys(line for one in reached for line in one.round.baked.sampling["warnings"])
    return {
        "craft": "bake-pursuit", "model": pursuit.backend.name, "prompt": pursuit.prompt.to_dict(),
        "verdict": verdict(reached, gained), "base": base_of(pursuit.backend), "start": start,
        "rounds": [one.to_dict() for one in reached],
        "gained": [{"task": name, **one.to_dict()} for name, one in gained if len(reached) > 1],
        "settings": pursuit.config.model_dump(mode="json"), "seed": pursuit.seed, "warnings": list(warnings),
    }  # fmt: skip


def verdict(reached: Sequence[Reached], gained: Sequence[tuple[str, Comparison]]) -> str:
    """One sentence: did the rounds after the first gain anything without the prompt?"""
    if len(reached) == 1:
        return "one round: whether iterating gains is seen with two or more (--rounds)"
    if not gained:
        one, all_ = (each.kl_to_start for each in (reached[0], reached[-1]))
        said = "no task was tried (--behaviour), so nobody knows whether iterating gained"
        if one is None or all_ is None:
            return said
        return f"{said}; KL to the prompted model as it was {one:.3f} after one round, {all_:.3f} after {len(reached)}"
    return "; ".join(_said(name, one, len(reached)) for name, one in gained)


def _said(task: str, found: Comparison, rounds: int) -> str:
    if not found.n:
        return f"{task}: no example was answered after both, so nobody knows whether iterating gained"
    words = WORDS.get(found.verdict, "no gain by iterating is shown")
    return (
        f"{words}: {task} without the prompt {found.score_a:.3f} after one round, {found.score_b:.3f} after {rounds}, "
        f"{found.gain:+.3f} (95 % interval {found.lo:+.3f} to {found.hi:+.3f}, {found.n} examples)"
    )


def _scores(behaviour: Sequence[Behaviour], bare: str, prompted: str) -> list[dict[str, Any]]:
    """Two of the four ways of each task."""
    return [
        {"task": one.task.name, "bare": one.evaluations[bare].score, "prompted": one.evaluations[prompted].score,
         "n": one.evaluations[bare].answered}
        for one in behaviour
    ]  # fmt: skip
