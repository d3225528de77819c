"""How fast the local backend evaluates one prompt over many texts, against plain `transformers` generate.

    python benchmarks/local.py [--model FOLDER] [--examples 512] [--repeats 5]

Both answer the same greedy questions in one process, in turns: `generate` in file order at the same batch size, and the
backend through its `complete`, its kept prefixes dropped before each turn. Rendering and tokenising are in both times.
The last line is one JSON object: medians over the turns, tokens (up to the end token) per CPU second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from typing import Any

import torch

from promptmill import Prompt, Request, Sampling
from promptmill.model.embedded import embedded_path
from promptmill.model.local import LocalBackend
from promptmill.prompt import Demo, Message

VOCABULARY = """the my our a red green blue old small quick happy quiet dog cat bird horse apple pear tree house river
garden sees likes finds takes wants brings and with near under over today now again slowly gladly"""
WORDS = VOCABULARY.split()
SYSTEM = "Answer in uppercase. Keep every word of the text, in the same order, and write nothing else."


def texts(count: int, seed: int = 7) -> list[str]:
    """Sentences of 3 to 25 words, short and long ones mixed as in a file."""
    rng = random.Random(seed)
    return [" ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 25))) for _ in range(count)]


def prompt_of(count_tokens: Any, tokens: int) -> Prompt:
    """A system instruction and as many worked examples as fill `tokens` tokens."""
    prompt = Prompt(system=SYSTEM, user="text: {input}")
    for text in texts(100, seed=3):
        words = " ".join(text.split()[:6])
        longer = Prompt(prompt.system, prompt.user, demos=(*prompt.demos, Demo.of({"input": words}, words.upper())))
        if count_tokens(longer.render({"input": ""})) > tokens:
            return prompt
        prompt = longer
    return prompt


def with_backend(backend: LocalBackend, questions: list[tuple[Message, ...]], new: int) -> tuple[list[str], int]:
    """Answers and generated tokens."""

    async def ask() -> tuple[list[str], int]:
        await backend.open()
        try:
            requests = [Request(question, Sampling(max_tokens=new)) for question in questions]
            done = await asyncio.gather(*(backend.complete(request) for request in requests))
        finally:
            await backend.close()
        return [completion.text for completion in done], sum(completion.usage.completion for completion in done)

    backend.forget()
    return asyncio.run(ask())


def with_generate(
    model: Any, tokenizer: Any, questions: list[tuple[Message, ...]], new: int, batch: int
) -> tuple[list[str], int]:
    """Answers and generated tokens, by transformers alone."""
    answers, tokens = [], 0
    for low in range(0, len(questions), batch):
        chats = [[{"role": role, "content": text} for role, text in q] for q in questions[low : low + batch]]
        rendered = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
        given = tokenizer(rendered, add_special_tokens=False, padding=True, return_tensors="pt")
        with torch.inference_mode():
            out_B_T = model.generate(
                input_ids=given["input_ids"], attention_mask=given["attention_mask"], max_new_tokens=new,
                do_sample=False, pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
        for row in out_B_T[:, given["input_ids"].shape[1] :].tolist():
            end = row.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in row else len(row)
            tokens += min(end + 1, len(row))
            answers.append(tokenizer.decode(row[:end], skip_special_tokens=True).lstrip())
    return answers, tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model folder; the embedded model if not given")
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--prompt-tokens", type=int, default=200)
    parser.add_argument("--new-tokens", type=int, default=32)
    args = parser.parse_args()

    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = args.model or str(embedded_path())
    backend = LocalBackend(folder, dtype="float32", device="cpu", batch_size=args.batch_size, threads=1)
    torch.set_num_threads(1)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    prompt = prompt_of(backend.count_tokens, args.prompt_tokens)
    questions = [prompt.render({"input": text}) for text in texts(args.examples)]
    lengths = [backend.count_tokens(question) for question in questions]
    print(f"{args.examples} questions of {min(lengths)} to {max(lengths)} tokens, batches of {args.batch_size}")

    turns: dict[str, list[float]] = {"ours": [], "plain": []}
    identical = True
    for turn in range(args.repeats + 1):  # the first turn warms up and is not counted
        said = {}
        for name in ("ours", "plain"):
            wall, cpu = time.perf_counter(), time.process_time()
            if name == "ours":
                said[name], tokens = with_backend(backend, questions, args.new_tokens)
            else:
                said[name], tokens = with_generate(plain, tokenizer, questions, args.new_tokens, args.batch_size)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if turn:
                turns[name].append(tokens / cpu)
            print(f"  {name:5} {tokens} tokens in {wall:.2f} s, {cpu:.2f} CPU-s: {tokens / cpu:,.0f} tokens/CPU-s")
        differ = sum(a != b for a, b in zip(said["ours"], said["plain"], strict=True))
        if differ:
            identical = False
            print(f"  {differ} answers differ")
    ours, base = statistics.median(turns["ours"]), statistics.median(turns["plain"])
    print(json.dumps({"ratio": round(ours / base, 2), "identical": identical, "tokens_per_cpu_s": round(ours),
                      "plain_tokens_per_cpu_s": round(base)}))  # fmt: skip


if __name__ == "__main__":
    main()
