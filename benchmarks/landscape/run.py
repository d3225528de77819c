"""A search on some landscapes: one JSON line for each run, then the means as a table.

    python -m benchmarks.landscape.run ours --seeds 0 1 2 3 4 --budget 10000 [--paper]
    python -m benchmarks.landscape.run random --seeds 0 1 --budget 10000
    python -m benchmarks.landscape.run gepa --python /path/to/the/peers/bin/python --seeds 0 1 --budget 1000 [--rugged]

Peers are asked for once per budget that is to be judged: some of them plan by it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.landscape.baseline import RandomSearch  # noqa: E402
from benchmarks.landscape.ours import search  # noqa: E402
from benchmarks.landscape.peers import PEERS  # noqa: E402
from benchmarks.landscape.record import MARKS, result_line  # noqa: E402
from benchmarks.landscape.serve import serving  # noqa: E402
from benchmarks.landscape.world import Landscape  # noqa: E402
from promptmill.crafts.breed.config import AS_PAPER  # noqa: E402


def random_search(landscape: Landscape, budget: int) -> dict[str, Any]:
    search = RandomSearch(landscape, seed=landscape.seed)
    recorder = search.run(budget)
    curve = recorder.curve(landscape.quality, [mark for mark in MARKS if mark <= budget])
    quality = landscape.quality(recorder.at(budget) or landscape.seed_prompt)
    calls = (search.task_calls, search.writer_calls)
    return result_line("random", landscape.seed, landscape.variant, calls, quality, curve)


def fitted(budget: int) -> dict[str, Any]:
    """The paper's settings with the batch that lets its generations fit the budget; of 100 there would be one."""
    batch = budget // (AS_PAPER["population"] * (AS_PAPER["generations"] + 1))
    return AS_PAPER | {"batch": max(4, batch)}


async def peer(
    name: str, landscape: Landscape, budget: int, python: str, patience: float | None = None
) -> dict[str, Any] | None:
    """A peer in a process of its own, the landscape served by this one. None where it took longer than `patience`
    (seconds) and was broken off."""
    async with serving(landscape, budget) as url:
        flags = [f"--{flag}" for flag in ("rugged", "blind") if getattr(landscape, flag)]
        told = ["--url", url, "--seed", str(landscape.seed), "--budget", str(budget), *flags]
        process = await asyncio.create_subprocess_exec(
            python, "-m", "benchmarks.landscape.peers", name, *told, cwd=ROOT,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, error = await asyncio.wait_for(process.communicate(), patience)
        except TimeoutError:
            process.kill()
            await process.wait()
            return None
    if process.returncode:
        sys.exit(error.decode().strip() or f"{name} ended with {process.returncode}")
    return dict(json.loads(out.decode().splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("search", choices=["ours", "random", *PEERS])
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the peers' environment")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--budget", type=int, default=10000)
    parser.add_argument("--rugged", action="store_true")
    parser.add_argument("--blind", action="store_true")
    parser.add_argument(
        "--paper", action="store_true", help="ours: PromptBreeder's loop, its batch fitted to the budget"
    )
    given = parser.parse_args()
    rows = []
    for seed in given.seeds:
        landscape = Landscape(seed, rugged=given.rugged, blind=given.blind)
        if given.search == "ours":
            rows.append(search(landscape, given.budget, **(fitted(given.budget) if given.paper else {})))
        elif given.search == "random":
            rows.append(random_search(landscape, given.budget))
        else:
            found = asyncio.run(peer(given.search, landscape, given.budget, given.python))
            assert found is not None  # there is no limit to its time
            rows.append(found)
        print(json.dumps(rows[-1]), flush=True)
    marks = rows[0]["curve"]
    told = "  ".join(f"{mark}: {mean(row['curve'][mark] for row in rows):.3f}" for mark in marks)
    print(f"{given.search} {rows[0]['variant']}  {told}  returned: {mean(row['quality'] for row in rows):.3f}")


if __name__ == "__main__":
    main()
