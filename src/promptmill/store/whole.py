"""Folders that are whole or not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from promptmill.errors import InputError


@contextmanager
def whole_folder(to: Path) -> Iterator[Path]:
    """A folder beside `to` to be filled, which then takes its place; after an error it is gone. InputError where `to`
    holds something already."""
    if to.is_file() or (to.is_dir() and any(to.iterdir())):
        raise InputError(f"--to {to}: there is something already; name a new folder")
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_name(f".{to.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a process of that number that was killed
    part.mkdir()
    try:
        yield part
        part.replace(to)  # an empty folder gives way
    finally:
        shutil.rmtree(part, ignore_errors=True)
