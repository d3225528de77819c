"""`python -m embedded`: from a seed to the shipped weights, the built-in tasks and the model cards.

A run that was stopped goes on from its checkpoint. The stages can be run alone with --only, one model with --model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from embedded import release, tasks
from embedded.models import MODELS
from embedded.train import train

STAGES = ("train", "weights", "tasks")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the embedded models.")
    parser.add_argument(
        "--run", type=Path, default=Path("build"), help="folder of the training runs, one in it a model"
    )
    parser.add_argument("--model", choices=list(MODELS), action="append", help="this model alone (may be repeated)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=STAGES, action="append", help="this stage alone (may be repeated)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    stages = options.only or STAGES
    if "tasks" in stages:
        tasks.write()
    for name in options.model or MODELS:
        made, run = MODELS[name], options.run / name
        if "train" in stages:
            train(run, made.plan, made.shape)
        if "weights" in stages:
            release.copy_weights(run, name)


if __name__ == "__main__":
    main()
