"""What a breed may still cost, in calls.

All decisions rest on what was asked for, not on what was paid in this session, so that a continued run decides as the
unbroken one did.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from promptmill.errors import InputError
from promptmill.model.budget import Estimate
from promptmill.model.chat import Request
from promptmill.prompt import fill
from promptmill.vary.operators.reflect import SHOWN

if TYPE_CHECKING:
    from promptmill.crafts.breed.breeder import Breeder


def generation_calls(breeder: Breeder) -> int:
    """One generation of the paper's loop at most."""
    return _generation_writer_calls(breeder) + _batch_calls(breeder)


def _per_train_example(breeder: Breeder) -> int:
    """Calls for a train example: of each way in which prompts are tried, each of its turns and repeats."""
    return sum(breeder.ask.calls(way.prompt) for way in breeder.units[0].ways.values())


def _per_proof_example(breeder: Breeder) -> int:
    return max(breeder.ask.calls(way.prompt) for way in breeder.units[0].ways.values())


def _batch_calls(breeder: Breeder) -> int:
    config = breeder.config
    return config.population * min(config.batch, len(breeder.train)) * _per_train_example(breeder)


def _first_writer_calls(breeder: Breeder) -> int:
    return breeder.writer_calls * (breeder.config.population - 1) * breeder.config.attempts


def _generation_writer_calls(breeder: Breeder) -> int:
    return breeder.writer_calls * (breeder.config.population // 2) * breeder.config.attempts


def proof_calls(breeder: Breeder) -> int:
    """Seed and finalists on dev, seed and best on test."""
    examples = (1 + breeder.config.finalists) * len(breeder.dev) + 2 * len(breeder.test)
    return examples * _per_proof_example(breeder)


def round_calls(breeder: Breeder, sample: int) -> int:
    """One round of the race at most: children, each against the whole sample, and a fresh sample for a winner."""
    config = breeder.config
    sample = min(max(sample, config.sample), len(breeder.train))
    most = config.proposals * (breeder.writer_calls + (2 * sample + config.sample) * _per_train_example(breeder))
    return most if config.most_calls is None else min(most, max(0, config.most_calls - breeder.asked))


def search_calls(breeder: Breeder) -> int:
    """The search at most."""
    config = breeder.config
    if config.strategy == "race":
        assert config.most_calls is not None
        return config.most_calls
    first = _first_writer_calls(breeder) + _batch_calls(breeder)
    most = first + config.generations * generation_calls(breeder)
    return most if config.most_calls is None else min(most, config.most_calls)


def proposals_bought(breeder: Breeder) -> tuple[int, int]:
    """(fewest, most) children that the search can try: all of them race to the end and win, or all go at the gate."""
    config, per = breeder.config, _per_train_example(breeder)
    if config.strategy == "paper":
        return (config.population - 1 + config.generations * (config.population // 2),) * 2
    assert config.most_calls is not None
    left = max(0, config.most_calls - config.sample * per)
    return left // (1 + (SHOWN + 2 * config.sample) * per), left // (1 + SHOWN * per)


def most_calls(breeder: Breeder) -> int:
    """The whole breed at most."""
    return search_calls(breeder) + proof_calls(breeder)


def most_writer_calls(breeder: Breeder) -> int:
    """Those of `most_calls` that may go to the writer (paper)."""
    config = breeder.config
    most = _first_writer_calls(breeder) + config.generations * _generation_writer_calls(breeder)
    return min(most, search_calls(breeder))


def forecast(breeder: Breeder, sample: Sequence[Request]) -> Estimate:
    """What the whole breed may cost at most; `sample`: requests to the task model like those to come."""
    asked = _longest_writing(breeder)
    if breeder.config.strategy == "race":  # a call of the search may be either's: the dearer counts
        calls = search_calls(breeder)
        proof = breeder.model.estimate(sample, of=proof_calls(breeder))
        return dearer(breeder.model.estimate(sample, of=calls), breeder.writer.estimate([asked], of=calls)).plus(proof)
    written = most_writer_calls(breeder)
    task = breeder.model.estimate(sample, of=most_calls(breeder) - written)
    return task.plus(breeder.writer.estimate([asked], of=written))


def _longest_writing(breeder: Breeder) -> Request:
    """A request to the writer of the longest kind: a reflection on failures."""
    wording, shown = breeder.wording, []
    for example in breeder.train[:SHOWN]:
        fields = {"input": example.shown, "output": example.gold[0], "wanted": example.gold[0]}
        shown.append(fill(wording.failure, fields))
    fields = {"instruction": breeder.seed_prompt.instruction, "failures": "\n\n".join(shown)}
    return Request((("user", fill(wording.reflect, fields)),), breeder.writing)


def dearer(a: Estimate, b: Estimate) -> Estimate:
    """The larger of two estimates for as many calls, part by part; no price is known where one has none."""
    cost = None if a.cost is None or b.cost is None else max(a.cost, b.cost)
    return Estimate(a.calls, max(a.prompt_tokens, b.prompt_tokens), max(a.completion_tokens, b.completion_tokens), cost)


def affords(breeder: Breeder, calls: int) -> bool:
    """Whether the budget has room for so many more calls."""
    budget, asked, sunk = breeder.model.ledger.budget, breeder.model.ledger.total, breeder.sunk
    per_call = 1.2 / max(1, asked.calls)  # a fifth more than calls have cost so far
    return (
        (budget.calls is None or sunk.calls + asked.calls + calls <= budget.calls)
        and (budget.tokens is None or sunk.tokens + asked.tokens * (1 + calls * per_call) <= budget.tokens)
        and (budget.cost is None or sunk.cost + asked.cost * (1 + calls * per_call) <= budget.cost)
    )


def check_budget(breeder: Breeder) -> None:
    """InputError, one line, where the calls of the search do not even make the seed prompt known, or the budget cannot
    pay for one step of the search and the proof."""
    calls, config = breeder.model.ledger.budget.calls, breeder.config
    first = min(config.sample, len(breeder.train)) * _per_train_example(breeder) + breeder.writer_calls
    if config.strategy == "race" and config.most_calls is not None and config.most_calls < first:
        raise InputError(
            f"--search-calls {config.most_calls} is too little: to know the seed prompt and try one child takes "
            f"{first}; raise it, or lower breed.sample with --set"
        )
    if config.strategy == "race":
        step = config.sample * _per_train_example(breeder) + round_calls(breeder, config.sample)
    else:
        step = _first_writer_calls(breeder) + _batch_calls(breeder) + generation_calls(breeder)
    least = breeder.sunk.calls + step + proof_calls(breeder)
    if calls is not None and calls < least:
        raise InputError(
            f"--budget-calls {calls} is too little to breed: one step and the proof need {least}; raise it, "
            "or lower sample, population, batch or finalists with --set, or the examples with --limit"
        )
