"""From --prompt and --prompt-file to a Prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from promptmill.cli.options import Given
from promptmill.errors import InputError
from promptmill.prompt import Prompt, holes


def prompt_given(given: Given, default: Prompt) -> Prompt:
    """What the user asks to use, `default` where nothing is said. Raises InputError."""
    if given["prompt"] and given["prompt_file"]:
        raise InputError("give --prompt or --prompt-file, not both")
    if given["prompt_file"]:
        return read_prompt(given["prompt_file"], default)
    return from_text(given["prompt"], default) if given["prompt"] else default


def from_text(text: str, default: Prompt) -> Prompt:
    """A text with holes is the user's turn; without holes it is the system instruction over the default's user turn."""
    return Prompt(user=text) if holes(text) else Prompt(system=text, user=default.user)


def read_prompt(path: Path, default: Prompt) -> Prompt:
    """A .yaml or .json file of {system, user, prefix, demos}, a report.json with a best_prompt, or a plain text."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InputError(f"--prompt-file {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"--prompt-file {path}: not UTF-8 text") from None
    if path.suffix not in (".json", ".yaml", ".yml"):
        if not text:
            raise InputError(f"--prompt-file {path}: is empty")
        return from_text(text, default)
    data = _mapping(path, text)
    if "best_prompt" in data:
        data = data["best_prompt"]
    elif "craft" in data:
        raise InputError(f"--prompt-file {path}: this report has no best_prompt (only breed finds one)")
    if not isinstance(data, dict):
        raise InputError(f"--prompt-file {path}: must be a mapping of system, user, prefix, demos")
    return Prompt.from_dict({"user": default.user} | data, f"--prompt-file {path}")


def _mapping(path: Path, text: str) -> dict[str, Any]:
    try:
        data = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"--prompt-file {path}: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise InputError(f"--prompt-file {path}: must be a mapping of system, user, prefix, demos")
    return data
