"""A rewrite that was trained, as other commands find it: its rewriter, and what goes with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptmill.crafts.rewrite.config import RewriteConfig
from promptmill.crafts.rewrite.pipeline import PREDICTOR
from promptmill.crafts.rewrite.predictor.predictor import Fitted, encoder_of, load
from promptmill.errors import InputError
from promptmill.model.embedded import EMBEDDED_MODELS
from promptmill.model.load import ModelConfig, open_backend
from promptmill.model.local import LocalBackend
from promptmill.settings import checked
from promptmill.store.run import read_run
from promptmill.vary.wording import Wording, load_wording


@dataclass(frozen=True)
class FinishedRewrite:
    """run: its folder. report: its report.json."""

    run: Path
    report: dict[str, Any]
    config: RewriteConfig

    @property
    def rewriter(self) -> ModelConfig:
        """The rewriter with all that it has learned."""
        base = self.report["base"]
        name = base["name"] if base["name"] in EMBEDDED_MODELS else base["folder"]
        four_bit = base.get("load_in_4bit", False)
        adapters = [*base["adapters"], *(str(self.run / path) for path in self.report["adapters"])]
        return ModelConfig(name=name, adapters=adapters, dtype=base["dtype"], load_in_4bit=four_bit)

    def predictor(self) -> Fitted | None:
        """What foretells a rewrite's gain; None where it is not worth having."""
        if not self.report["predictor"]["kept"]:
            return None
        backend = open_backend(self.rewriter.model_copy(update={"adapters": self.report["base"]["adapters"]}))
        assert isinstance(backend, LocalBackend)
        return load(self.run / PREDICTOR, encoder_of(backend.loaded()))

    @property
    def wording(self) -> Wording:
        """With the request that it was trained on."""
        return load_wording().model_copy(update={"refine": self.report["wording"]})


def finished_rewrite(run: Path) -> FinishedRewrite:
    """InputError for a folder that holds no rewrite, or one whose rewriter is not trained yet."""
    if read_run(run)["craft"] != "rewrite":
        raise InputError(f"{run}: is no run of rewrite")
    where = run / "report.json"
    try:
        report: dict[str, Any] = json.loads(where.read_text(encoding="utf-8"))
        settings = report["settings"]
    except FileNotFoundError:
        raise InputError(f"{run}: the rewrite has not come to its end; run the same command again") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{where}: cannot be read; run the same command again") from None
    if not report.get("adapters"):
        raise InputError(f"{run}: no rewriter is trained yet; go on with promptmill rewrite test --continue {run}")
    return FinishedRewrite(run, report, checked(RewriteConfig, settings, str(where)))
