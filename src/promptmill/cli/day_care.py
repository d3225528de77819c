"""`--day-care`: what the options of a breed mean for a folder of the old form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from promptmill.cli.config import BreedRunConfig, SamplingConfig
from promptmill.cli.options import Given
from promptmill.crafts.breed.config import BreedConfig
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
    _check_decoding(config)
    found = read_day_care(files.folder, files.task, files.suite, files.decoder, seed=config.seed)
    if config.breed.chain in ("with", "both") and "prefix" not in found.form.parts:
        raise InputError(f"--test-cot: the fitness query of {files.folder} has no {{reasoning_prompt}} to reason after")
    return found


def _check_decoding(config: BreedRunConfig) -> None:
    """InputError for settings that decoder strings and queries say."""
    default = SamplingConfig()
    said = [name for name in SamplingConfig.model_fields if getattr(config.sampling, name) != getattr(default, name)]
    places = [f"--{name.replace('_', '-')} (sampling.{name})" for name in said]
    usual = BreedConfig()
    writing = ("writer_temperature", "writer_max_tokens")
    places += [f"breed.{name}" for name in writing if getattr(config.breed, name) != getattr(usual, name)]
    if places:
        raise InputError(f"{places[0]}: a day care's decoder strings say that; give --decoder-options")
    if config.constrain:
        raise InputError("--constrain: a day care's fitness query says which answers there are")
    if config.breed.prompts == 2:
        raise InputError("breed.prompts=2: a day care's prompt has system, task and reasoning parts, no second turn")
