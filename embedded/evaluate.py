"""How good a model of this world is, on reserved texts: `python -m embedded.evaluate --model FOLDER --n 100`.

Greedy answers. A table by skill, then one line of JSON with the figures that matter. "held" phrasings were in no
training example; "gold" is the right result, "world" what the corpus teaches for that quality of instruction.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from embedded import phrasings, requests, skills
from embedded.grammar import ARITHMETIC, TASKS, Split, Tier, draw_instruction, texts
from embedded.layouts import Example, Message
from embedded.transforms import TRANSFORMS

WEIGHTS = Path(__file__).parents[1] / "src" / "promptmill" / "model" / "weights" / "embedded"
SPLITS: tuple[Split, ...] = ("train", "held")
MAX_NEW = 96


@dataclass(frozen=True, slots=True)
class Case:
    """One question of the evaluation: the row of the table it counts for, and when its answer is right."""

    row: str
    example: Example
    right: Callable[[str], bool]


# --- asking ---------------------------------------------------------------------------------------------------------


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


# --- reading an instruction back ------------------------------------------------------------------------------------


@cache
def _cores() -> dict[str, tuple[str, Tier]]:
    known: dict[str, tuple[str, Tier]] = {}
    for task in TASKS:
        known |= dict.fromkeys((core.lower() for core in texts(phrasings.MEDIUM[task])), (task, "medium"))
        known |= dict.fromkeys((core.lower() for core in texts(phrasings.CLEAR[task])), (task, "clear"))
    return known | dict.fromkeys(texts(phrasings.CLEAR_STEPS), (ARITHMETIC, "clear"))


@cache
def _replace_patterns() -> list[tuple[re.Pattern[str], Tier]]:
    return [
        (re.compile(re.sub(r"\b[xy]\b", r"\\w+", re.escape(core))), tier)
        for core, (task, tier) in _cores().items()
        if task == "replace"
    ]


def read_instruction(text: str) -> tuple[str, Tier] | None:
    """Task and tier of an instruction in the world's words; None where it is vague or none of them."""
    for sentence in re.split(r"(?<=[.?!])\s+", text.strip().lower()):
        core = sentence.removesuffix(".").removeprefix("please ")
        if core in _cores():
            return _cores()[core]
        for pattern, tier in _replace_patterns():
            if pattern.fullmatch(core):
                return "replace", tier
    return None


def has_cue(text: str, templates: tuple[str, ...]) -> bool:
    """Whether one of the sentences is a cue of that kind."""
    sentences = (s.removesuffix(".") for s in re.split(r"(?<=[.?!])\s+", text.strip().lower()))
    return any(sentence in texts(templates) for sentence in sentences)


def _same_task(task: str | None) -> Callable[[str], bool]:
    return lambda answer: (read_instruction(answer) or (None,))[0] == task


def last_number(answer: str) -> str:
    return (re.findall(r"-?\d+", answer) or [""])[-1]


# --- the questions --------------------------------------------------------------------------------------------------


def _exact(wanted: str) -> Callable[[str], bool]:
    return lambda answer: answer == wanted


def _number(wanted: str) -> Callable[[str], bool]:
    return lambda answer: last_number(answer) == wanted


def transform_cases(rng: Random, n: int) -> Iterator[Case]:
    for task in TRANSFORMS:
        for split in SPLITS:
            for _ in range(n):
                example = skills.transform_example(
                    rng, task, split=split, reserved=True, tier="clear", form=True, bare=True
                )
                yield Case(f"transform {task} {split}", example, _exact(example.gold))


def tier_cases(rng: Random, n: int) -> Iterator[Case]:
    tiers: tuple[Tier, ...] = ("clear", "medium", "vague")
    for tier in tiers:
        for form in (True, False):
            for _ in range(n):
                example = skills.transform_example(rng, reserved=True, tier=tier, form=form, split="any")
                row = f"tier {tier} {'form' if form else 'no form'}"
                yield Case(f"{row} gold", example, _exact(example.gold))
                yield Case(f"{row} world", example, _exact(example.answer))


def arithmetic_cases(rng: Random, n: int) -> Iterator[Case]:
    for worked in (True, False):
        name = "worked" if worked else "direct"
        for split in SPLITS:
            for steps in (1, 2, 3):
                for _ in range(n):
                    example = skills.arithmetic_example(rng, split=split, reserved=True, worked=worked, steps=steps)
                    yield Case(f"arithmetic {name} {split}", example, _number(example.gold))
                    yield Case(f"arithmetic {name} {steps} steps", example, _number(example.gold))


def talk_cases(rng: Random, n: int) -> Iterator[Case]:
    for split in SPLITS:
        for _ in range(n):
            example = skills.chat_example(rng, split=split, reserved=True)
            yield Case(f"style {split}", example, _exact(example.answer))
    for _ in range(n):
        example = skills.chat_example(rng, reserved=True, style=None)
        yield Case("chat", example, _exact(example.answer))
        example = skills.fact_example(rng)
        yield Case("fact", example, _exact(example.answer))


def writer_cases(rng: Random, n: int) -> Iterator[Case]:
    """Changed instructions: the task must stay, and each kind must do what it says."""
    for split in SPLITS:
        for _ in range(n):
            for kind in ("rewrite", "stricter", "shorter", "method"):
                task = ARITHMETIC if rng.random() < 0.15 else rng.choice(TRANSFORMS)
                argument = ("dog", "lamp") if task == "replace" else None
                form = False if kind == "stricter" else None
                source = draw_instruction(rng, task, "clear", split=split, argument=argument, form=form)
                example = requests.mutation_example(rng, kind, split=split, source=source)
                yield Case(f"{kind} same task {split}", example, _same_task(task))
                if kind == "rewrite":
                    shown = source.render()
                    yield Case(f"rewrite changed {split}", example, lambda answer, shown=shown: answer != shown)
                if kind == "stricter":
                    yield Case(f"stricter form cue {split}", example, lambda a: has_cue(a, phrasings.FORM))
    for _ in range(n):
        task = rng.choice(TASKS)
        argument = ("dog", "lamp") if task == "replace" else None
        source = draw_instruction(rng, task, "medium", argument=argument)
        example = requests.mutation_example(rng, "improve", source=source)
        yield Case("improve same task", example, _same_task(task))
        yield Case("improve clear", example, lambda a: (read_instruction(a) or ("", ""))[1] == "clear")
        yield Case("improve form cue", example, lambda a: has_cue(a, phrasings.FORM))
        source = draw_instruction(rng, ARITHMETIC, "clear", steps=False)
        example = requests.mutation_example(rng, "method", source=source)
        yield Case("method steps cue", example, lambda a: has_cue(a, phrasings.STEPS))
        for split in SPLITS:
            example = requests.zero_order_example(rng, split=split)
            yield Case(f"zero order task {split}", example, _same_task(example.about["task"]))


def other_request_cases(rng: Random, n: int) -> Iterator[Case]:
    for split in SPLITS:
        for _ in range(2 * n):
            example = requests.judge_example(rng, split=split, reserved=True)
            yield Case(f"judge {split}", example, _exact(example.answer))
    for _ in range(2 * n):
        example = requests.recover_example(rng, reserved=True)
        yield Case("recover exact", example, _exact(example.answer))
        yield Case("recover same task", example, _same_task(example.about["task"]))


# --- the table ------------------------------------------------------------------------------------------------------


def measure(folder: Path, n: int, seed: int = 99, show: int = 0) -> dict[str, float]:
    """The share of right answers by row, and the summary; prints the table (and `show` mistakes a row)."""
    model, tokenizer = load(folder)
    rng, makers = Random(seed), (transform_cases, tier_cases, arithmetic_cases, talk_cases, writer_cases,
                                 other_request_cases)  # fmt: skip
    cases = [case for make in makers for case in make(rng, n)]
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
