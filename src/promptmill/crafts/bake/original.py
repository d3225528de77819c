"""The original's trajectory files (JSONL, one answer a line), read and written.

Each line has the tokens of prompt and answer together, once with the prompt (`input_ids`) and once with an empty system
turn (`input_ids_nosys`), and masks with a 1 for each generated token that does not end the answer.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from promptmill.crafts.bake.questions import Split
from promptmill.crafts.bake.trajectories import Trajectory, read_trajectories
from promptmill.errors import InputError
from promptmill.store.files import write_whole
from promptmill.store.stage import Stage
from promptmill.tasks.formats import read_table
from promptmill.tasks.split import content_hash

Decode = Callable[[Sequence[int]], str]
KEYS = (
    "text", "input_ids", "attention_mask", "prompt_text", "prompt_text_nosys", "prompt_input_ids",
    "prompt_input_ids_nosys", "text_nosys", "input_ids_nosys", "generated_text_mask", "generated_text_mask_nosys",
)  # fmt: skip
READ = ("input_ids", "prompt_input_ids", "prompt_input_ids_nosys", "generated_text_mask")
HIGHEST = 2**31


@dataclass(frozen=True)
class Limits:
    """What a model can take: token ids below `vocabulary`, and `context` tokens in all."""

    model: str
    vocabulary: int
    context: int

    def check(self, where: str, prompted: Sequence[int], bare: Sequence[int], answer: Sequence[int]) -> None:
        """InputError, with `where`, for what is beyond them."""
        highest = max(*prompted, *bare, *answer)
        if highest >= self.vocabulary:
            raise InputError(
                f"{where}: has the token {highest}, but the vocabulary of {self.model} ends at {self.vocabulary - 1}; "
                "was it drawn from another model?"
            )
        tokens = max(len(prompted), len(bare)) + len(answer)
        if tokens > self.context:
            raise InputError(
                f"{where}: prompt and answer have {tokens} tokens, but the context of {self.model} is {self.context}; "
                "leave the line out"
            )


def read_original(path: Path, split: Split = "train", limits: Limits | None = None) -> Iterator[Trajectory]:
    """The trajectories of one of the original's files, without teacher scores: it kept none.

    A batch was filled up with end tokens; of these the first is kept, as the end of its answer. Lines without a
    `question` (older files) are known by the text of their unprompted prompt. InputError names the line and the key.
    limits: what every line must keep to.
    """
    repeats: Counter[str] = Counter()
    for row in read_table(path, "jsonl").rows:
        where = f"{path}, {row.where}"
        prompted, bare = (_ids(row.values, key, where) for key in ("prompt_input_ids", "prompt_input_ids_nosys"))
        ids, mask = _ids(row.values, "input_ids", where), _ids(row.values, "generated_text_mask", where)
        if ids[: len(prompted)] != prompted:
            raise InputError(f"{where}: input_ids do not begin with prompt_input_ids; the file is damaged")
        if not prompted or not bare or len(ids) == len(prompted):
            raise InputError(f"{where}: a prompt or the answer has no tokens; leave the line out")
        if len(mask) != len(ids):
            raise InputError(f"{where}: generated_text_mask has {len(mask)} entries and input_ids {len(ids)}")
        answer, ended = _answer(ids[len(prompted) :], mask[len(prompted) :], where)
        if limits:
            limits.check(where, prompted, bare, answer)
        question = row.values.get("question", row.values.get("prompt_text_nosys"))
        if not isinstance(question, str):
            raise InputError(f"{where}: has neither a question nor a prompt_text_nosys")
        key = content_hash({"question": question})[:12]
        yield Trajectory(
            key, question, repeats[key], split, np.array(prompted, np.int32), np.array(bare, np.int32),
            np.array(answer, np.int32), "stop" if ended else "length",
        )  # fmt: skip
        repeats[key] += 1


def write_original(path: Path, trajectories: Iterable[Trajectory], decode: Decode) -> int:
    """Write a file that the original's training reads; how many lines it has. decode: tokens to text, special tokens
    among it. A line has the original's keys and, as its later versions do, the `question`."""
    count = 0

    def write(part: Path) -> None:
        nonlocal count
        with part.open("w", encoding="utf-8") as file:
            for trajectory in trajectories:
                file.write(json.dumps(original_row(trajectory, decode), ensure_ascii=False) + "\n")
                count += 1

    write_whole(path, write)
    return count


def check_target(path: Path) -> None:
    """InputError where no file can be written at `path`; before hours are spent on what is to be in it."""
    for file in (path, validation_file(path)):
        if file.is_dir():
            raise InputError(f"--original {file}: is a folder; name a file, such as {path / 'trajectories.jsonl'}")
    above = next(one for one in path.absolute().parents if one.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"--original {path}: nothing can be written in {above}; name another place")


def write_split(path: Path, stage: Stage, decode: Decode) -> dict[Path, int]:
    """The answers to learn from in `path`, those that were held out in NAME.validation.jsonl beside it (the original
    took them from two files). The files, with their lines; none for a split without answers."""
    written: dict[Path, int] = {}
    for split, file in (("train", path), ("validation", validation_file(path))):
        found = list(read_trajectories(stage, split))
        if found:
            written[file] = write_original(file, found, decode)
    return written


def validation_file(path: Path) -> Path:
    """Where the answers lie that are held out of that file."""
    return path.with_name(f"{path.stem}.validation{path.suffix}")


def original_row(trajectory: Trajectory, decode: Decode) -> dict[str, Any]:
    """One line of the original's file."""
    prompted, bare, answer = (
        part.tolist() for part in (trajectory.context_ids, trajectory.bare_context_ids, trajectory.answer_ids)
    )
    counted = [1] * len(answer)
    if trajectory.finish == "stop":
        counted[-1] = 0
    values = (
        decode(prompted + answer), prompted + answer, [1] * len(prompted), decode(prompted), decode(bare), prompted,
        bare, decode(bare + answer), bare + answer, [0] * len(prompted) + counted, [0] * len(bare) + counted,
    )  # fmt: skip
    return dict(zip(KEYS, values, strict=True)) | {"question": trajectory.question}


def _answer(ids: list[int], mask: list[int], where: str) -> tuple[list[int], bool]:
    """The answer's tokens, and whether the last one ends it."""
    count = mask.index(0) if 0 in mask else len(mask)
    if any(mask[count:]):
        raise InputError(f"{where}: generated_text_mask goes on after the token that ends the answer")
    return ids[: count + 1], count < len(ids)


def _ids(values: Mapping[str, Any], key: str, where: str) -> list[int]:
    if key not in values:
        raise InputError(f"{where}: the key {key!r} is missing (a line has at least {', '.join(READ)})")
    ids = values[key]
    if not isinstance(ids, list) or not all(type(one) is int and 0 <= one < HIGHEST for one in ids):
        raise InputError(f"{where}: {key} must be a list of token ids")
    return ids
