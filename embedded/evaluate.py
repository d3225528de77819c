"""How good a model of this world is, on reserved texts: `python -m embedded.evaluate --model FOLDER --n 100`.

Greedy answers. A table by skill, then one line of JSON with the figures that matter. "held" phrasings were in no
training example; "gold" is the right result, "world" what the corpus teaches for that quality of instruction.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from embedded.cases import MAKERS
from embedded.layouts import Message
from embedded.transforms import TRANSFORMS

WEIGHTS = Path(__file__).parents[1] / "src" / "promptmill" / "model" / "weights" / "embedded"
MAX_NEW = 96


def load(folder: Path) -> tuple[Any, Any]:
    """Model in float32 and tokenizer of a folder."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def ask(model: Any, tokenizer: Any, chats: list[list[Message]], *, batch: int = 64) -> list[str]:
    """Greedy answers; questions of like length go together."""
    rendered = [tokenizer.apply_chat_template(c, add_generation_prompt=True, tokenize=False) for c in chats]
    answers = [""] * len(chats)
    order = sorted(range(len(chats)), key=lambda index: len(rendered[index]))
    for begin in range(0, len(order), batch):
        members = order[begin : begin + batch]
        encoded = tokenizer(
            [rendered[index] for index in members], return_tensors="pt", padding=True, add_special_tokens=False
        )
        with torch.inference_mode():
            made = model.generate(
                input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"], max_new_tokens=MAX_NEW,
                do_sample=False,
            )  # fmt: skip
        new = tokenizer.batch_decode(made[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
        for index, text in zip(members, new, strict=True):
            answers[index] = text.strip()
    return answers


def measure(folder: Path, n: int, seed: int = 99, show: int = 0) -> dict[str, float]:
    """The share of right answers by row, and the summary; prints the table (and `show` mistakes a row)."""
    model, tokenizer = load(folder)
    rng = Random(seed)
    cases = [case for make in MAKERS for case in make(rng, n)]
    begun = time.monotonic()
    unique = {id(case.example): case.example for case in cases}
    answers = dict(zip(unique, ask(model, tokenizer, [e.messages for e in unique.values()]), strict=True))
    print(f"{folder}: {len(unique)} answers in {time.monotonic() - begun:.0f} s")
    counts: dict[str, list[bool]] = defaultdict(list)
    shown: dict[str, int] = defaultdict(int)
    for case in cases:
        answer = answers[id(case.example)]
        counts[case.row].append(case.right(answer))
        if not counts[case.row][-1] and shown[case.row] < show:
            shown[case.row] += 1
            turns = " | ".join(message["content"] for message in case.example.messages)
            print(f"  miss in {case.row}: {turns!r} wanted {case.example.answer!r} got {answer!r}")
    rows = {row: sum(hits) / len(hits) for row, hits in counts.items()}
    for row, share in rows.items():
        print(f"  {row:34s} {share:.3f}  of {len(counts[row])}")
    return summary(rows, folder, model)


def summary(rows: dict[str, float], folder: Path, model: Any) -> dict[str, float]:
    """The figures of the last line."""
    held = [rows[f"transform {task} held"] for task in TRANSFORMS]
    seen = [rows[f"transform {task} train"] for task in TRANSFORMS]

    def both(row: str) -> float:
        return (rows[f"{row} train"] + rows[f"{row} held"]) / 2

    figures = {
        "transforms_mean": sum(held) / len(held),
        "transforms_min": min(held),
        "transforms_mean_seen_phrasings": sum(seen) / len(seen),
        "math_steps": both("arithmetic worked"),
        "math_direct": both("arithmetic direct"),
        "styles": both("style"),
        "facts": rows["fact"],
        "rewrite_same_task": both("rewrite same task"),
        "stricter_form_cue": both("stricter form cue"),
        "improve_same_task": rows["improve same task"],
        "improve_clear": rows["improve clear"],
        "zero_order_task": both("zero order task"),
        "recover_exact": rows["recover exact"],
        "recover_same_task": rows["recover same task"],
        "judge_accuracy": both("judge"),
        "judge_coarse_faults": rows["judge coarse faults"],
    }
    return {name: round(value, 4) for name, value in figures.items()} | {
        "params": sum(p.numel() for p in model.parameters()),
        "size_mb": round((folder / "model.safetensors").stat().st_size / 1e6, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a model of this world.")
    parser.add_argument("--model", type=Path, default=WEIGHTS, help="folder of the model (the shipped one)")
    parser.add_argument("--n", type=int, default=100, help="questions per cell of the table")
    parser.add_argument("--seed", type=int, default=99)
    parser.add_argument("--show", type=int, default=0, help="mistakes to show per row")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(json.dumps(measure(options.model, options.n, options.seed, options.show)))


if __name__ == "__main__":
    main()
