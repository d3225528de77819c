"""What training costs in baking: an epoch of our loop against others, the loss alone, and the store of teacher scores.

    python benchmarks/bake.py [--repeats 5] [--prompts 512 2048]

CPU seconds of one thread, in turns; medians. A random Llama (4 layers, width 256, vocabulary 4,096, 4 key-value heads),
LoRA of rank 32 on q, k, v and o, 32 answers of 128 tokens to questions of 24, 8 in a batch. The loops:

online    ours; the teacher is asked in every epoch, its prompt computed once
stored    ours; the teacher's 128 likeliest tokens and their tail are in the items
floor     no teacher: the student forward, logits of the answers alone, cross-entropy, backward, Adam
original  the shape of the paper's own loop: both whole sequences forward, logits at all positions, KL over them summed;
          here with the first generated token, which it leaves out
sdft      TRL's SDFTTrainer, forward KL of full logits, no gradient checkpointing, completions given, not generated;
          left out where trl (1.16 was tried) is not installed beside promptmill

Then the loss alone, forward and backward in float32, of 512 tokens at a vocabulary of 128,256, from hidden states of
width 256, each run in a process of its own (its memory as Linux tells it); and a stage of trajectories on disk. The
last line is one JSON object, with null for what was not run; original is "seed" in it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.bake_loops import (  # noqa: E402
    Sizes,
    floor_loop,
    original_kl,
    original_loop,
    our_loops,
    sdft_loop,
    talk_of,
)
from promptmill.crafts.bake.draw import top_scores  # noqa: E402
from promptmill.crafts.bake.trajectories import Kept, TopScores, Trajectory, row_of, schema_of  # noqa: E402
from promptmill.store.stage import Stage  # noqa: E402
from promptmill.train.head import Head  # noqa: E402
from promptmill.train.losses import FromHidden, token_losses  # noqa: E402

FULL = Sizes()
FORMS = ("original", "ours")  # of the loss alone
LOOPS = ("original", "sdft", "online", "stored", "floor")


def epochs(sizes: Sizes, prompt: int, repeats: int) -> dict[str, float]:
    """Median CPU seconds of an epoch of each loop, by turns; the first turn warms up and is not counted.

    RuntimeError where the loops that have the same loss do not begin with the same value of it.
    """
    print(f"A prompt of {prompt:,} tokens:")
    talk = talk_of(sizes, prompt)
    loops = {"original": original_loop(sizes, talk), "floor": floor_loop(sizes, talk)} | our_loops(sizes, talk)
    if importlib.util.find_spec("trl"):
        loops["sdft"] = sdft_loop(sizes, talk)
    else:
        print("  trl is not installed here (1.16.0 was tried): SDFTTrainer is left out")
    first = {name: loop() for name, loop in loops.items()}
    same = {name: one.loss for name, one in first.items() if name not in ("stored", "floor")}
    if max(same.values()) > 1.01 * min(same.values()):
        raise RuntimeError(f"the loops do not do the same work: losses for a token are {same}")
    spent: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(repeats):
        for name, loop in loops.items():
            spent[name].append(loop().cpu)
    medians = {name: statistics.median(spent[name]) for name in LOOPS if name in spent}
    for name, cpu in medians.items():
        told = f"loss {first[name].loss:.4f}, from {min(spent[name]):.2f} to {max(spent[name]):.2f} s"
        print(f"  {name:8} {cpu:6.2f} CPU-s an epoch, {sizes.tokens / cpu:6,.0f} tokens/CPU-s ({told})")
    return medians


@dataclass(frozen=True)
class LossCost:
    """cpu: seconds, forward and backward. megabytes: by which the process has grown at most. norm: of the gradient by
    the student's hidden states."""

    cpu: float
    megabytes: float
    loss: float
    norm: float


def loss_alone(form: str, vocabulary: int, tokens: int, width: int) -> LossCost:
    """One loss from hidden states of student and teacher, in float32. The memory is only right in a fresh process."""
    torch.manual_seed(0)
    weight_VD = torch.empty(vocabulary, width).normal_(std=0.05)  # in place: a copy would raise the peak before
    student_ND, teacher_ND = torch.randn(tokens, width, requires_grad=True), torch.randn(tokens, width)
    before, begin = megabytes_of("RSS"), time.process_time()
    if form == "ours":
        head = Head(weight_VD)
        loss = token_losses(student_ND, head, FromHidden(teacher_ND, head)).total
    else:
        loss = original_kl(student_ND @ weight_VD.T, teacher_ND @ weight_VD.T)
    loss.backward()  # type: ignore[no-untyped-call]
    cpu, grown = time.process_time() - begin, megabytes_of("HWM") - before
    assert student_ND.grad is not None
    return LossCost(cpu, grown, loss.item(), student_ND.grad.norm().item())


def megabytes_of(kind: str) -> float:
    """What this process holds ("RSS") or has held at most ("HWM"), as Linux tells. getrusage does not do: a process
    begins with its parent's peak there."""
    found = re.search(rf"Vm{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def loss_in_a_process(form: str, sizes: Sizes) -> LossCost:
    told = [form, sizes.loss_vocabulary, sizes.loss_tokens, sizes.width]
    command = [sys.executable, __file__, "--loss", *map(str, told)]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=one_thread)
    return LossCost(**json.loads(done.stdout))


def losses(sizes: Sizes, repeats: int) -> tuple[float, float]:
    """Our share of the memory and of the time of the original's form. RuntimeError where the two forms differ."""
    print(f"The loss alone, {sizes.loss_tokens} tokens at a vocabulary of {sizes.loss_vocabulary:,}:")
    spent: dict[str, list[LossCost]] = {form: [] for form in FORMS}
    for _ in range(repeats):
        for form in FORMS:
            spent[form].append(loss_in_a_process(form, sizes))
    cpu = {form: statistics.median(one.cpu for one in spent[form]) for form in FORMS}
    megabytes = {form: statistics.median(one.megabytes for one in spent[form]) for form in FORMS}
    for form in FORMS:
        one = spent[form][0]
        told = f"loss {one.loss:.4f}, norm of the gradient {one.norm:.5f}"
        print(f"  {form:8} {cpu[form]:6.2f} CPU-s, {megabytes[form]:6,.0f} MB ({told})")
    theirs, ours = (spent[form][0] for form in FORMS)
    if not np.allclose([ours.loss, ours.norm], [theirs.loss, theirs.norm], rtol=1e-4):
        raise RuntimeError("the two forms of the loss differ in value or gradient")
    return megabytes["ours"] / megabytes["original"], cpu["ours"] / cpu["original"]


def store_kb_per_token(sizes: Sizes) -> float:
    """Thousand bytes that a stage of trajectories has on disk for each token of an answer, with all its columns.

    Logits with a spread of 3: flat ones have log-probs that are all alike and compress better than a language model's.
    """
    torch.manual_seed(0)
    kept = Kept("topk", 1, k=sizes.k)
    prompt, rows = random_ids(sizes, sizes.prompts[0]), []
    for number in range(sizes.questions):
        top = top_scores(torch.randn(sizes.answer, sizes.loss_vocabulary) * 3, sizes.k)
        ids, logprobs, tail = (one.numpy() for one in top)
        scores = TopScores(ids.astype(np.int32), logprobs.astype(np.float16), tail)
        question, answer = random_ids(sizes, sizes.question), random_ids(sizes, sizes.answer)
        text, context = f"question {number}", np.concatenate([prompt, question])
        rows.append(Trajectory(text, text, 0, "train", context, question, answer, "length", scores))
    with TemporaryDirectory() as folder:
        stage = Stage(Path(folder), schema_of(kept))
        stage.write(0, [row_of(row, kept) for row in rows])
        size = sum(path.stat().st_size for path in stage.shards())
    per_token = size / (sizes.questions * sizes.answer) / 1e3
    raw = kept.bytes_a_token / 1e3
    print(f"The store: {per_token:.3f} KB a token on disk ({raw:.3f} of scores before compression)")
    return per_token


def random_ids(sizes: Sizes, count: int) -> Any:
    return torch.randint(sizes.loss_vocabulary, (count,), dtype=torch.int32).numpy()


def main(told: Sequence[str] | None = None, sizes: Sizes = FULL) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--prompts", type=int, nargs="+", default=list(sizes.prompts), choices=sizes.prompts)
    parser.add_argument("--loss", nargs=4, help=argparse.SUPPRESS)  # one run of the loss alone, for `losses`
    args = parser.parse_args(told)
    torch.set_num_threads(1)
    if args.loss:
        form, *numbers = args.loss
        print(json.dumps(asdict(loss_alone(form, *map(int, numbers)))))
        return
    spent = {prompt: epochs(sizes, prompt, args.repeats) for prompt in args.prompts}

    def ratio(prompt: int, slow: str, fast: str) -> float | None:
        cpu = spent.get(prompt, {})
        return round(cpu[slow] / cpu[fast], 3) if slow in cpu and fast in cpu else None

    short, long = sizes.prompts
    memory, seconds = losses(sizes, args.repeats)
    print(json.dumps({
        "online_vs_sdft_512": ratio(short, "sdft", "online"), "stored_vs_sdft_512": ratio(short, "sdft", "stored"),
        "stored_vs_seed_2048": ratio(long, "original", "stored"), "over_floor": ratio(short, "stored", "floor"),
        "loss_memory_ratio": round(memory, 3), "loss_time_ratio": round(seconds, 3),
        "store_kb_per_token": round(store_kb_per_token(sizes), 3),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
