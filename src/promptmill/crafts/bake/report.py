"""What a sampling has brought, as plain numbers for report.json."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from promptmill.crafts.bake.questions import SPLITS, Question
from promptmill.crafts.bake.sample import Plan, recorded
from promptmill.crafts.bake.trajectories import kept_in
from promptmill.errors import InputError
from promptmill.store.stage import Stage

LITTLE = 0.95
"""Captured probability below which a larger k is advised: what is in the tail is baked as one lump."""


def sampling_report(plan: Plan, stage: Stage) -> dict[str, Any]:
    """What the plan has come to, see `stage_report`."""
    questions = [piece.question for shard in plan.shards for piece in shard]
    return stage_report(stage, questions, recorded(plan.config, plan.loaded.eos), plan.config.unprompted)


def stage_report(
    stage: Stage, questions: Iterable[Question], sampling: dict[str, Any], unprompted: str
) -> dict[str, Any]:
    """Counts of each split, how the answers ended, the probability that the kept scores have captured (teacher=topk),
    bytes on disk, the sampling as it was, and warnings in words. InputError where the sampling is not at its end."""
    kept = kept_in(stage)
    splits, ends, lengths, tails = _columns(stage)
    asked = {question.id: question.split for question in questions}
    size, tokens = sum(path.stat().st_size for path in stage.shards()), int(lengths.sum())
    report: dict[str, Any] = {
        "questions": {split: sum(one == split for one in asked.values()) for split in SPLITS},
        "answers": {split: int((splits == split).sum()) for split in SPLITS},
        "tokens": {split: int(lengths[splits == split].sum()) for split in SPLITS},
        "ended": float((ends == "stop").mean()), "teacher": kept.teacher, "bytes": size,
        "bytes_per_token": size / tokens, "sampling": sampling,
        "unprompted": unprompted, "stage": stage.folder.name, "warnings": [],
    }  # fmt: skip
    if tails is not None:
        mass = 1 - tails.astype(np.float64)
        report["captured"] = {
            "k": kept.k,
            "mean": float(mass.mean()),
            "worst_twentieth": float(np.quantile(mass, 0.05)),
        }
    report["warnings"] = _warnings(report)
    return report


def _warnings(report: dict[str, Any]) -> list[str]:
    found, captured = [], report.get("captured")
    if captured and captured["mean"] < LITTLE:
        found.append(
            f"the {captured['k']} scores of a token have only {captured['mean']:.1%} of the probability: "
            "raise k, or take teacher=hidden"
        )
    if report["ended"] < 0.5:
        most = report["sampling"].get("max_new_tokens")
        where = f" at {most} tokens: raise max_new_tokens" if most else ""
        found.append(f"{1 - report['ended']:.0%} of the answers were cut{where}")
    if not report["questions"]["validation"]:
        found.append("no question is held out: nothing will tell when to stop")
    return found


def _columns(stage: Stage) -> tuple[Any, Any, Any, Any]:
    """Split, end and length of each answer, and the tail of each token (None where no scores were kept)."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    tables = []
    for path in stage.shards():
        try:
            tables.append(pq.read_table(path, columns=["split", "finish", "answer_ids", "tail"]))
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"{path}: cannot be read as parquet ({' '.join(str(error).split())[:160]})") from None
    table = pa.concat_tables(tables)
    tails = pc.list_flatten(table["tail"]).to_numpy()
    return (
        table["split"].to_numpy(), table["finish"].to_numpy(), pc.list_value_length(table["answer_ids"]).to_numpy(),
        tails if len(tails) else None,
    )  # fmt: skip
