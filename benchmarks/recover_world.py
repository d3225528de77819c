"""Traces of the embedded model's world: prompts from its grammar, texts, and what a model made of them. What a prompt
asks for is known, so a recovered one can be held against it whatever its words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))  # the grammar is beside the package, not in it

from embedded.grammar import draw_instruction
from embedded.reading import task_of
from embedded.texts import TextKind
from embedded.transforms import TRANSFORMS, draw_case
from promptmill.crafts.recover.layout import messages
from promptmill.crafts.recover.space import Space
from promptmill.crafts.recover.synthesize.parts import parted
from promptmill.crafts.recover.traces import Group, Trace, groups_of, write_traces
from promptmill.model.chat import Completion, Request, Sampling
from promptmill.model.gate import Model
from promptmill.model.load import ModelConfig, open_backend
from promptmill.vary.splits import Shares

GENERATOR, OTHER = "embedded", "embedded-small"
TOGETHER = (4, 8, 16)
"""Texts of one prompt that are looked at together."""
SINGLE = 4
"""Texts of a test prompt that are looked at one by one."""
PER_PROMPT = 4
SHARES = {"dev": 0.15, "test": 0.3}
ALONE = "text alone: "
TEXTS = TextKind(most=12, long=0.1, unknown=0.2, natural=0.3)
NO_TASK = ("replace",)
"""Needs words of its own in the prompt."""
FORM = 0.3
"""Share of the prompts that also say what the answer should look like."""


def right_task(guess: str, truth: str) -> float:
    """Whether a prompt asks for the same as the true one."""
    asked = task_of(guess)
    return float(asked is not None and asked == task_of(truth))


def draw_prompts(count: int, seed: int) -> list[tuple[str, str]]:
    """Distinct prompts that clearly ask for a task, with that task."""
    rng = Random(f"recover {seed}")
    tasks = [task for task in TRANSFORMS if task not in NO_TASK]
    found: dict[str, str] = {}
    while len(found) < count:
        task = rng.choice(tasks)
        drawn = draw_instruction(rng, task, "clear", split=rng.choice(("train", "held")), form=rng.random() < FORM,
                                 bare=True)  # fmt: skip
        text = drawn.render()
        if task_of(text) == task:
            found.setdefault(text, task)
    return list(found.items())


def traces(
    model: Model, prompts: Sequence[tuple[str, str]], texts: int, seed: int, *, grouped: bool = False, name: str = ""
) -> list[Trace]:
    """What the model makes of `texts` reserved texts under each prompt; what it left as it was is left out, as in any
    data of this kind. grouped: whether the traces of a prompt say that they belong together."""
    rng = Random(f"texts {seed}")
    asked = [
        (number, prompt, draw_case(rng, task, TEXTS, reserved=True)[0])
        for number, (prompt, task) in enumerate(prompts)
        for _ in range(texts)
    ]
    came = model.complete(
        [Request(messages("system", prompt, text), Sampling(max_tokens=96)) for _, prompt, text in asked]
    )
    found = []
    for at, ((number, prompt, text), answer) in enumerate(zip(asked, came, strict=True)):
        if not isinstance(answer, Completion):
            raise RuntimeError(f"{model.name} did not answer: {answer.kind}: {answer.detail}")
        result = answer.text.strip()
        if result and result != text and answer.answers[0].finish == "stop":
            group = f"{name}group-{number}" if grouped else None
            found.append(Trace(f"{name}{at}", text, result, prompt, group, generator=model.name))
    return found


@dataclass(frozen=True)
class Data:
    """pairs: the file of what is learned from; blind: the same without originals. singles, grouped: texts of the test
    prompts by the generator; foreign: by the other one."""

    pairs: Path
    blind: Path
    singles: list[Group]
    grouped: dict[int, list[Group]]
    foreign: list[Group]


def model(name: str) -> Model:
    return Model(open_backend(ModelConfig(name=name)))


def prepared(out: Path, count: int, seed: int, space: Space) -> Data:
    """Drawn anew each time: it takes a minute, and follows from the seed."""
    prompts = draw_prompts(count, seed)
    learned = parted(traces(model(GENERATOR), prompts, PER_PROMPT, seed, name="t"), space, 0.8,
                     Shares(**SHARES, seed=seed)).traces  # fmt: skip
    place = {one.prompt: (one.split, one.cluster) for one in learned}
    held = [(prompt, task) for prompt, task in prompts if place.get(prompt, ("", ""))[0] == "test"]
    many = traces(model(GENERATOR), held, max(TOGETHER), seed + 1000, grouped=True, name="m")
    marked = [replace(one, split="test", cluster=place[one.prompt][1]) for one in many]
    whole = groups_of(marked)
    small = traces(model(OTHER), held, SINGLE, seed + 2000, name="o")
    # The file's own test prompts are those of the benchmark, each with as many texts as the other prompts.
    pairs, blind = out / f"pairs-{seed}.jsonl", out / f"alone-{seed}.jsonl"
    write_traces(pairs, learned)
    write_traces(blind, [replace(one, original=None) for one in learned])
    return Data(
        pairs,
        blind,
        alone([one for group in whole for one in group.traces[:SINGLE]]),
        {size: [Group(one.id, one.traces[:size]) for one in whole if len(one.traces) >= size] for size in TOGETHER},
        alone([replace(one, split="test", cluster=place[one.prompt][1]) for one in small]),
    )  # fmt: skip


def without_originals(groups: Sequence[Group]) -> list[Group]:
    return [
        Group(f"{ALONE}{one.id}", tuple(replace(each, original=None) for each in one.traces)) for one in groups
    ]  # fmt: skip


def alone(several: Sequence[Trace]) -> list[Group]:
    return [Group(one.id, (replace(one, group=None),)) for one in several]
