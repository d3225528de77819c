"""A recoverer that was trained, as other commands find it: its model, and what goes with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptmill.crafts.recover.bank import Bank, make_bank
from promptmill.crafts.recover.config import RecoverConfig
from promptmill.crafts.recover.critic import Critic, load_critic
from promptmill.crafts.recover.rank.known import read_bank
from promptmill.crafts.recover.ranking import Ranker
from promptmill.crafts.recover.space import Space
from promptmill.crafts.recover.training import BANK
from promptmill.errors import InputError
from promptmill.model.load import ModelConfig
from promptmill.settings import checked
from promptmill.store.run import read_run


@dataclass(frozen=True)
class FinishedRecoverer:
    """run: its folder. report: its report.json. config: as it was trained and tested with."""

    run: Path
    report: dict[str, Any]
    config: RecoverConfig

    @property
    def model(self) -> ModelConfig:
        """The recoverer with what it has learned."""
        adapters = [str(self.run / path) for path in self.report["adapters"]]
        return ModelConfig(**{**self.report["recoverer"], "adapters": adapters})

    @property
    def generator(self) -> ModelConfig | None:
        """The model that stood for the one that wrote the texts."""
        return ModelConfig(**self.report["generator"]) if self.report["generator"] else None

    def ranker(self, config: RecoverConfig) -> Ranker:
        return Ranker.load(self.run, config.rank)

    def bank(self, space: Space) -> tuple[Critic, Bank]:
        """What was learned from. InputError where the space is another than that of the training."""
        critic = load_critic(self.run, space)
        return critic, make_bank(read_bank(self.run / BANK), space, critic)


def finished_recoverer(run: Path) -> FinishedRecoverer:
    """InputError for a folder that holds no recoverer, or one that is not trained yet."""
    begun = read_run(run)
    if begun["craft"] != "recover" or begun["identity"].get("step") != "train":
        raise InputError(f"{run}: is no run of recover train")
    where = run / "report.json"
    try:
        report: dict[str, Any] = json.loads(where.read_text(encoding="utf-8"))
        settings = report["settings"]
    except FileNotFoundError:
        raise InputError(f"{run}: the training has not come to its end; run the same command again") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{where}: cannot be read; run the same command again") from None
    return FinishedRecoverer(run, report, checked(RecoverConfig, settings, str(where)))
