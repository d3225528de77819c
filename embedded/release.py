"""From a training run to the folder that ships, and the measured figures into the model card and the documentation."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from embedded.evaluate import Rows, spreads
from embedded.train import Run
from embedded.transforms import TRANSFORMS

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "src" / "promptmill" / "model" / "weights"
PAGE = ROOT / "docs" / "embedded-model.md"
FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
         "chat_template.jinja")  # fmt: skip
CARD = Path(__file__).with_name("card.md")
_MARKED = re.compile(r"(<!-- figures -->\n).*?(<!-- end -->)", re.DOTALL)

# The rows of the table that everyone sees; the benchmark prints all of them.
SHOWN = {
    "short": "transforms of short texts, unseen phrasings, mean",
    "worst": "the worst of the transforms",
    "unknown words": "transforms of texts with unknown words, mean",
    "25 words": "transforms of texts of 25 words, mean",
    "other marker": "transforms under a marker never seen, mean",
    "examples only, 2": "transforms from 2 examples and no instruction",
    "examples only, 4": "transforms from 4 examples and no instruction",
    "arithmetic worked 1 steps": "arithmetic with the working, 1 step",
    "arithmetic worked 2 steps": "arithmetic with the working, 2 steps",
    "arithmetic worked 3 steps": "arithmetic with the working, 3 steps",
    "arithmetic direct 1 steps": "arithmetic, bare number, 1 step",
    "arithmetic direct 2 steps": "arithmetic, bare number, 2 steps",
    "arithmetic direct 3 steps": "arithmetic, bare number, 3 steps",
    "style held": "styles from the system prompt, unseen phrasings",
    "fact": "facts from the system prompt",
    "persona": "a persona from the system prompt",
    "nats per token, a style": "nats per token that a style moves the answer",
    "nats per token, a persona": "nats per token that a persona moves the answer",
    "chat": "plain replies",
    "newcomer": "greetings and questions outside its world",
    "rewrite same task held": "rewrite keeps the task, unseen phrasings",
    "stricter form cue held": "stricter adds a word on form, unseen phrasings",
    "improve clear": "improve makes a hint clear (taught: about 0.7)",
    "improve form cue": "improve adds a word on form (taught: about 0.5)",
    "refine leaves a good one alone": "refine leaves a good prompt alone",
    "zero order task held": "an instruction for a described task, unseen descriptions (taught: about 0.9)",
    "propose task": "an instruction for a topic (taught: about 0.85)",
    "eda task": "another instruction for the task of a list",
    "lineage task": "the next better instruction for the task of a list",
    "merge task": "two instructions merged keep the task",
    "reflect on a vague one task": "a vague instruction with its failures: the task found",
    "induce task": "the instruction behind several inputs and outputs: the task",
    "recover task": "the instruction behind one text and its result: the task",
    "recover exact": "the same: the very instruction",
    "hyper-mutation": "a new mutation prompt that is one",
    "judge AUC all": "judge yes or no, unseen phrasings, AUC",
    "judge accuracy all": "the same, accuracy",
    "judge AUC coarse faults": "judge, coarse faults only, AUC",
    "judge AUC one-word faults": "judge, faults of one word only, AUC",
    "rating AUC (5 against less)": "rating 1 to 5, expected level: right against wrong, AUC",
    "rating exact level": "rating 1 to 5, the very level",
    "compare": "the better of two outputs",
}


def copy_weights(run: Path, name: str) -> None:
    """Put the export of a run where the package loads it from, with the record of its training."""
    folder = WEIGHTS / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        shutil.copyfile(run / "export" / file, folder / file)
    state = Run.load(run / "checkpoint.pt")
    record = {
        "command": f"python -m embedded --model {name}", "commit": _commit(), "plan": asdict(state.plan),
        "shape": asdict(state.model.shape), "progress": asdict(state.progress), "torch": torch.__version__,
        "python": platform.python_version(), "threads": 1,
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _commit() -> str:
    """The commit that the working tree is at."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def all_rows(rows: Rows) -> Rows:
    """The rows with their means."""

    def mean(name: str) -> float:
        return sum(rows[name.format(task)] for task in TRANSFORMS) / len(TRANSFORMS)

    held = {task: rows[f"transform {task} held"] for task in TRANSFORMS}
    return rows | {
        "short": mean("transform {} held"), "worst": min(held.values()), "unknown words": mean("unknown words {}"),
        "25 words": mean("25 words {}"), "other marker": mean("other marker {}"),
    }  # fmt: skip


def _lines(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *lines))


def skill_table(found: Mapping[str, Rows]) -> str:
    """The skills of the models side by side."""
    means = {name: all_rows(rows) for name, rows in found.items()}
    lines = [[label, *(f"{rows[key]:.2f}" for rows in means.values())] for key, label in SHOWN.items()]
    return _lines(["skill", *found], lines)


def transform_table(rows: Rows) -> str:
    """Each transform under each condition, and how much the wording of its instruction matters."""
    spread = spreads(rows)
    lines = [
        [task, *(f"{rows[f'{name} {task}{end}']:.2f}" for name, end in
                 (("transform", " train"), ("transform", " held"), ("unknown words", ""), ("25 words", ""),
                  ("other marker", ""))), *(f"{share:.2f}" for share in spread[task])]
        for task in TRANSFORMS
    ]  # fmt: skip
    last = ["arithmetic", "", "", "", "", "", *(f"{share:.2f}" for share in spread["arithmetic"])]
    header = ["transform", "short", "unseen phrasing", "unknown words", "25 words", "new marker", "best phrasing",
              "median", "worst"]  # fmt: skip
    return _lines(header, [*lines, last])


def write_card(name: str, rows: Rows, n: int) -> None:
    """The model card in the shipped folder, from the record of its training and what was measured."""
    folder = WEIGHTS / name
    record: dict[str, Any] = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    file, shape, progress = folder / "model.safetensors", record["shape"], record["progress"]
    from safetensors import safe_open

    with safe_open(file, "pt") as tensors:
        params = sum(tensors.get_tensor(key).numel() for key in tensors.keys())  # noqa: SIM118
    card = CARD.read_text(encoding="utf-8").format(
        name=name, params=params, size_mb=file.stat().st_size / 1e6, n=n, seed=record["plan"]["seed"],
        tokens_m=progress["tokens"] / 1e6, answer_tokens_m=progress["answer_tokens"] / 1e6, steps=progress["step"],
        cpu_min=progress["cpu"] / 60, command=record["command"], commit=record["commit"], torch=record["torch"],
        table=skill_table({name: rows}), sha256=hashlib.sha256(file.read_bytes()).hexdigest(), **shape,
    )  # fmt: skip
    (folder / "README.md").write_text(card, encoding="utf-8")


def write_page(found: Mapping[str, Rows], speeds: str, n: int, page: Path = PAGE) -> None:
    """The tables into the documentation, between its markers."""
    parts = [
        f"Greedy answers in float32 to reserved texts, {n} questions a cell (half as many under the harder "
        "conditions), one training seed a model.",
        skill_table(found),
        *(f"The transforms of `{name}`, and the best, median and worst of its phrasings (20 texts each):\n\n"
          f"{transform_table(rows)}" for name, rows in found.items()),
        speeds,
    ]  # fmt: skip
    text = page.read_text(encoding="utf-8")
    filled = "\n\n".join(part for part in parts if part) + "\n"
    page.write_text(_MARKED.sub(lambda match: match[1] + filled + match[2], text), encoding="utf-8")
