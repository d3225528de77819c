"""Trajectories on disk: the parquet stage and the original's JSONL."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from promptmill.crafts.bake.original import KEYS, original_row, read_original, write_original
from promptmill.crafts.bake.trajectories import (
    Kept,
    TopScores,
    Trajectory,
    kept_in,
    packed,
    read_trajectories,
    row_of,
    schema_of,
    unpacked,
)
from promptmill.errors import InputError
from promptmill.store.stage import Stage
from promptmill.tasks.split import content_hash

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
IDS = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=12)
UP_TO_ONE = st.floats(0, 1, width=32)


def int32(ids: Any) -> Any:
    return np.array(ids, np.int32)


@st.composite
def trajectories(draw: st.DrawFn, teacher: str = "online", k: int = 0, width: int = 0) -> Trajectory:
    question, context, bare, answer = (draw(part) for part in (TEXT, IDS, IDS, IDS))
    count, scores, hidden = len(answer), None, None
    if teacher == "topk":
        logs = st.floats(-60000, 0, width=16)
        scores = TopScores(
            draw(arrays(np.int32, (count, k), elements=st.integers(0, 2**31 - 1))),
            draw(arrays(np.float16, (count, k), elements=logs)),
            draw(arrays(np.float32, count, elements=UP_TO_ONE)),
        )
    if teacher == "hidden":
        hidden = draw(arrays(np.float32, (count, width), elements=st.floats(-9, 9, width=32)))
    split, finish = draw(st.sampled_from(["train", "validation"])), draw(st.sampled_from(["stop", "length"]))
    key = content_hash({"question": question})[:12]
    return Trajectory(key, question, 0, split, int32(context), int32(bare), int32(answer), finish, scores, hidden)


def equal(a: Trajectory, b: Trajectory, *but: str) -> None:
    for name in ("question_id", "question", "repeat", "split", "finish"):
        assert name in but or getattr(a, name) == getattr(b, name)
    for name in ("context_ids", "bare_context_ids", "answer_ids", "hidden"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), strict=True)
    assert (a.scores is None) == (b.scores is None)
    if a.scores is not None and b.scores is not None:
        for name in ("ids", "logprobs", "tail"):
            np.testing.assert_array_equal(getattr(a.scores, name), getattr(b.scores, name), strict=True)


def stored(folder: Path, kept: Kept, rows: list[Trajectory]) -> Stage:
    """The rows in as many shards as `kept` says."""
    stage = Stage(folder, schema_of(kept))
    for shard in range(kept.shards):
        stage.write(shard, [row_of(row, kept) for row in rows[shard :: kept.shards]])
    return stage


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from(["topk", "hidden", "online"]))
def test_what_is_written_is_read_again(data: st.DataObject, teacher: str):
    kept = Kept(teacher, 2, k=3, width=4)
    rows = data.draw(st.lists(trajectories(teacher, 3, 4), min_size=2, max_size=4))
    with TemporaryDirectory() as folder:
        stage = stored(Path(folder), kept, rows)
        assert kept_in(stage) == kept
        read = list(read_trajectories(stage))
        train = list(read_trajectories(Path(folder), "train"))
    for a, b in zip([*rows[::2], *rows[1::2]], read, strict=True):
        equal(a, b)
    assert len(train) == sum(row.split == "train" for row in rows)


@given(arrays(np.uint16, (3, 2), elements=st.integers(0, 0x7F7F)))
def test_half_precision_states_are_kept_bit_for_bit(bits: Any):
    brain = (bits.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(unpacked(packed(brain, "bfloat16"), "bfloat16", 2), brain, strict=True)
    half = (bits & 0x7BFF).view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(unpacked(packed(half, "float16"), "float16", 2), half, strict=True)
    assert len(packed(brain, "bfloat16")) == 2 * brain.size


def test_128_scores_take_at_most_eight_hundred_bytes_a_token(tmp_path: Path):
    rng = np.random.default_rng(0)
    prompt, rows = rng.integers(0, 128_256, 512), []
    for at in range(16):
        logs = -np.sort(rng.exponential(3, (128, 128)), axis=1).astype(np.float16)
        ids = rng.integers(0, 128_256, (128, 128), dtype=np.int32)
        scores = TopScores(ids, logs, rng.random(128, dtype=np.float32))
        context = int32([*prompt, *rng.integers(0, 128_256, 24)])
        answer = int32(rng.integers(0, 128_256, 128))
        rows.append(Trajectory(str(at), "why ?", 0, "train", context, context[-24:], answer, "length", scores))
    kept = Kept("topk", 1, k=128)
    stage = stored(tmp_path, kept, rows)
    size = sum(path.stat().st_size for path in stage.shards())
    assert size / (16 * 128) <= 800, size / (16 * 128)
    assert kept.bytes_a_token == 772


def test_a_stage_that_is_not_whole_or_no_stage_is_told(tmp_path: Path):
    row = Trajectory("1", "q", 0, "train", int32([1]), int32([1]), int32([1, 2]), "stop")
    stage = stored(tmp_path / "a", Kept("online", 2), [row, row])
    stage.path(1).unlink()
    with pytest.raises(InputError, match="1 of 2 parts"):
        list(read_trajectories(stage))
    with pytest.raises(InputError, match="there are no trajectories"):
        kept_in(tmp_path)
    stage.path(1).write_bytes(b"PAR1 is not enough")
    with pytest.raises(InputError, match=r"part-00001.*cannot be read as trajectories"):
        list(read_trajectories(stage))
    stage.path(0).write_bytes(b"")
    with pytest.raises(InputError, match=r"part-00000.*holds no trajectories, or is damaged"):
        kept_in(stage)


# The original's JSONL


def spell(ids: Any) -> str:
    return " ".join(map(str, ids))


@settings(max_examples=25, deadline=None)
@given(st.lists(trajectories(), min_size=1, max_size=4))
def test_the_originals_files_go_there_and_back(rows: list[Trajectory]):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "traj.jsonl"
        assert write_original(path, rows, spell) == len(rows)
        read = list(read_original(path, "validation"))
    for a, b in zip(rows, read, strict=True):
        equal(replace(a, split="validation"), b, "repeat")


def test_a_line_has_the_originals_keys_and_masks():
    row = Trajectory("1", "q", 0, "train", int32([5, 6, 7]), int32([6, 7]), int32([8, 9, 2]), "stop")
    line = original_row(row, spell)
    assert (*line,) == (*KEYS, "question")
    assert (line["input_ids"], line["input_ids_nosys"]) == ([5, 6, 7, 8, 9, 2], [6, 7, 8, 9, 2])
    assert (line["generated_text_mask"], line["generated_text_mask_nosys"]) == ([0, 0, 0, 1, 1, 0], [0, 0, 1, 1, 0])
    assert (line["attention_mask"], line["prompt_text_nosys"], line["text"]) == ([1, 1, 1], "6 7", "5 6 7 8 9 2")
    assert sum(original_row(replace(row, finish="length"), spell)["generated_text_mask"]) == 3


def old_line(**changes: Any) -> str:
    """As the original wrote it: no question, filled up with end tokens."""
    line = {
        "prompt_input_ids": [5, 6], "prompt_input_ids_nosys": [6], "input_ids": [5, 6, 8, 2, 2],
        "generated_text_mask": [0, 0, 1, 0, 0], "prompt_text_nosys": "six",
    } | changes  # fmt: skip
    return json.dumps({key: value for key, value in line.items() if value is not None}) + "\n"


def test_the_end_tokens_that_filled_a_batch_are_dropped_but_one(tmp_path: Path):
    path = tmp_path / "traj.jsonl"
    path.write_text(old_line() + old_line(input_ids=[5, 6, 8, 9, 4], generated_text_mask=[0, 0, 1, 1, 1]))
    first, second = read_original(path)
    assert (first.answer_ids.tolist(), first.finish, first.repeat) == ([8, 2], "stop", 0)
    assert (second.answer_ids.tolist(), second.finish, second.repeat) == ([8, 9, 4], "length", 1)
    assert first.question == second.question == "six"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input_ids": None}, "the key 'input_ids' is missing"),
        ({"input_ids": [5, 7, 8, 2, 2]}, "do not begin with prompt_input_ids"),
        ({"input_ids": [5, 6, "8", 2, 2]}, "input_ids must be a list of token ids"),
        ({"input_ids": [5, 6, 8, 2, 2**31]}, "input_ids must be a list of token ids"),
        ({"generated_text_mask": [0, 0, 1]}, "has 3 entries and input_ids 5"),
        ({"generated_text_mask": [0, 0, 1, 0, 1]}, "goes on after the token that ends"),
        ({"input_ids": [5, 6], "generated_text_mask": [0, 0]}, "a prompt or the answer has no tokens"),
        ({"prompt_input_ids_nosys": []}, "a prompt or the answer has no tokens"),
        ({"prompt_text_nosys": None}, "neither a question nor a prompt_text_nosys"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, changes: dict[str, Any], words: str):
    path = tmp_path / "traj.jsonl"
    path.write_text(old_line() + old_line(**changes))
    with pytest.raises(InputError, match=f"line 2: .*{words}"):
        list(read_original(path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**33) | st.floats(allow_nan=False) | TEXT, lambda part: st.lists(part)
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), JSON | st.lists(st.integers(0, 2), max_size=4)))
def test_any_line_is_read_or_refused_in_one_line(changes: dict[str, Any]):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "traj.jsonl"
        path.write_text(old_line(**changes))
        try:
            said = [len(row.answer_ids) > 0 for row in read_original(path)]
        except InputError as error:
            said = ["\n" not in str(error)]
    assert said == [True]
