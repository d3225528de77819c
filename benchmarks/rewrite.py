"""What a rewriter is worth, where the truth is known: the whole pipeline on the embedded model, from intents alone.

    python benchmarks/rewrite.py --out FOLDER [--seed 1] [--prompts 120] [--no-shuffled] [--no-breed] [--write]

The pipeline is given intents and nothing else; it is tested on prompts that it never sees otherwise, drawn from the
world's grammar in reserved wordings, with reserved texts and the right results, which only the test's scorer sees.
The scores of the figures are measured anew, on 32 further texts for each prompt, and broken rules are counted on 500
further prompts. Room is what the best known wording of each task would bring over the prompts as they are. The
control runs the same with better and worse exchanged at random, from the same tables: since this model knows
something of rewriting beforehand, its gain is over the rewriter that has learned nothing. Beside it stands what
breeds find with as many calls and with labelled examples (rewrite_breed.py). A run that is in FOLDER goes on. --write
puts the figures into docs/rewrite.md between their markers. The last line is one JSON object:
{"room_closed", "guard_violations", "left_alone", "bred_gain", "shuffled_gain_lo"}, without what was left out.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.rewrite_breed import bred, sentences
from benchmarks.rewrite_prompts import FURTHER, INPUTS, Held, domains, held_out, write_held
from benchmarks.rewrite_truth import MANY, Row, broken, known, measured_again
from benchmarks.sections import write_section
from promptmill.cli.rewrite import identity_of
from promptmill.crafts.rewrite.config import RewriteConfig
from promptmill.crafts.rewrite.measures import gain
from promptmill.measure.statistics import paired_bootstrap

TEST_PANEL = Path(__file__).with_name("rewrite_test_panel.yaml")
BASIC = {"rewrite.synthesize.together": 0.95, "rewrite.synthesize.test": 0.0, "rewrite.synthesize.topics": 8,
         "rewrite.synthesize.prompts": 5}  # fmt: skip
"""In so small a world all prompts of a task are alike; the test has prompts of its own, in reserved wordings."""
START, END = "<!-- figures -->", "<!-- /figures -->"
SHARED = ("topics-", "drafts-", "dropped-", "bases-", "variations-", "raw_inputs-", "inputs-", "rewrites-", "outputs-",
          "scores-", "planted-", "pairs-")  # fmt: skip
"""Tables that arms with other settings of learning have in common; each is known by all that decides it."""


def run(out: Path, prompts: Path, seed: int, settings: dict[str, Any], source: Path | None = None) -> dict[str, Any]:
    """The report of a pipeline with these settings, and what it took. source: a run whose tables may be used."""
    if source is not None and not out.exists():
        take_over(source, out, settings)
    given = [part for name, value in settings.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    intents = [part for name in domains() for part in ("--intent", name)]
    command = [sys.executable, "-m", "promptmill", "rewrite", "run", *intents, "--prompts", str(prompts),
               "--test-panel", str(TEST_PANEL), "--seed", str(seed), "--out", str(out), *given]  # fmt: skip
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    took = {"cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "wall_seconds": time.monotonic() - begun}  # fmt: skip
    costs = out.with_suffix(".cost.json")  # of all sessions
    earlier = json.loads(costs.read_text()) if costs.exists() else dict.fromkeys(took, 0.0)
    took = {name: seconds + earlier[name] for name, seconds in took.items()}
    costs.write_text(json.dumps(took))
    return report | took


def take_over(source: Path, out: Path, settings: dict[str, Any]) -> None:
    """A run that has begun with these settings, with hard links to the tables of another: tables are never written
    again, only replaced."""
    begun = json.loads((source / "run.json").read_text())
    changed = begun["identity"]["rewrite"]
    for name, value in settings.items():
        *path, last = name.split(".")
        if path[:1] == ["rewrite"]:
            reduce(lambda inner, key: inner.setdefault(key, {}), path[1:], changed)[last] = value
    config = RewriteConfig.model_validate(changed)
    begun["identity"]["rewrite"] = identity_of(config)
    out.mkdir(parents=True)
    (out / "run.json").write_text(json.dumps(begun | {"id": out.name}))
    for folder in (source / "stages").iterdir():
        if folder.name.startswith(SHARED):
            shutil.copytree(folder, out / "stages" / folder.name, copy_function=lambda a, b: Path(b).hardlink_to(a))


def figures(rows: Sequence[Row], best: Mapping[str, float], texts: int = INPUTS) -> dict[str, Any]:
    """Of a rewriter as it is offered. rows: of the report's test, with scores on so many texts. best: the score of the
    best known wording of each prompt's task, on the same texts."""
    rows = known(rows)
    before, after = ([row[name] for row in rows] for name in ("base_score", "rewrite_score"))
    most = fmean(max(best[row["prompt"]], row["base_score"]) for row in rows)
    # Good is what the best known wording betters by less than half an answer.
    good = [row for row in rows if row["base_score"] > best[row["prompt"]] - 0.5 / texts]
    told = gain(before, after, clusters=[row["cluster"] for row in rows])
    return {
        "prompts": len(rows), "texts": texts, "before": told["before"], "after": told["after"], "best_known": most,
        "gain": told["gain"], "lo": told["lo"], "hi": told["hi"],
        "room_closed": told["gain"] / (most - told["before"]),
        "broken": fmean(row["guard"] is not None for row in rows),
        "left_alone": fmean(row["left_alone"] for row in good), "good": len(good),
        "good_before": fmean(row["base_score"] for row in good),
        "good_after": fmean(row["rewrite_score"] for row in good),
        "raw_after": fmean(row["base_score"] if row["raw_score"] is None else row["raw_score"] for row in rows),
    }  # fmt: skip


def over_untrained(report: dict[str, Any]) -> dict[str, float]:
    """What learning has added: the score of a rewriter's first answers over those of the rewriter before it."""
    rows = known(report["test"]["rows"])
    before, after = (
        [row["base_score"] if row[name] is None else row[name] for row in rows]
        for name in ("untrained_score", "raw_score")
    )
    found = paired_bootstrap(before, after, lambda sums, n: sums[..., -1] / n)
    given = fmean(row["base_score"] for row in rows)
    return {"given": given, "before": fmean(before), "after": fmean(after), **found._asdict()}


def prepared(out: Path, count: int, seed: int) -> tuple[Path, list[Held]]:
    """The file of held-out prompts, and these."""
    out.mkdir(parents=True, exist_ok=True)
    path, held = out / f"held-{seed}.jsonl", held_out(count, seed)
    write_held(path, held)
    return path, held


def page_of(
    found: dict[str, Any], report: dict[str, Any], over: dict[str, float], seed: int, breeds: dict[str, Any] | None
) -> list[str]:
    """The section of docs/rewrite.md. breeds: of `bred`; None leaves that row out."""
    share, interval = "{:.0%}".format, "{lo:+.3f} to {hi:+.3f}".format
    breed_row = []
    if breeds:
        breed_row = [f"| breed, at the same number of calls | {breeds['after']:.3f} (gain {interval(**breeds)}) |"]
    return [
        f"`python benchmarks/rewrite.py --out FOLDER --seed {seed} --write`: from seven intents alone, "
        f"{report['synthesize']['dedup']['kept'] - found['prompts']} base prompts that the embedded model wrote, "
        f"{len(report['rounds'])} rounds, {sum(one['kept'] for one in report['rounds'])} kept; "
        f"tested on {found['prompts']} prompts in reserved wordings (clear ones, "
        f"hints, one in ten that says nothing), {found['texts']} reserved texts each, by the tasks' own scorer, which "
        f"taught nobody. The pipeline: {report['cpu_seconds']:.0f} CPU seconds, {report['wall_seconds']:.0f} on the "
        "clock.",
        "",
        "| | score |",
        "|---|---|",
        f"| the prompts as they are | {found['before']:.3f} |",
        f"| first answers of the untrained rewriter, on {INPUTS} texts on which the prompts as they are score "
        f"{over['given']:.3f} | {over['before']:.3f} |",
        f"| first answers of the trained rewriter | {found['raw_after']:.3f} |",
        f"| **what is offered** (guard and proof) | **{found['after']:.3f}** (gain {interval(**found)}) |",
        *breed_row,
        f"| the best known wording of each task | {found['best_known']:.3f} |",
        f"| control: first answers, learned from shuffled pairs, on these texts | {over['after']:.3f} "
        f"(over the untrained rewriter: {interval(**over)}) |",
        "",
        f"Room closed: {share(found['room_closed'])}. Of {found['good']} prompts that the best known wording does not "
        f"better {share(found['left_alone'])} are left alone. {found['guard_violations']:.1%} of the rewriter's first "
        f"answers to {MANY} other prompts in reserved wordings break a rule ({found['broken']:.1%} of those to the "
        "test's); none of these is offered.",
        *(["", sentences(breeds)] if breeds else []),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)  # settings were chosen by seed 0, one by 0 and 1
    parser.add_argument("--prompts", type=int, default=120)
    parser.add_argument("--no-shuffled", action="store_true")
    parser.add_argument("--no-breed", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--set", action="append", default=[], help="key=value, of the pipeline")
    options = parser.parse_args()
    settings = BASIC | {key: json.loads(value) for key, _, value in (one.partition("=") for one in options.set)}
    prompts, held = prepared(options.out, options.prompts, options.seed)
    report = run(options.out / f"run-{options.seed}", prompts, options.seed, settings)
    truth = options.out / f"truth-{options.seed}.json"
    found = figures(*measured_again(report["test"]["rows"], held, options.seed, truth), FURTHER)
    found["guard_violations"] = broken(options.out / f"run-{options.seed}", options.seed)
    print(json.dumps(found, indent=1), f"CPU {report['cpu_seconds']:.0f} s, wall {report['wall_seconds']:.0f} s")
    summary = {key: round(found[key], 4) for key in ("room_closed", "guard_violations", "left_alone")}
    breeds = None
    if not options.no_breed:
        breeds = bred(options.out, held, report, options.seed)
        print("breed, at the same number of calls:", json.dumps(breeds))
        summary["bred_gain"] = round(breeds["gain"], 4)
    if not options.no_shuffled:
        control = run(options.out / f"shuffled-{options.seed}", prompts, options.seed,
                      settings | {"rewrite.pairs.shuffle": True, "rewrite.test.proof": 0},
                      options.out / f"run-{options.seed}")  # fmt: skip
        over = over_untrained(control)
        print("shuffled, first answers over those of the untrained rewriter:", over)
        summary["shuffled_gain_lo"] = round(over["lo"], 4)
        if options.write:
            write_section("rewrite.md", page_of(found, report, over, options.seed, breeds), START, END)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
