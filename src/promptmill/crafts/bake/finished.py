"""A bake that has come to its end, as other commands find it: its report, its adapter, and the model under it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptmill.crafts.bake.config import BakeConfig
from promptmill.errors import InputError, ModelError
from promptmill.model.embedded import EMBEDDED_MODELS
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
        return self.name if self.name in EMBEDDED_MODELS or "/" in self.name else str(self.folder)

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

    @property
    def base(self) -> Base:
        told = self.report["base"]
        adapters = tuple(Path(path) for path in told.get("adapters", []))
        return Base(told["name"], Path(told["folder"]), told["dtype"], adapters, bool(told.get("four_bit")))

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
