"""What reading a model's files takes: libraries that keep quiet, JSON, and one line of whatever went wrong."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from promptmill.errors import ModelError


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. ModelError where there is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({line_of(error)})") from None
    return data if isinstance(data, dict) else {"": data}


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no advice while a model loads; both are as they were afterwards."""
    from transformers.utils import logging as hf_logging

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.ERROR)
    hf_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between the libraries; nobody here can mend it
            yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()


def line_of(error: BaseException) -> str:
    """What an error says, in one line and no more than that."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
