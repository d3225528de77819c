"""What a bake is worth on the embedded model: five prompts of different kinds, and a hard one that is pursued.

    python benchmarks/bake_quality.py --out FOLDER [--kinds style fact] [--no-pursuit] [--write]

For each prompt, with the default settings of `promptmill bake run`: the KL to the prompted model on questions that no
part of the bake has seen (reserved texts, openings of its own), how often the prompt is followed without being there,
what the model can still do under other prompts, all of it at several strengths of the adapter; and how far a merged
model is from the adapter. CPU seconds are those of this process on one thread, loading apart. A measurement that is in
the folder is not made again: remove it after a change. --write puts the tables into docs/bake.md, between its
markers. The last line is one JSON object of shares, 0 to 1: {"kl_drop_min", "behaviour_min", "forgetting_max"}.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the grammar is beside the package, not in it

from benchmarks.bake_page import quality_section, summary, write_section
from benchmarks.bake_prompts import Bakeable, bakeables, elsewhere, exclusion
from promptmill.crafts.bake.baker import Baker, item_of
from promptmill.crafts.bake.compare import closeness
from promptmill.crafts.bake.config import BakeConfig
from promptmill.crafts.bake.export import with_adapter
from promptmill.crafts.bake.finished import Base
from promptmill.crafts.bake.pursuit import Pursuit, stacked
from promptmill.crafts.bake.questions import questions_of
from promptmill.crafts.bake.rehearse import other_prompts
from promptmill.crafts.bake.sample import plan_sampling, sample
from promptmill.crafts.bake.sweep import STRENGTHS, Point, Trial, answered, kl_per_token, swept
from promptmill.crafts.bake.trajectories import read_trajectories
from promptmill.measure.compare import compare_paired
from promptmill.model.embedded import embedded_backend
from promptmill.model.local import LocalBackend, load
from promptmill.prompt import Prompt
from promptmill.store.run import Run
from promptmill.store.stage import Stage
from promptmill.train.batches import Item

BARE = Prompt()
MOST_TOKENS = 64
FEWER = 300
"""Examples of other prompts at strengths that are neither 0 nor 1."""
ROUNDS = 3


def bake(one: Bakeable, backend: LocalBackend, folder: Path, config: BakeConfig) -> tuple[Path, dict[str, Any]]:
    """The adapter, and what it took."""
    backend.loaded()
    with Run(folder, "bake", {"config": config.model_dump(mode="json"), "prompt": one.prompt.to_dict()}) as run:
        questions = questions_of(one.questions, config.sample.validation)
        baker = Baker(backend, one.prompt, questions, other_prompts(), config, run)
        begun = time.process_time()
        baked = baker.bake()
        seconds = time.process_time() - begun
    taken = {
        "questions": len(questions), "seconds": seconds, "steps": baked.outcome.steps, "tokens": baked.outcome.tokens,
        "tried": len(one.task.test),
    }  # fmt: skip
    return baked.adapter, taken


def held_out(one: Bakeable, backend: LocalBackend, folder: Path, config: BakeConfig) -> list[Item]:
    """Answers of the prompted model to the questions of the task, with its hidden states: a KL from them is exact."""
    settings = config.sample.model_copy(update={"sequences": 1, "teacher": "hidden"})
    asked = questions_of([example.fields["input"] for example in one.task.test], 0, split="validation")
    plan = plan_sampling(backend.loaded(), one.prompt, asked, settings, seed=1)
    stage = Stage(folder / plan.name, plan.schema)
    sample(plan, stage)
    return [item_of(answer) for answer in read_trajectories(stage) if len(answer.answer_ids)]


def measured(one: Bakeable, folder: Path, config: BakeConfig) -> dict[str, Any]:
    """One prompt, baked and tried in every way."""
    backend = embedded_backend()
    adapter, taken = bake(one, backend, folder, config)
    items = held_out(one, backend, folder, config)
    model = with_adapter(Base(backend.name, backend.folder, backend.dtype), adapter, "float32", "cpu")
    loaded = backend.loaded()
    trials = [Trial(one.task, prompt, one.task.test, MOST_TOKENS) for prompt in (BARE, one.prompt)]
    trials += [Trial(task, task.prompt, task.test, MOST_TOKENS) for task in elsewhere(one)]
    before, after = swept(model, loaded, items, trials, (0.0, 1.0))
    fewer = [trials[0], *(replace(trial, examples=trial.examples[:FEWER]) for trial in trials[2:])]
    between = swept(model, loaded, items, fewer, [one for one in STRENGTHS if one not in (0.0, 1.0)])
    points = [_without_prompted(before), _without_prompted(after), *between]
    points.sort(key=lambda point: point.strength)
    scorers = [trial.task.scorer for trial in trials]
    start, end = before.scores(scorers), after.scores(scorers)
    return taken | {
        "kind": one.kind, "prompt": one.prompt.system, "kl": before.kl, "baked_kl": after.kl,
        "unprompted": start[0], "prompted": start[1], "baked": end[0], "reprompted": end[1],
        "elsewhere": _change(before, after, trials[2:], 2),
        "sweep": [_at(point, points[0], fewer) for point in points],
        "merged": merged(backend.folder, adapter, model, items),
    }  # fmt: skip


def _without_prompted(point: Point) -> Point:
    return replace(point, stats=(point.stats[0], *point.stats[2:]))


def _at(point: Point, start: Point, trials: Sequence[Trial]) -> dict[str, float]:
    behaviour = point.scores([trial.task.scorer for trial in trials])[0]
    change = _change(start, point, trials[1:], 1)
    return {
        "strength": point.strength, "kl": point.kl, "behaviour": behaviour, "change": change["gain"], "n": change["n"]
    }  # fmt: skip


def _change(before: Point, after: Point, trials: Sequence[Trial], first: int) -> dict[str, float]:
    """Of the share of right answers to all trials from the first on, paired. They are right or wrong by each scorer."""
    places = range(first, first + len(trials))
    a, b = (
        {f"{place} {key}": row[-1:] for place in places for key, row in point.stats[place].items()}
        for point in (before, after)
    )
    found = compare_paired(a, b, trials[0].task.scorer)
    return {key: getattr(found, key) for key in ("score_a", "score_b", "gain", "lo", "hi", "n")}


def merged(base: Path, adapter: Path, model: Any, items: Sequence[Item]) -> dict[str, dict[str, float]]:
    """How far the merged model is from base and adapter: in float32, and when it is then cast to bfloat16."""
    found = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        # Rounded to that type and back: what is measured is the weights, not the arithmetic of another type.
        whole = load.load_model(base, [adapter], "float32", "cpu", False).to(dtype).float()
        near = closeness(model, whole, items[:100])
        found[name] = {"logit": near.largest, "kl": near.kl}
    return found


def pursued(folder: Path, config: BakeConfig, count: int = ROUNDS) -> dict[str, Any]:
    """The exclusion: kept to with the prompt and without it, before and after each round."""
    one, backend = exclusion(), embedded_backend()
    items = held_out(one, backend, folder, config)
    rows = [_kept(one, backend, (), items)]
    pursuit = Pursuit(
        backend, one.prompt, questions_of(one.questions, config.sample.validation), other_prompts(), config, folder
    )
    for turn in pursuit.rounds(count):
        rows.append(_kept(one, backend, turn.adapters, items) | {"own_kl": turn.baked.outcome.first})
        print(f"  round {turn.number}: {json.dumps(rows[-1])}", flush=True)
    return {"prompt": one.prompt.system, "rows": rows, "n": len(one.task.test)}


def _kept(one: Bakeable, backend: LocalBackend, adapters: tuple[Path, ...], items: Sequence[Item]) -> dict[str, Any]:
    model = load.load_model(backend.folder, adapters, "float32", "cpu", False)
    found: dict[str, Any] = {"kl": kl_per_token(model, items)}
    rows = {}
    for name, prompt in (("bare", BARE), ("prompted", one.prompt)):
        trial = Trial(one.task, prompt, one.task.test, MOST_TOKENS)
        rows[name] = answered(model, stacked(backend, adapters).loaded(), trial)
        found[name] = sum(row[-1] for row in rows[name].values()) / len(rows[name])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder for the bakes and what is measured")
    parser.add_argument("--kinds", nargs="*", help="only these of the five")
    parser.add_argument("--no-pursuit", action="store_true")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/bake.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    config, rows = BakeConfig(), []
    for one in bakeables():
        if not options.kinds or one.kind in options.kinds:
            name = one.kind.replace(" ", "-")
            rows.append(_once(options.out / f"{name}.json", partial(measured, one, options.out / name, config)))
            told = {key: value for key, value in rows[-1].items() if key not in ("sweep", "merged", "prompt")}
            print(json.dumps(told), flush=True)
    pursuit = None
    if not options.no_pursuit:
        pursuit = _once(options.out / "pursuit.json", lambda: pursued(options.out / "pursuit", config))
    section = quality_section(rows, pursuit)
    print(section)
    if options.write:
        write_section(section)
    print(json.dumps(summary(rows)))


def _once(path: Path, measure: Any) -> dict[str, Any]:
    """What is in the file, or what is measured now."""
    if not path.exists():
        path.write_text(json.dumps(measure(), indent=1), encoding="utf-8")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    main()
