"""`promptmill ask`."""

from __future__ import annotations

import json
import secrets
import sys

from rich.text import Text

from promptmill.cli.config import AskConfig, resolve
from promptmill.cli.options import Given
from promptmill.cli.prompts import prompt_given
from promptmill.cli.screen import out, plain, show_forecast
from promptmill.errors import InputError, ModelError
from promptmill.model.budget import Ledger, price_of
from promptmill.model.cache import CallStore
from promptmill.model.chat import Failure, Request
from promptmill.model.load import open_model
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
    request = Request(prompt.render({next(iter(names)): text}), config.sampling.sampling(config.seed), prompt.prefix)
    budget = config.budget.budget()
    price = price_of(config.model.name, config.budget.price_table(), budget)
    store = CallStore(given["cache"], f"ask-{secrets.token_hex(6)}") if given["cache"] else None
    model = open_model(config.model, store=store, ledger=Ledger(budget), price=price)
    if given["forecast"]:
        show_forecast(model.estimate([request]), model.ledger, given)
        return
    (answer,) = model.complete([request])
    if isinstance(answer, Failure):
        raise ModelError(f"{model.name} gave no answer: {answer.kind}: {answer.detail}")
    if given["json_"]:
        print(json.dumps({"answer": answer.text, **model.ledger.summary()}, ensure_ascii=False))
    else:
        out.print(plain(answer.text) if out.is_terminal else Text(answer.text), soft_wrap=True)
