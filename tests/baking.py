"""What the tests of `bake` share: a prompt, questions, and a whole sampling in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from promptmill.crafts.bake.config import BakeSampleConfig
from promptmill.crafts.bake.questions import questions_of
from promptmill.crafts.bake.sample import plan_sampling, sample
from promptmill.crafts.bake.trajectories import Trajectory, read_trajectories
from promptmill.model.local.loaded import Loaded
from promptmill.prompt import Prompt
from promptmill.settings import checked
from promptmill.store.stage import Stage
from tests.tiny import SYSTEM

PROMPT = Prompt(system=SYSTEM)
ASKED = ["is the sky blue ?", "the dog", "red apples and green pears , please", "my cat likes the lazy dog", "no"]


def config_of(**changes: Any) -> BakeSampleConfig:
    return checked(BakeSampleConfig, {"sequences": 3, "max_new_tokens": 10, "k": 8} | changes)


def drawn(
    loaded: Loaded,
    folder: Path,
    prompt: Prompt = PROMPT,
    asked: list[str] = ASKED,
    batch_size: int = 64,
    **changes: Any,
) -> list[Trajectory]:
    plan = plan_sampling(loaded, prompt, questions_of(asked), config_of(**changes))
    stage = Stage(folder / plan.name, plan.schema)
    sample(plan, stage, batch_size=batch_size)
    return list(read_trajectories(stage))
