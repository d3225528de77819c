"""Settings that people write: read from YAML, checked by pydantic, and what is wrong with them told in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from promptmill.errors import InputError


class Strict(BaseModel):
    """A group of settings in which an unknown key is an error: a misspelt one must not be silently ignored."""

    model_config = ConfigDict(extra="forbid")


M = TypeVar("M", bound=BaseModel)


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


def read_text(path: Path, where: str = "") -> str:
    """A UTF-8 file, a byte-order mark dropped. InputError naming `where` (the path by default) and the line."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{where or path}: cannot be read ({error.strerror})") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{where or path}, line {line}: not UTF-8 text; save the file as UTF-8") from None


def load_yaml(text: str, where: str) -> Any:
    """What a YAML (or JSON) text holds. InputError naming `where` and the line for one that is no YAML."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{where}{line}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{where}: not YAML: {' '.join(str(error).split())}") from None


def read_mapping(path: Path, where: str = "") -> dict[str, Any]:
    """The mapping in a YAML or JSON file. InputError naming `where` (the path by default)."""
    data = load_yaml(read_text(path, where), where or str(path))
    if not isinstance(data, dict):
        raise InputError(f"{where or path}: must be a mapping of keys, in YAML")
    return data


def checked(kind: type[M], data: Any, where: str = "") -> M:
    """`data` as a `kind`. InputError, one line, naming `where` and the setting that is wrong."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise InputError((f"{where}: " if where else "") + in_words(kind, error)) from None


def in_words(kind: type[BaseModel], error: ValidationError) -> str:
    """The first thing wrong, in one line. An unknown key goes first (a missing one may be its misspelling) and
    is answered with the known ones."""
    errors = error.errors()
    unknown = next((one for one in errors if one["type"] == "extra_forbidden"), None)
    if unknown:
        known = ", ".join(known_settings(kind, unknown["loc"][:-1]))
        return f"unknown key {_place(unknown['loc'])!r} (known: {known})"
    first = errors[0]
    place = _place(first["loc"])
    if first["type"] == "missing":
        return f"the key {place!r} is missing"
    message = " ".join(first["msg"].removeprefix("Value error, ").split())
    message = message[:1].lower() + message[1:]
    said = repr(first["input"])
    given = f", not {said}" if len(said) <= 60 else ""
    return f"{place}: {message}{given}" if place else message


def known_settings(kind: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Names of the settings in the group at `path`."""
    for name in path:
        annotation = kind.model_fields[name].annotation if name in kind.model_fields else None
        inner = _models(annotation)
        kind = inner[0] if inner else kind
    return list(kind.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models named in an annotation such as `Inner | None` or `list[Inner]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models(part)]


def _place(path: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in path)
