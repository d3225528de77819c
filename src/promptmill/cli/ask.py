"""`promptmill ask`."""

from __future__ import annotations

import json
import secrets
import sys

from rich.text import Text

from promptmill.cli.config import AskConfig, resolve
from promptmill.cli.options import Given
from promptmill.cli.prompts import prompt_given
from promptmill.cli.screen import out, plain, show_forecast, show_warnings
from promptmill.errors import InputError, ModelError
from promptmill.measure.answer import Ask, first_of, reply
from promptmill.model.budget import Ledger, price_of
from promptmill.model.cache import CallStore
from promptmill.model.chat import Completion, Failure
from promptmill.model.gate import run_blocking
from promptmill.model.load import behind_gate, open_backend
from promptmill.model.world import warnings_for
from promptmill.prompt import Prompt


def ask_command(text: str, given: Given) -> None:
    """Render, ask, print. One question needs no run; with --out it is refused rather than ignored."""
    if given["out"]:
        raise InputError("ask keeps no run; to share answers between commands give --cache FILE")
    config = resolve(AskConfig, given)
    text = sys.stdin.read().strip() if text == "-" else text
    prompt = prompt_given(given, Prompt())
    names = prompt.holes or {"input"}
    if len(names) > 1:
        raise InputError(f"ask fills one hole, the prompt has {len(names)}: {', '.join(sorted(names))}")
    fields, asked = {next(iter(names)): text}, Ask(config.sampling.sampling(config.seed))
    request = first_of(prompt, fields, asked)
    ledger, prices = Ledger(config.budget.budget()), config.budget.price_table()
    backend = open_backend(config.model)
    price = price_of(backend.name, prices, ledger.budget)
    store = CallStore(given["cache"], f"ask-{secrets.token_hex(6)}") if given["cache"] else None
    model = behind_gate(backend, config.model, store=store, ledger=ledger, price=price)
    show_warnings(warnings_for(config.model, [request]))
    if given["forecast"]:
        show_forecast(model.estimate([request]), ledger, given)
        return

    async def work() -> Completion | Failure:
        async with model:
            return (await reply(model, prompt, fields, asked)).result

    answer = run_blocking(work())
    if isinstance(answer, Failure):
        raise ModelError(f"{model.name} gave no answer: {answer.kind}: {answer.detail}")
    if given["json_"]:
        print(json.dumps({"answer": answer.text, **ledger.summary()}, ensure_ascii=False))
    else:
        out.print(plain(answer.text) if out.is_terminal else Text(answer.text), soft_wrap=True)
