"""Which parts of a rewrite pay: one setting changed at a time, on the embedded model, where the truth is known.

    python benchmarks/rewrite_ablation.py --out FOLDER [--seeds 0 1 2] [--workers 2] [--write]

Arms of one seed share the tables that do not depend on what they change (base prompts, the first round's rewrites,
answers, scores). Scores are those of the tasks' own scorer on prompts in reserved wordings; "first answer" is the
rewriter's greedy rewrite whatever it is, "offered" what is left after guard and a proof on 4 inputs. Three arms learn
one intent after another. --write puts the table into docs/rewrite.md between its markers. The last line is one JSON
object: the mean gain in score of each arm.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.rewrite import BASIC, figures, prepared, run
from benchmarks.rewrite_prompts import INPUTS, Held, best_known
from benchmarks.sections import write_section
from promptmill.model.gate import Model
from promptmill.model.load import ModelConfig, open_backend

SMALL = BASIC | {"rewrite.rounds": 1, "rewrite.synthesize.topics": 6, "rewrite.synthesize.prompts": 4,
                 "rewrite.synthesize.inputs": 3, "rewrite.test.candidates": 1, "rewrite.test.proof": 4}  # fmt: skip
SINGLE = {"judges": [{"name": "embedded-rate", "criteria": ["correctness"]}]}
STREAM = {"rewrite.stream": True, "rewrite.rounds": 7}
ARMS: Mapping[str, dict[str, Any]] = {
    "DPO": {},
    "SFT (the BPO recipe)": {"rewrite.learn.loss": "sft"},
    "DPO without the chosen text's likelihood": {"rewrite.learn.sft": 0.0},
    "DPO + InfoNCE": {"rewrite.learn.contrast": 0.1},
    "DPO, no margin filter": {"rewrite.pairs.z": 0.0, "rewrite.pairs.margin": 0.0, "rewrite.pairs.orders": False},
    "DPO, shuffled labels": {"rewrite.pairs.shuffle": True},
    "DPO, a single judge": {"rewrite.judge": SINGLE, "allow_weak_panel": True},
    "one intent after another": STREAM | {"rewrite.learn.replay": 0.0},
    "… + replay": STREAM,
    "… + replay + KL": STREAM | {"rewrite.learn.kl": 0.3},
    "all intents together, a second round": {"rewrite.rounds": 2, "rewrite.keep": "last"},
}
START, END = "<!-- ablation -->", "<!-- /ablation -->"


def measured(out: Path, seed: int, prompts: int) -> list[dict[str, Any]]:
    """Every arm of a seed, and the two that need no training."""
    path, held = prepared(out, prompts, seed)
    best = best_of(out / f"best-{seed}.json", held, seed)
    found: list[dict[str, Any]] = []
    first = out / f"{seed}-0"
    for at, (name, settings) in enumerate(ARMS.items()):
        folder = out / f"{seed}-{at}"
        done = out / f"{seed}-{at}.json"
        if not done.exists():
            report = run(folder, path, seed, SMALL | settings, None if at == 0 else first)
            done.write_text(json.dumps(row_of(name, seed, report, best)))
        found.append(json.loads(done.read_text()))
    return [*untrained(first, seed, best), *found]


def best_of(path: Path, held: Sequence[Held], seed: int) -> dict[str, float]:
    """The best known score of each prompt on its own texts."""
    if not path.exists():
        best = best_known(Model(open_backend(ModelConfig())), held, seed)
        path.write_text(json.dumps({one.prompt: value for one, value in zip(held, best, strict=True)}))
    found: dict[str, float] = json.loads(path.read_text())
    return found


def row_of(name: str, seed: int, report: dict[str, Any], best: dict[str, float]) -> dict[str, Any]:
    found, last = figures(report["test"]["rows"], best), report["test"]["offered"]
    moved = [one["kl_old"] for one in report["rounds"] if one.get("kl_old") is not None]
    return {
        "arm": name, "seed": seed, "before": found["before"], "raw": found["raw_after"], "after": found["after"],
        "room": found["room_closed"], "wins": last["wins"]["rate"], "value": last["value"]["gain"],
        "violations": found["broken"], "left_alone": found["left_alone"],
        "continual": report["test"].get("continual"), "kl_old": fmean(moved) if moved else None,
        "cpu": report["cpu_seconds"],
    }  # fmt: skip


def untrained(folder: Path, seed: int, best: dict[str, float]) -> list[dict[str, Any]]:
    """The prompts as they are, and the rewriter that has learned nothing."""
    rounds = json.loads((folder / "report.json").read_text())["test"]["rounds"]
    before, after = (rounds[0]["score"][name] for name in ("before", "after"))
    most = fmean(best.values())
    common = {"seed": seed, "before": before, "continual": None, "kl_old": None, "cpu": 0.0}
    room = (after - before) / (most - before)
    first = rounds[0]
    return [
        common | {"arm": "identity", "raw": before, "after": before, "room": 0.0, "wins": None, "value": 0.0,
                  "violations": 0.0, "left_alone": 1.0},
        common | {"arm": "few-shot, untrained", "raw": after, "after": after, "room": room,
                  "wins": first["wins"]["rate"], "value": first["value"]["gain"], "violations": first["violations"],
                  "left_alone": first["good_left_alone"]},
    ]  # fmt: skip


def about(seeds: Sequence[int], prompts: int) -> list[str]:
    """What stands above the table in docs/rewrite.md."""
    return [
        f"`python benchmarks/rewrite_ablation.py --out FOLDER --seeds {' '.join(map(str, seeds))} --write`: a smaller "
        f"pipeline (about 140 base prompts, one round, {prompts} test prompts with {INPUTS} texts each), mean and "
        f"standard deviation of {len(seeds)} seeds. Scores by the tasks' own scorer; “offered” is after a proof on "
        f"{SMALL['rewrite.test.proof']} inputs, of the rewriter's first answer only.",
        "",
    ]


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    lines = [
        "| arm | first answer | offered | room closed | wins | value | broken rules | good left alone | BWT | KL old |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for arm in arms:
        mine = [row for row in rows if row["arm"] == arm]
        cells = [spread([row[key] for row in mine]) for key in
                 ("raw", "after", "room", "wins", "value", "violations", "left_alone")]  # fmt: skip
        cells.append(spread([row["continual"]["bwt"] if row["continual"] else None for row in mine]))
        cells.append(spread([row["kl_old"] for row in mine]))
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return lines


def spread(values: Sequence[float | None]) -> str:
    """Mean and standard deviation over seeds."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    return f"{fmean(known):.3f}" + (f" ± {stdev(known):.3f}" if len(known) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with ThreadPoolExecutor(options.workers) as pool:
        several = pool.map(lambda seed: measured(options.out, seed, options.prompts), options.seeds)
        rows = [row for found in several for row in found]
    lines = table(rows)
    print("\n".join(lines))
    if options.write:
        write_section("rewrite.md", [*about(options.seeds, options.prompts), *lines], START, END)
    arms = dict.fromkeys(row["arm"] for row in rows)
    gains = {arm: fmean(row["after"] - row["before"] for row in rows if row["arm"] == arm) for arm in arms}
    print(json.dumps({arm: round(gain, 4) for arm, gain in gains.items()}, ensure_ascii=False))


if __name__ == "__main__":
    main()
