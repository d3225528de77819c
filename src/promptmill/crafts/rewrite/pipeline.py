"""A rewrite from end to end, or up to one of its steps. Whatever is there already is not made again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from promptmill.crafts.rewrite.bench import Bench
from promptmill.crafts.rewrite.judging import read_outputs
from promptmill.crafts.rewrite.known import Known
from promptmill.crafts.rewrite.predictor.predictor import Fitted, GainRow, encoder_of, fit_once
from promptmill.crafts.rewrite.probe import Jury, probe
from promptmill.crafts.rewrite.proof import Proof
from promptmill.crafts.rewrite.rounds import LEARNED, Rounds
from promptmill.crafts.rewrite.summary import test_report, verdict
from promptmill.crafts.rewrite.synthesize.prompts_file import GivenPrompt
from promptmill.crafts.rewrite.synthesize.synthesize import Synthesized, synthesize
from promptmill.crafts.rewrite.tables import BASE
from promptmill.crafts.rewrite.tested import OFFER, Tested, Tester
from promptmill.crafts.rewrite.trials import Material
from promptmill.crafts.rewrite.tune import Tuner, two_by_two
from promptmill.crafts.rewrite.values import Values
from promptmill.errors import InputError
from promptmill.judge.verdict import Gate
from promptmill.model.gate import Model
from promptmill.model.load import open_backend
from promptmill.model.local import LocalBackend
from promptmill.store.files import write_json
from promptmill.store.manifest import manifest
from promptmill.store.stage import Stage

Step = Literal["synthesize", "answer", "judge", "pairs", "train", "test"]
STEPS: tuple[Step, ...] = ("synthesize", "answer", "judge", "pairs", "train", "test")
PREDICTOR = "predictor"
"""Folder of the run."""
MANIFEST = "manifest.json"
WEAK = "the panel is weak"
UNCHANGED = ("the rewriter stays as it was: nothing that it learned held on the pairs of dev prompts; give more base "
             "prompts (synthesize.topics, synthesize.prompts), or a smaller learn.train.rate")  # fmt: skip
WEAK_TEST = "the test's panel is weak"
NO_PREDICTOR = {"kept": False, "reason": "no rewrite that breaks no rule was measured beside its prompt"}


@dataclass
class Pipeline:
    """intents, given: what the prompts are for, and prompts of the user's own. test_panel: the judges of the test;
    those that taught where it is None. allow_weak: go on with a panel that does not pass the gate. weak, weak_test:
    whether the panel, and that of the test, did not. tuner: of the main model, where that is to be tuned too."""

    bench: Bench
    writer: Model
    gate: Gate
    intents: Sequence[str] = ()
    given: Sequence[GivenPrompt] = ()
    test_panel: Jury | None = None
    target: Model | None = None
    allow_weak: bool = False
    warnings: list[str] = field(default_factory=list)
    weak: bool = False
    weak_test: bool = False
    tuner: Tuner | None = None

    async def run(self, until: Step = "test", number: int = 1) -> dict[str, Any]:
        """The report; beside it the run gets a manifest.json of all that was made. number: the round, where `until` is
        a step of one. InputError where a panel does not pass its gate, and where there is nothing to learn."""
        report = await self._run(until, number)
        write_json(self.bench.run.folder / MANIFEST, manifest(self.bench.run.folder))
        return report

    async def _run(self, until: Step, number: int) -> dict[str, Any]:
        bench = self.bench
        made = await self._synthesized()
        report: dict[str, Any] = {"step": until, "synthesize": made.report}
        if until in ("answer", "judge", "pairs"):
            report["round"] = number
        self.warnings += made.report.get("warnings", [])
        if until == "synthesize":
            return report | {"warnings": self.warnings}
        material = Material.read(made.bases, made.inputs)
        _check_splits(material, until)
        rounds = Rounds(bench, material, made.variations, Known(Values(bench.panel)))
        last = bench.config.rounds if until in ("train", "test") else number
        async with bench.main, bench.panel:
            if until == "answer" and last == 1:
                return report | {"answers": await self._counted(rounds, last), "warnings": self.warnings}
            scores = await rounds.judge(1)
            report["panel"] = await self._check(rounds, material, scores)
            for each in range(1, last + (until in ("train", "test"))):
                if rounds.ended:
                    break
                await rounds.train(each)
            report["rounds"] = [one.report for one in rounds.done]
            self.warnings += [
                f"round {one.number}: {count} pairs are longer than the rewriter's context and were left out"
                for one in rounds.done
                if (count := one.report["left_out"])
            ]
            if rounds.ended and not rounds.best:
                self.warnings.append(UNCHANGED)
            if until in ("train", "test"):
                report["adapters"] = [_from_run(path, bench.run.folder) for path in rounds.adapters]
            if until == "answer":
                return report | {"answers": await self._counted(rounds, last), "warnings": self.warnings}
            if until == "judge":
                await rounds.judge(last)
            elif until == "pairs":
                found = await rounds.pairs(last)
                report["pairs"] = {kind: sum(one.kind == kind for one in found) for kind in {one.kind for one in found}}
            elif until in ("train", "test"):
                # What is offered on trust has to be measured first; with a proof each rewrite is, when it is offered.
                first = None if bench.config.test.proof else await rounds.offer()
                predictor = self._predictor(rounds, first)
                report["predictor"] = asdict(predictor.report) if predictor else NO_PREDICTOR
                if self.tuner is not None:
                    known = rounds.known
                    report["tuning"] = self.tuner.tune(
                        material, list(known.answered.values()), known.values, known.broken
                    )
                if until == "test":
                    report |= await self._test(rounds, material, predictor)
        return report | {"warnings": self.warnings}

    async def _synthesized(self) -> Synthesized:
        bench = self.bench
        async with self.writer:
            return await synthesize(
                bench.run, self.writer, bench.wording, bench.config.synthesize, bench.seed, self.intents, self.given,
                bench.watch,
            )  # fmt: skip

    async def _counted(self, rounds: Rounds, number: int) -> dict[str, int]:
        """Of a round's answers: how many came, and why others did not."""
        counts: dict[str, int] = {}
        for tried in await rounds.answer(number):
            for row in tried.outputs.rows():
                kind = (row["error"] or "answered").split(":")[0]
                counts[kind] = counts.get(kind, 0) + 1
        return counts

    async def _check(self, rounds: Rounds, material: Material, scores: Sequence[Stage]) -> dict[str, Any]:
        """The panel's report, into panel.json; what it must show is shown, or the run ends here."""
        bench = self.bench
        outputs = [tried.outputs for tried in await rounds.answer(1)]
        if not _any_answer(outputs[0]):
            failed = ", ".join(f"{count} {kind}" for kind, count in (await self._counted(rounds, 1)).items())
            raise InputError(f"{bench.main.name} has answered none of the prompts ({failed}); give another --model")
        report = await probe(bench, Jury(bench.panel, bench.panel_name, self.gate), material, outputs, scores[0])
        reasons = report["gate"]["reasons"]
        if reasons and not self.allow_weak:
            raise InputError(
                f"the panel may not be believed: {'; '.join(reasons)}. Its report: {bench.run.folder / 'panel.json'}. "
                "Take other judges, or go on all the same with --allow-weak-panel"
            )
        if reasons:
            self.weak = True
            self.warnings.append(f"{WEAK}: {'; '.join(reasons)}")
        return report

    async def _check_test(self, jury: Jury, material: Material, tested: Tested) -> dict[str, Any]:
        """The report of the test's panel on what the test has asked, into test_panel.json; empty where nothing was
        answered. What it does not show is warned of: all is done by now."""
        if not _any_answer(tested.outputs):
            return {}
        report = await probe(self.bench, jury, material, [tested.outputs], tested.scores, "test")
        if reasons := report["gate"]["reasons"]:
            self.weak_test = True
            self.warnings.append(f"{WEAK_TEST}: {'; '.join(reasons)}")
        return {"test_panel": report}

    def _predictor(self, rounds: Rounds, first: int | None) -> Fitted | None:
        """Fitted on all that was measured, and kept in the run; whether it is used is for its report to say. None
        where nothing was measured: a rewriter does without.
        first: from which number on variations are answers of the rewriter that is offered."""
        bench, known = self.bench, rounds.known
        backend = open_backend(bench.rewriter)
        assert isinstance(backend, LocalBackend)
        rows = []
        for base in rounds.material.of(splits=LEARNED):
            for one in known.values.variations(base.base_id):
                margin = known.values.margin(base.base_id, one)
                if one != BASE and margin is not None and (base.base_id, one) not in known.broken:
                    text = known.texts[base.base_id][one]
                    place = None if first is None or one < first else one - first
                    rows.append(GainRow(base.base_id, base.text, text, margin.mean, place))
        if not rows:
            return None
        if bench.config.pairs.shuffle:
            gains = [row.gain for row in rows]
            random.Random(f"shuffled {bench.seed}").shuffle(gains)
            rows = [replace(row, gain=gain) for row, gain in zip(rows, gains, strict=True)]
        return fit_once(bench.run.folder / PREDICTOR, rows, encoder_of(backend))

    async def _test(self, rounds: Rounds, material: Material, predictor: Fitted | None) -> dict[str, Any]:
        bench = self.bench
        jury = self.test_panel or Jury(bench.panel, bench.panel_name, self.gate)
        if self.test_panel is None:
            self.warnings.append("the judges of the test are those that taught: give others with test_panel")
        tester = Tester(bench, material, jury.panel, jury.name, bench.main, candidates=bench.config.test.candidates)
        async with jury.panel:
            tested = [await self._tested(tester, rounds, number) for number in range(rounds.best + 1)]
            offered = await self._offered(replace(tester, name=OFFER), rounds, predictor) or tested[-1]
            learned = [one.domains for one in rounds.done[: rounds.best]]
            found: dict[str, Any] = {"test": test_report(tested, offered, learned, bench.seed)}
            if self.test_panel is not None:
                found |= await self._check_test(jury, material, tested[0])
            if self.target is not None:
                async with self.target:
                    other = replace(tester, main=self.target, name="transfer")
                    moved = await self._tested(other, rounds, rounds.best)
                found["transfer"] = {"model": self.target.name, **test_report([moved], moved, [], bench.seed)}
            if self.tuner is not None:
                model = bench.open_model(self.tuner.tuned, "task")
                async with model:
                    tuned = replace(tester, main=model, name="tuned", compares=False)
                    after = [await self._tested(tuned, rounds, one) for one in (0, rounds.best)]
                found["tuned"] = two_by_two([tested[0], tested[-1]], after, bench.seed)
        return found | {"verdict": verdict(found["test"], self.weak, self.weak_test)}

    async def _tested(self, tester: Tester, rounds: Rounds, number: int) -> Tested:
        """The rewriter of a round by its first answer that breaks no rule: so rounds can be compared."""
        return await tester.run(number, self._rewriter(rounds, number), None, "", None)

    async def _offered(self, tester: Tester, rounds: Rounds, predictor: Fitted | None) -> Tested | None:
        """The kept rewriter as it is offered: with a proof, or with its predictor. None where there is neither."""
        bench, last = self.bench, rounds.best
        if bench.config.test.proof:
            async with self.writer:
                proof = Proof(tester.main, self.writer, bench.panel, bench.wording, bench.config, bench.role)
                return await tester.run(last, self._rewriter(rounds, last), None, "", proof)
        if predictor is not None and predictor.kept:
            return await tester.run(last, self._rewriter(rounds, last), predictor, predictor.digest, None)
        return None

    def _rewriter(self, rounds: Rounds, number: int) -> Model:
        adapters = rounds.done[number - 1].adapters if number else rounds.begun_with
        return self.bench.open_model(rounds.rewriter_kind(adapters), "rewriter")


def _from_run(path: Path, run: Path) -> str:
    """As a run that may be moved has it: relative, where the path lies within the run."""
    return str(path.relative_to(run) if path.is_relative_to(run) else path.resolve())


def _any_answer(outputs: Stage) -> bool:
    return any(one.output for one in read_outputs(outputs))


def _check_splits(material: Material, until: Step) -> None:
    """Now, and not when all has been asked and learned."""
    if not material.of(splits=LEARNED[:1]):
        raise InputError("no base prompt is for training, so nothing can be learned; give more, or a smaller "
                         "synthesize.test")  # fmt: skip
    if until == "test" and not material.of(splits=["test"]):
        raise InputError("no base prompt is held out, so nothing can be tested: give more prompts or a larger "
                         "synthesize.test, or end with promptmill rewrite train")  # fmt: skip
