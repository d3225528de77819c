"""A recoverer that was trained, as other commands find it: its model, and what goes with it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from promptmill.crafts.recover.bank import Bank, make_bank
from promptmill.crafts.recover.config import RecoverConfig
from promptmill.crafts.recover.critic import Critic, load_critic
from promptmill.crafts.recover.rank.known import Known, read_bank
from promptmill.crafts.recover.ranking import Ranker
from promptmill.crafts.recover.space import Space
from promptmill.crafts.recover.training import BANK
from promptmill.errors import InputError
from promptmill.model.load import ModelConfig
from promptmill.settings import checked
from promptmill.store.run import read_run
from promptmill.store.stage import digest

SCRIPTED = "scripted:"


@dataclass(frozen=True)
class FinishedRecoverer:
    """run: its folder. report: its report.json. config: as it was trained and tested with. model: the recoverer with
    what it has learned. generator: the model that stood for the one that wrote the texts."""

    run: Path
    report: dict[str, Any]
    config: RecoverConfig
    model: ModelConfig
    generator: ModelConfig

    def ranker(self, config: RecoverConfig) -> Ranker:
        return Ranker.load(self.run, config.rank)

    def critic(self, space: Space) -> Critic:
        """InputError where the space is another than that of the training."""
        return load_critic(self.run, space)

    @cached_property
    def known(self) -> list[Known]:
        """What was learned from."""
        return read_bank(self.run / BANK)

    def bank(self, space: Space) -> tuple[Critic, Bank]:
        """What was learned from, by which prompts are found. Errors as in `critic`."""
        critic = self.critic(space)
        return critic, make_bank(self.known, space, critic)

    def fingerprint(self, space: Space) -> str:
        """Changes whenever something else could be recovered with it, beside what its model says; not with the place
        where it lies. InputError where a part of it is missing."""
        ranker = self.ranker(self.config)
        return digest(asdict(ranker.weights), asdict(ranker.calibration), self.critic(space).digest,
                      (repr(one) for one in self.known))  # fmt: skip


def finished_recoverer(run: Path) -> FinishedRecoverer:
    """InputError for a folder that holds no recoverer, or one that is not trained yet."""
    begun = read_run(run)
    if begun["craft"] != "recover" or begun["identity"].get("step") != "train":
        raise InputError(f"{run}: is no run of recover train")
    where = run / "report.json"
    try:
        report: dict[str, Any] = json.loads(where.read_text(encoding="utf-8"))
        settings, adapters = report["settings"], [str(run / path) for path in report["adapters"]]
        models = [{**report["recoverer"], "adapters": adapters}, {**report["generator"]}]
    except FileNotFoundError:
        raise InputError(f"{run}: the training has not come to its end; run the same command again") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{where}: cannot be read; run the same command again") from None
    model, generator = (checked(ModelConfig, one, str(where)) for one in models)
    return FinishedRecoverer(run, report, checked(RecoverConfig, settings, str(where)), model, generator)


def placed(kind: ModelConfig) -> ModelConfig:
    """A model as it can be opened from another folder than this one: what lies in files is named by its whole path."""
    if kind.base_url:
        return kind
    adapters = [str(Path(path).expanduser().resolve()) for path in kind.adapters]
    scripted, script = kind.name.startswith(SCRIPTED), kind.name.removeprefix(SCRIPTED)
    name, path = kind.name, Path(script).expanduser()
    if scripted or (not kind.embedded and path.is_dir()):
        name = f"{SCRIPTED if scripted else ''}{path.resolve()}"
    return kind.model_copy(update={"name": name, "adapters": adapters})
