"""`rewrite init DIR`: all that can be set, as files to edit: a YAML for each stage, and a text for each role."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import indent, wrap
from typing import Any

import yaml
from pydantic import BaseModel

from promptmill.crafts.rewrite.config import RewriteConfig
from promptmill.crafts.rewrite.original.prose import refuse
from promptmill.crafts.rewrite.roles import FOLDER as ROLES
from promptmill.crafts.rewrite.roles import files_in, write_roles
from promptmill.errors import InputError
from promptmill.settings import Strict, checked, load_yaml, read_text
from promptmill.store.files import write_text
from promptmill.store.whole import whole_folder
from promptmill.vary.wording import Wording

FOLDER = "configs"
REST = "rewrite"
"""The file of the settings that belong to no single stage."""


def init_folder(to: Path, wording: Wording, config: RewriteConfig | None = None) -> list[Path]:
    """Write `configs` and `model_input` into the new folder `to`; the paths of the files. InputError where there is
    something already."""
    config = config or RewriteConfig()
    refuse(to)
    with whole_folder(to) as folder:
        for name, text in config_files(config).items():
            write_text(folder / FOLDER / f"{name}.yaml", text)
        write_roles(folder / ROLES, wording)
    return sorted(path for path in to.rglob("*") if path.is_file())


def config_files(config: RewriteConfig) -> dict[str, str]:
    """The YAML of each section of the configuration, and of the settings beside the sections, with comments."""
    sections = _sections(config)
    files = {name: "\n".join(_lines(group)) + "\n" for name, group in sections.items()}
    rest = [name for name in type(config).model_fields if name not in sections]
    return files | {REST: "\n".join(_lines(config, rest)) + "\n"}


def configs_of(folder: Path) -> dict[str, Any]:
    """What the files of `folder`/configs say, as one mapping for RewriteConfig: a section for each file, and the
    settings of rewrite.yaml beside them. A file that is not there, or a setting, leaves the default.

    InputError, one line with the file's name, for an unknown file or setting, and a value that cannot be.
    """
    place, default = folder / FOLDER, RewriteConfig()
    sections = _sections(default)
    files = files_in(place, frozenset(f"{name}.yaml" for name in (*sections, REST)))
    found: dict[str, Any] = {}
    for name in (*sections, REST):
        path = place / f"{name}.yaml"
        if path.name not in files:
            continue
        data = load_yaml(read_text(path), str(path))
        if not isinstance(data, dict | None):
            raise InputError(f"{path}: must be a mapping of keys, in YAML")
        if name != REST:
            found[name] = data or {}
            checked(type(sections[name]), found[name], str(path))
            continue
        if misplaced := sorted(sections.keys() & set(data or {})):
            raise InputError(f"{path}: {misplaced[0]} has a file of its own, {misplaced[0]}.yaml")
        checked(RewriteConfig, data or {}, str(path))
        found |= data or {}
    return found


def _sections(config: BaseModel) -> dict[str, BaseModel]:
    values = {name: getattr(config, name) for name in type(config).model_fields}
    return {name: value for name, value in values.items() if isinstance(value, BaseModel)}


def _lines(group: BaseModel, names: list[str] | None = None) -> Iterator[str]:
    """The settings of a group, each after its description; a group within it indented, after its own."""
    dumped: Mapping[str, Any] = group.model_dump(mode="json")
    yield from _comment(_described(type(group)))
    for name in names if names is not None else type(group).model_fields:
        value, told = getattr(group, name), type(group).model_fields[name].description
        if told or isinstance(value, BaseModel):
            yield ""
        yield from _comment(told or "")
        if isinstance(value, BaseModel):
            yield f"{name}:"
            yield from (indent(line, "  ") for line in _lines(value))
        else:
            yield yaml.safe_dump({name: dumped[name]}, sort_keys=False, allow_unicode=True, width=120).rstrip("\n")


def _described(kind: type[BaseModel]) -> str:
    """What a group of settings says of itself; where it only has other defaults than another, what that one says."""
    kinds = [one for one in kind.__mro__ if issubclass(one, BaseModel) and one not in (Strict, BaseModel)]
    return inspect.getdoc(kinds[-1]) or ""


def _comment(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield from (f"# {part}" for part in wrap(line, 110)) if line.strip() else ("#",)
