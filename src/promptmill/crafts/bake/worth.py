"""What a bake is worth: does the model without the prompt do what it did with it, and can it still do the rest?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from promptmill.crafts.bake.contexts import bare_prompt
from promptmill.crafts.bake.questions import Question, question_id
from promptmill.measure.answer import Ask
from promptmill.measure.compare import compare_paired
from promptmill.measure.evaluate import Evaluation, evaluate_async
from promptmill.model.gate import Model
from promptmill.prompt import Prompt, fill
from promptmill.tasks.task import Example, Task

WAYS = ("unprompted", "prompted", "baked", "baked_prompted")
"""The base without the prompt and with it, the baked model without it and with it."""


@dataclass(frozen=True)
class Behaviour:
    """A task in four ways, all on the same examples."""

    task: Task
    examples: int
    evaluations: dict[str, Evaluation]

    def to_dict(self) -> dict[str, Any]:
        """Scores with intervals; `share`: the baked model's score as a share of the prompted one's; `gain`: over the
        unprompted base, paired; `against_prompted`: baked against the prompted base, paired."""
        found = {name: _brief(one) for name, one in self.evaluations.items()}
        baked, prompted = (self.evaluations[name].score for name in ("baked", "prompted"))
        share = None if baked is None or not prompted else baked / prompted
        return {"task": self.task.name, "examples": self.examples, **found, "share": share,
                "gain": _compared(self, "unprompted", "baked"),
                "against_prompted": _compared(self, "prompted", "baked")}  # fmt: skip


@dataclass(frozen=True)
class Forgetting:
    """A task under its own prompt, by the base and by the baked model."""

    task: Task
    base: Evaluation
    baked: Evaluation

    def to_dict(self) -> dict[str, Any]:
        change = compare_paired(self.base.stats, self.baked.stats, self.task.scorer)
        return {"task": self.task.name, "base": _brief(self.base), "baked": _brief(self.baked),
                "change": {key: getattr(change, key) for key in ("gain", "lo", "hi", "p", "n")}}  # fmt: skip


async def behaviour(
    base: Model, baked: Model, task: Task, prompt: Prompt, examples: Sequence[Example], ask: Ask,
    unprompted: str = "none",
) -> Behaviour:  # fmt: skip
    """The task's examples as plain questions, in the form under which the baked model has learned (unprompted: as in
    BakeSampleConfig), and with the prompt around them."""
    bare = bare_of(task, unprompted)
    whole = _around(prompt, task.prompt.user)
    asked = {
        "unprompted": (base, bare),
        "prompted": (base, whole),
        "baked": (baked, bare),
        "baked_prompted": (baked, whole),
    }
    found = {}
    for name, (model, put) in asked.items():
        found[name] = await evaluate_async(model, task, put, examples, ask)
    return Behaviour(task, len(examples), found)


async def forgetting(base: Model, baked: Model, task: Task, examples: Sequence[Example], ask: Ask) -> Forgetting:
    results = [await evaluate_async(model, task, task.prompt, examples, ask) for model in (base, baked)]
    return Forgetting(task, *results)


def bare_of(task: Task, unprompted: str) -> Prompt:
    """The task's question with what stands in the baked prompt's place."""
    return _around(bare_prompt(unprompted), task.prompt.user)


def sampled_among(task: Task, examples: Sequence[Example], questions: Iterable[Question]) -> int:
    """How many of the examples were asked, as questions, while answers were sampled."""
    asked = {one.id for one in questions}
    return sum(question_id(fill(task.prompt.user, one.fields)) in asked for one in examples)


def _around(prompt: Prompt, user: str) -> Prompt:
    """The prompt with the task's fields where its question stands."""
    template = prompt.user
    for hole in ("{input}", "{question}"):
        template = template.replace(hole, user)
    return replace(prompt, user=template)


def _brief(one: Evaluation) -> dict[str, Any]:
    return {"score": one.score, "lo": one.lo, "hi": one.hi, "n": one.answered}


def _compared(found: Behaviour, before: str, after: str) -> dict[str, Any]:
    a, b = (found.evaluations[name].stats for name in (before, after))
    compared = compare_paired(a, b, found.task.scorer)
    return {key: getattr(compared, key) for key in ("gain", "lo", "hi", "p", "n")}
