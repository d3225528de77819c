"""What the embedded models can do, and how fast: the tables of docs/embedded-model.md.

    python benchmarks/embedded.py [--model embedded] [--model embedded-small] [--n 200] [--write]

Reserved texts and problems, phrasings seen and never seen in training; every question is answered greedily in float32
on the CPU. --write puts the tables into the documentation and the model cards. The last line is one JSON object with
the figures of the first model; its speeds are medians of tokens per second by the package's own backend.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from random import Random

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the grammar is beside the package, not in it

from embedded import release
from embedded.cases import KNOWN
from embedded.evaluate import Rows, ask, encode, load, measure, summary
from embedded.layouts import Message, split_roles
from embedded.skills import transform_example
from promptmill import Request, Sampling
from promptmill.model.embedded import EMBEDDED_MODELS, embedded_path
from promptmill.model.gate import run_blocking
from promptmill.model.local import LocalBackend

BATCHES = (1, 64, 256)
NEW_TOKENS = 32


def chats(count: int) -> list[list[Message]]:
    """Different questions that are answered with some twenty tokens each."""
    rng = Random(5)
    drawn = [transform_example(rng, "repeat", kind=KNOWN, tier="clear", form=True, bare=True) for _ in range(count)]
    return [split_roles("Repeat every word of the text. Give only the result.", e.about["text"]) for e in drawn]


def speed(name: str, dtype: str, threads: int, batch: int, repeats: int) -> float:
    """Generated tokens per second of wall time, the median of the repeats after one to warm up."""
    backend = LocalBackend(str(embedded_path(name)), dtype=dtype, device="cpu", batch_size=batch, threads=threads)
    questions = chats(8 if batch == 1 else 2 * batch)
    requests = [
        Request(tuple((m["role"], m["content"]) for m in chat), Sampling(max_tokens=NEW_TOKENS)) for chat in questions
    ]

    async def answer() -> int:
        import asyncio

        await backend.open()
        try:
            if batch == 1:  # one after another, as a person asks
                return sum([(await backend.complete(request)).usage.completion for request in requests])
            done = await asyncio.gather(*(backend.complete(request) for request in requests))
            return sum(completion.usage.completion for completion in done)
        finally:
            await backend.close()

    taken = []
    for _ in range(repeats + 1):
        backend.forget()
        begun = time.perf_counter()
        tokens = run_blocking(answer())
        taken.append(tokens / (time.perf_counter() - begun))
    return statistics.median(taken[1:])


def speeds(names: list[str], repeats: int) -> tuple[str, dict[str, float]]:
    """A table of tokens per second, and the figures of the first model."""
    lines, found = [], {}
    for name in names:
        for threads in (1, 2):
            for dtype in ("float32", "bfloat16"):
                row = [speed(name, dtype, threads, batch, repeats) for batch in BATCHES]
                print(f"  {name} {dtype} {threads} threads: " + ", ".join(f"{value:,.0f}" for value in row), flush=True)
                lines.append(f"| {name} | {dtype} | {threads} | " + " | ".join(f"{value:,.0f}" for value in row) + " |")
                if name == names[0] and dtype == "float32" and threads == 1:
                    found = {f"tokens_per_s_{batch}": round(v) for batch, v in zip(BATCHES, row, strict=True)}
    header = (
        f"| model | dtype | threads | {' | '.join(f'batch {batch}' for batch in BATCHES)} |\n|---|---|---|---|---|---|"
    )
    title = f"Tokens per second of answers of up to {NEW_TOKENS} tokens, by the package's backend, {platform_line()}:"
    return "\n".join([title, "", header, *lines]), found


def platform_line() -> str:
    """The processor and the version of torch."""
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return f"{models[0].partition(':')[2].strip() if models else 'this machine'}, torch {torch.__version__}"


def load_seconds(name: str, repeats: int = 5) -> float:
    """From nothing in memory (transformers imported) to a first answer."""
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        ask(*load(embedded_path(name)), chats(1))
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def padding_agrees(name: str, count: int = 200) -> float:
    """The share of greedy answers that are the same alone and in a left-padded batch of mixed lengths."""
    model, tokenizer = load(embedded_path(name))
    rng = Random(11)
    asked = [transform_example(rng, reserved=True).messages for _ in range(count)]
    rng.shuffle(asked)
    same = 0
    for begin in range(0, count, 50):
        group = asked[begin : begin + 50]
        encoded = encode(tokenizer, group)
        with torch.inference_mode():
            made = model.generate(**{k: encoded[k] for k in ("input_ids", "attention_mask")}, max_new_tokens=160,
                                  do_sample=False)  # fmt: skip
        batched = tokenizer.batch_decode(made[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
        alone = [ask(model, tokenizer, [chat])[0] for chat in group]
        same += sum(a == b.strip() for a, b in zip(alone, batched, strict=True))
    return same / count


def show(rows: Rows, counts: dict[str, int]) -> None:
    for row, value in rows.items():
        if not row.startswith("phrasing"):
            print(f"  {row:40s} {value:.3f}" + (f"  of {counts[row]}" if row in counts else ""))
    print(release.transform_table(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", choices=EMBEDDED_MODELS, help="may be repeated; all if not given")
    parser.add_argument("--n", type=int, default=200, help="questions per cell of the table")
    parser.add_argument("--seed", type=int, default=99)
    parser.add_argument("--mistakes", type=int, default=0, help="mistakes to show per row")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement of speed")
    parser.add_argument(
        "--write", action="store_true", help="put the tables into the documentation and the model cards"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = options.model or list(EMBEDDED_MODELS)
    found = {}
    for name in names:
        print(name)
        rows, counts = measure(embedded_path(name), options.n, options.seed, options.mistakes)
        found[name] = rows
        show(rows, counts)
    table, figures = speeds(names, options.repeats)
    for name in names:
        line = (
            f"{name}: loaded and a first answer in {load_seconds(name):.2f} s; answers that are the same alone and in "
        )
        table += f"\n\n{line}a left-padded batch: {padding_agrees(name):.1%} of 200."
    print(table)
    if options.write:
        release.write_page(found, table, options.n)
        for name in names:
            release.write_card(name, found[name], options.n)
    size = (embedded_path(names[0]) / "model.safetensors").stat().st_size / 1e6
    last = {key: round(value, 4) for key, value in summary(found[names[0]]).items()} | {"size_mb": round(size, 3)}
    print(json.dumps(last | figures))


if __name__ == "__main__":
    main()
