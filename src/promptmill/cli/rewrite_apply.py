"""`promptmill rewrite apply`, and what `promptmill ask --rewriter` needs of it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from promptmill.cli.screen import out, plain, show_rows
from promptmill.crafts.rewrite.finished import finished_rewrite
from promptmill.crafts.rewrite.improve import Improved, improve
from promptmill.errors import InputError
from promptmill.model.gate import Model, run_blocking
from promptmill.model.load import open_backend


def apply_command(prompt: str, rewriter: Path, candidates: int | None, json_: bool) -> None:
    prompt = sys.stdin.read().strip() if prompt == "-" else prompt
    found = improved(prompt, rewriter, candidates)
    if json_:
        print(json.dumps(asdict(found), ensure_ascii=False))
        return
    if found.rewrite is None:
        show_rows([("left alone", found.reason)])
    else:
        out.print(plain(found.rewrite), soft_wrap=True)


def improved(prompt: str, run: Path, candidates: int | None = None) -> Improved:
    """What the rewriter of a run makes of a prompt."""
    if not prompt.strip():
        raise InputError("the prompt is empty; there is nothing to improve")
    done = finished_rewrite(run)
    rewriter = Model(open_backend(done.rewriter))
    predictor = done.predictor()
    count = candidates or done.config.test.candidates

    async def work() -> Improved:
        async with rewriter:
            return await improve(rewriter, done.wording, prompt, count=count, longest=done.config.pairs.longest,
                                 max_tokens=done.config.synthesize.max_tokens, predictor=predictor)  # fmt: skip

    return run_blocking(work())
