"""The JSON files of a day care, checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from promptmill.errors import InputError
from promptmill.settings import read_text


def read_json(path: Path) -> Any:
    """What a JSON file holds. InputError for a missing or broken one, naming the line."""
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not JSON: {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None


def read_texts(path: Path) -> tuple[str, ...]:
    """The texts of an object {"1": "text", …} or of a list, in the order of the file."""
    found = read_json(path)
    if not isinstance(found, dict | list) or not found:
        raise InputError(f'{path}: must be an object of texts, such as {{"1": "text"}}, or a list of texts')
    named = found.items() if isinstance(found, dict) else enumerate(found, 1)
    for name, text in named:
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{path}: {name} must be a text, not {json.dumps(text)[:40]}")
    return tuple(found.values() if isinstance(found, dict) else found)
