"""What the tests of `rewrite synthesize` share: two writers, what is made by them, and what must not lie apart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from promptmill.crafts.rewrite.config import SynthesizeConfig
from promptmill.crafts.rewrite.synthesize.prompts_file import GivenPrompt
from promptmill.crafts.rewrite.synthesize.synthesize import Synthesized, synthesize
from promptmill.model.chat import CallError, Request
from promptmill.model.gate import Model
from promptmill.model.scripted import ScriptedBackend
from promptmill.store.run import Run
from promptmill.vary.alike import likeness_of
from promptmill.vary.wording import load_wording

WORDING = load_wording()
SMALL = SynthesizeConfig(topics=5, prompts=3, variations=2, inputs=2, max_tokens=32)
Say = Callable[[Request], str]
NAMES = "amber birch cedar daisy ember fjord grape hazel ivory jolly koala lemon mango noble ocean piano quilt".split()


def words_of(*numbers: int) -> str:
    """Words by numbers: other numbers, quite other words."""
    return " ".join(f"{NAMES[number % 17]}{NAMES[number * 7 % 13]}{number}" for number in numbers)


def fluent(request: Request) -> str:
    """A writer that never says a thing twice."""
    asked, repeat = request.messages[-1][1], request.repeat
    if asked.startswith("Name one topic"):
        return f"{words_of(repeat)} {asked[-5:]}"
    if "about this topic" in asked:
        return f"Tell {words_of(repeat, repeat * 31 + 5)} of {asked.rpartition('Topic: ')[2]}"
    if asked.startswith("Write one input"):
        return f"input {words_of(repeat)}"
    return f"{asked[:9]}: {asked.rpartition('Instruction: ')[2]}"


def refuses(request: Request) -> str:
    raise CallError("refused", "I am sorry")


def made(
    folder: Path, writer: Say | Model, config: SynthesizeConfig = SMALL, intents: Sequence[str] = ("guides", "plays"),
    given: Sequence[GivenPrompt] = (), on: Callable[[str, int, int], None] = lambda table, done, total: None,
) -> Synthesized:  # fmt: skip
    model = writer if isinstance(writer, Model) else Model(ScriptedBackend(writer), base_wait=0)
    with Run(folder, "rewrite", {}) as run:
        return asyncio.run(synthesize(run, model, WORDING, config, 3, intents, given, on))


def rows(stage: Any) -> list[dict[str, Any]]:
    return list(stage.rows())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("stages/*/*"))}


def neighbours_apart(bases: Sequence[dict[str, Any]], bound: float) -> list[tuple[str, str]]:
    """Base prompts of one topic, or alike, that lie in different splits."""
    return [
        (a["text"], b["text"])
        for a in bases
        for b in bases
        if a["base_id"] < b["base_id"] and a["split"] != b["split"]
        and (likeness_of(a["text"], b["text"]) >= bound or (a["topic"] and a["topic"].lower() == b["topic"].lower()))
    ]  # fmt: skip
