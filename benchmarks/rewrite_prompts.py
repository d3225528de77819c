"""Prompts of the embedded model's world whose true quality is known: its grammar says what each should bring."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the grammar is beside the package, not in it

from embedded.descriptions import INTENTS
from embedded.grammar import draw_instruction
from embedded.texts import TextKind
from embedded.transforms import apply, draw_case
from embedded.writer import describe
from promptmill.crafts.rewrite.trials import messages
from promptmill.model.chat import Completion, Request, Sampling
from promptmill.model.gate import Model, together
from promptmill.prompt import Message
from promptmill.score.exact import Exact

TEXTS = TextKind(most=14, long=0.1, unknown=0.1, natural=0.2)
NO_TASK = ("replace", "arithmetic")
"""The first needs words of its own in the prompt, the second another scorer."""
TIERS = {"clear": 0.45, "medium": 0.45, "vague": 0.1}
INPUTS = 8
"""Texts that a held-out prompt is tested on."""
FURTHER = 32
"""Other texts on which the scores of the figures are measured. A prompt that fails on every tenth text does well on all
of eight nearly every other time; then it counts as good, and bettering it as a fault."""
PHRASINGS = 16
"""Clear wordings of a task among which the best known one is looked for."""
SCORER = Exact(case_sensitive=True)


@dataclass(frozen=True)
class Held:
    """A prompt that no stage has seen. tier: how clearly it says what it wants."""

    task: str
    tier: str
    domain: str
    intent: str
    prompt: str
    inputs: tuple[str, ...]
    golds: tuple[str, ...]

    def row(self) -> dict[str, Any]:
        return {"prompt": self.prompt, "domain": self.domain, "intent": self.intent, "inputs": list(self.inputs),
                "golds": list(self.golds), "split": "test"}  # fmt: skip


def domains() -> dict[str, tuple[str, ...]]:
    """Each intent in one of its wordings, with the tasks that belong to it."""
    return {
        wordings.strip("{}").split("|")[0]: tuple(task for task in tasks if task not in NO_TASK)
        for wordings, tasks in INTENTS.items()
        if set(tasks) - set(NO_TASK)
    }


def held_out(count: int, seed: int, inputs: int = INPUTS) -> list[Held]:
    """Prompts as newcomers write them: clear ones, hints, and some that say nothing."""
    rng = Random(f"rewrite {seed}")
    found: dict[str, Held] = {}
    while len(found) < count:
        domain = rng.choice(list(domains()))
        task = rng.choice(domains()[domain])
        (tier,) = rng.choices(list(TIERS), list(TIERS.values()))
        drawn = draw_instruction(rng, task, tier, split="held", bare=rng.random() < 0.8, form=rng.random() < 0.3)
        cases = [draw_case(rng, task, TEXTS, reserved=True)[0] for _ in range(inputs)]
        text = drawn.render()
        golds = tuple(apply(task, case) for case in cases)
        found.setdefault(text.lower(), Held(task, tier, domain, describe(rng, task, None), text, tuple(cases), golds))
    return list(found.values())


def further(held: Sequence[Held], seed: int, count: int = FURTHER) -> list[Held]:
    """The same prompts with so many other reserved texts, which the test has not seen either."""
    found = []
    for one in held:
        rng, cases = Random(f"further {seed} {one.prompt}"), dict.fromkeys(one.inputs)
        while len(cases) < len(one.inputs) + count:
            cases.setdefault(draw_case(rng, one.task, TEXTS, reserved=True)[0])
        others = tuple(cases)[len(dict.fromkeys(one.inputs)) :][:count]
        found.append(replace(one, inputs=others, golds=tuple(apply(one.task, case) for case in others)))
    return found


def scores_of(model: Model, held: Sequence[Held], prompts: Mapping[str, Iterable[str]]) -> dict[str, dict[str, float]]:
    """What each of a held-out prompt's other wordings scores on that one's texts. prompts: those wordings, by it."""

    async def one(asked: Held) -> dict[str, float]:
        texts = list(dict.fromkeys(prompts[asked.prompt]))
        turns = [[messages(text, case) for case in asked.inputs] for text in texts]
        scores = await asyncio.gather(*[score_of(model, several, asked.golds) for several in turns])
        return dict(zip(texts, scores, strict=True))

    async def all_of() -> dict[str, dict[str, float]]:
        async with model:
            return {asked.prompt: await one(asked) for asked in held if asked.prompt in prompts}

    return asyncio.run(all_of())


def write_held(path: Path, held: Sequence[Held]) -> None:
    path.write_text("".join(json.dumps(one.row(), ensure_ascii=False) + "\n" for one in held), encoding="utf-8")


async def score_of(model: Model, asked: Sequence[tuple[Message, ...]], golds: Sequence[str]) -> float:
    """The share of these messages, 0 to 1, that the model (which is open) answers as the golds say."""
    came = await together([model.ask(Request(turns, Sampling(max_tokens=64))) for turns in asked])
    hits = 0.0
    for one, gold in zip(came, golds, strict=True):
        assert isinstance(one, Completion)
        hits += SCORER.score(one.text, (gold,), {}).value
    return hits / len(golds)


def best_known(model: Model, held: Sequence[Held], seed: int) -> list[float]:
    """For each prompt the score, on its own inputs, of the wording of its task that does best on other texts."""

    async def score(prompt: str, cases: Sequence[str], golds: Sequence[str]) -> float:
        return await score_of(model, [messages(prompt, case) for case in cases], golds)

    async def best(task: str) -> str:
        rng = Random(f"best {seed} {task}")
        cases = [draw_case(rng, task, TEXTS)[0] for _ in range(24)]
        golds = [apply(task, case) for case in cases]
        wordings = [
            draw_instruction(rng, task, "clear", bare=True, form=rng.random() < 0.5).render() for _ in range(PHRASINGS)
        ]
        scores = await asyncio.gather(*[score(one, cases, golds) for one in wordings])
        return wordings[max(range(len(wordings)), key=lambda at: scores[at])]

    async def all_of() -> list[float]:
        async with model:
            tasks = sorted({one.task for one in held})
            wordings = dict(zip(tasks, await asyncio.gather(*[best(task) for task in tasks]), strict=True))
            return list(await asyncio.gather(*[score(wordings[one.task], one.inputs, one.golds) for one in held]))

    return asyncio.run(all_of())
