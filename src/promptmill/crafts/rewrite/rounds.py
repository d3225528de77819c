"""The rounds of a rewrite: what the rewriter writes is answered, judged and paired; the pairs teach the next one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from promptmill.crafts.rewrite.answer import answer
from promptmill.crafts.rewrite.config import RewriteConfig
from promptmill.crafts.rewrite.guard.guard import Guard
from promptmill.crafts.rewrite.judging import Comparer, Texts, judge
from promptmill.crafts.rewrite.learn import Learner, Lesson
from promptmill.crafts.rewrite.pairs import Candidates, confirmed, pairs_of, replayed, shuffled
from promptmill.crafts.rewrite.rewriter import IDS_OF_A_ROUND, rewrite
from promptmill.crafts.rewrite.synthesize.bases import count_rows
from promptmill.crafts.rewrite.tables import BASE, BaseRow, OutputRow, PairRow, VariationRow
from promptmill.crafts.rewrite.trials import Material, read_variations, themselves
from promptmill.crafts.rewrite.values import Values
from promptmill.errors import InputError
from promptmill.judge.panel import Panel
from promptmill.judge.table import scores_schema
from promptmill.model.gate import Model, together
from promptmill.model.load import ModelConfig
from promptmill.model.shards import fill
from promptmill.store.records import record_of, row_of, schema_of
from promptmill.store.run import Run
from promptmill.store.stage import Stage, digest
from promptmill.vary.wording import Wording

ALGORITHM = "rewrite-3"  # change it when the same settings give other rows
LEARNED = ("train", "dev")
Watch = Callable[[str, int, int], None]


@dataclass
class Bench:
    """All that a rewrite asks and writes to. open_model: gives a model its place behind the gate, in the run's books.
    role: what the main model is told about its work beforehand. panel_name: by what the panel's scores are known."""

    run: Run
    main: Model
    panel: Panel
    panel_name: str
    wording: Wording
    role: str
    config: RewriteConfig
    rewriter: ModelConfig
    open_model: Callable[[ModelConfig, str], Model]
    seed: int = 0
    watch: Watch = lambda phase, done, total: None

    @cached_property
    def guard(self) -> Guard:
        return Guard.of(self.config.pairs)

    async def answered(self, name: str, variations: Sequence[VariationRow], material: Material, main: Model) -> Stage:
        """The main model's answers to these prompts. name: for people; the stage's own is by all that decides it."""
        config = self.config.answer
        told = ([one.base_id, one.variation_id, one.text] for one in variations)
        tried = ([list(row_of(given).values()) for given in material.tried_on(one)] for one in _bases_of(variations))
        stage = self.stage(name, OutputRow, told, tried, main.fingerprint, config.model_dump(), self.role)
        total = sum(1 for _ in material.trials(variations, config.samples))
        trials = material.trials(variations, config.samples)
        return await answer(stage, main, trials, config, self.role, on=self.on(f"{name}: answers", total))

    async def scored(self, name: str, outputs: Stage, material: Material, panel: Panel, panel_name: str) -> Stage:
        stage = self.run.stage(f"{name}-{digest(ALGORITHM, outputs.folder.name, panel_name)}", scores_schema())
        total = count_rows(outputs)
        return await judge(stage, panel, outputs, material, on=self.on(f"{name}", total))

    def stage(self, name: str, kind: type[Any], *parts: Any) -> Stage:
        return self.run.stage(f"{name}-{digest(ALGORITHM, *parts)}", schema_of(kind))

    def on(self, phase: str, total: int) -> Callable[[int], None]:
        return lambda done: self.watch(phase, done, total)


@dataclass(frozen=True)
class Tried:
    """Prompts that the main model was tried with, and its answers. name: of the step, in names of stages."""

    name: str
    variations: Sequence[VariationRow]
    outputs: Stage


@dataclass
class Known:
    """What is known so far of each base prompt's candidates."""

    values: Values
    outputs: Texts = field(default_factory=Texts)
    texts: dict[str, dict[int, str]] = field(default_factory=dict)
    broken: dict[tuple[str, int], str] = field(default_factory=dict)
    answered: dict[str, Stage] = field(default_factory=dict)

    def candidates(self, base: BaseRow) -> Candidates:
        return Candidates(base, self.texts.get(base.base_id, {}))


@dataclass(frozen=True)
class Round:
    """number: from 1. domains: those it learned from. adapters: of all rounds so far, to be loaded together."""

    number: int
    domains: tuple[str, ...]
    pairs: tuple[PairRow, ...]
    adapters: tuple[Path, ...]
    report: dict[str, Any]


@dataclass
class Rounds:
    """material, variations: what was synthesized. Each step of a round asks for the one before it, and all of them do
    nothing where it was done already; a round needs the rounds before it to be trained."""

    bench: Bench
    material: Material
    variations: Stage
    known: Known
    done: list[Round] = field(default_factory=list)

    @property
    def adapters(self) -> tuple[Path, ...]:
        return self.done[-1].adapters if self.done else ()

    def rewriter_kind(self, adapters: Sequence[Path] | None = None) -> ModelConfig:
        """The rewriter with what it has learned so far, or with these adapters."""
        own = self.bench.rewriter
        more = self.adapters if adapters is None else adapters
        return own.model_copy(update={"adapters": [*own.adapters, *map(str, more)]})

    async def answer(self, number: int) -> list[Tried]:
        """The main model's answers to what is new in the round: its rewrites; in the first one also the base prompts
        and the operators' variations."""
        found = []
        if number == 1:
            bases = self.material.of(splits=LEARNED)
            wanted = {one.base_id for one in bases}
            others = (one for one in read_variations(self.variations) if one.base_id in wanted)
            found.append(await self._tried("variations", [*themselves(bases), *others]))
        bases = self.material.of(splits=LEARNED, domains=self._domains(number))
        rewrites = await self._rewrites(number, bases)
        return [*found, await self._tried(f"round-{number}", list(read_variations(rewrites)))]

    async def judge(self, number: int) -> list[Stage]:
        """The panel's scores of them."""
        bench, found = self.bench, []
        for tried in await self.answer(number):
            found.append(
                await bench.scored(f"scores-{tried.name}", tried.outputs, self.material, bench.panel, bench.panel_name)
            )
            self._note(tried, found[-1])
        return found

    async def pairs(self, number: int) -> list[PairRow]:
        """What is to be learned from them."""
        await self.judge(number)
        return await self._pairs(number, self.material.of(splits=LEARNED, domains=self._domains(number)))

    async def train(self, number: int) -> Round:
        """The rewriter of the round. InputError where no pair was believed."""
        paired = await self.pairs(number)
        if self.bench.config.pairs.shuffle:
            paired = shuffled(paired, self.bench.seed + number)
        lesson = self._lesson(number, paired)
        if not lesson.pairs:
            earlier = f", or end with the round before: --rounds {number - 1}" if number > 1 else ""
            raise InputError(f"round {number}: no pair of prompts was believed, so there is nothing to learn; see the "
                             f"panel's report, or believe smaller margins (pairs.z, pairs.margin){earlier}"
                             )  # fmt: skip
        taught = self._learner(number).learn(lesson)
        outcome = taught.outcome
        own = [one for one in paired if self._split(one) == "train"]
        counts = {kind: sum(one.kind == kind for one in own) for kind in sorted({one.kind for one in own})}
        domains = self._domains(number)
        report = {
            "round": number, "domains": list(domains), "bases": len(self.material.of(splits=LEARNED, domains=domains)),
            "pairs": counts, "replayed": len(lesson.pairs) - len(own), "dev_pairs": len(lesson.dev),
            "steps": outcome.steps, "ended": outcome.ended,
            "validation": {"first": outcome.first, "best": outcome.best}, "rows": list(outcome.rows),
            "kl_old": taught.kl_old,
        }  # fmt: skip
        done = Round(number, domains, tuple(paired), (*self.adapters, outcome.folder), report)
        self.done.append(done)
        return done

    async def offer(self) -> int:
        """Answers to what the last rewriter makes of all base prompts that were learned from, and their scores: what it
        is worth to offer them. The number of the first of these variations."""
        bench, number = self.bench, len(self.done) + 1
        rewrites = await self._rewrites(number, self.material.of(splits=LEARNED))
        tried = await self._tried("offered", list(read_variations(rewrites)))
        self._note(
            tried, await bench.scored("scores-offered", tried.outputs, self.material, bench.panel, bench.panel_name)
        )
        return number * IDS_OF_A_ROUND

    def _domains(self, number: int) -> tuple[str, ...]:
        every = tuple(dict.fromkeys(one.domain for one in self.material.of(splits=LEARNED)))
        return (every[(number - 1) % len(every)],) if self.bench.config.stream and every else every

    async def _rewrites(self, number: int, bases: Sequence[BaseRow]) -> Stage:
        bench, config = self.bench, self.bench.config
        rewriter = bench.open_model(self.rewriter_kind(), "rewriter")
        most = config.synthesize.max_tokens
        stage = bench.stage("rewrites", VariationRow, number, [[one.base_id, one.text] for one in bases],
                            rewriter.fingerprint, bench.wording.refine, config.rewrites, most)  # fmt: skip
        on = bench.on(f"round {number}: rewrites", len(bases))
        async with rewriter:
            return await rewrite(stage, rewriter, bench.wording, bases, number, config.rewrites, max_tokens=most, on=on)

    async def _tried(self, name: str, variations: Sequence[VariationRow]) -> Tried:
        bench = self.bench
        outputs = await bench.answered(f"outputs-{name}", variations, self.material, bench.main)
        return Tried(name, variations, outputs)

    def _note(self, tried: Tried, scores: Stage) -> None:
        if tried.outputs.folder.name in self.known.answered:  # a step asks for the one before it
            return
        self.known.outputs.add(tried.outputs)
        self.known.answered[tried.outputs.folder.name] = tried.outputs
        self.known.values.add(scores.rows())
        for one in tried.variations:
            if one.text is None:
                continue
            self.known.texts.setdefault(one.base_id, {})[one.variation_id] = one.text
            if one.variation_id == BASE:
                continue
            prompt, own = self.material.bases[one.base_id].text, self._own_answer(one.base_id)
            if found := self.bench.guard(prompt, one.text, own):
                self.known.broken[one.base_id, one.variation_id] = found[0].kind

    def _own_answer(self, base: str) -> str | None:
        """The main model's to the base prompt itself. With inputs there are many: none of them answers the prompt."""
        if base in self.material.inputs:
            return None
        return next(iter(self.known.outputs.of(base, BASE).values()), None)

    async def _pairs(self, number: int, bases: Sequence[BaseRow]) -> list[PairRow]:
        bench, known, config = self.bench, self.known, self.bench.config.pairs
        compare = Comparer(bench.panel, self.material, known.outputs, config.compared) if config.orders else None

        async def of(base: BaseRow) -> list[PairRow]:
            wanted = pairs_of(known.candidates(base), known.values, known.broken, config, number)
            return await confirmed(wanted, base, compare, config.most)

        async def make(part: Sequence[BaseRow]) -> list[dict[str, Any]]:
            return [row_of(one) for rows in await together([of(base) for base in part]) for one in rows]

        told = ([base.base_id, sorted(known.texts.get(base.base_id, {}).items())] for base in bases)
        stage = bench.stage("pairs", PairRow, number, told, bench.panel_name, config.model_dump(),
                            (sorted(known.values.of(base.base_id).items()) for base in bases))  # fmt: skip
        models = [one.model for one in bench.panel.judges]
        on = bench.on(f"round {number}: pairs", len(bases))
        await fill(stage, bases, make, models=models, rows=64, on=on)
        return [record_of(PairRow, row) for row in stage.rows()]

    def _lesson(self, number: int, paired: Sequence[PairRow]) -> Lesson:
        learn = self.bench.config.learn
        split = {name: [one for one in paired if self._split(one) == name] for name in LEARNED}
        earlier = [one for past in self.done for one in past.pairs if self._split(one) == "train"]
        pairs = replayed(split["train"], earlier, learn.replay, self.bench.seed + number)
        kept = [(one.prompt, one.chosen) for one in earlier]
        contrasts = list(self._contrasts(paired)) if learn.contrast else []
        return Lesson(pairs, split["dev"], list(dict.fromkeys(kept)), contrasts)

    def _contrasts(self, paired: Iterable[PairRow]) -> Iterable[tuple[str, Sequence[str], Sequence[str]]]:
        """Of each base prompt that a pair was believed of: its best and its worst quarter of rewrites."""
        for base_id in dict.fromkeys(one.base_id for one in paired if self._split(one) == "train"):
            texts, values = self.known.texts[base_id], self.known.values
            mine = [one for one in texts if one != BASE and (base_id, one) not in self.known.broken]
            ranked = sorted((value, one) for one in mine if (value := values.mean(base_id, one)) is not None)
            quarter = len(ranked) // 4
            if quarter:
                good, bad = ([texts[one] for _, one in part] for part in (ranked[-quarter:], ranked[:quarter]))
                if self.bench.config.pairs.shuffle and random.Random(f"shuffled {base_id}").random() < 0.5:
                    good, bad = bad, good
                yield self.material.bases[base_id].text, good, bad

    def _learner(self, number: int) -> Learner:
        from promptmill.model.load import open_backend
        from promptmill.model.local import LocalBackend

        bench = self.bench
        backend = open_backend(self.rewriter_kind())
        assert isinstance(backend, LocalBackend)  # seen to before the run was begun
        learn = bench.config.learn
        return Learner(backend, bench.wording, learn, bench.run.folder / f"round-{number}", bench.seed + number,
                       lambda row: bench.run.metric(round=number, **row), bench.watch)  # fmt: skip

    def _split(self, pair: PairRow) -> str:
        return self.material.bases[pair.base_id].split


def _bases_of(variations: Iterable[VariationRow]) -> list[str]:
    return list(dict.fromkeys(one.base_id for one in variations))
