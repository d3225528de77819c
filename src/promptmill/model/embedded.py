"""The small model that ships in the wheel: no network, no GPU, no key. `--model embedded`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from promptmill.errors import ModelError
from promptmill.model.local import LocalBackend


def embedded_path() -> Path:
    """The folder of the embedded model, inside the installed package. ModelError where it is not there."""
    folder = Path(str(files("promptmill.model") / "weights" / "embedded"))
    if not (folder / "config.json").is_file():
        raise ModelError(f"the embedded model is missing at {folder}; reinstall promptmill, or give another --model")
    return folder


class EmbeddedBackend(LocalBackend):
    """`LocalBackend` on the embedded weights: CPU, float32, one thread (faster for a model this small than several)."""

    def __init__(self, *, adapters: tuple[str, ...] = (), batch_size: int = 64):
        super().__init__(
            str(embedded_path()), adapters=adapters, dtype="float32", device="cpu", batch_size=batch_size, threads=1
        )
        self.name = "embedded"
