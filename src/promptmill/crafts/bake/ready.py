"""Trajectories that are there already, to be trained on without any sampling: those of another run, or a file of the
original's. Either way the new run gets them as a stage of its own, so that all that reads a bake finds them there."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from promptmill.crafts.bake.config import BakeSampleConfig
from promptmill.crafts.bake.contexts import unprompted_in, vocabulary_of, without_weights
from promptmill.crafts.bake.finished import FinishedBake, finished_bake
from promptmill.crafts.bake.original import Limits, read_original, validation_file
from promptmill.crafts.bake.questions import Question, Split, questions_of
from promptmill.crafts.bake.report import stage_report
from promptmill.crafts.bake.trajectories import Kept, Trajectory, kept_in, questions_in, row_of, schema_of
from promptmill.errors import InputError
from promptmill.model.local import LocalBackend
from promptmill.model.local.chat import ChatTokenizer
from promptmill.prompt import Prompt
from promptmill.store.files import write_whole
from promptmill.store.run import Run, read_run
from promptmill.store.stage import Stage

SHARD_ROWS = 256
MARK = "\x02"
"""Stands for a question where it is seen what a chat template writes around one."""


class Ready(Protocol):
    """source: where they are from, in words. digest: of their content. prompt: theirs, None where they do not say.
    sample: the settings that go with them. answers: how many."""

    @property
    def source(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def prompt(self) -> Prompt | None: ...
    @property
    def sample(self) -> BakeSampleConfig: ...
    @property
    def questions(self) -> Sequence[Question]: ...
    @property
    def answers(self) -> int: ...

    def fill(self, run: Run) -> tuple[Stage, dict[str, Any]]:
        """The stage, written where it is not there yet, and what there is to be said of the sampling."""
        ...

    def warnings(self, prompt: Prompt) -> list[str]:
        """What looks wrong where that prompt is said to have drawn them."""
        ...


def ready_made(path: Path, backend: LocalBackend, sample: BakeSampleConfig) -> Ready:
    """path: the folder of a finished run of `bake sample` or `bake run`, or the original's JSONL. sample: the settings
    of the new bake; those that a run was drawn with go before them. InputError, one line, for what cannot be used."""
    return _of_run(path, backend, sample) if path.is_dir() else _of_file(path, backend, sample)


@dataclass(frozen=True)
class OfRun:
    """Those of another run, with whatever it has kept of the teacher."""

    bake: FinishedBake
    folder: Path
    digest: str
    questions: Sequence[Question]

    @property
    def source(self) -> str:
        return f"the trajectories of {self.bake.run.name}"

    @property
    def prompt(self) -> Prompt | None:
        return self.bake.prompt

    @property
    def sample(self) -> BakeSampleConfig:
        return self.bake.config.sample

    @property
    def answers(self) -> int:
        return sum(self.bake.report["sampling"]["answers"].values())

    def fill(self, run: Run) -> tuple[Stage, dict[str, Any]]:
        stage = run.stage(self.folder.name, schema_of(kept_in(self.folder)))
        for path in sorted(self.folder.glob("part-*.parquet")):
            if not (stage.folder / path.name).exists():
                write_whole(stage.folder / path.name, lambda part, path=path: shutil.copyfile(path, part))  # type: ignore[misc]
        return stage, self.bake.report["sampling"]

    def warnings(self, prompt: Prompt) -> list[str]:
        return []


def _of_run(path: Path, backend: LocalBackend, sample: BakeSampleConfig) -> OfRun:
    bake = finished_bake(path, ("bake", "bake-sample"))
    if read_run(path)["identity"].get("model") != backend.fingerprint:
        base = bake.base
        adapters = "".join(f" --adapter {adapter}" for adapter in base.adapters)
        raise InputError(
            f"--trajectories {path}: were drawn from another model than {backend.name} as it is here; give --model "
            f"{base.spelled}{adapters} --dtype {base.dtype}, or draw them anew"
        )
    folder, theirs = bake.trajectories, bake.config.sample
    if folder is None:
        raise InputError(f"--trajectories {path}: its trajectories were removed; draw them anew")
    if sample not in (BakeSampleConfig(), theirs):
        raise InputError(f"--trajectories {path}: are drawn already; leave out the settings of bake.sample")
    return OfRun(bake, folder, _digest(sorted(folder.glob("part-*.parquet"))), questions_in(folder))


@dataclass(frozen=True)
class OfFile:
    """Those of the original's JSONL. It kept nothing of the teacher: the prompted model is asked while training."""

    path: Path
    digest: str
    questions: Sequence[Question]
    trajectories: Sequence[Trajectory]
    sample: BakeSampleConfig
    chat: ChatTokenizer
    prompt: Prompt | None = None

    @property
    def source(self) -> str:
        return f"the trajectories of {self.path.name}"

    @property
    def answers(self) -> int:
        return len(self.trajectories)

    def fill(self, run: Run) -> tuple[Stage, dict[str, Any]]:
        parts = [self.trajectories[low : low + SHARD_ROWS] for low in range(0, self.answers, SHARD_ROWS)]
        kept = Kept("online", len(parts))
        stage = run.stage(f"trajectories-{self.digest}", schema_of(kept))
        for number, part in enumerate(parts):
            if not stage.done(number):
                stage.write(number, [row_of(one, kept) for one in part])
        return stage, stage_report(stage, self.questions, {"file": self.path.name}, "as in the file")

    def warnings(self, prompt: Prompt) -> list[str]:
        said = "".join(self.chat.decode(self.trajectories[0].context_ids.tolist()).split())
        if "".join(prompt.system.split()) in said:
            return []
        return [f"{self.path}: the prompt that is to be baked does not stand before its answers; is it the right one?"]


def _of_file(path: Path, backend: LocalBackend, sample: BakeSampleConfig) -> OfFile:
    loaded = without_weights(backend)
    limits = Limits(backend.name, vocabulary_of(backend), loaded.context)
    found, apart = list(read_original(path, limits=limits)), validation_file(path)
    files = [path]
    if apart.is_file():
        held = list(read_original(apart, "validation", limits))
        splits: dict[str, Split] = {one.question_id: "train" for one in found}
        splits |= {one.question_id: "validation" for one in held}  # a question of both is held out
        files, found = [path, apart], [*found, *held]
    else:
        asked = questions_of((one.question for one in found), sample.validation)
        splits = {one.id: one.split for one in asked}
    if "train" not in splits.values():
        raise InputError(f"{path}: all of its questions are held out in {apart.name}; there is nothing to learn from")
    texts = {one.question_id: question_in(loaded.chat, one.question) for one in found}
    found = [replace(one, question=texts[one.question_id], split=splits[one.question_id]) for one in found]
    questions = [Question(key, text, splits[key]) for key, text in texts.items()]
    form = unprompted_in(loaded, found[0].question, found[0].bare_context_ids.tolist())
    settled = sample.model_copy(update={"teacher": "online", "unprompted": form or sample.unprompted})
    return OfFile(path, _digest(files), questions, found, settled, loaded.chat)


def question_in(chat: ChatTokenizer, text: str) -> str:
    """The question alone, where older files have only what the chat template made of it; else the text as it is."""
    empty = () if chat.folds_system else (("system", ""),)
    for messages in ((*empty, ("user", MARK)), (("user", MARK),)):
        before, _, after = chat.render(messages).partition(MARK)
        if before and text.startswith(before) and text.endswith(after) and len(text) >= len(before) + len(after):
            return text[len(before) : len(text) - len(after)]
    return text


def _digest(files: Sequence[Path]) -> str:
    found = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return found.hexdigest()[:12]
