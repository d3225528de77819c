"""`--day-care`: what the options of a breed mean for a folder of the old form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from promptmill.cli.config import BreedRunConfig
from promptmill.cli.options import Given
from promptmill.crafts.breed.daycare.folder import DayCare, read_day_care
from promptmill.errors import InputError


@dataclass(frozen=True)
class DayCareFiles:
    """folder, task, suite: what is read. decoder: a decoder string that goes before those of the task."""

    folder: Path | None = None
    task: str | None = None
    suite: Path | None = None
    decoder: str | None = None

    def check(self, task: str | None) -> None:
        """InputError for options that do not go together. task: the task that was named without a folder."""
        if self.folder is None:
            lone = [flag for flag, value in (("--task", self.task), ("--fitness-suite", self.suite),
                                             ("--decoder-options", self.decoder)) if value]  # fmt: skip
            if lone:
                raise InputError(f"{lone[0]} belongs to --day-care DIR; give the folder too")
        elif task is not None:
            raise InputError(f"breed {task} and --day-care {self.folder}: give one of them")
        elif self.task is None or self.suite is None:
            missing = "--task NAME" if self.task is None else "--fitness-suite FILE"
            raise InputError(f"--day-care {self.folder} needs {missing}, too")


def day_care_of(config: BreedRunConfig, given: Given, files: DayCareFiles) -> DayCare:
    """The folder, read. InputError for what cannot be read, or says the same as another option."""
    assert files.folder is not None
    assert files.task is not None
    assert files.suite is not None
    for flag in ("prompt", "prompt_file"):
        if given[flag]:
            raise InputError(f"--{flag.replace('_', '-')}: a day care begins from its task's description")
    own = ("scorer", "wording", "mutation_prompts", "thinking_styles")
    if said := next((flag for flag in own if getattr(config, flag)), None):
        raise InputError(f"--{said.replace('_', '-')}: a day care's own files say that")
    sampling = ("temperature", "top_p", "max_tokens", "stop")
    if said := next((flag for flag in sampling if given[flag] not in (None, [])), None):
        raise InputError(f"--{said.replace('_', '-')}: a day care's decoder strings say that; give --decoder-options")
    return read_day_care(files.folder, files.task, files.suite, files.decoder, seed=config.seed)
