"""`python -m embedded`: from a seed to the shipped weights, the built-in tasks and the model card.

A run that was stopped goes on from its checkpoint. The stages can be run alone with --only.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from embedded import release, tasks
from embedded.evaluate import WEIGHTS, measure
from embedded.train import Plan, train

STAGES = ("train", "weights", "tasks", "evaluate")
LONGEST = 105  # tokens of the longest example, prompt and answer


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the embedded model.")
    parser.add_argument("--run", type=Path, default=Path("build/embedded"), help="folder of the training run")
    parser.add_argument("--seed", type=int, default=Plan().seed)
    parser.add_argument("--tokens", type=float, default=Plan().tokens, help="tokens of the main mixture")
    parser.add_argument("--finish", type=float, default=Plan().finish_tokens, help="tokens of the finishing mixture")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--n", type=int, default=100, help="questions per cell of the evaluation")
    parser.add_argument("--only", choices=STAGES, action="append", help="this stage alone (may be repeated)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    stages = options.only or STAGES
    if "train" in stages:
        train(options.run, Plan(seed=options.seed, tokens=int(options.tokens), finish_tokens=int(options.finish)))
    if "weights" in stages:
        release.copy_weights(options.run)
    if "tasks" in stages:
        tasks.write(seed=options.seed)
    if "evaluate" in stages:
        figures = measure(WEIGHTS, options.n)
        command = (
            f"python -m embedded --seed {options.seed} --tokens {options.tokens:.0f} --finish {options.finish:.0f}"
        )
        release.write_card(options.run, figures, options.n, options.seed, command, LONGEST)
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
