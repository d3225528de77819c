"""What the tests of panels share: made-up worlds in which judges score answers, and score files as the original project
wrote them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BASES, EACH = 30, 5


def world(seed: int = 0):
    """Base prompts, planted kinds and true quality of answers: five real ones of each base prompt, two planted."""
    rng = np.random.default_rng(seed)
    bases = np.repeat(np.arange(BASES), EACH + 2)
    planted = np.array((["", "", "", "", "", "empty", "shuffled"]) * BASES)
    truth = np.where(planted == "", rng.uniform(2, 5, len(bases)), rng.uniform(1, 2, len(bases)))
    return rng, bases, planted, truth


def like(truth, rng, noise=0.4):
    return np.clip(truth + rng.normal(0, noise, len(truth)), 1, 5)


def chance(truth, rng):
    return rng.uniform(1, 5, len(truth))


SECTIONS = [f"section_{number}" for number in range(1, 6)]


def original(folder, bases=6, seed=0):
    """Score files of two validators, and the scores in them, [section, validator, row]."""
    rng = np.random.default_rng(seed)
    every = []
    for base in range(bases):
        truth = rng.integers(1, 6, (5, 1, 7))
        scores = np.clip(truth + rng.integers(-1, 2, (5, 2, 7)), 1, 5)
        every.append(scores)
        write_original(folder, base, scores)
    return np.concatenate(every, axis=2)


def write_original(folder, base, scores):
    keys = [[base, variation] for variation in range(-1, scores.shape[2] - 1)]
    columns = {"bpv_idx": pa.array(keys, pa.list_(pa.int64()))}
    for name, section in zip(SECTIONS, scores, strict=True):
        columns[name] = pa.array([list(map(int, row)) for row in section.T], pa.list_(pa.int64()))
        columns[f"{name}_avg"] = pa.array(section.mean(axis=0))
    columns["total_score"] = pa.array(scores.mean(axis=1).sum(axis=0))
    pq.write_table(pa.table(columns), folder / f"{base}_validation_score.parquet")
