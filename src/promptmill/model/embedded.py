"""The small models that ship in the wheel: no network, no GPU, no key. `--model embedded`, `--model embedded-small`.

This module draws neither torch nor transformers: the command line names the models in its help, and `world` reads their
words.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from promptmill.errors import ModelError

if TYPE_CHECKING:
    from promptmill.model.local import LocalBackend

EMBEDDED_MODELS = ("embedded", "embedded-small")
"""Their names for `--model`, the default one first; each is also the name of its folder."""


def embedded_path(name: str = EMBEDDED_MODELS[0]) -> Path:
    """The folder of an embedded model, inside the installed package. ModelError where it is not there."""
    folder = Path(str(files("promptmill.model") / "weights" / name))
    if not all((folder / file).is_file() for file in ("config.json", "tokenizer.json")):
        raise ModelError(f"the {name} model is missing at {folder}; reinstall promptmill, or give another --model")
    return folder


def embedded_backend(
    name: str = EMBEDDED_MODELS[0], *, adapters: Sequence[str] = (), batch_size: int = 64
) -> LocalBackend:
    """A local backend on embedded weights: CPU, float32, one thread (faster for models this small than several)."""
    from promptmill.model.local import LocalBackend

    backend = LocalBackend(
        str(embedded_path(name)), adapters=adapters, dtype="float32", device="cpu", batch_size=batch_size, threads=1
    )
    backend.name = name
    return backend
