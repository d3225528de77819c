"""Checkpoints in open formats: a folder of tensors (safetensors) and plain values (JSON), whole or not there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from promptmill.errors import InputError

KEPT = 2
_PART = ".part"


def write_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
    """A checkpoint of `step` under `folder`; the newest two stay. Written beside, synced, then renamed."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / f"step-{step:08d}"
    part = folder / f".{whole.name}{_PART}"
    for old in folder.glob(f".*{_PART}"):  # of a process that was killed while writing
        shutil.rmtree(old)
    part.mkdir()
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, part / "state.safetensors")
    (part / "state.json").write_text(json.dumps(state, allow_nan=False), encoding="utf-8")
    for path in (part / "state.safetensors", part / "state.json", part):
        _sync(path)
    if whole.exists():
        shutil.rmtree(whole)
    part.rename(whole)
    _sync(folder)
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)
    return whole


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(folder.glob("step-*"))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Its tensors, on the CPU, and its values. InputError where it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
        return load_file(path / "state.safetensors"), state
    except (OSError, ValueError, SafetensorError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{path}: a damaged checkpoint ({line}); remove it to go on from the one before") from None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
