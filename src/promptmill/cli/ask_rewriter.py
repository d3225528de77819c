"""`promptmill ask --rewriter`: the answer to what was asked, and the answer to what a rewriter makes of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from promptmill.cli.rewrite_apply import Improver
from promptmill.cli.screen import out, plain
from promptmill.crafts.rewrite.improve import Improved
from promptmill.errors import InputError, ModelError
from promptmill.measure.answer import Ask, reply
from promptmill.model.budget import Ledger
from promptmill.model.chat import Completion, Failure
from promptmill.model.gate import Model, run_blocking
from promptmill.prompt import Prompt


@dataclass(frozen=True)
class Question:
    """prompt: has one hole, which `text` fills. What is rewritten is the prompt's instruction, or where it has none but
    the hole itself, the text."""

    prompt: Prompt
    hole: str
    text: str

    @property
    def rewrites_text(self) -> bool:
        return self.prompt.instruction.strip() == "{" + self.hole + "}"

    @property
    def asked(self) -> str:
        """What is rewritten."""
        return self.text if self.rewrites_text else self.prompt.instruction

    @property
    def fields(self) -> dict[str, str]:
        return {self.hole: self.text}

    def with_rewrite(self, rewrite: str) -> Question:
        if self.rewrites_text:
            return Question(self.prompt, self.hole, rewrite)
        return Question(self.prompt.with_instruction(rewrite), self.hole, self.text)


def ask_refined(question: Question, ask: Ask, model: Model, improver: Improver, ledger: Ledger, json_: bool) -> None:
    """Ask, rewrite, ask again, print both. ModelError where an answer does not come."""
    if not question.asked.strip():
        raise InputError("the prompt is empty; there is nothing to improve")

    async def work() -> tuple[Completion, Improved, Completion | None]:
        async with model:
            baseline = await _answer(model, question, ask, "")
            # Only the answer to the text itself would be an answer in a rewrite's place; with an input there are many.
            improved = await improver(question.asked, baseline.text if question.rewrites_text else None)
            if improved.rewrite is None:
                return baseline, improved, None
            return baseline, improved, await _answer(
                model, question.with_rewrite(improved.rewrite), ask, " to the refined prompt"
            )  # fmt: skip

    baseline, improved, refined = run_blocking(work())
    if json_:
        print(json.dumps({**_told(baseline, improved, refined), **ledger.summary()}, ensure_ascii=False))
        return
    if refined is None:
        _show(f"left alone: {improved.reason}", baseline.text)
        return
    _show("as it is", baseline.text)
    _show("refined prompt", improved.better)
    _show("refined", refined.text)


async def _answer(model: Model, question: Question, ask: Ask, to: str) -> Completion:
    found = (await reply(model, question.prompt, question.fields, ask)).result
    if isinstance(found, Failure):
        raise ModelError(f"{model.name} gave no answer{to}: {found.kind}: {found.detail}")
    return found


def _told(baseline: Completion, improved: Improved, refined: Completion | None) -> dict[str, Any]:
    """answer: the one to use. refined: None where the prompt is better left alone, with the reason."""
    return {
        "answer": (refined or baseline).text, "baseline": {"prompt": improved.prompt, "answer": baseline.text},
        "refined": refined and {"prompt": improved.better, "answer": refined.text},
        "reason": improved.reason, "expected": improved.expected,
    }  # fmt: skip


def _show(head: str, text: str) -> None:
    out.print(head, style="bold", markup=False, soft_wrap=True)
    out.print(plain(text) if out.is_terminal else Text(text), soft_wrap=True)
    out.print()
