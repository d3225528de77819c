"""The landscape for promptmill: its task, and the task model and the writer as backends that go behind the gate.

landscape = Landscape(0)
model, writer = Model(task_backend(landscape)), Model(writer_backend(landscape), role="writer")
report = promptmill.breed(task_of(landscape), model, writer=writer)  # or a Breeder of one's own
landscape.quality(report["best_prompt"]["system"])
"""

from __future__ import annotations

from benchmarks.landscape.phrases import DESCRIPTION
from benchmarks.landscape.world import Case, Landscape
from benchmarks.landscape.writer import ASKS_FIELDS, Writer
from promptmill.model.chat import CallError, Completion, Request
from promptmill.model.scripted import Answers, ScriptedBackend
from promptmill.prompt import Prompt
from promptmill.score.scorer import make_scorer
from promptmill.tasks.task import Example, Task


class CountedBackend(ScriptedBackend):
    """calls: answers given so far; n answers to one request count n. budget: no more than that, further calls are
    refused."""

    def __init__(self, script: Answers, name: str, fingerprint: str, budget: int | None = None):
        super().__init__(script, name=name, fingerprint=fingerprint)
        self.calls, self.budget = 0, budget

    async def complete(self, request: Request) -> Completion:
        if self.budget is not None and self.calls + request.n > self.budget:
            raise CallError("refused", f"the budget of {self.budget} calls is spent")
        self.calls += request.n
        return await super().complete(request)


def task_backend(landscape: Landscape, budget: int | None = None) -> CountedBackend:
    """The task model: greedy, so that n answers to one request are the same."""

    def script(request: Request) -> str:
        texts = [text for _, text in request.messages]
        answer = landscape.answer(texts)
        return f"[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]" if ASKS_FIELDS in texts[-1] else answer

    return CountedBackend(script, "task", f"landscape:{landscape.seed}:{landscape.variant}:task", budget)


def writer_backend(landscape: Landscape) -> CountedBackend:
    """The writer: another answer for each repeat, sampling seed and place among the n of one request."""
    writer = Writer(landscape)

    def script(request: Request) -> list[str]:
        texts, seed = [text for _, text in request.messages], request.sampling.seed
        return [writer.write(texts, (seed, request.repeat, at)) for at in range(request.n)]

    return CountedBackend(script, "writer", f"landscape:{landscape.seed}:{landscape.variant}:writer")


def task_of(landscape: Landscape) -> Task:
    """The landscape's examples as a task of promptmill, with the prompt to start from."""
    splits = {name: tuple(example_of(case) for case in cases) for name, cases in landscape.splits.items()}
    return Task(
        f"landscape-{landscape.seed}-{landscape.variant}", DESCRIPTION, Prompt(landscape.seed_prompt, "{order}"),
        make_scorer("exact"), None, splits["train"], splits["dev"], splits["test"],
    )  # fmt: skip


def example_of(case: Case) -> Example:
    return Example(str(case.number), {"order": case.text}, (case.gold,))
