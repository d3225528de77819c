"""`promptmill rewrite apply`, and what `promptmill ask --rewriter` needs of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from promptmill.cli.screen import out, plain, show_rows
from promptmill.crafts.rewrite.finished import FinishedRewrite, finished_rewrite
from promptmill.crafts.rewrite.guard.guard import Guard
from promptmill.crafts.rewrite.improve import Improved, Predictor, improve
from promptmill.crafts.rewrite.proof import Proof
from promptmill.errors import InputError, ModelError
from promptmill.model.gate import Model, run_blocking
from promptmill.model.load import ModelConfig, open_backend


def apply_command(prompt: str, rewriter: Path, candidates: int | None, inputs: int | None, json_: bool) -> None:
    prompt = sys.stdin.read().strip() if prompt == "-" else prompt
    if not prompt.strip():
        raise InputError("the prompt is empty; there is nothing to improve")
    found = run_blocking(Improver.of(rewriter, candidates, inputs)(prompt))
    if found.untried:
        raise ModelError(f"{found.reason}; --proof 0 does without")
    if json_:
        print(json.dumps(asdict(found), ensure_ascii=False))
        return
    if found.rewrite is None:
        show_rows([("left alone", found.reason)])
    else:
        out.print(plain(found.rewrite), soft_wrap=True)


def _alone(kind: ModelConfig) -> Model:
    return Model(open_backend(kind), role="rewriter")


@dataclass(frozen=True)
class Improver:
    """The rewriter of a run, ready for prompts. count: rewrites from which the best is taken. proof: None where what is
    foretold decides."""

    done: FinishedRewrite
    rewriter: Model
    predictor: Predictor | None
    guard: Guard
    count: int
    proof: Proof | None = None

    @classmethod
    def of(
        cls, run: Path, candidates: int | None = None, inputs: int | None = None,
        open_model: Callable[[ModelConfig], Model] = _alone,
    ) -> Improver:  # fmt: skip
        """inputs: on which prompt and rewrites are tried; None: as many as in the run's test. InputError where the run
        is not one of a rewriter that is trained. open_model: puts models behind the gate."""
        done = finished_rewrite(run)
        tried = done.config.test.proof if inputs is None else inputs
        proof = done.proof(open_model, tried) if tried else None
        return cls(done, open_model(done.rewriter), None if proof else done.predictor(), Guard.of(done.config.pairs),
                   candidates or done.config.test.candidates, proof)  # fmt: skip

    async def __call__(self, prompt: str, answer: str | None = None) -> Improved:
        """What the rewriter makes of a prompt. answer: the main model's to it, where it is known."""
        async with AsyncExitStack() as stack:
            if (proof := self.proof) is not None:
                for one in {id(one): one for one in (proof.main, proof.writer)}.values():
                    await stack.enter_async_context(one)
                await stack.enter_async_context(proof.panel)
            rewriter = await stack.enter_async_context(self.rewriter)
            return await improve(
                rewriter, self.done.roles.wording, prompt, count=self.count, predictor=self.predictor,
                guard=self.guard, max_tokens=self.done.config.synthesize.max_tokens, answer=answer, proof=proof,
            )  # fmt: skip
