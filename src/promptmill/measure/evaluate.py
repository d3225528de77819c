"""A prompt, a model and examples: how good is it, and how sure is that?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from promptmill.errors import BudgetSpent
from promptmill.measure.answer import AS_IT_IS, Ask, Reply, reply
from promptmill.model.chat import GREEDY, Failure, Sampling
from promptmill.model.gate import Model, run_blocking, together
from promptmill.prompt import Prompt
from promptmill.score.scorer import Score, Scorer
from promptmill.store.stage import Stage
from promptmill.tasks.task import Example, Task

if TYPE_CHECKING:
    import pyarrow as pa

SHARD_ROWS = 1000

OnAnswer = Callable[[Example, Reply, Score | None], None]
"""Called with an example, what came of it, and its score, None where no answer came."""

Stats = tuple[float, ...]
"""An example's additive share of the score (see score/scorer.py); a mean over its repeats where there are several."""


@dataclass(frozen=True)
class Evaluation:
    """The score of one prompt on n examples.

    score, lo, hi: corpus score over the answered examples with its 95 % interval; None where nothing was answered.
    answered:      answers that came, of `asked`.  unparsed: answers from which nothing could be read (they score 0).
    failures:      calls that got no answer, by kind; they are in no score.
    stats:         by example id, for paired comparisons.
    stopped:       why not all was asked (the budget), or None.
    """

    examples: int
    asked: int
    answered: int
    unparsed: int
    failures: Mapping[str, int]
    score: float | None
    lo: float | None
    hi: float | None
    stats: Mapping[str, Stats] = field(repr=False)
    stopped: str | None = None

    def to_dict(self) -> dict[str, Any]:
        keys = ("examples", "asked", "answered", "unparsed", "score", "lo", "hi", "stopped")
        return {key: getattr(self, key) for key in keys} | {"failures": dict(self.failures)}


async def evaluate_async(
    model: Model,
    task: Task,
    prompt: Prompt,
    examples: Sequence[Example],
    ask: Ask = AS_IT_IS,
    *,
    stage: Stage | None = None,
    on_answer: OnAnswer | None = None,
) -> Evaluation:
    """Ask and score all of `examples`; the model must be open (`async with model`).

    Workers pull from one queue, so that a slow answer holds up nobody; what they bring goes to the stage's shards as
    these fill, so memory does not grow with the answers. on_answer: called after each.

    Raises ModelError and InputError; a spent budget ends the evaluation early and is told in `stopped`.
    """
    if examples and ask.form is None:  # a form's prompts are no templates
        prompt.check(examples[0].fields)
    tally = _Tally(task.scorer, examples, ask.repeat, stage)
    queue = enumerate((example, repeat) for example in examples for repeat in range(ask.repeat))
    stopped: list[str] = []

    async def work() -> None:
        for index, (example, repeat) in queue:
            try:
                came = await reply(model, prompt, example.fields, ask, task.choices, repeat)
            except BudgetSpent as error:
                stopped.append(str(error))
                return
            score = tally.add(index, came)
            if on_answer:
                on_answer(example, came, score)

    # As many workers as the server has slots: one who finds a slot at once costs no waiting in line.
    await together([work() for _ in range(min(len(examples) * ask.repeat, model.concurrency))])
    tally.flush()
    return tally.evaluation(stopped[0] if stopped else None)


def evaluate(
    model: Model,
    task: Task,
    prompt: Prompt | str | None = None,
    *,
    split: str = "test",
    repeat: int = 1,
    sampling: Sampling = GREEDY,
    constrain: bool = False,
) -> Evaluation:
    """Blocking `evaluate_async` on a split of the task, for use from Python. A str is read as by `Prompt.of`."""
    asked = Prompt.of(prompt, task.prompt) if isinstance(prompt, str) else prompt or task.prompt

    async def work() -> Evaluation:
        async with model:
            return await evaluate_async(model, task, asked, task.split(split), Ask(sampling, repeat, constrain))

    return run_blocking(work())


def answers_schema() -> pa.Schema:
    """Columns of the stage "answers": one row for each example and repeat."""
    import pyarrow as pa

    text, number, count = pa.string(), pa.float64(), pa.int32()
    columns: list[tuple[str, pa.DataType]] = [
        ("id", text), ("repeat", count), ("input", text), ("gold", text), ("working", text),
        ("answer", text), ("parsed", text),
        ("score", number), ("stats", pa.list_(number)), ("finish", text), ("failure", text), ("detail", text),
        ("prompt_tokens", count), ("completion_tokens", count),
    ]  # fmt: skip
    return pa.schema(columns)


class _Tally:
    """Adds up answers in whatever order they come; its sums do not depend on that order."""

    def __init__(self, scorer: Scorer, examples: Sequence[Example], repeat: int, stage: Stage | None):
        self.scorer, self.examples, self.repeat, self.stage = scorer, examples, repeat, stage
        self.answered = self.unparsed = 0
        self.failures: dict[str, int] = {}
        self._stats: dict[int, Stats | list[Stats | None]] = {}
        self._open: dict[int, dict[int, dict[str, Any]]] = {}

    def add(self, index: int, came: Reply) -> Score | None:
        which, repeat = divmod(index, self.repeat)
        example, result = self.examples[which], came.result
        score = None
        if isinstance(result, Failure):
            self.failures[result.kind] = self.failures.get(result.kind, 0) + 1
        else:
            score = self.scorer.score(result.text, example.gold, example.fields)
            self.answered += 1
            self.unparsed += score.parsed is None
            self._keep(which, repeat, score.row)
        if self.stage:
            self._row(index, _row(example, repeat, came, score))
        return score

    def _keep(self, which: int, repeat: int, stats: Stats) -> None:
        if self.repeat == 1:
            self._stats[which] = stats
        else:
            slots = self._stats.setdefault(which, [None] * self.repeat)
            assert isinstance(slots, list)
            slots[repeat] = stats

    def _row(self, index: int, row: dict[str, Any]) -> None:
        assert self.stage is not None
        shard = index // SHARD_ROWS
        rows = self._open.setdefault(shard, {})
        rows[index] = row
        if len(rows) == min(SHARD_ROWS, len(self.examples) * self.repeat - shard * SHARD_ROWS):
            self._write(shard)

    def flush(self) -> None:
        """Write what is left of shards that never filled (an evaluation that was stopped)."""
        for shard in sorted(self._open):
            self._write(shard)

    def _write(self, shard: int) -> None:
        assert self.stage is not None
        rows = self._open.pop(shard)
        self.stage.write(shard, [rows[index] for index in sorted(rows)])

    def stats(self) -> dict[str, Stats]:
        found = {}
        for which in sorted(self._stats):
            stats = self._stats[which]
            if isinstance(stats, list):
                came = [one for one in stats if one is not None]
                stats = tuple(sum(column) / len(came) for column in zip(*came, strict=True))
            found[self.examples[which].id] = stats
        return found

    def evaluation(self, stopped: str | None) -> Evaluation:
        from promptmill.measure.statistics import score_interval

        stats = self.stats()
        score, lo, hi = score_interval(list(stats.values()), self.scorer) if stats else (None, None, None)
        asked = self.answered + sum(self.failures.values())
        return Evaluation(len(self.examples), asked, self.answered, self.unparsed, dict(sorted(self.failures.items())),
                          score, lo, hi, stats, stopped)  # fmt: skip


def _row(example: Example, repeat: int, came: Reply, score: Score | None) -> dict[str, Any]:
    result = came.result
    row = {"id": example.id, "repeat": repeat, "input": example.shown, "gold": example.gold[0]}
    if isinstance(result, Failure) or score is None:
        assert isinstance(result, Failure)
        return row | {"failure": result.kind, "detail": result.detail}
    usage = result.usage
    return row | {
        "working": came.before or None, "answer": result.text, "parsed": score.parsed, "score": score.value,
        "stats": list(score.row), "finish": result.answers[0].finish,
        "prompt_tokens": usage.prompt, "completion_tokens": usage.completion,
    }  # fmt: skip
