"""The main model's answers to prompts, as a stage. A call that got no answer is a row with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from promptmill.crafts.rewrite.config import AnswerConfig
from promptmill.crafts.rewrite.tables import OutputRow
from promptmill.crafts.rewrite.trials import Trial, messages
from promptmill.model.chat import Completion, Failure, Request, Sampling
from promptmill.model.gate import Model, together
from promptmill.model.shards import Listener, fill
from promptmill.store.records import row_of
from promptmill.store.stage import Stage


async def answer(
    stage: Stage, main: Model, trials: Iterable[Trial], config: AnswerConfig, role: str = "", *,
    on: Listener = lambda done: None,
) -> Stage:  # fmt: skip
    """Ask for every trial; the model must be open. Raises BudgetSpent, and ModelError for a model that is unusable."""
    sampling = Sampling(config.temperature, config.top_p, config.max_tokens)

    async def one(trial: Trial) -> OutputRow:
        request = Request(messages(trial.prompt, trial.input, role), sampling, repeat=trial.key.sample_id)
        return _row(trial, await main.ask(request))

    async def make(part: Sequence[Trial]) -> list[dict[str, Any]]:
        return [row_of(row) for row in await together([one(trial) for trial in part])]

    return await fill(stage, trials, make, models=[main], on=on)


def _row(trial: Trial, came: Completion | Failure) -> OutputRow:
    key = trial.key
    place = (key.base_id, key.variation_id, key.input_id, key.sample_id)
    if isinstance(came, Failure):
        return OutputRow(*place, None, None, f"{came.kind}: {came.detail}"[:500])
    return OutputRow(*place, came.text, came.answers[0].finish)
