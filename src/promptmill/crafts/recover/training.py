"""A recoverer from traces with known prompts: it learns, what learned best is chosen, its ranking is fitted, and all of
it is tested on prompt clusters that nothing has seen."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from promptmill.crafts.recover.bank import Bank, make_bank
from promptmill.crafts.recover.bench import Bench
from promptmill.crafts.recover.candidates import no_answer, request_of
from promptmill.crafts.recover.confidence import fit_calibration
from promptmill.crafts.recover.config import RecoverConfig
from promptmill.crafts.recover.critic import Critic, fit_critic
from promptmill.crafts.recover.evaluation import counted, evaluated, examples
from promptmill.crafts.recover.learn import Learned, Learner, choose, pairs_of
from promptmill.crafts.recover.measures import Measure, Truth, measured
from promptmill.crafts.recover.missing import warnings_of
from promptmill.crafts.recover.predicting import Predictor
from promptmill.crafts.recover.rank.folds import cluster_folds
from promptmill.crafts.recover.rank.known import solved
from promptmill.crafts.recover.ranking import Ranker, features, signs
from promptmill.crafts.recover.sets import Sets, alone, in_groups
from promptmill.crafts.recover.space import scs
from promptmill.crafts.recover.tables import DrawRow, PartRow
from promptmill.crafts.recover.traces import Group, Trace, write_traces
from promptmill.crafts.recover.weights import better_weights
from promptmill.model.gate import Model
from promptmill.model.load import ModelConfig
from promptmill.model.local import LocalBackend
from promptmill.store.records import record_of

BANK = "bank.jsonl"
"""File of the run: the traces that were learned from, as a bank for later."""
FOLDS = 5
BIG = 100 * 2**20
"""Bytes of weights from which a model is cleared away at once."""
LONGEST_NAME = 60
"""Characters of a set's name in the name of a table."""


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

    async def run(self, sets: Sets) -> dict[str, Any]:
        """The report; beside it the run gets its adapters, its ranker, its critic and its bank."""
        bench = self.bench
        bench.warnings += sets.warnings
        stages = await self._learned(self._learner(), [*sets.train, *sets.dev])
        tests, units = sets.tests, sets.units
        scores = {one.stage: await self._greedy_scs(one, "dev", sets.dev) for one in stages[1:] and stages}
        best = next(one for one in stages if one.stage == choose(scores)) if scores else stages[0]
        critic, bank = self._from_train(sets.train)
        recoverer = self.open_model(best.model(self.kind))
        predictor = await bench.predictor(recoverer, Ranker.plain(self.config.rank), bank, critic)
        async with predictor.open():
            ranker = await self._fitted(predictor, [*alone(sets.dev), *in_groups(sets.dev)])
            ranker.save(bench.run.folder)
            predictor = replace(predictor, ranker=ranker)
            tested = [await self._tested(predictor, name, some) for name, some in units.items()]
        del predictor, recoverer
        table = [await self._stages(name, some, stages) for name, some in tests.items()] if scores else []
        return {
            "parts": sets.report, "sizes": sets.sizes,
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
        draws = await self._own_answers(sft, "lesson", alone(lesson), self.config.learn.draws)
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
            big = recoverer.awake and _is_big(recoverer)
        del recoverer, predictor
        if big:
            _forget_unused()
        return [record_of(DrawRow, row) for row in found.rows()]

    async def _greedy(self, stage: Learned, name: str, traces: Sequence[Trace]) -> list[DrawRow]:
        rows = await self._own_answers(stage, name, alone(traces), 1)
        by_trace = {row.trace_id: row for row in rows}
        return [by_trace[one.id] for one in traces]

    async def _greedy_scs(self, stage: Learned, name: str, traces: Sequence[Trace]) -> float | None:
        """Mean sharpened cosine of its greedy answers. One that is no prompt counts as 0, a call that failed not at
        all; None where all did."""
        rows = await self._greedy(stage, name, traces)
        came = [(row.text, trace.prompt or "") for row, trace in zip(rows, traces, strict=True) if not no_answer(row)]
        near = scs(self.bench.space, [text or "." for text, _ in came], [prompt for _, prompt in came])
        return fmean(near * [text is not None for text, _ in came]) if came else None

    async def _stages(self, name: str, traces: Sequence[Trace], stages: Sequence[Learned]) -> dict[str, Any]:
        """Each stage's greedy answers to single traces of a set."""
        truths = [Truth(one.prompt or "", one.cluster or one.prompt or "") for one in traces]
        rows = []
        for stage in stages:
            said = [row.text for row in await self._greedy(stage, _file_name(name), traces)]
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
        parts = await predictor.parts("dev", groups)
        found: list[tuple[Group, list[PartRow]]] = [one for one in predictor.walk(groups, parts) if one[1]]
        near = [scs(space, [row.text for row in rows], [group.prompt or ""] * len(rows)) for group, rows in found]
        told = [[features(row) for row in rows] for _, rows in found]
        folds = cluster_folds([group.cluster or group.id for group, _ in found], FOLDS, self.bench.seed)
        weights, held = better_weights(told, near, folds)
        seen = [signs(rows, scores.tolist()) for (_, rows), scores in zip(found, held, strict=True)]
        right = [bool(near_n[int(scores.argmax())] >= config.right) for near_n, scores in zip(near, held, strict=True)]
        return Ranker(weights, fit_calibration(seen, right), config.abstain, config.kept)

    async def _tested(self, predictor: Predictor, name: str, groups: Sequence[Group]) -> dict[str, Any]:
        predicted = await predictor.predict(_file_name(name), groups)
        found = await evaluated(predictor, _file_name(name), groups, predicted, self.bench.seed, self.more)
        missing = await predictor.missing(_file_name(name), groups)
        self.bench.warnings += warnings_of(missing, name)
        return {**found, "name": name, "counts": counted(predicted), "missing": missing,
                "examples": examples(groups, predicted)}  # fmt: skip


def _asked(bench: Bench, shorten: Callable[[str], str], trace: Trace) -> Any:
    return request_of(bench.wording, trace, shorten)


def _is_big(model: Model) -> bool:
    backend = model.backend
    files = backend.folder.glob("*.safetensors") if isinstance(backend, LocalBackend) else []
    return sum(path.stat().st_size for path in files) > BIG


def _forget_unused() -> None:
    """A big model that nobody uses any more leaves the memory now, not when another is there already."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _file_name(name: str) -> str:
    return "".join(one if one.isalnum() else "-" for one in name)[:LONGEST_NAME]
