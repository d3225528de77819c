"""Many rows through `answer` and `judge` of a rewrite, with models that answer by rules: rows per second, and memory.

    python benchmarks/rewrite_scale.py [--rows 100000] [--judges 3]

Rows are answers of the main model, each of which every judge rates. A fifth of the rows is done first: growth is how
much higher the peak of resident memory is with all of them, each in a process of its own. The last line is one JSON
object: {"answer_rows_per_s", "judge_rows_per_s", "peak_mb", "growth_mb"}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

from promptmill.crafts.rewrite.bench import Bench
from promptmill.crafts.rewrite.config import RewriteConfig
from promptmill.crafts.rewrite.known import Known
from promptmill.crafts.rewrite.rounds import Rounds
from promptmill.crafts.rewrite.tables import BaseRow, InputRow, VariationRow
from promptmill.crafts.rewrite.trials import Material
from promptmill.crafts.rewrite.values import Values
from promptmill.judge.judge import Judge
from promptmill.judge.panel import Panel
from promptmill.judge.rubric import Rubric
from promptmill.model.budget import Ledger
from promptmill.model.cache import CallStore
from promptmill.model.chat import Request
from promptmill.model.gate import Model
from promptmill.model.load import ModelConfig
from promptmill.model.scripted import ScriptedBackend
from promptmill.store.records import row_of, schema_of
from promptmill.store.run import Run
from promptmill.store.stage import Stage
from promptmill.vary.wording import load_wording

INPUTS, VARIATIONS = 5, 9
A_BASE = INPUTS * (1 + VARIATIONS)
"""Rows that a base prompt makes."""
PART = 2000


def _write(stage: Stage, rows: Iterator[Any]) -> Stage:
    number = 0
    while part := list(islice(rows, PART)):
        stage.write(number, [row_of(row) for row in part])
        number += 1
    return stage


def _material(run: Run, count: int) -> tuple[Material, Stage]:
    ids = [f"{at:016x}" for at in range(count)]
    bases = (BaseRow(one, "words", None, f"say the words of {one}", f"Say the words of {one} quietly.", one, "train")
             for one in ids)  # fmt: skip
    inputs = (InputRow(one, at, f"a text of {one}, number {at}, as long as such texts are") for one in ids
              for at in range(INPUTS))  # fmt: skip
    variations = (VariationRow(one, at, "first_order", 0, f"Say the words of {one} quietly, in way {at}.") for one
                  in ids for at in range(VARIATIONS))  # fmt: skip
    made = {
        kind: _write(run.stage(kind.__name__, schema_of(kind)), rows)
        for kind, rows in ((BaseRow, bases), (InputRow, inputs), (VariationRow, variations))
    }
    return Material.read(made[BaseRow], made[InputRow]), made[VariationRow]


def _main_model(request: Request) -> str:
    return f"The answer to {request.messages[-1][1]!r}, which goes on for some words, as answers do."


def _judge(request: Request) -> str:
    return str(1 + crc32(request.messages[-1][1].encode()) % 5)


async def work(folder: Path, rows: int, judges: int) -> dict[str, float]:
    with Run(folder, "rewrite", {"rows": rows}) as run:
        store, ledger = CallStore(run.calls_path, run.id, shared=False), Ledger()

        def model(name: str, script: Any) -> Model:
            return Model(ScriptedBackend(script, name=name, fingerprint=name), store=store, ledger=ledger)

        wording = load_wording()
        rubric = Rubric.of(wording)
        panel = Panel([Judge(f"judge-{at}", model(f"judge-{at}", _judge), rubric, wording, criteria=rubric.names[:1])
                       for at in range(judges)], {f"judge-{at}": 1.0 for at in range(judges)})  # fmt: skip
        material, variations = _material(run, rows // A_BASE)
        bench = Bench(run, model("main", _main_model), panel, "panel", wording, "",
                      RewriteConfig(rewrites=1), ModelConfig(),
                      lambda kind, role: model("rewriter", lambda request: ""))  # fmt: skip
        rounds = Rounds(bench, material, variations, Known(Values(panel)))
        async with bench.main, panel:
            begun = time.monotonic()
            await rounds.answer(1)
            answered = time.monotonic()
            await rounds.judge(1)
            judged = time.monotonic()
        store.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"answer_rows_per_s": rows / (answered - begun), "judge_rows_per_s": rows / (judged - answered),
            "peak_mb": peak}  # fmt: skip


def _apart(rows: int, judges: int) -> dict[str, float]:
    """`work` in a process of its own."""
    command = [sys.executable, __file__, "--rows", str(rows), "--judges", str(judges), "--here"]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    print(f"{rows:,} rows:", {name: round(value, 1) for name, value in found.items()}, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--judges", type=int, default=3)
    parser.add_argument("--here", action="store_true", help="all the rows at once, in this process")
    options = parser.parse_args()
    if options.here:
        with TemporaryDirectory() as folder:
            print(json.dumps(asyncio.run(work(Path(folder) / "run", options.rows, options.judges))))
        return
    fewer, all_of = _apart(options.rows // 5, options.judges), _apart(options.rows, options.judges)
    print(json.dumps({name: round(value, 1) for name, value in
                      (all_of | {"growth_mb": all_of["peak_mb"] - fewer["peak_mb"]}).items()}))  # fmt: skip


if __name__ == "__main__":
    main()
