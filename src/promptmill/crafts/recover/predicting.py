"""From groups of traces to ranked candidates: draws, parts and predictions, each a table, shard by shard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from promptmill.crafts.recover.behaviour import CONSTANT, OTHER, PREDICTED, TRUE, Behaviour
from promptmill.crafts.recover.candidates import FEW_SHOT, TOGETHER, ZERO_SHOT, Drawer, candidates_of
from promptmill.crafts.recover.missing import missing_of
from promptmill.crafts.recover.parts import Rater
from promptmill.crafts.recover.ranking import Prediction, Ranker
from promptmill.crafts.recover.tables import AgainRow, DrawRow, PartRow
from promptmill.crafts.recover.traces import Group
from promptmill.model.gate import Model, together
from promptmill.model.shards import fill
from promptmill.store.records import record_of, row_of, schema_of
from promptmill.store.run import Run
from promptmill.store.stage import Stage, digest

ALGORITHM = "recover-1"  # change it when the same settings and answers give other rows
ROWS = 32
"""Groups to a shard: a kill costs what was asked for so many at most."""
Watch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Predictor:
    """What is needed to recover prompts. bank: by what the bank is known. behaviour: None where no texts are written
    again."""

    run: Run
    drawer: Drawer
    rater: Rater
    ranker: Ranker
    bank: str = ""
    behaviour: Behaviour | None = None
    watch: Watch = lambda phase, done, total: None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """In it all models that it asks are ready."""
        behaviour = self.behaviour.generator if self.behaviour else None
        models = [self.drawer.recoverer, self.rater.generator, self.rater.recoverer, behaviour]
        async with AsyncExitStack() as stack:
            for model in {id(one): one for one in models if one is not None}.values():
                await stack.enter_async_context(model)
            yield

    async def predict(self, name: str, groups: Sequence[Group]) -> list[Prediction]:
        """The prediction of each group, in order. name: of the groups, for stages and the screen. Raises what
        `Model.ask` raises; what was asked until then is kept."""
        draws = _in_step(groups, DrawRow, await self.draws(name, groups))
        parts = self.walk(groups, await self.parts(name, groups))
        return [
            self.ranker.predicted(group, rows, first_picks(drawn))
            for (group, rows), (_, drawn) in zip(parts, draws, strict=True)
        ]

    async def parts(self, name: str, groups: Sequence[Group]) -> Stage:
        """What is known of the candidates of each group."""
        draws = await self.draws(name, groups)
        rater = self.rater
        stage = self._stage(f"parts-{name}", PartRow, draws.folder.name, self._rated_by())
        drawn = _in_step(groups, DrawRow, draws)

        async def of(item: tuple[Group, list[DrawRow]]) -> list[PartRow]:
            group, rows = item
            return await rater.parts(group, rows, candidates_of(rows, self.drawer.config.most))

        async def make(part: Sequence[tuple[Group, list[DrawRow]]]) -> list[dict[str, Any]]:
            return [row_of(row) for rows in await together([of(one) for one in part]) for row in rows]

        return await fill(stage, drawn, make, models=self._models(rater.generator, rater.recoverer), rows=ROWS,
                          on=self._on(f"{name}: weighed", len(groups)))  # fmt: skip

    async def draws(self, name: str, groups: Sequence[Group]) -> Stage:
        """The recoverer's answers for each group, and what the bank has."""
        drawer = self.drawer
        stage = self._stage(f"draws-{name}", DrawRow, _told(groups), drawer.recoverer.fingerprint, self.bank,
                            drawer.config.model_dump(), _words(drawer), drawer.seed)  # fmt: skip

        async def make(part: Sequence[Group]) -> list[dict[str, Any]]:
            return [row_of(row) for rows in await together([drawer.draw(one) for one in part]) for row in rows]

        return await fill(stage, groups, make, models=[drawer.recoverer], rows=ROWS,
                          on=self._on(f"{name}: asked", len(groups)))  # fmt: skip

    async def missing(self, name: str, groups: Sequence[Group]) -> dict[str, Any]:
        """What did not come: see `missing_of`."""
        draws = (record_of(DrawRow, row) for row in (await self.draws(name, groups)).rows())
        parts = self.walk(groups, await self.parts(name, groups))
        return missing_of(draws, (rows[0] for _, rows in parts if rows))

    async def again(
        self, name: str, groups: Sequence[Group], predicted: Sequence[Prediction], others: Sequence[str | None]
    ) -> list[AgainRow]:
        """What the generator does under the predicted prompts, the true ones, and those of other groups."""
        behaviour = self.behaviour
        if behaviour is None:
            return []
        wanted = [
            (group, self._prompts(group, one, other))
            for group, one, other in zip(groups, predicted, others, strict=True)
        ]
        scoring = behaviour.rater.generator
        stage = self._stage(f"again-{name}", AgainRow, _told(groups), [list(one.items()) for _, one in wanted],
                            behaviour.generator.fingerprint, scoring.fingerprint if scoring else None,
                            behaviour.rater.config.model_dump(include={"likelihood", "layout", "generic", "scored"}),
                            behaviour.config.model_dump())  # fmt: skip

        async def make(part: Sequence[tuple[Group, dict[str, str]]]) -> list[dict[str, Any]]:
            found = await together([behaviour.of(group, prompts) for group, prompts in part])
            return [row_of(row) for rows in found for row in rows]

        await fill(stage, wanted, make, models=[behaviour.generator], rows=ROWS,
                   on=self._on(f"{name}: written again", len(groups)))  # fmt: skip
        return [record_of(AgainRow, row) for row in stage.rows()]

    def walk(self, groups: Sequence[Group], parts: Stage) -> Iterator[tuple[Group, list[PartRow]]]:
        """Each group with what is known of its candidates; none where all were refused."""
        return _in_step(groups, PartRow, parts)

    def _prompts(self, group: Group, predicted: Prediction, other: str | None) -> dict[str, str]:
        named = {PREDICTED: predicted.prompt, TRUE: group.prompt, CONSTANT: self.rater.config.generic, OTHER: other}
        return {name: text for name, text in named.items() if text is not None}

    def _rated_by(self) -> list[Any]:
        rater = self.rater
        models = [one.fingerprint if one else None for one in (rater.generator, rater.recoverer)]
        told = rater.config.model_dump(include={"likelihood", "posterior", "layout", "generic", "scored"})
        return [*models, told, rater.space.fingerprint, rater.critic.digest if rater.critic else None]

    def _models(self, *models: Model | None) -> list[Model]:
        return [one for one in models if one is not None]

    def _stage(self, name: str, kind: type[Any], *parts: Any) -> Stage:
        return self.run.stage(f"{name}-{digest(ALGORITHM, ROWS, *parts)}", schema_of(kind))

    def _on(self, phase: str, total: int) -> Callable[[int], None]:
        return lambda done: self.watch(phase, done, total)


def first_picks(rows: Sequence[DrawRow]) -> dict[str, str]:
    """What each way of asking said first: greedy, with solved examples, and about several traces together."""
    found: dict[str, str] = {}
    for source, name in ((ZERO_SHOT, "zero-shot"), (FEW_SHOT, "few-shot"), (TOGETHER, "together")):
        mine = [row for row in rows if row.source == source]
        if mine and mine[0].text is not None:
            found[name] = mine[0].text
    return found


def _in_step(groups: Sequence[Group], kind: type[Any], stage: Stage) -> Iterator[tuple[Group, list[Any]]]:
    """Each group with its rows of a table that has them in the order of the groups."""
    by_group = groupby(stage.rows(), key=lambda row: row["group_id"])
    key, rows = next(by_group, (None, iter(())))
    for group in groups:
        if key != group.id:
            yield group, []
            continue
        yield group, [record_of(kind, row) for row in rows]
        key, rows = next(by_group, (None, iter(())))


def _told(groups: Sequence[Group]) -> Iterator[Any]:
    return ([one.id, [[trace.id, trace.original, trace.rewritten] for trace in one.traces]] for one in groups)


def _words(drawer: Drawer) -> list[str]:
    wording = drawer.wording
    return [wording.recover, wording.recover_text, wording.induce, wording.example]


def line_of(group: Group, predicted: Prediction) -> dict[str, Any]:
    """A line of predictions.jsonl."""
    told: dict[str, Any] = {"id": group.id}
    if [one.id for one in group.traces] != [group.id]:
        told["traces"] = [one.id for one in group.traces]
    told["candidates"] = [asdict(one) for one in predicted.candidates]
    return told | {"confidence": predicted.confidence, "abstained": predicted.abstained}
