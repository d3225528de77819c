"""The test of a rewriter on base prompts that it has never seen: what it makes of them, what the main model then
answers, and what judges other than its teachers say of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from promptmill.crafts.rewrite.bench import Bench
from promptmill.crafts.rewrite.improve import Predictor, improve
from promptmill.crafts.rewrite.judging import Comparer, Texts, models_of
from promptmill.crafts.rewrite.proof import Proof
from promptmill.crafts.rewrite.rewriter import IDS_OF_A_ROUND
from promptmill.crafts.rewrite.tables import BASE, BaseRow, ImprovedRow, PreferredRow, VariationRow
from promptmill.crafts.rewrite.trials import Material, themselves
from promptmill.crafts.rewrite.values import Values
from promptmill.judge.panel import Panel
from promptmill.model.gate import Model, together
from promptmill.model.shards import fill
from promptmill.score.exact import Exact
from promptmill.score.scorer import Scorer, corpus_score
from promptmill.store.records import record_of, row_of
from promptmill.store.stage import Stage
from promptmill.tasks.load import load_task

RAW, CLEAN, OFFERED = 0, 1, 2
"""Of a round's rewrites of a test prompt: the rewriter's first answer, the first that breaks no rule, and what is
offered to the user."""
OFFER = "offered"
"""Name of the test of what is offered."""
GOOD = 0.75
"""A prompt's own value (its true score, where its task is known) from which it counts as a good one."""


@dataclass(frozen=True)
class Tester:
    """panel: the judges of the test. main: the model that answers, which may be another than the one trained for.
    name: of the test, in names of stages and on the screen. compares: whether the judges are also asked which of two
    answers is better."""

    bench: Bench
    material: Material
    panel: Panel
    panel_name: str
    main: Model
    name: str = "test"
    candidates: int = 8
    compares: bool = True

    @property
    def place(self) -> int:
        """Of what comes of a test prompt, among the round's numbers: answers to two texts never have one key."""
        return OFFERED if self.name == OFFER else CLEAN

    async def run(
        self, round: int, rewriter: Model, predictor: Predictor | None, learned: str, proof: Proof | None = None
    ) -> Tested:
        """round: 0 is the untrained rewriter. learned: by what the predictor is known."""
        bases = self.material.of(splits=["test"])
        improved = await self._improved(round, bases, rewriter, predictor, learned, proof)
        tried = [*themselves(bases), *_variations(round, improved, self.place)]
        outputs = await self.bench.answered(f"outputs-{self.name}-{round}", tried, self.material, self.main)
        scores = await self.bench.scored(
            f"scores-{self.name}-{round}", outputs, self.material, self.panel, self.panel_name
        )
        values, texts = Values(self.panel), Texts()
        values.add(scores.rows())
        texts.add(outputs)
        preferred: Mapping[str, float] = {}
        if self.compares:
            preferred = await self._preferred(round, bases, improved, texts, scores.folder.name)
        truth = self._truth(bases, texts)
        return Tested(round, tuple(bases), improved, values, texts, preferred, truth, outputs, scores, self.place)

    async def _improved(
        self, round: int, bases: Sequence[BaseRow], rewriter: Model, predictor: Predictor | None, learned: str,
        proof: Proof | None,
    ) -> Mapping[str, ImprovedRow]:  # fmt: skip
        bench, config = self.bench, self.bench.config
        told = [[one.base_id, one.text] for one in bases]
        stage = bench.stage(f"improved-{self.name}-{round}", ImprovedRow, round, told, rewriter.fingerprint,
                             bench.wording.refine, self.candidates, learned,
                            config.pairs.longest, config.pairs.similar, proof.digest if proof else "")  # fmt: skip

        async def one(base: BaseRow) -> ImprovedRow:
            found = await improve(
                rewriter, bench.wording, base.text, count=self.candidates, max_tokens=config.synthesize.max_tokens,
                predictor=predictor, guard=bench.guard, proof=proof,
            )  # fmt: skip
            return ImprovedRow(base.base_id, round, base.text, found.raw, list(found.broken), found.rewrite,
                               found.reason, found.expected)  # fmt: skip

        async def make(part: Sequence[BaseRow]) -> list[dict[str, Any]]:
            return [row_of(row) for row in await together([one(base) for base in part])]

        on = bench.on(f"{self.name} {round}: rewrites", len(bases))
        async with rewriter:
            asked = [rewriter, *([proof.main, proof.writer, *models_of(proof.panel)] if proof else [])]
            await fill(stage, bases, make, models=asked, rows=32, on=on)
        rows: Iterable[ImprovedRow] = (record_of(ImprovedRow, row) for row in stage.rows())
        return {one.base_id: one for one in rows}

    async def _preferred(
        self, round: int, bases: Sequence[BaseRow], improved: Mapping[str, ImprovedRow], texts: Texts, scores: str
    ) -> Mapping[str, float]:
        """The judges' preference for the offered rewrite's answers over the prompt's own, in both orders."""
        changed = [one for one in bases if improved[one.base_id].rewrite is not None]
        compare = Comparer(self.panel, self.material, texts, self.bench.config.pairs.compared)
        stage = self.bench.stage("preferred", PreferredRow, round, scores, self.bench.config.pairs.compared)
        shipped = round * IDS_OF_A_ROUND + self.place

        async def make(part: Sequence[BaseRow]) -> list[dict[str, Any]]:
            found = await together([compare(base, shipped, BASE) for base in part])
            return [row_of(PreferredRow(base.base_id, p)) for base, p in zip(part, found, strict=True)]

        on = self.bench.on(f"{self.name} {round}: compared", len(changed))
        await fill(stage, changed, make, models=models_of(self.panel), rows=64, on=on)
        return {row["base_id"]: row["p"] for row in stage.rows() if row["p"] is not None}

    def _truth(self, bases: Sequence[BaseRow], texts: Texts) -> Mapping[tuple[str, int], float]:
        """Scores by the task that a base prompt is of, or by golds that were given with its inputs (exact match)."""
        found = {}
        for base in bases:
            golds = self._golds(base)
            scorer: Scorer = load_task(base.task).scorer if base.task else Exact()
            for variation in texts.variations(base.base_id) if golds else ():
                scores = [
                    scorer.score(output, golds[given], {}).row
                    for (given, _), output in texts.of(base.base_id, variation).items()
                    if given in golds
                ]
                if scores:
                    found[base.base_id, variation] = corpus_score(scorer, scores)
        return found

    def _golds(self, base: BaseRow) -> dict[int, tuple[str, ...]]:
        return {one.input_id: tuple(one.gold) for one in self.material.tried_on(base.base_id) if one.gold}


@dataclass(frozen=True)
class Tested:
    """A round's rewriter on the test prompts. truth: scores by (base_id, variation_id), where a task is known. outputs,
    scores: the tables that all of it is from. place: number of the rewrites that count, within the round's."""

    round: int
    bases: tuple[BaseRow, ...]
    improved: Mapping[str, ImprovedRow]
    values: Values
    texts: Texts
    preferred: Mapping[str, float]
    truth: Mapping[tuple[str, int], float]
    outputs: Stage
    scores: Stage
    place: int = CLEAN

    def rows(self) -> list[dict[str, Any]]:
        """One for each test prompt."""
        return [self._row(base) for base in self.bases]

    def _row(self, base: BaseRow) -> dict[str, Any]:
        found, key = self.improved[base.base_id], base.base_id
        first = self.round * IDS_OF_A_ROUND
        offered = BASE if found.rewrite is None else first + self.place
        raw = BASE if found.raw is None or found.raw == base.text else first + RAW
        lengths = [self._words(key, one) for one in (BASE, offered)]
        return {
            "base_id": key, "domain": base.domain, "cluster": base.cluster,
            "prompt": base.text, "rewrite": found.rewrite,
            "base_value": self.values.mean(key, BASE), "rewrite_value": self.values.mean(key, offered),
            "base_score": self.truth.get((key, BASE)), "rewrite_score": self.truth.get((key, offered)),
            "raw": found.raw, "raw_value": self.values.mean(key, raw), "raw_score": self.truth.get((key, raw)),
            "guard": found.broken[0] if found.broken else None, "left_alone": found.rewrite is None,
            "reason": found.reason, "expected": found.expected, "preferred": self.preferred.get(key),
            "words": lengths,
        }  # fmt: skip

    def _words(self, base: str, variation: int) -> float | None:
        """Of an answer, on average."""
        texts = self.texts.of(base, variation).values()
        return fmean(len(text.split()) for text in texts) if texts else None


def _variations(round: int, improved: Mapping[str, ImprovedRow], place: int) -> list[VariationRow]:
    """What is tried beside the base prompts. A rewrite that is the same twice is tried twice: that costs little."""
    first, found = round * IDS_OF_A_ROUND, []
    for one in improved.values():
        raw = VariationRow(one.base_id, first + RAW, "rewriter", round, one.raw)
        if one.raw is not None and one.raw != one.prompt:
            found.append(raw)
        if one.rewrite is not None:
            found.append(replace(raw, variation_id=first + place, text=one.rewrite))
    return found
