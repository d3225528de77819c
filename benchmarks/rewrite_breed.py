"""The baseline with examples: what `promptmill breed` finds with as many calls as a whole rewrite has paid for.

A rewriter is one for all prompts and is shown no example; a breed works on one task and needs labelled ones. So the
calls are divided evenly among the tasks of the held-out prompts, and each task gets a breed of its own with labelled
examples, none of them the test's. Crafts never import each other: this one is asked by its command line.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.rewrite_prompts import SCORER, TEXTS, Held, score_of
from embedded.transforms import apply, draw_case
from promptmill.measure.statistics import paired_bootstrap
from promptmill.model.gate import Model
from promptmill.model.load import ModelConfig, open_backend
from promptmill.prompt import Prompt
from promptmill.score.scorer import scorer_spec
from promptmill.tasks.split import content_hash

PARTS = {"train": 2, "dev": 1, "test": 2}
"""Examples of each split, in parts of the whole: the shares of a task file that names none."""
PROOF = 9
"""Calls at most for each part, to choose among five prompts on dev and to prove the best on test."""
MOST = 80
"""Examples to a part, with which a task is as large as the built-in ones. Fewer where the proof would take more than a
quarter of the calls."""


def bred(out: Path, held: Sequence[Held], report: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """What breeds at the calls of a rewrite score, 0 to 1, on the prompts of its test, over the prompts as they are.

    report: of the rewrite; paid.calls are those of all its roles, test and proofs among them. out: a folder, in which
    breeds that were begun go on. CalledProcessError where a breed fails, which has then said why.
    """
    known = {row["prompt"]: row["base_score"] for row in report["test"]["rows"] if row["base_score"] is not None}
    tested = [one for one in held if one.prompt in known]
    first = {one.task: one for one in reversed(tested)}
    share = report["paid"]["calls"] // len(first)
    found = {task: breed(out / f"breed-{seed}-{share}" / task, one, share, seed) for task, one in sorted(first.items())}
    prompts = {task: Prompt.from_dict(one["best_prompt"]) for task, one in found.items()}
    after = on_their_inputs(Model(open_backend(ModelConfig())), tested, prompts)
    before = [known[one.prompt] for one in tested]
    return {
        "calls": report["paid"]["calls"], "tasks": len(first), "share": share,
        "used": sum(one["paid"]["calls"] for one in found.values()), "labelled": part_of(share) * sum(PARTS.values()),
        "before": fmean(before), "after": fmean(after),
        **paired_bootstrap(before, after, lambda sums, n: sums[..., -1] / n)._asdict(),
        "by_task": {task: fmean(score for one, score in zip(tested, after, strict=True) if one.task == task)
                    for task in sorted(first)},
    }  # fmt: skip


def breed(folder: Path, start: Held, calls: int, seed: int) -> dict[str, Any]:
    """The report of a breed for the task of a held-out prompt, from that prompt, with so many calls in all. The same
    command goes on with a breed that is in `folder`."""
    task, proof = write_task(folder / "task", start, part_of(calls), seed), PROOF * part_of(calls)
    command = [sys.executable, "-m", "promptmill", "breed", str(task), "--budget-calls", str(calls),
               "--search-calls", str(calls - proof), "--seed", str(seed), "--out", str(folder / "run")]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    report: dict[str, Any] = json.loads((folder / "run" / "report.json").read_text(encoding="utf-8"))
    return report


def part_of(calls: int) -> int:
    return min(MOST, calls // (4 * PROOF))


def write_task(folder: Path, start: Held, part: int, seed: int) -> Path:
    """A task file with labelled examples in texts that are not reserved, and the held-out prompt as its own."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, taken = Random(f"breed {seed} {start.task}"), {content_hash({"input": case}) for case in start.inputs}
    for split, parts in PARTS.items():
        rows: list[str] = []
        while len(rows) < parts * part:
            case, _ = draw_case(rng, start.task, TEXTS)
            if (content := content_hash({"input": case})) not in taken:
                taken.add(content)
                rows.append(json.dumps({"input": case, "gold": apply(start.task, case)}, ensure_ascii=False) + "\n")
        (folder / f"{split}.jsonl").write_text("".join(rows), encoding="utf-8")
    told = {
        "name": start.task, "description": start.intent, "data": {split: f"{split}.jsonl" for split in PARTS},
        "scorer": scorer_spec(SCORER), "prompt": {"system": start.prompt, "user": "{input}"},
    }  # fmt: skip
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump(told, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


def on_their_inputs(model: Model, held: Sequence[Held], prompts: Mapping[str, Prompt]) -> list[float]:
    """For each held-out prompt the score, on its own inputs, of the bred prompt of its task."""

    async def all_of() -> list[float]:
        async with model:
            return await asyncio.gather(*[
                score_of(model, [prompts[one.task].render({"input": case}) for case in one.inputs], one.golds)
                for one in held
            ])  # fmt: skip

    return asyncio.run(all_of())


def sentences(found: Mapping[str, Any]) -> str:
    """What docs/rewrite.md says of it below the table."""
    return (
        "Breed needs labelled examples of each task, which a rewriter is never shown, and gives one prompt for a task, "
        f"whatever prompt somebody comes with. It had the {found['calls']:,} calls of the whole rewrite (all roles, "
        f"test and proofs among them) in even shares: for each of the {found['tasks']} tasks a `promptmill breed` with "
        f"default settings, {found['share']:,} calls at most and {found['labelled']} labelled examples, beginning with "
        f"the first held-out prompt of the task. All breeds together ended after {found['used']:,} calls."
    )
