"""The task file: a YAML beside the data that says what its columns mean and how answers are scored."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from promptmill.errors import InputError
from promptmill.tasks.draft import text_of
from promptmill.tasks.formats import read_text

Format = Literal[
    "auto", "jsonl", "csv", "parquet", "bigbench", "bbh", "instruction-induction", "svamp", "multiarith", "aqua",
    "gsm8k", "commonsenseqa", "ethos",
]  # fmt: skip
Text = Annotated[str, BeforeValidator(lambda value: value if isinstance(value, list | dict | None) else text_of(value))]


class _Loader(yaml.SafeLoader):
    """YAML in which `yes`, `no`, `on`, `off` and dates stay words (as in YAML 1.2): they are usual golds."""


_Loader.yaml_implicit_resolvers = {
    sign: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
    ]
    for sign, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


class DataFiles(BaseModel):
    """Data files relative to the task file: one that is cut into splits, or one for each split."""

    model_config = ConfigDict(extra="forbid")
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


class SplitShares(BaseModel):
    """Shares of the splits and the seed of the cut (see split.Fractions)."""

    model_config = ConfigDict(extra="forbid")
    train: float = 0.4
    dev: float = 0.2
    test: float = 0.4
    seed: int = 0


class TaskFile(BaseModel):
    """The keys of a task file; all but `data` may be left out."""

    model_config = ConfigDict(extra="forbid")
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


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises InputError naming file and line where it is no YAML, or no mapping."""
    text = read_text(path)
    try:
        found = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}{line}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: a task file is a mapping of keys such as data, fields and gold")
    return found


def read_task_file(path: Path) -> TaskFile:
    """Read and check a task file. Raises InputError naming file and key."""
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    data = load_yaml(path)
    try:
        return TaskFile.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden":
            models: dict[str, type[BaseModel]] = {"data": DataFiles, "split": SplitShares}
            known = models.get(where[0], TaskFile) if len(where) > 1 else TaskFile
            keys = ", ".join(key for key in known.model_fields if key != "file")
            raise InputError(f"{path}: unknown key {'.'.join(where)!r} (known: {keys})") from None
        if first["type"] == "missing":
            raise InputError(f"{path}: the key {'.'.join(where)!r} is missing") from None
        message = " ".join(first["msg"].removeprefix("Value error, ").split())
        raise InputError(f"{path}: {'.'.join(where[:1])}: {message[:1].lower()}{message[1:]}") from None
