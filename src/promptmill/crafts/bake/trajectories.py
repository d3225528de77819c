"""Drawn answers with what stood before them and what the teacher thought of each token, in parquet shards.

Shape letters: T tokens of an answer, K log-probabilities kept for each, H width of the last hidden state.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from promptmill.crafts.bake.questions import Question
from promptmill.errors import InputError
from promptmill.store.stage import Stage

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

Finish = Literal["stop", "length"]
META = b"promptmill.bake"
HIDDEN_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
ABSENT = "its trajectories are not all there; run the same command again and it goes on"


@dataclass(frozen=True, slots=True, eq=False)
class TopScores:
    """The teacher's distribution (temperature 1, nothing cut) before each token of the answer.

    ids:      int32 [T, K], the most probable tokens, best first.
    logprobs: float16 [T, K], their natural log-probabilities, rounded to 11 bits: a share of 1/2048 of themselves.
    tail:     float32 [T], the probability of all other tokens together.
    """

    ids: NDArray[np.int32]
    logprobs: NDArray[np.float16]
    tail: NDArray[np.float32]

    @property
    def with_tail(self) -> NDArray[np.float32]:
        """float32 [T, K + 1]: the log-probabilities, and last the tail's."""
        tail = np.log(np.maximum(self.tail, np.finfo(np.float32).tiny))
        return np.concatenate([self.logprobs.astype(np.float32), tail[:, None]], axis=1)

    @property
    def mass(self) -> float:
        """Captured probability, averaged over the tokens."""
        return float(1 - self.tail.mean(dtype=np.float64)) if len(self.tail) else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """One answer of the prompted model.

    context_ids, bare_context_ids: int32, the tokens before the answer with the prompt and without it.
    answer_ids: int32 [T]; where `finish` is "stop" the last one is the token that ends the answer, which counts too.
    scores, hidden: the teacher's, whichever was kept. hidden: [T, H], the input of the output layer, float32 (exactly
    what the model computed, whatever its dtype).
    """

    question_id: str
    question: str
    repeat: int
    split: str
    context_ids: NDArray[np.int32]
    bare_context_ids: NDArray[np.int32]
    answer_ids: NDArray[np.int32]
    finish: Finish
    scores: TopScores | None = None
    hidden: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What a stage keeps of the teacher. teacher: topk, hidden or online (nothing). k: K; width: H; dtype: that of the
    hidden states. shards: how many make up the whole."""

    teacher: str
    shards: int
    k: int = 0
    width: int = 0
    dtype: str = "float32"

    @property
    def bytes_a_token(self) -> int:
        """Before compression, what an answer's token takes besides itself."""
        if self.teacher == "topk":
            return 6 * self.k + 4
        return self.width * HIDDEN_BYTES[self.dtype] if self.teacher == "hidden" else 0


def schema_of(kept: Kept) -> pa.Schema:
    """The columns of a stage. Lists of K numbers a token are flat; `hidden` is little-endian bytes, as parquet has no
    bfloat16."""
    import pyarrow as pa

    ids = pa.list_(pa.int32())
    columns: dict[str, pa.DataType] = {
        "question_id": pa.string(), "question": pa.string(), "repeat": pa.int32(), "split": pa.string(),
        "context_ids": ids, "bare_context_ids": ids, "answer_ids": ids, "finish": pa.string(),
        "top_ids": ids, "top_logprobs": pa.list_(pa.float16()), "tail": pa.list_(pa.float32()), "mass": pa.float32(),
        "hidden": pa.binary(),
    }  # fmt: skip
    told = {name: getattr(kept, name) for name in Kept.__slots__}
    return pa.schema(list(columns.items()), metadata={META: json.dumps(told).encode()})


def row_of(trajectory: Trajectory, kept: Kept) -> dict[str, Any]:
    """A trajectory as a row of the stage."""
    row: dict[str, Any] = {
        name: getattr(trajectory, name)
        for name in ("question_id", "question", "repeat", "split", "context_ids", "bare_context_ids", "answer_ids",
                     "finish")
    }  # fmt: skip
    if trajectory.scores is not None:
        scores = trajectory.scores
        row |= {"top_ids": scores.ids.reshape(-1), "top_logprobs": scores.logprobs.reshape(-1), "tail": scores.tail,
                "mass": scores.mass}  # fmt: skip
    if trajectory.hidden is not None:
        row["hidden"] = packed(trajectory.hidden, kept.dtype)
    return row


def packed(hidden: NDArray[np.float32], dtype: str) -> bytes:
    """Numbers that a model of that dtype computed, as its bytes. Nothing is lost: float32 holds them exactly."""
    if dtype == "bfloat16":
        return (np.ascontiguousarray(hidden, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return hidden.astype("<f2" if dtype == "float16" else "<f4").tobytes()


def unpacked(data: bytes, dtype: str, width: int) -> NDArray[np.float32]:
    """What `packed` has packed, [T, H]."""
    if dtype == "bfloat16":
        numbers = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    else:
        numbers = np.frombuffer(data, "<f2" if dtype == "float16" else "<f4").astype(np.float32)
    return numbers.reshape(-1, width)


def kept_in(stage: Stage | Path) -> Kept:
    """What a stage, or the folder of one, keeps. InputError where it is no whole stage of trajectories."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = stage.folder if isinstance(stage, Stage) else stage
    shards = sorted(folder.glob("part-*.parquet"))
    if not shards:
        raise InputError(f"{folder}: there are no trajectories; sample some first")
    try:
        told = json.loads((pq.read_schema(shards[0]).metadata or {})[META])
        kept = Kept(**told)
    except (OSError, pa.ArrowInvalid, ValueError, KeyError, TypeError):
        raise InputError(f"{shards[0]}: holds no trajectories, or is damaged; sample them anew") from None
    if len(shards) < kept.shards:
        raise InputError(f"{folder}: {len(shards)} of {kept.shards} parts, {ABSENT}")
    return kept


def questions_in(folder: Path) -> list[Question]:
    """The questions that the trajectories of a stage answer, each once, in their order. InputError as of `kept_in`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept_in(folder)
    found: dict[str, Question] = {}
    for path in sorted(folder.glob("part-*.parquet")):
        try:
            rows = pq.read_table(path, columns=["question_id", "question", "split"]).to_pylist()
        except (OSError, pa.ArrowInvalid) as error:
            raise _unreadable(path, error) from None
        found |= {row["question_id"]: Question(*row.values()) for row in rows}
    return list(found.values())


def tokens_in(folder: Path) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]]:
    """Of each trajectory of a stage the tokens before the answer, with the prompt and without it, and the answer's.
    What was kept of the teacher is not read. InputError as of `read_trajectories`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept_in(folder)
    names = ["context_ids", "bare_context_ids", "answer_ids"]
    for path in sorted(folder.glob("part-*.parquet")):
        try:
            table = pq.read_table(path, columns=names)
            yield from zip(*(_values(table[name]) for name in names), strict=True)
        except (OSError, pa.ArrowInvalid, KeyError) as error:
            raise _unreadable(path, error) from None


def read_trajectories(stage: Stage | Path, split: str | None = None) -> Iterator[Trajectory]:
    """The trajectories of a stage in the order of their questions, a shard in memory at a time.

    split: "train" or "validation"; None: both. InputError where the sampling has not come to its end, or a shard cannot
    be read.
    """
    kept = kept_in(stage)
    folder = stage.folder if isinstance(stage, Stage) else stage
    for path in sorted(folder.glob("part-*.parquet")):
        for trajectory in _read_shard(path, kept):
            if split is None or trajectory.split == split:
                yield trajectory


def _read_shard(path: Path, kept: Kept) -> Iterator[Trajectory]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        columns = {name: _values(table[name]) for name in table.column_names}
        for row in range(table.num_rows):
            yield _trajectory({name: values[row] for name, values in columns.items()}, kept)
    except (OSError, pa.ArrowInvalid, KeyError, ValueError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: cannot be read as trajectories ({' '.join(str(error).split())[:160]})")


def _values(column: Any) -> Sequence[Any]:
    """A column as one value for each row: arrays for lists (no Python number for each token), else its own."""
    import pyarrow as pa

    if not pa.types.is_list(column.type):
        values: list[Any] = column.to_pylist()
        return values
    found: list[Any] = []
    for chunk in column.chunks:
        flat, ends = chunk.values.to_numpy(zero_copy_only=False).copy(), chunk.offsets.to_numpy()
        parts = [flat[low:high] for low, high in pairwise(ends)]
        found += [part if there else None for part, there in zip(parts, chunk.is_valid().to_pylist(), strict=True)]
    return found


def _trajectory(row: dict[str, Any], kept: Kept) -> Trajectory:
    top, logprobs, tail, data = (row.pop(name) for name in ("top_ids", "top_logprobs", "tail", "hidden"))
    del row["mass"]
    count = len(row["answer_ids"])
    scores = None if top is None else TopScores(top.reshape(count, -1), logprobs.reshape(count, -1), tail)
    hidden = None if data is None else unpacked(data, kept.dtype, kept.width)
    return Trajectory(**row, scores=scores, hidden=hidden)
