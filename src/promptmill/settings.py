"""Settings that people write: checked by pydantic, and what is wrong with them told in one line."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError


class Strict(BaseModel):
    """A group of settings in which an unknown key is an error: a misspelt setting must not be silently ignored."""

    model_config = ConfigDict(extra="forbid")


def in_words(kind: type[BaseModel], error: ValidationError) -> str:
    """The first thing wrong, in one line. An unknown key goes first (a missing one may be its misspelling) and
    is answered with the known ones."""
    errors = error.errors()
    unknown = next((one for one in errors if one["type"] == "extra_forbidden"), None)
    if unknown:
        known = ", ".join(known_settings(kind, unknown["loc"][:-1]))
        return f"unknown setting {_place(unknown['loc'])!r} (known here: {known})"
    first = errors[0]
    place = _place(first["loc"])
    if first["type"] == "missing":
        return f"setting {place!r} is missing"
    message = " ".join(first["msg"].removeprefix("Value error, ").split())
    said = repr(first["input"])
    given = f", not {said}" if len(said) <= 60 else ""
    return f"setting {place!r}: {message[:1].lower()}{message[1:]}{given}" if place else message


def known_settings(kind: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Names of the settings in the group at `path`."""
    for name in path:
        annotation = kind.model_fields[name].annotation if name in kind.model_fields else None
        inner = next((one for one in _models(annotation)), None)
        if inner is None:
            return list(kind.model_fields)
        kind = inner
    return list(kind.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models named in an annotation such as `Inner | None` or `list[Inner]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models(part)]


def _place(path: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in path)
