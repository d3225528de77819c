"""`promptmill ask`."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

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
from promptmill.model.gate import Model, run_blocking
from promptmill.model.load import ModelConfig, behind_gate, open_backend
from promptmill.model.world import warnings_for
from promptmill.prompt import Prompt

if TYPE_CHECKING:
    from promptmill.cli.rewrite_apply import Improver


def ask_command(text: str, given: Given, rewriter: Path | None = None) -> None:
    """Render, ask, print. One question needs no run; with --out it is refused rather than ignored. rewriter: a run
    whose rewriter is to refine what is asked; both answers are shown."""
    if given["out"]:
        raise InputError("ask keeps no run; to share answers between commands give --cache FILE")
    config = resolve(AskConfig, given)
    text = sys.stdin.read().strip() if text == "-" else text
    prompt = prompt_given(given, Prompt())
    names = prompt.holes or {"input"}
    if len(names) > 1:
        raise InputError(f"ask fills one hole, the prompt has {len(names)}: {', '.join(sorted(names))}")
    hole, asked = next(iter(names)), Ask(config.sampling.sampling(config.seed))
    fields = {hole: text}
    request = first_of(prompt, fields, asked)
    ledger, prices = Ledger(config.budget.budget()), config.budget.price_table()
    store = CallStore(given["cache"], f"ask-{secrets.token_hex(6)}") if given["cache"] else None

    def opened(kind: ModelConfig, role: str = "task") -> Model:
        backend = open_backend(kind)
        price = price_of(backend.name, prices, ledger.budget)
        return behind_gate(backend, kind, role=role, store=store, ledger=ledger, price=price)

    model = opened(config.model)
    improver = _improver(rewriter, opened) if rewriter else None
    show_warnings(warnings_for(config.model, [request]))
    if given["forecast"]:
        more = f"and {improver.count} of the rewriter" if improver else ""
        show_forecast(model.estimate([request] * (2 if improver else 1)), ledger, given, more)
        return
    if improver is not None:
        from promptmill.cli.ask_rewriter import Question, ask_refined

        ask_refined(Question(prompt, hole, text), asked, model, improver, ledger, given["json_"])
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


def _improver(run: Path, opened: Callable[[ModelConfig, str], Model]) -> Improver:
    from promptmill.cli.rewrite_apply import Improver  # half a second that a plain question need not wait for

    return Improver.of(run, open_model=lambda kind: opened(kind, "rewriter"))
