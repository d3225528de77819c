"""Whether a panel may be believed: its agreement on real answers, whether it tells planted ones from them, and how
often its word changes with the order in which two answers stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from promptmill.crafts.rewrite.bench import ALGORITHM, Bench
from promptmill.crafts.rewrite.judging import models_of, read_outputs
from promptmill.crafts.rewrite.tables import BASE, OutputRow
from promptmill.crafts.rewrite.trials import Material
from promptmill.judge.judge import Subject
from promptmill.judge.panel import Panel
from promptmill.judge.planted import Kind, plant
from promptmill.judge.report import panel_report
from promptmill.judge.table import Key, preference_rows, preferences_schema, score_rows, scores_schema
from promptmill.judge.verdict import Gate
from promptmill.model.gate import together
from promptmill.model.shards import Listener, fill
from promptmill.store.files import write_json
from promptmill.store.stage import Stage, digest

if TYPE_CHECKING:
    import pyarrow as pa

PLANTED_OF = 100
"""Answers that bad ones are planted beside."""
COMPARED_OF = 50
"""Base prompts of which two answers are compared."""
ROWS = 64
T = TypeVar("T")
Planted = tuple[Key, Kind, Subject]
Pair = tuple[OutputRow, OutputRow]


@dataclass(frozen=True)
class Jury:
    """A panel and what it must show. name: by what its scores are known."""

    panel: Panel
    name: str
    gate: Gate


async def probe(
    bench: Bench, jury: Jury, material: Material, outputs: Sequence[Stage], scores: Stage, of: str = ""
) -> dict[str, Any]:
    """The panel's report (see judge/report.py), into `{of_}panel.json` of the run. outputs: where answers are taken
    from, those to the base prompts in the first; scores: the panel's of that one. of: whose panel it is, where there is
    another."""
    panel, said = jury.panel, f"{of} " if of else ""
    before = f"{of}-" if of else ""
    planted = planted_beside(outputs[0], material, bench.seed)
    name = f"{before}planted-{digest(ALGORITHM, outputs[0].folder.name, jury.name, bench.seed)}"
    spoilt = await judge_planted(bench.run.stage(name, scores_schema()), panel, planted,
                                 on=bench.on(f"{said}planted answers", len(planted)))  # fmt: skip
    pairs = pairs_in(outputs)
    name = f"{before}compared-{digest(ALGORITHM, [one.folder.name for one in outputs], jury.name)}"
    compared = await compare_pairs(bench.run.stage(name, preferences_schema()), panel, pairs, material,
                                   on=bench.on(f"{said}answers in both orders", len(pairs)))  # fmt: skip
    report = report_of(jury, [scores, spoilt], compared, bench.seed)
    write_json(bench.run.folder / f"{before.replace('-', '_')}panel.json", report)
    return report


def planted_beside(outputs: Stage, material: Material, seed: int) -> list[Planted]:
    """Bad answers beside some real ones, which are spread over the base prompts."""
    firsts: dict[str, tuple[Key, Subject]] = {}
    for one in read_outputs(outputs):
        if one.output:
            key = _key(one)
            subject = Subject(material.bases[key.base_id].intent, material.input(key).input, one.output)
            firsts.setdefault(one.base_id, (key, subject))
    return list(plant(_some(list(firsts.values()), PLANTED_OF), seed=seed))


async def judge_planted(
    stage: Stage, panel: Panel, planted: Sequence[Planted], *, on: Listener = lambda done: None
) -> Stage:
    """The panel's scores of them."""

    async def one(item: Planted) -> list[dict[str, Any]]:
        key, kind, subject = item
        return score_rows(key, subject, await panel.score(subject), kind)

    async def make(part: Sequence[Planted]) -> list[dict[str, Any]]:
        return [row for rows in await together([one(item) for item in part]) for row in rows]

    return await fill(stage, planted, make, models=models_of(panel), rows=ROWS, on=on)


def pairs_in(outputs: Sequence[Stage]) -> list[Pair]:
    """Of some base prompts, spread over them, the first answer and the first other one that a prompt in its place was
    given on the same input. outputs: the base prompts' own before those."""
    firsts: dict[str, OutputRow] = {}
    pairs: dict[str, Pair] = {}
    for one in read_outputs(*outputs):
        if not one.output:
            continue
        if one.variation_id == BASE:
            firsts.setdefault(one.base_id, one)
        elif (own := firsts.get(one.base_id)) is not None and one.base_id not in pairs:
            same_place = (one.input_id, one.sample_id) == (own.input_id, own.sample_id)
            if same_place and one.output != own.output:
                pairs[one.base_id] = own, one
    return _some(list(pairs.values()), COMPARED_OF)


async def compare_pairs(
    stage: Stage, panel: Panel, pairs: Sequence[Pair], material: Material, *, on: Listener = lambda done: None
) -> Stage:
    """Which of two answers each judge prefers, asked in both orders."""

    async def one(pair: Pair) -> list[dict[str, Any]]:
        keys = [_key(each) for each in pair]
        first, second = (each.output or "" for each in pair)
        base = material.bases[keys[0].base_id]
        found = await panel.compare(base.intent, material.input(keys[0]).input, first, second)
        return preference_rows(keys[0], keys[1], found)

    async def make(part: Sequence[Pair]) -> list[dict[str, Any]]:
        return [row for rows in await together([one(pair) for pair in part]) for row in rows]

    return await fill(stage, pairs, make, models=models_of(panel), rows=ROWS, on=on)


def report_of(jury: Jury, scores: Sequence[Stage], compared: Stage, seed: int) -> dict[str, Any]:
    """The report from stages of scores, planted ones among them, and of preferences."""
    panel = jury.panel
    return panel_report(
        table_of(scores, scores_schema()), criteria_weights=panel.criteria_weights, judge_weights=panel.weights,
        preferences=table_of([compared], preferences_schema()), settings=jury.gate, seed=seed,
    )  # fmt: skip


def table_of(stages: Sequence[Stage], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = [pq.read_table(path) for stage in stages for path in stage.shards()]
    return pa.concat_tables(found) if found else schema.empty_table()


def _some(items: list[T], most: int) -> list[T]:
    """From all over them."""
    return items[:: max(1, len(items) // most)][:most]


def _key(one: OutputRow) -> Key:
    return Key(one.base_id, one.variation_id, one.input_id, one.sample_id)
