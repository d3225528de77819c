"""The panel's scores of outputs, as a stage; and what its judges say when they compare two prompts' outputs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from promptmill.crafts.rewrite.tables import BaseRow, OutputRow
from promptmill.crafts.rewrite.trials import Material
from promptmill.judge.judge import Subject
from promptmill.judge.panel import Panel
from promptmill.judge.table import Key, score_rows
from promptmill.model.gate import Model, together
from promptmill.model.shards import Listener, fill
from promptmill.store.records import record_of
from promptmill.store.stage import Stage

ROWS = 128
"""Outputs to a shard: each is asked of every judge by every criterion."""
KEPT_SHARDS = 16
"""Of outputs, in memory: base prompts are gone through in order, and lie in a few places each."""
Place = tuple[int, int]
"""(input_id, sample_id)."""
_Outputs = dict[str, dict[int, dict[Place, str]]]


def read_outputs(*stages: Stage) -> Iterator[OutputRow]:
    for stage in stages:
        for row in stage.rows():
            yield record_of(OutputRow, row)


def _read(shard: Path) -> Iterator[OutputRow]:
    import pyarrow.parquet as pq

    return (record_of(OutputRow, row) for row in pq.read_table(shard).to_pylist())


async def judge(
    stage: Stage, panel: Panel, outputs: Stage, material: Material, *, on: Listener = lambda done: None
) -> Stage:
    """Score every output by what its base prompt is for, whatever prompt it came from: a rewrite that makes the task
    an easier one gains nothing. Outputs that failed have no scores."""

    async def one(output: OutputRow) -> list[dict[str, Any]]:
        assert output.output is not None
        key = Key(output.base_id, output.variation_id, output.input_id, output.sample_id)
        subject = Subject(material.bases[key.base_id].intent, material.input(key).input, output.output)
        return score_rows(key, subject, await panel.score(subject))

    async def make(part: Sequence[OutputRow]) -> list[dict[str, Any]]:
        return [row for rows in await together([one(output) for output in part]) for row in rows]

    answered = (output for output in read_outputs(outputs) if output.output is not None)
    return await fill(stage, answered, make, models=models_of(panel), rows=ROWS, on=on)


def models_of(panel: Panel) -> list[Model]:
    return list({id(one.model): one.model for one in panel.judges}.values())


class Texts:
    """Outputs, by base prompt, variation and place. They stay where they are: known is in which shards a base prompt's
    outputs lie, and the shards that were lately read are kept."""

    def __init__(self) -> None:
        self._shards: list[Path] = []
        self._homes: dict[str, list[int]] = {}
        self._read: OrderedDict[int, _Outputs] = OrderedDict()

    def add(self, outputs: Stage) -> None:
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        for path in outputs.shards():
            table = pq.read_table(path, columns=["base_id", "output"])
            for base in pc.unique(table.filter(pc.is_valid(table["output"]))["base_id"]).to_pylist():
                self._homes.setdefault(str(base), []).append(len(self._shards))
            self._shards.append(path)

    def of(self, base: str, variation: int) -> Mapping[Place, str]:
        found: dict[Place, str] = {}
        for shard in self._homes.get(base, []):
            found |= self._outputs(shard).get(base, {}).get(variation, {})
        return found

    def variations(self, base: str) -> set[int]:
        """Those of which there are outputs."""
        return {one for shard in self._homes.get(base, []) for one in self._outputs(shard).get(base, {})}

    def _outputs(self, shard: int) -> _Outputs:
        found = self._read.pop(shard, None)
        if found is None:
            found = {}
            for one in _read(self._shards[shard]):
                if one.output is not None:
                    places = found.setdefault(one.base_id, {}).setdefault(one.variation_id, {})
                    places[one.input_id, one.sample_id] = one.output
        self._read[shard] = found
        while len(self._read) > KEPT_SHARDS:
            self._read.popitem(last=False)
        return found


@dataclass(frozen=True)
class Comparer:
    """Asks the panel which of two prompts of a base has the better outputs, in both orders, on some inputs."""

    panel: Panel
    material: Material
    texts: Texts
    inputs: int

    async def __call__(self, base: BaseRow, a: int, b: int) -> float | None:
        """The judges' mean probability that a's are better; 0.5 where the outputs are alike, or the place decided: each
        comparison of a judge whose winner changes with the order is a tie, and where more than half of them are, the
        whole is. None where no judge could be read, or nothing was answered by both."""
        of_a, of_b = (self.texts.of(base.base_id, one) for one in (a, b))
        places = sorted(of_a.keys() & of_b.keys())
        differing = [place for place in places if of_a[place] != of_b[place]][: self.inputs]
        if not differing:
            return 0.5 if places else None
        asked = []
        for place in differing:
            given = self.material.input(Key(base.base_id, a, *place)).input
            asked.append(self.panel.compare(base.intent, given, of_a[place], of_b[place]))
        found = await together(asked)
        values = [value for one in found if (value := self.panel.preferred(one).value) is not None]
        flips = [one.flipped for several in found for _, one in several if one.p is not None]
        if not values:
            return None
        return 0.5 if 2 * sum(map(bool, flips)) > len(flips) else fmean(values)
