"""A recoverer from traces with known prompts: it learns, what learned best is chosen, its ranking is fitted, and all of
it is tested on prompt clusters that nothing has seen."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from promptmill.crafts.recover.bank import Bank, make_bank
from promptmill.crafts.recover.bench import Bench
from promptmill.crafts.recover.candidates import request_of
from promptmill.crafts.recover.confidence import fit_calibration
from promptmill.crafts.recover.config import RecoverConfig
from promptmill.crafts.recover.critic import Critic, fit_critic
from promptmill.crafts.recover.evaluation import counted, evaluated, examples
from promptmill.crafts.recover.learn import Learned, Learner, choose, pairs_of
from promptmill.crafts.recover.measures import Measure, Truth, measured
from promptmill.crafts.recover.predicting import Predictor
from promptmill.crafts.recover.rank.folds import cluster_folds
from promptmill.crafts.recover.rank.known import solved
from promptmill.crafts.recover.ranking import Ranker, features, signs
from promptmill.crafts.recover.space import scs
from promptmill.crafts.recover.synthesize.parts import neighbours, parted
from promptmill.crafts.recover.tables import DrawRow, PartRow
from promptmill.crafts.recover.traces import Group, Trace, groups_of, write_traces
from promptmill.crafts.recover.weights import fit_weights, held_out_scores
from promptmill.errors import InputError
from promptmill.model.gate import Model
from promptmill.model.load import ModelConfig
from promptmill.store.records import record_of
from promptmill.vary.splits import Shares

BANK = "bank.jsonl"
"""File of the run: the traces that were learned from, as a bank for later."""
KNOWN, TEST = "known prompts, new texts", "other prompts"
FOLDS = 5


@dataclass
class Training:
    """kind: the recoverer as it is to begin with. open_model: gives a model its place behind the gate."""

    bench: Bench
    kind: ModelConfig
    open_model: Callable[[ModelConfig], Model]
    more: dict[str, Measure] | None = None

    @property
    def config(self) -> RecoverConfig:
        return self.bench.config

    async def run(self, traces: Sequence[Trace], others: Mapping[str, Sequence[Trace]]) -> dict[str, Any]:
        """The report; beside it the run gets its adapters, its ranker, its critic and its bank. others: more sets to be
        tested on, by name. InputError where there is nothing to learn from, to choose by, or to test on."""
        bench, shares = self.bench, Shares(self.config.synthesize.dev, self.config.synthesize.test, self.bench.seed)
        parts = parted(traces, bench.space, self.config.split.together, shares)
        bench.warnings += parts.warnings
        sets = _sets(parts.traces, self.config, bench.seed)
        self._check_others(sets["train"], others)
        learner = self._learner()
        stages = await self._learned(learner, [*sets["train"], *sets["dev"]])
        tests = {TEST: sets["test"], **({KNOWN: sets["known"]} if sets["known"] else {}), **others}
        units = {name: _alone(some) for name, some in tests.items()}
        units |= {f"{name}, grouped": several for name, some in tests.items() if (several := _grouped(some))}
        scores = {one.stage: await self._greedy_scs(one, "dev", sets["dev"]) for one in stages[1:] and stages}
        best = next(one for one in stages if one.stage == choose(scores)) if scores else stages[0]
        critic, bank = self._from_train(sets["train"])
        recoverer = self.open_model(best.model(self.kind))
        predictor = await bench.predictor(recoverer, Ranker.plain(self.config.rank), bank, critic)
        ranker = await self._fitted(predictor, [*_alone(sets["dev"]), *_grouped(sets["dev"])])
        ranker.save(bench.run.folder)
        predictor = replace(predictor, ranker=ranker)
        tested = [await self._tested(predictor, name, some) for name, some in units.items()]
        table = [await self._stages(name, some, stages) for name, some in tests.items()] if scores else []
        return {
            "parts": parts.report, "sizes": {name: len(some) for name, some in sets.items()},
            "learned": [one.report for one in stages], "dev": scores, "kept": best.stage,
            "adapters": [str(path) for path in best.adapters], "critic": asdict(critic.report),
            "ranker": {"weights": ranker.weights.each, "reason": ranker.weights.reason,
                       "calibrated": ranker.calibration.calibrated, "calibration": ranker.calibration.reason},
            "tests": tested, "stages": table, "warnings": bench.warnings,
        }  # fmt: skip

    def _learner(self) -> Learner:
        bench = self.bench
        shorten = bench.shortener(self.open_model(self.kind))
        return Learner(
            self.kind, self.config.learn, bench.run.folder, partial(_asked, bench, shorten), bench.seed,
            lambda row: bench.run.metric(**row), bench.watch,
        )  # fmt: skip

    async def _learned(self, learner: Learner, traces: Sequence[Trace]) -> list[Learned]:
        until = self.config.learn.until
        if until == "base":
            return [Learned("base", tuple(map(Path, self.kind.adapters)), {"stage": "base"})]
        sft = learner.sft(traces)
        stages = [learner.base, sft]
        if until == "sft":
            return stages
        lesson = [*learner.lesson(traces, "train"), *learner.lesson(traces, "dev")]
        draws = await self._own_answers(sft, "lesson", _alone(lesson), self.config.learn.draws)
        paired = pairs_of(draws, lesson, self.bench.space, self.config.learn, self.bench.seed, self.config.learn.least)
        return [*stages, learner.dpo(sft, traces, paired)]

    async def _own_answers(self, stage: Learned, name: str, groups: Sequence[Group], draws: int) -> list[DrawRow]:
        """What a stage answers when it is shown nothing but the trace."""
        config = self.config.candidates.model_copy(
            update={"draws": draws, "few_shot": 0, "together": 0, "bank": 0, "openings": [""]}
        )
        plain = self.config.rank.model_copy(update={"likelihood": False, "posterior": False})
        bench = replace(self.bench, config=self.config.model_copy(update={"candidates": config, "rank": plain}))
        recoverer = self.open_model(stage.model(self.kind))
        predictor = await bench.predictor(recoverer, Ranker.plain(plain))
        async with recoverer:
            found = await predictor.draws(f"{name}-{stage.stage}", groups)
        return [record_of(DrawRow, row) for row in found.rows()]

    async def _greedy(self, stage: Learned, name: str, traces: Sequence[Trace]) -> list[str | None]:
        rows = await self._own_answers(stage, name, _alone(traces), 1)
        by_trace = {row.trace_id: row.text for row in rows}
        return [by_trace.get(one.id) for one in traces]

    async def _greedy_scs(self, stage: Learned, name: str, traces: Sequence[Trace]) -> float:
        """Mean sharpened cosine of its greedy answers; an unread one counts as 0."""
        said = await self._greedy(stage, name, traces)
        return fmean(scs(self.bench.space, [one or "." for one in said], [one.prompt or "" for one in traces])
                     * [one is not None for one in said])  # fmt: skip

    async def _stages(self, name: str, traces: Sequence[Trace], stages: Sequence[Learned]) -> dict[str, Any]:
        """Each stage's greedy answers to single traces of a set."""
        truths = [Truth(one.prompt or "", one.cluster or one.prompt or "") for one in traces]
        rows = []
        for stage in stages:
            said = await self._greedy(stage, _file_name(name), traces)
            rows.append({"arm": stage.stage, **measured(said, truths, self.bench.space, self.bench.seed, self.more)})
        return {"name": name, "traces": len(traces), "arms": rows}

    def _from_train(self, train: Sequence[Trace]) -> tuple[Critic, Bank]:
        bench = self.bench
        critic = fit_critic(train, bench.space, seed=bench.seed)
        critic.save(bench.run.folder)
        write_traces(bench.run.folder / BANK, train)
        return critic, make_bank(solved(train), bench.space, critic)

    async def _fitted(self, predictor: Predictor, groups: Sequence[Group]) -> Ranker:
        """The ranking that brings what is nearest to the truth to the top, and the confidence that goes with it; both
        on dev, the confidence on scores of weights that have not seen the group."""
        config, space = self.config.rank, self.bench.space
        async with predictor.open():
            parts = await predictor.parts("dev", groups)
        found: list[tuple[Group, list[PartRow]]] = [one for one in predictor.walk(groups, parts) if one[1]]
        near = [scs(space, [row.text for row in rows], [group.prompt or ""] * len(rows)) for group, rows in found]
        told = [[features(row) for row in rows] for _, rows in found]
        weights = fit_weights(told, near)
        folds = cluster_folds([group.cluster or group.id for group, _ in found], FOLDS, self.bench.seed)
        held = held_out_scores(told, near, folds)
        seen = [signs(rows, scores.tolist()) for (_, rows), scores in zip(found, held, strict=True)]
        right = [bool(near_n[int(scores.argmax())] >= config.right) for near_n, scores in zip(near, held, strict=True)]
        return Ranker(weights, fit_calibration(seen, right), config.abstain, config.kept)

    async def _tested(self, predictor: Predictor, name: str, groups: Sequence[Group]) -> dict[str, Any]:
        async with predictor.open():
            predicted = await predictor.predict(_file_name(name), groups)
            found = await evaluated(predictor, _file_name(name), groups, predicted, self.bench.seed, self.more)
        return {**found, "name": name, "counts": counted(predicted), "examples": examples(groups, predicted)}

    def _check_others(self, train: Sequence[Trace], others: Mapping[str, Sequence[Trace]]) -> None:
        """Where a set's prompts were learned from, its figures say so."""
        space, bound = self.bench.space, self.config.split.together
        learned = [one.prompt for one in train if one.prompt]
        for name, some in others.items():
            if leaks := neighbours(space, [one.prompt for one in some if one.prompt], learned, bound):
                self.bench.warnings.append(f"{name}: {len(leaks)} of its prompts are like one that was learned from, "
                                           f"such as {leaks[0]}")  # fmt: skip


def _asked(bench: Bench, shorten: Callable[[str], str], trace: Trace) -> Any:
    return request_of(bench.wording, trace, shorten)


def _alone(traces: Sequence[Trace]) -> list[Group]:
    """Each trace as a group of its own, whatever group it is of."""
    return [Group(one.id, (one,)) for one in traces]


def _grouped(traces: Sequence[Trace]) -> list[Group]:
    """The groups of more than one trace."""
    return [one for one in groups_of(traces) if len(one.traces) > 1]


def _sets(traces: Sequence[Trace], config: RecoverConfig, seed: int) -> dict[str, list[Trace]]:
    """train, known (train's prompts, other texts), dev and test. InputError where one that is needed is empty."""
    found: dict[str, list[Trace]] = {"train": [], "known": [], "dev": [], "test": []}
    for one in traces:
        share = int(hashlib.sha256(f"known {seed} {one.id}".encode()).hexdigest()[:16], 16) / 16**16
        known = one.split == "train" and share < config.learn.known
        found["known" if known else one.split or "train"].append(replace(one, group=None) if known else one)
    prompts = {one.prompt for one in found["train"]}
    found["train"] += [one for one in found["known"] if one.prompt not in prompts]
    found["known"] = [one for one in found["known"] if one.prompt in prompts]
    for name, why in (("train", "to learn from"), ("dev", "to choose by"), ("test", "to test on")):
        if not found[name]:
            raise InputError(f"no trace is of the split {name}, so there is nothing {why}: give traces of more prompts "
                             f"that differ, or name their splits in a column 'split'")  # fmt: skip
    return found


def _file_name(name: str) -> str:
    return "".join(one if one.isalnum() else "-" for one in name)
