"""The rounds of a rewrite: what the rewriter writes is answered, judged and paired; the pairs teach the next one."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptmill.crafts.rewrite.bench import Bench
from promptmill.crafts.rewrite.judging import Comparer
from promptmill.crafts.rewrite.known import Known, Tried
from promptmill.crafts.rewrite.learn import Learner, Lesson
from promptmill.crafts.rewrite.pairs import confirmed, pairs_of, replayed, shuffled
from promptmill.crafts.rewrite.progress import Worth, progress
from promptmill.crafts.rewrite.rewriter import IDS_OF_A_ROUND, rewrite
from promptmill.crafts.rewrite.tables import BASE, BaseRow, PairRow, VariationRow
from promptmill.crafts.rewrite.trials import Material, read_variations, themselves
from promptmill.crafts.rewrite.values import Values
from promptmill.errors import InputError
from promptmill.model.gate import together
from promptmill.model.load import ModelConfig
from promptmill.model.shards import fill
from promptmill.store.records import record_of, row_of
from promptmill.store.stage import Stage

LEARNED = ("train", "dev")
DEV = LEARNED[1:]


@dataclass(frozen=True)
class Round:
    """number: from 1. domains: those it learned from. adapters: all that are loaded together, those among them that the
    rewriter had to begin with. kept: whether its rewriter is better than the one before it; if not, that one is the
    rewriter, and the rounds end."""

    number: int
    domains: tuple[str, ...]
    pairs: tuple[PairRow, ...]
    adapters: tuple[Path, ...]
    report: dict[str, Any]
    kept: bool = True


@dataclass
class Rounds:
    """material, variations: what was synthesized. Each step of a round asks for the one before it, and all of them do
    nothing where it was done already; a round needs the rounds before it to be trained."""

    bench: Bench
    material: Material
    variations: Stage
    known: Known
    done: list[Round] = field(default_factory=list)
    _worths: dict[tuple[Path, ...], Worth] = field(default_factory=dict)

    @property
    def best(self) -> int:
        """The round whose rewriter is the one to be used; 0 while there is none."""
        return max((one.number for one in self.done if one.kept), default=0)

    @property
    def ended(self) -> bool:
        """Whether the last round has brought nothing, so that another would begin where this one did."""
        return bool(self.done) and not self.done[-1].kept

    @property
    def adapters(self) -> tuple[Path, ...]:
        return self.done[self.best - 1].adapters if self.best else self.begun_with

    @property
    def begun_with(self) -> tuple[Path, ...]:
        """The adapters of the rewriter that has learned nothing here."""
        return tuple(map(Path, self.bench.rewriter.adapters))

    def rewriter_kind(self, adapters: Sequence[Path] | None = None) -> ModelConfig:
        """The rewriter with what it has learned so far, or with these adapters."""
        found = self.adapters if adapters is None else adapters
        return self.bench.rewriter.model_copy(update={"adapters": [str(path) for path in found]})

    async def answer(self, number: int) -> list[Tried]:
        """The main model's answers to what is new in the round: its rewrites; in the first one also the base prompts
        and the operators' variations. InputError for a round after the rounds have ended."""
        if self.ended:
            raise InputError(f"there is no round {number}: round {len(self.done)} did not make the rewriter better on "
                             "dev prompts, so the rounds end there; --set rewrite.keep=last goes on all the same"
                             )  # fmt: skip
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
            "left_out": taught.more["left_out"], "kl_old": taught.more["kl_old"],
        }  # fmt: skip
        adapters = taught.adapters
        learned = outcome.first is None or outcome.best_step > 0  # else nothing was better on the dev pairs
        kept, report["dev"] = await self._earned(number, adapters, learned)
        done = Round(number, domains, tuple(paired), adapters, report | {"kept": kept}, kept)
        self.done.append(done)
        return done

    async def _earned(
        self, number: int, adapters: tuple[Path, ...], learned: bool
    ) -> tuple[bool, dict[str, float] | None]:
        """Whether the round is kept, and by how much it is better; the first one is where it has learned anything."""
        config = self.bench.config
        if config.stream or config.keep == "last":
            return True, None
        if number == 1 or not learned:
            return learned, None
        clusters = {one.base_id: one.cluster for one in self.material.of(splits=DEV)}
        before, after = [await self._worth(at, one) for at, one in ((number - 1, self.adapters), (number, adapters))]
        found = progress(before, after, clusters)
        if found is None:
            return True, None
        told = {"before": found.before, "after": found.after, "se": found.margin.se, "broken": found.broken[1]}
        return found.earned(config.pairs.z), told

    async def _worth(self, number: int, adapters: tuple[Path, ...]) -> Worth:
        """What a rewriter's first answer to each dev prompt is worth to the panel; where that breaks a rule, or did not
        come, what the prompt itself is worth. number: of the last round that it has learned in."""
        if adapters in self._worths:
            return self._worths[adapters]
        bench, bases = self.bench, self.material.of(splits=DEV)
        rows = list(read_variations(await self._rewrites(number + 1, bases, adapters, "dev_rewrites", 1)))
        outputs = await bench.answered(f"outputs-dev-{number}", rows, self.material, bench.main)
        scores = await bench.scored(f"scores-dev-{number}", outputs, self.material, bench.panel, bench.panel_name)
        values = Values(bench.panel)
        values.add(scores.rows())
        broken = {one.base_id for one in rows if one.text and self._broken(one.base_id, one.text)}
        first = {one.base_id: one for one in rows if one.text and one.base_id not in broken}
        found = {}
        for base in bases:
            mine = first.get(base.base_id)
            value = values.mean(base.base_id, mine.variation_id) if mine else self.known.values.mean(base.base_id, BASE)
            if value is not None:
                found[base.base_id] = value
        return self._worths.setdefault(adapters, Worth(found, len(broken) / max(1, len(bases))))

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

    async def _rewrites(
        self, number: int, bases: Sequence[BaseRow], adapters: Sequence[Path] | None = None, name: str = "rewrites",
        count: int = 0,
    ) -> Stage:  # fmt: skip
        """Of the rewriter as it is now, or with these adapters; the first `count` of them, or as many as are set."""
        bench, config = self.bench, self.bench.config
        rewriter, count = bench.open_model(self.rewriter_kind(adapters), "rewriter"), count or config.rewrites
        most = config.synthesize.max_tokens
        stage = bench.stage(name, VariationRow, number, [[one.base_id, one.text] for one in bases],
                            rewriter.fingerprint, bench.wording.refine, count, most)  # fmt: skip
        on = bench.on(f"round {number}: rewrites", len(bases))
        async with rewriter:
            return await rewrite(stage, rewriter, bench.wording, bases, number, count, max_tokens=most, on=on)

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
            if broken := self._broken(one.base_id, one.text):
                self.known.broken[one.base_id, one.variation_id] = broken

    def _broken(self, base: str, text: str) -> str | None:
        """The rule that this breaks as a rewrite of the base prompt."""
        found = self.bench.guard(self.material.bases[base].text, text, self._own_answer(base))
        return found[0].kind if found else None

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
