"""Whether the panel may be believed: its agreement on real answers, and whether it tells planted ones from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from promptmill.crafts.rewrite.judging import models_of, read_outputs
from promptmill.crafts.rewrite.shards import Listener, fill
from promptmill.crafts.rewrite.trials import Material
from promptmill.judge.judge import Subject
from promptmill.judge.panel import Panel
from promptmill.judge.planted import Kind, plant
from promptmill.judge.report import panel_report
from promptmill.judge.table import Key, score_rows, scores_schema
from promptmill.judge.verdict import Gate
from promptmill.model.gate import together
from promptmill.store.stage import Stage

if TYPE_CHECKING:
    import pyarrow as pa

PLANTED_OF = 100
"""Answers that bad ones are planted beside."""
ROWS = 64
Planted = tuple[Key, Kind, Subject]


def planted_beside(outputs: Stage, material: Material, seed: int) -> list[Planted]:
    """Bad answers beside some real ones, which are spread over the base prompts."""
    firsts: dict[str, tuple[Key, Subject]] = {}
    for one in read_outputs(outputs):
        if one.output:
            key = Key(one.base_id, one.variation_id, one.input_id, one.sample_id)
            subject = Subject(material.bases[key.base_id].intent, material.input(key).input, one.output)
            firsts.setdefault(one.base_id, (key, subject))
    step = max(1, len(firsts) // PLANTED_OF)
    return list(plant(list(firsts.values())[::step][:PLANTED_OF], seed=seed))


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


def report_of(panel: Panel, gate: Gate, scores: Sequence[Stage], seed: int) -> dict[str, Any]:
    """The panel's report (see judge/report.py) from stages of scores, planted ones among them."""
    weights = {name: weight for one in panel.judges for name, weight in one.weights.items()}
    return panel_report(
        table_of(scores), criteria_weights=weights, judge_weights=panel.weights, settings=gate, seed=seed
    )


def table_of(stages: Sequence[Stage]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = [pq.read_table(path) for stage in stages for path in stage.shards()]
    return pa.concat_tables(found) if found else scores_schema().empty_table()
