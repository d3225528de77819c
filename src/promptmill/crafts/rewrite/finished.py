"""A rewrite that was trained, as other commands find it: its rewriter, and what goes with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from promptmill.crafts.rewrite.config import RewriteConfig
from promptmill.crafts.rewrite.pipeline import PREDICTOR
from promptmill.crafts.rewrite.predictor.predictor import Fitted, encoder_of, load
from promptmill.crafts.rewrite.proof import Proof
from promptmill.crafts.rewrite.roles import Roles
from promptmill.errors import InputError
from promptmill.judge.panel import open_panel
from promptmill.model.embedded import EMBEDDED_MODELS
from promptmill.model.gate import Model
from promptmill.model.load import ModelConfig, open_backend
from promptmill.model.local import LocalBackend
from promptmill.settings import checked
from promptmill.store.run import read_run

ROLES = "roles.json"
"""File of the run: what each role was told."""


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
        adapters = [str(self.run / path) for path in self.report["adapters"]]
        return ModelConfig(name=name, adapters=adapters, dtype=base["dtype"], load_in_4bit=four_bit)

    def predictor(self) -> Fitted | None:
        """What foretells a rewrite's gain; None where it is not worth having."""
        if not self.report["predictor"]["kept"]:
            return None
        backend = open_backend(self.rewriter.model_copy(update={"adapters": self.report["base"]["adapters"]}))
        assert isinstance(backend, LocalBackend)
        return load(self.run / PREDICTOR, encoder_of(backend))

    @cached_property
    def roles(self) -> Roles:
        """What each role was told. InputError where the run's file of them cannot be read."""
        where = self.run / ROLES
        try:
            return Roles.from_dict(json.loads(where.read_text(encoding="utf-8")), str(where))
        except (OSError, ValueError):
            raise InputError(f"{where}: cannot be read; run the same command again") from None

    def proof(self, open_model: Callable[[ModelConfig], Model], inputs: int) -> Proof:
        """The trial by which a rewrite is offered, on so many inputs, by the models of the run."""
        if "models" not in self.report:
            raise InputError(f"{self.run}: does not say which models it was tried with; go on without (--proof 0)")
        main, writer = (ModelConfig(**self.report["models"][name]) for name in ("main", "writer"))
        opened = open_model(main)
        test = self.config.test.model_copy(update={"proof": inputs})
        config, roles = self.config.model_copy(update={"test": test}), self.roles
        panel = open_panel(config.judge, open_model, roles.wording, roles.rubric)
        return Proof(opened, opened if writer == main else open_model(writer), panel, roles.wording, config,
                     roles.main_model)  # fmt: skip


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
    if report.get("adapters") is None:
        raise InputError(f"{run}: no rewriter is trained yet; go on with promptmill rewrite test --continue {run}")
    return FinishedRewrite(run, report, checked(RewriteConfig, settings, str(where)))
