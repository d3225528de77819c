"""Folders that are whole or not there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from promptmill.errors import InputError


@contextmanager
def whole_folder(to: Path) -> Iterator[Path]:
    """A folder beside `to` to be filled, which then takes its place; after an error it is gone. InputError where `to`
    holds something already."""
    if to.is_file() or (to.is_dir() and any(to.iterdir())):
        raise InputError(f"--to {to}: there is something already; name a new folder")
    to.parent.mkdir(parents=True, exist_ok=True)
    part = Path(mkdtemp(prefix=f".{to.name}.", suffix=".part", dir=to.parent))
    try:
        part.chmod(0o755)  # a temporary folder is its owner's alone
        yield part
        part.replace(to)  # an empty folder gives way
    finally:
        shutil.rmtree(part, ignore_errors=True)
