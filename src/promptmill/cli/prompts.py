"""From --prompt and --prompt-file to a Prompt."""

from __future__ import annotations

from pathlib import Path

from promptmill.cli.options import Given
from promptmill.errors import InputError
from promptmill.prompt import Prompt
from promptmill.settings import load_yaml, read_text


def prompt_given(given: Given, default: Prompt) -> Prompt:
    """What the user asks to use, `default` where nothing is said. Raises InputError."""
    if given["prompt"] is not None and given["prompt_file"]:
        raise InputError("give --prompt or --prompt-file, not both")
    if given["prompt_file"]:
        return read_prompt(given["prompt_file"], default)
    return default if given["prompt"] is None else Prompt.of(given["prompt"], default)


def read_prompt(path: Path, default: Prompt) -> Prompt:
    """A .yaml or .json file of {system, user, prefix, then, demos}, a report.json with a best_prompt, or a text."""
    where = f"--prompt-file {path}"
    text = read_text(path, where).strip()
    if path.suffix not in (".json", ".yaml", ".yml"):
        if not text:
            raise InputError(f"{where}: is empty")
        return Prompt.of(text, default)
    data = load_yaml(text, where)
    if isinstance(data, dict) and "best_prompt" in data:
        data = data["best_prompt"]
    elif isinstance(data, dict) and "craft" in data:
        raise InputError(f"{where}: this report has no best_prompt (only breed finds one)")
    if not isinstance(data, dict):
        raise InputError(f"{where}: must be a mapping of system, user, prefix, then, demos")
    return Prompt.from_dict({"user": default.user} | data, where)
