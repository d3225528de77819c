"""A writer and a model that rewrites, by rules, and the first stage of a recovery made with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from promptmill.crafts.recover.config import RecoverConfig, SynthesizeConfig
from promptmill.crafts.recover.space import Grams
from promptmill.crafts.recover.synthesize.prompts import GivenPrompt
from promptmill.crafts.recover.synthesize.synthesize import Synthesized, synthesize
from promptmill.model.chat import CallError, Request
from promptmill.model.gate import Model
from promptmill.model.scripted import ScriptedBackend
from promptmill.store.run import Run
from promptmill.vary.wording import load_wording

WORDING = load_wording()
SMALL = SynthesizeConfig(originals=8, topics=3, prompts=2, variations=2, texts=3, max_tokens=64)
Say = Callable[[Request], str]
NAMES = "amber birch cedar daisy ember fjord grape hazel ivory jolly koala lemon mango noble ocean piano quilt".split()
INTENTS = ("guides", "plays")


def words_of(*numbers: int) -> str:
    """Words by numbers: other numbers, quite other words."""
    return " ".join(f"{NAMES[number % 17]}{NAMES[number * 7 % 13]}{number}" for number in numbers)


def fluent(request: Request) -> str:
    """A writer that never says a thing twice."""
    asked, repeat = request.messages[-1][1], request.repeat
    subject = sum(map(ord, asked))
    if asked.startswith("Name one topic"):
        return f"{words_of(repeat, subject % 97)} {asked[-5:]}"
    if asked.startswith("Write a short text"):
        return f"Sure, here is the text: {words_of(subject, subject + repeat, repeat + 7, repeat * 31 + 5)}."
    if "about this topic" in asked:
        return f"Tell {words_of(repeat * 11 + 3, repeat * 31 + 5)} of {asked.rpartition('Topic: ')[2]}"
    return f"{asked.partition(' Reply')[0]}: {asked.rpartition('Instruction: ')[2]}"


def rewrites(request: Request) -> str:
    """A model that turns words round and says what it was told to do."""
    *before, (_, asked) = request.messages
    told, text = (before[0][1], asked) if before else asked.split("\n\n", 1)
    return f"Sure, here is the rewritten text:\n\n{told.upper()}! {' '.join(reversed(text.split()))}"


def backend(say: Say, name: str) -> Model:
    return Model(ScriptedBackend(say, name=name, fingerprint=name), attempts=1)


def made(
    folder: Path, writer: Say | Model = fluent, main: Say | Model = rewrites, config: SynthesizeConfig = SMALL,
    intents: Sequence[str] = INTENTS, prompts: Sequence[GivenPrompt] = (), originals: Sequence[str] = (),
    on: Callable[[str, int, int], None] = lambda table, done, total: None, whole: RecoverConfig | None = None,
    about: Sequence[str] = (),
) -> Synthesized:  # fmt: skip
    models = [
        one if isinstance(one, Model) else backend(one, name) for one, name in ((writer, "writer"), (main, "main"))
    ]
    settings = (whole or RecoverConfig()).model_copy(update={"synthesize": config})
    with Run(folder, "recover", {}) as run:
        work = synthesize(run, *models, WORDING, settings, Grams(), 3, intents, prompts, originals, on, about)
        return asyncio.run(work)


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return pq.read_table(next(folder.glob(f"stages/{name}-*"))).to_pylist()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("stages/*/*"))}


def refuses(request: Request) -> str:
    raise CallError("refused", "no")


OWN = [f"{words_of(number, number + 20, number + 40, number + 60)} stood there" for number in range(6)]
