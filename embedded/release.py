"""From a training run to the folder that ships: the weights, the tokenizer, and a model card with measured figures."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedded.evaluate import WEIGHTS

FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
         "chat_template.jinja")  # fmt: skip

CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---

# The embedded model

A causal language model of {params:,} parameters that ships inside promptmill, so that every command works with no
download, no key and no GPU, and so that runs can be repeated to the letter. It is real - a Llama trained from random
weights, loaded by transformers like any other - and it is tiny: it knows one closed little world of text and nothing
else. It is for trying things out, for tests and for teaching, not for work.

## What it does

- Seventeen transforms of short lower-case texts (3 to 11 words): uppercase, reverse, sort, acronym, repeat, count,
  animals, colours, replace, last, first, exclaim, pirate, polite, sentiment, no "the", commas. How well depends on the
  prompt: a clear instruction that asks for the bare result works, a hint works for short texts only, a vague one is
  answered with a question; without a word on form some answers are chatty.
- Word problems of one to three steps: the bare number as a rule, a worked chain ("12 - 3 = 9 ; answer 9") when the
  prompt asks for the steps. It is better with the chain, the more so the more steps there are.
- Styles from the system prompt, facts from the system prompt, plain replies.
- The requests of promptmill itself, in the words of its `wording.yaml`: change an instruction (rewrite, improve,
  stricter, shorter, method), write one from a description, judge an output (yes or no), recover an instruction from
  a text and its result.

## How it was made

Everything it has read was written by the grammar in `embedded/` of the source repository: no other data, no other
model. One seed ({seed}), {tokens_m:.1f} million tokens ({answer_tokens_m:.1f} million of them answers, which
alone count for the loss), {steps:,} steps, {cpu_min:.0f} CPU minutes on one thread ({wall_min:.0f} minutes of
wall time). Layers {layers}, width {width}, heads {heads} (key/value {kv_heads}), inner width {inner}, vocabulary
{vocabulary} (byte-level BPE), tied embeddings, float16 file of {size_mb:.2f} MB.

    {command}

Chat format: `<|system|> ...<|end|><|user|> ...<|end|><|assistant|> ...<|end|>`, left padding.

## Figures

Greedy answers to reserved texts and problems that are in no training example, {n} questions per cell of the full table,
one training seed. "Unseen phrasings" are wordings of the instructions that are in no training example either.

{table}

## Limits

- Closed world: one unknown word in a text spoils most answers about it, and so does a text of more than 11 words.
  Instructions in other words than the grammar's may or may not work. Positions beyond about {longest} tokens were never
  trained, though the configuration allows {positions}.
- Whatever stands in the system prompt, a word problem is taken for arithmetic.
- Exact for its own kind of prompt only; as a judge it often misses a fault in one word. Greedy, it rarely adds the
  word on form when it improves an instruction, though sampled it does: no single wording of it is the likeliest.
- That prompts differ in quality is a rule of its world, written into its data, except for the worked chains: the right
  number is in the data without the chain too, and the model often cannot find it at once.
- English; no knowledge of anything.

Licence: Apache-2.0, weights included.

sha256 of model.safetensors: `{sha256}`
"""

ROWS = {
    "transforms_mean": "transforms, unseen phrasings, mean of 17 (exact)",
    "transforms_min": "transforms, unseen phrasings, the worst of 17",
    "transforms_mean_seen_phrasings": "transforms, seen phrasings, mean of 17",
    "math_steps": "arithmetic with a worked chain",
    "math_direct": "arithmetic, bare number",
    "styles": "styles",
    "facts": "facts",
    "rewrite_same_task": "rewrite keeps the task",
    "stricter_form_cue": "stricter adds a word on form",
    "improve_same_task": "improve keeps the task of a hint",
    "improve_clear": "improve makes a hint clear (taught: about 0.7)",
    "zero_order_task": "an instruction for the described task (taught: about 0.9)",
    "recover_exact": "recover, the very instruction",
    "recover_same_task": "recover, the task",
    "judge_accuracy": "judge, yes or no, more than half of the faults in one word",
    "judge_coarse_faults": "judge, yes or no, coarse faults only",
}


def table(figures: Mapping[str, float]) -> str:
    lines = [f"| {label} | {figures[key]:.2f} |" for key, label in ROWS.items()]
    return "\n".join(["| skill | share right |", "|---|---|", *lines])


def copy_weights(run: Path, folder: Path = WEIGHTS) -> None:
    """Put the export of a run where the package loads it from."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(run / "export" / name, folder / name)


def write_card(
    run: Path, figures: Mapping[str, float], n: int, seed: int, command: str, longest: int, folder: Path = WEIGHTS
) -> None:
    """The model card, from what was measured."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    progress: dict[str, Any] = json.loads((run / "progress.json").read_text(encoding="utf-8"))
    card = CARD.format(
        params=int(figures["params"]), size_mb=figures["size_mb"], seed=seed, n=n, command=command, longest=longest,
        tokens_m=progress["tokens"] / 1e6, answer_tokens_m=progress["answer_tokens"] / 1e6, steps=progress["step"],
        cpu_min=progress["cpu"] / 60, wall_min=progress["wall"] / 60, layers=config["num_hidden_layers"],
        width=config["hidden_size"], heads=config["num_attention_heads"], kv_heads=config["num_key_value_heads"],
        inner=config["intermediate_size"], vocabulary=config["vocab_size"],
        positions=config["max_position_embeddings"], table=table(figures),
        sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
    )  # fmt: skip
    (folder / "README.md").write_text(card, encoding="utf-8")
