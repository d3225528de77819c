"""What a whole bake reports: how far the model without the prompt has come to the model with it, and at what loss."""

from __future__ import annotations

from typing import Any

from promptmill.crafts.bake.baker import Baked, Baker
from promptmill.model.local import LocalBackend

WHOLE = 0.9
"""Share of the KL that must be gone for a bake to be called whole."""
MOST_CHANGE = 0.02
"""A loss elsewhere that is called one, where the interval does not reach it."""


def bake_report(
    baker: Baker, baked: Baked, behaviour: list[dict[str, Any]], forgetting: list[dict[str, Any]]
) -> dict[str, Any]:
    """report.json."""
    outcome, config = baked.outcome, baker.config
    return {
        "craft": "bake", "model": baker.backend.name, "prompt": baker.prompt.to_dict(),
        "verdict": verdict(baked, behaviour, forgetting), "adapter": baked.adapter.name,
        "base": base_of(baker.backend),
        "kl": {"first": outcome.first, "best": outcome.best, "drop": baked.drop, "best_step": outcome.best_step},
        "difficulty": baked.difficulty, "behaviour": behaviour, "forgetting": forgetting,
        "sampling": baked.sampling, "settings": config.model_dump(mode="json"), "seed": baker.seed,
        "training": {"steps": outcome.steps, "tokens": outcome.tokens, "ended": outcome.ended,
                     "rows": list(outcome.rows)},
        "warnings": baked.sampling["warnings"],
    }  # fmt: skip


def sample_report(baker: Baker, sampling: dict[str, Any], difficulty: dict[str, Any]) -> dict[str, Any]:
    """report.json of trajectories without training."""
    return {
        "craft": "bake-sample", "model": baker.backend.name, "prompt": baker.prompt.to_dict(),
        "base": base_of(baker.backend), "difficulty": difficulty, "sampling": sampling,
        "settings": {"sample": baker.config.sample.model_dump(mode="json")}, "seed": baker.seed,
        "warnings": sampling["warnings"],
    }  # fmt: skip


def base_of(backend: LocalBackend) -> dict[str, Any]:
    """The model that was baked into, and the adapters that were merged into it for that (whole paths, so that the
    report can be used from anywhere)."""
    return {
        "name": backend.name, "folder": str(backend.folder.resolve()), "dtype": backend.dtype,
        "four_bit": backend.four_bit, "adapters": [str(path.resolve()) for path in backend.adapters],
    }  # fmt: skip


def verdict(baked: Baked, behaviour: list[dict[str, Any]], forgetting: list[dict[str, Any]]) -> str:
    """One sentence: the KL that is gone, the behaviour that came, what was lost."""
    if baked.drop is None:
        said = "baked, but nothing was held out, so nobody knows how well"
    elif baked.drop <= 0:
        return "not baked: on held-out questions the model is no nearer to the prompted one"
    else:
        whole = "baked" if baked.drop >= WHOLE else "baked in part"
        said = f"{whole}: {baked.drop:.1%} of the KL to the prompted model is gone on held-out questions"
    said += "".join(
        f"; {one['task']} {one['baked']['score']:.3f} without the prompt, {one['prompted']['score']:.3f} with it before"
        for one in behaviour
        if one["baked"]["score"] is not None and one["prompted"]["score"] is not None
    )
    lost = [one["task"] for one in forgetting if one["change"]["hi"] < 0 and one["change"]["gain"] < -MOST_CHANGE]
    return said + (f"; worse than before at {', '.join(lost)}" if lost else "")
