"""A bake that has come to its end, as other commands find it: its report, its adapter, and the model under it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptmill.crafts.bake.config import BakeConfig
from promptmill.errors import InputError, ModelError
from promptmill.model.embedded import EMBEDDED_MODELS
from promptmill.model.local import adapters
from promptmill.prompt import Prompt
from promptmill.settings import checked
from promptmill.store.run import read_run


@dataclass(frozen=True)
class Base:
    """The model that a prompt was baked into. adapters: folders that were merged into it beforehand, in order."""

    name: str
    folder: Path
    dtype: str
    adapters: tuple[Path, ...] = ()
    four_bit: bool = False

    @property
    def spelled(self) -> str:
        """What --model is to be given: a name that can be found anywhere, or the folder."""
        known = self.name in EMBEDDED_MODELS or f"models--{self.name.replace('/', '--')}" in self.folder.parts
        return self.name if known else str(self.folder)

    def check(self) -> None:
        """ModelError where the model or one of its adapters is not where it was."""
        for path in (self.folder, *self.adapters):
            if not path.is_dir():
                raise ModelError(f"the base model is not whole any more: there is no {path}")


@dataclass(frozen=True)
class FinishedBake:
    """run: its folder. report: its report.json."""

    run: Path
    report: dict[str, Any]
    config: BakeConfig
    prompt: Prompt

    @property
    def adapter(self) -> Path:
        return self.run / str(self.report["adapter"])

    def check_adapter(self) -> None:
        """ModelError where the adapter is not there or cannot be read; InputError where all weights were trained."""
        if (self.adapter / "config.json").is_file():
            raise InputError(
                f"{self.run}: all weights of the model were trained and there is no adapter; ask it with --model "
                f"{self.adapter}"
            )
        adapters.shapes(adapters.check_adapter(str(self.adapter)))

    def check(self) -> None:
        """The same, and ModelError where the model under the adapter is not whole any more."""
        self.base.check()
        self.check_adapter()

    @property
    def device(self) -> str:
        """Where it was baked, as that was asked for (`model.device`)."""
        settings = read_run(self.run).get("settings") or {}
        return str(settings.get("model", {}).get("device", "auto"))

    @property
    def base(self) -> Base:
        told = self.report["base"]
        below = tuple(Path(path) for path in told.get("adapters", []))
        return Base(told["name"], Path(told["folder"]), told["dtype"], below, bool(told.get("four_bit")))

    @property
    def trajectories(self) -> Path | None:
        """The folder of its trajectories; None where it was removed."""
        name = self.report["sampling"].get("stage")
        found = [self.run / "stages" / name] if name else sorted(self.run.glob("stages/trajectories-*"))
        return found[0] if found and found[0].is_dir() else None


def finished_bake(run: Path, crafts: Sequence[str] = ("bake",)) -> FinishedBake:
    """crafts: what the run may be of ("bake-sample" has no adapter). InputError for a folder that holds no bake, or one
    that has not come to its end."""
    if read_run(run)["craft"] not in crafts:
        raise InputError(f"{run}: is no run of {' or '.join(crafts)}")
    where = run / "report.json"
    try:
        report: dict[str, Any] = json.loads(where.read_text(encoding="utf-8"))
        settings, prompt = report["settings"], report["prompt"]
    except FileNotFoundError:
        raise InputError(f"{run}: the bake has not come to its end; run the same command again") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{where}: cannot be read; run the same command again") from None
    return FinishedBake(run, report, checked(BakeConfig, settings, str(where)), Prompt.from_dict(prompt, str(where)))


def weights_digest(folder: Path) -> str:
    """Of the weights in a folder: what was measured on others is no figure of these."""
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()[:12]


def measured_on(path: Path, adapter: str) -> dict[str, Any] | None:
    """What a command has measured and left in `path`; None where there is nothing, or it is of another adapter than
    the one of that digest (the training has gone on since). InputError where it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if found.get("adapter") == adapter else None
    except FileNotFoundError:
        return None
    except (ValueError, AttributeError):
        raise InputError(f"{path}: cannot be read; remove it, and measure it again") from None
