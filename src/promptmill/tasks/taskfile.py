"""The task file: a YAML beside the data that says what its columns mean and how answers are scored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from promptmill.settings import Strict, checked, read_mapping
from promptmill.tasks.draft import text_of

Format = Literal[
    "auto", "jsonl", "csv", "parquet", "bigbench", "bbh", "instruction-induction", "svamp", "multiarith", "aqua",
    "gsm8k", "commonsenseqa", "ethos",
]  # fmt: skip
Text = Annotated[str, BeforeValidator(lambda value: value if isinstance(value, list | dict | None) else text_of(value))]


class DataFiles(Strict):
    """Data files relative to the task file: one that is cut into splits, or one for each split."""

    train: str | None = None
    dev: str | None = None
    test: str | None = None
    file: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _some(self) -> DataFiles:
        if not (self.file or self.train or self.dev or self.test):
            raise ValueError("name a file, or files for train, dev and test")
        return self


class SplitShares(Strict):
    """Shares of the splits and the seed of the cut (see split.Fractions)."""

    train: float = 0.4
    dev: float = 0.2
    test: float = 0.4
    seed: int = 0


class TaskFile(Strict):
    """The keys of a task file; all but `data` may be left out."""

    name: Text | None = None
    description: Text | None = None
    data: DataFiles
    format: Format = "auto"
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    fields: dict[str, str] | None = Field(default=None, min_length=1)
    id: str | None = None
    gold: str | None = None
    gold_pattern: str | None = None
    gold_map: dict[Text, Text] | None = None
    scorer: str | dict[str, Any] | None = None
    choices: list[Text] | None = Field(default=None, min_length=2)
    prompt: dict[str, Any] | None = None
    split: SplitShares = SplitShares()


def read_task_file(path: Path) -> TaskFile:
    """Read and check a task file. Raises InputError naming file and key."""
    return checked(TaskFile, read_mapping(path), str(path))
