"""Every way of choosing a prompt, tried on the same test texts: one run, a table of figures, arm by arm."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.recover_world import ALONE, GENERATOR, OTHER, Data, right_task, without_originals
from promptmill.crafts.recover.bank import Bank
from promptmill.crafts.recover.bench import Bench
from promptmill.crafts.recover.config import RecoverConfig
from promptmill.crafts.recover.critic import Critic
from promptmill.crafts.recover.finished import FinishedRecoverer
from promptmill.crafts.recover.measures import Truth, arms, baselines, interval_of
from promptmill.crafts.recover.predicting import Predictor
from promptmill.crafts.recover.ranking import Prediction, Ranker
from promptmill.crafts.recover.space import Space
from promptmill.crafts.recover.tables import AgainRow
from promptmill.crafts.recover.traces import Group
from promptmill.model.cache import CallStore
from promptmill.model.gate import Model, together
from promptmill.model.load import ModelConfig, open_backend
from promptmill.store.records import record_of, row_of, schema_of
from promptmill.store.run import Run
from promptmill.store.stage import digest
from promptmill.vary.wording import load_wording

RIGHT = "right task"
MOST_NATS = 20.0


@dataclass
class Table:
    """The figures, arm by arm: what `measures.arms` gives of each, and `behaviour`. hits: whether an arm has the right
    task, group by group."""

    space: Space
    seed: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    hits: dict[str, list[float]] = field(default_factory=dict)

    async def add(self, predictor: Predictor, groups: Sequence[Group], picks: dict[str, list[str | None]]) -> None:
        """picks: for each way of choosing, by what the table calls it, a prompt for each group."""
        truths = truths_of(groups)
        for row in arms(picks, truths, self.space, self.seed, more={RIGHT: right_task}):
            name = row["arm"]
            if name not in picks:
                continue
            does = await behaviour(predictor, groups, picks[name], truths, self.seed)
            self.rows.append(row | does)
            self.hits[name] = [
                right_task(one or "", truth.prompt) for one, truth in zip(picks[name], truths, strict=True)
            ]


def truths_of(groups: Sequence[Group]) -> list[Truth]:
    return [Truth(one.prompt or "", one.cluster or "") for one in groups]


def picks_of(predicted: Sequence[Prediction], names: dict[str, str]) -> dict[str, list[str | None]]:
    """names: ways of choosing, and what the table calls them."""
    return {name: [one.picks.get(arm) for one in predicted] for arm, name in names.items()}


async def behaviour(
    predictor: Predictor, groups: Sequence[Group], guesses: Sequence[str | None], truths: Sequence[Truth], seed: int
) -> dict[str, Any]:
    """What the generator does under the guesses: likelihood gain in nats a token, and the share of the first texts
    that come out the same."""
    does = predictor.behaviour
    assert does is not None
    told = digest([one.id for one in groups], list(guesses), does.generator.fingerprint)
    stage = predictor.run.stage(f"does-{told}", schema_of(AgainRow))
    if not stage.done(0):
        asked = [(group, {"it": guess}) for group, guess in zip(groups, guesses, strict=True) if guess]
        found = await together([does.of(group, prompts) for group, prompts in asked])
        stage.write(0, [row_of(row) for rows in found for row in rows])
    rows: list[AgainRow] = [record_of(AgainRow, row) for row in stage.rows()]
    cluster = {group.id: truth.cluster for group, truth in zip(groups, truths, strict=True)}
    gains = [(row.likelihood, cluster[row.group_id]) for row in rows if row.likelihood is not None]
    same = [(float(bool(row.same)), cluster[row.group_id]) for row in rows if row.text is not None]
    squeezed = [max(-1.0, min(1.0, gain / MOST_NATS)) for gain, _ in gains]  # intervals are of values from -1 to 1
    nats = [MOST_NATS * one for one in interval_of(squeezed, [one for _, one in gains], seed)]
    return {"gain": nats, "same text": interval_of([one for one, _ in same], [one for _, one in same], seed)}


@dataclass
class Desk:
    """A run of the benchmark's own tests, and what they work with."""

    run: Run
    store: CallStore
    table: Table

    def model(self, kind: ModelConfig) -> Model:
        return Model(open_backend(kind), store=self.store)

    async def predictor(
        self, recoverer: ModelConfig, ranker: Ranker, config: RecoverConfig, generator: str = GENERATOR,
        bank: Bank | None = None, critic: Critic | None = None,
    ) -> Predictor:  # fmt: skip
        behind = self.model(ModelConfig(name=generator))
        bench = Bench(self.run, config, load_wording(), self.table.space, behind, self.table.seed)
        return await bench.predictor(self.model(recoverer), ranker, bank, critic)

    async def before(self, data: Data, config: RecoverConfig) -> None:
        """The baselines, and the recoverer as it was, with nothing learned or fitted."""
        plain = await self.predictor(ModelConfig(name=GENERATOR), Ranker.plain(config.rank), config)
        async with plain.open():
            picks = baselines(truths_of(data.singles), self.table.seed, config.rank.generic)
            predicted = await plain.predict("plain", data.singles)
            names = {"zero-shot": "zero-shot", "mbr": "+ MBR", "likelihood": "+ likelihood"}
            await self.table.add(plain, data.singles, picks | picks_of(predicted, names))
            for size, groups in data.grouped.items():
                several = await plain.predict(f"plain-{size}", groups)
                await self.table.add(plain, groups, picks_of(several, {"all": f"+ groups of {size}"}))

    async def learned(self, done: FinishedRecoverer, groups: Sequence[Group], what: str = "") -> None:
        """What each stage of learning brought to its first answers, and all of it together."""
        config, (critic, bank) = done.config, done.bank(self.table.space)
        for stage, name in (("sft", "SFT"), ("dpo", "SFT + DPO")):
            one = await self.predictor(stage_model(done, stage), done.ranker(config), config, GENERATOR, bank, critic)
            async with one.open():
                predicted = await one.predict(f"{stage}{what}", groups)
                await self.table.add(one, groups, picks_of(predicted, {"zero-shot": f"{what}{name}"}))
        names = {"all": f"{what}all"} | ({} if what else {"retrieval": "retrieval", "critic": "critic"})
        await self.whole(done, groups, names)

    async def whole(
        self, done: FinishedRecoverer, groups: Sequence[Group], names: dict[str, str], generator: str = GENERATOR
    ) -> None:
        """The recoverer that was kept, with the ranking that was fitted for it."""
        config, (critic, bank) = done.config, done.bank(self.table.space)
        one = await self.predictor(done.model, done.ranker(config), config, generator, bank, critic)
        async with one.open():
            predicted = await one.predict("all", groups)
            await self.table.add(one, groups, picks_of(predicted, names))


async def measured(
    data: Data, done: FinishedRecoverer, blind: FinishedRecoverer, out: Path, seed: int, space: Space
) -> Table:  # fmt: skip
    """Every arm. blind: the recoverer that has learned from the rewritten texts alone."""
    table = Table(space, seed)
    with Run(out / f"test-{seed}", "recover", {"step": "benchmark", "seed": seed}) as run:
        desk = Desk(run, CallStore(run.calls_path, run.id), table)
        await desk.before(data, done.config)
        await desk.learned(done, data.singles)
        for size, groups in data.grouped.items():
            await desk.whole(done, groups, {"all": f"all, groups of {size}"})
        foreign = {"zero-shot": f"{OTHER}: zero-shot", "all": f"{OTHER}: all"}
        await desk.whole(done, data.foreign, foreign, OTHER)
        alone_config, texts = blind.config, without_originals(data.singles)
        plain = await desk.predictor(ModelConfig(name=GENERATOR), Ranker.plain(alone_config.rank), alone_config)
        async with plain.open():
            predicted = await plain.predict("plain-alone", texts)
            await table.add(plain, texts, picks_of(predicted, {"zero-shot": f"{ALONE}zero-shot"}))
        await desk.learned(blind, texts, ALONE)
        desk.store.close()
    return table


def stage_model(done: FinishedRecoverer, stage: str) -> ModelConfig:
    """The recoverer as it was after a stage of its learning."""
    names = {"sft": ["sft"], "dpo": ["sft", "dpo"]}[stage]
    base = ModelConfig(**done.report["recoverer"])
    folders = [str(done.run / name / "adapter") for name in names if (done.run / name / "adapter").is_dir()]
    return base.model_copy(update={"adapters": folders})
