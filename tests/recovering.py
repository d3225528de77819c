"""What the tests of `recover` share: a small world whose prompts are known, models that live in it by rules, files of
it, and the command with small shards in a process of its own, so that there is something to break off."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from promptmill.cli.main import main
from promptmill.crafts.recover.bench import Bench
from promptmill.crafts.recover.config import RecoverConfig
from promptmill.crafts.recover.predicting import Predictor
from promptmill.crafts.recover.ranking import Ranker
from promptmill.crafts.recover.space import Grams
from promptmill.crafts.recover.traces import Trace
from promptmill.model.chat import CallError, Request, ScoreRequest, Scores, Usage
from promptmill.model.gate import Model
from promptmill.model.scripted import ScriptedBackend
from promptmill.settings import checked
from promptmill.store.run import Run
from promptmill.vary.wording import load_wording
from tests.rewriting import HEAVY, small_shards

WORDING = load_wording()
GRAMS = Grams()
UPPER, REVERSE, FIRST, TWICE = (
    "Write the text in uppercase.", "Reverse the words of the text.", "Give the first word alone.",
    "Say all of it two times.",
)  # fmt: skip
TASKS: dict[str, Callable[[str], str]] = {
    UPPER: str.upper,
    REVERSE: lambda text: " ".join(reversed(text.split())),
    FIRST: lambda text: text.split()[0],
    TWICE: lambda text: f"{text} {text}",
}
TEXTS = ("the old dog ran home", "a red boat came in", "my cat likes apples", "green pears and figs")
LIKELY, UNLIKELY = -0.25, -2.0
"""Log-probability of each word of what the prompt makes of the text, and of anything else."""


def made_by(prompt: str, original: str | None) -> str:
    """What the world makes of a text; of a prompt that it does not know, the text itself."""
    return TASKS.get(prompt, str)(original or "a text of one's own")


def trace(name: str, prompt: str, text: str | None = TEXTS[0], known: bool = True, **more: Any) -> Trace:
    return Trace(name, text, made_by(prompt, text), prompt if known else None, **more)


def text_of(at: int) -> str:
    return TEXTS[at % len(TEXTS)] + (f" and then {at}" if at >= len(TEXTS) else "")


def traces(prompts: Sequence[str] = (UPPER, REVERSE), each: int = 2, **more: Any) -> list[Trace]:
    """Some texts of each prompt: "t0", "t1", …"""
    wanted = [(prompt, text_of(at)) for prompt in prompts for at in range(each)]
    return [trace(f"t{number}", *one, **more) for number, one in enumerate(wanted)]


def of_messages(messages: Sequence[tuple[str, str]]) -> tuple[str, str | None]:
    """The prompt and the text that stand in the layout "system"."""
    return (messages[0][1], messages[1][1]) if len(messages) == 2 else (messages[0][1], None)


class World(ScriptedBackend):
    """The model that wrote the texts. longest: characters of a text from which on it refuses to score."""

    def __init__(self, name: str = "world", longest: int = 10**6):
        super().__init__(lambda request: made_by(*of_messages(request.messages)), name=name, fingerprint=name)
        self.longest = longest

    async def score(self, request: ScoreRequest) -> Scores:
        wanted = made_by(*of_messages(request.messages))
        if any(len(text) >= self.longest for text in request.continuations):
            raise CallError("refused", "the text is longer than the context")
        words = tuple(max(1, len(text.split())) for text in request.continuations)
        each = [LIKELY if text == wanted else UNLIKELY for text in request.continuations]
        return Scores(tuple(a * b for a, b in zip(each, words, strict=True)), words, Usage(10, 0))


class Guesser(ScriptedBackend):
    """A recoverer. said: its answers to any question, by repeat, or a function. likes: log-probabilities of answers."""

    def __init__(
        self, said: Sequence[str] | Callable[[Request], str], likes: Mapping[str, float] | None = None,
        name: str = "guesser",
    ):  # fmt: skip
        super().__init__(said if callable(said) else lambda request: said[request.repeat % len(said)], name=name,
                         fingerprint=name)  # fmt: skip
        self.likes, self.asked = likes or {}, list[Request | ScoreRequest]()

    async def complete(self, request: Request) -> Any:
        self.asked.append(request)
        return await super().complete(request)

    async def score(self, request: ScoreRequest) -> Scores:
        self.asked.append(request)
        found = tuple(self.likes.get(text, -20.0) for text in request.continuations)
        return Scores(found, (1,) * len(found), Usage(10, 0))


def model(backend: Any, **more: Any) -> Model:
    return Model(backend, attempts=1, **more)


def settings(**sections: Mapping[str, Any]) -> RecoverConfig:
    """`candidates={"draws": 2}` is recover.candidates.draws; for the rest the defaults, and no embedder."""
    return checked(RecoverConfig, {**sections, "rank": {"embedder": "none", **sections.get("rank", {})}})


async def predictor_of(
    run: Run, recoverer: Model, generator: Model | None = None, config: RecoverConfig | None = None, **more: Any
) -> Predictor:
    config = config or settings()
    bench = Bench(run, config, WORDING, GRAMS, generator)
    return await bench.predictor(recoverer, Ranker.plain(config.rank), **more)


# Files and commands


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row_of(one: Trace, **more: Any) -> dict[str, Any]:
    return {"id": one.id, "original_text": one.original, "rewritten_text": one.rewritten, "rewrite_prompt": one.prompt,
            "group": one.group, "split": one.split, **more}  # fmt: skip


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


EMBEDDED = ("--model", "embedded-small", "--embedder", "none")
LITTLE = {
    "recover.candidates.draws": 2, "recover.candidates.together": 1, "recover.candidates.max_tokens": 16,
    "recover.behaviour.max_tokens": 16, "recover.learn.draws": 2, "recover.learn.gap": 0.001,
    "recover.learn.least": -1, "recover.learn.ratio": 50, "recover.learn.gold": 1, "recover.learn.lora.rank": 2,
    "recover.learn.known": 0.3,
    **{f"recover.learn.{part}.{name}": value for part in ("train", "preference")
       for name, value in {"epochs": 2, "batch_items": 4, "checkpoint_seconds": 0, "rate": 0.01}.items()},
}  # fmt: skip
"""Settings of a training that takes a few seconds."""


def sets(**changes: Any) -> list[str]:
    """LITTLE as options, with changes: `candidates__draws=4` is recover.candidates.draws."""
    values = LITTLE | {f"recover.{name.replace('__', '.')}": value for name, value in changes.items()}
    return [part for name, value in values.items() for part in ("--set", f"{name}={json.dumps(value)}")]


def lesson_rows() -> list[dict[str, Any]]:
    """Rows to train on: prompts of train, dev and test, the latter in groups."""
    places = {UPPER: "train", REVERSE: "train", FIRST: "dev", TWICE: "test", "Return it as it stands.": "test"}
    return [
        row_of(trace(f"{number}-{at}", prompt, text, split=split, group=f"g{number}" if split == "test" else None))
        for number, (prompt, split) in enumerate(places.items())
        for at, text in enumerate(TEXTS)
    ]


def lesson() -> list[Trace]:
    return [
        Trace(row["id"], row["original_text"], row["rewritten_text"], row["rewrite_prompt"], row["group"], row["split"])
        for row in lesson_rows()
    ]


def begin(*command: str, folder: Path) -> multiprocessing.process.BaseProcess:
    """The command with small shards, in a process of its own that works in a folder."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.recovering", *HEAVY])  # read once, not by every process that is killed
    process = context.Process(target=_run, args=(command, folder))
    process.start()
    return process


def _run(command: Sequence[str], folder: Path) -> None:
    os.chdir(folder)
    sys.argv = ["promptmill", *command]
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    with small_shards(4):
        main()


def script() -> dict[str, Any]:
    """The world and a recoverer as one scripted model: rules of a file."""
    said = [f"Instruction: {FIRST}", UPPER, REVERSE, TWICE]
    rules: list[dict[str, Any]] = [{"user": "instruction only", "answer": said}]
    for prompt in TASKS:
        rules += [
            {"system": f"^{re.escape(prompt)}$", "user": f"^{re.escape(text)}$", "answer": made_by(prompt, text)}
            for text in TEXTS
        ]
        rules.append({"user": f"^{re.escape(prompt)}$", "answer": made_by(prompt, None)})
    return {"rules": rules, "default": "nothing at all"}


TRAIN = ("recover", "train", "lesson.jsonl", *EMBEDDED, *sets())


def finished_training(factory: pytest.TempPathFactory) -> Path:
    """The folder of a quick training in one go, with small shards: made once, and only to be read. Beside it lies the
    file that it learned from."""
    if not _FINISHED:
        folder = factory.mktemp("recover")
        write_jsonl(folder / "lesson.jsonl", lesson_rows())
        process = begin(*TRAIN, "--out", "run", folder=folder)
        process.join(240)
        assert process.exitcode == 0
        _FINISHED.append(folder / "run")
    return _FINISHED[0]


_FINISHED: list[Path] = []
