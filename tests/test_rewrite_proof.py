"""Trying a prompt and its rewrites before one is offered, with models that answer by rules."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from promptmill.crafts.rewrite.config import RewriteConfig
from promptmill.crafts.rewrite.improve import Improved, improve
from promptmill.crafts.rewrite.proof import Proof
from promptmill.crafts.rewrite.values import Margin
from promptmill.judge.judge import Judge
from promptmill.judge.panel import Panel
from promptmill.model.chat import CallError, Request
from promptmill.model.gate import Model
from promptmill.model.scripted import ScriptedBackend
from tests.judging import RUBRIC, WORDING, Weighted

PROMPT, CLEAR, SAME = "Say it loudly.", "Say it in capital letters.", "Say it with a loud voice."


def answered(request: Request) -> str:
    """The main model shouts where it is told so plainly."""
    told = " ".join(text for _, text in request.messages)
    if "refus" in told:
        raise CallError("refused", "no")
    given = request.messages[-1][1]
    return given.upper() if "capital letters" in told else given


def judged(text: str) -> dict[str, float]:
    output = text.rsplit("Output: ", 1)[-1]
    return {"5": 0.9, "1": 0.1} if output.isupper() else {"1": 0.9, "5": 0.1}


def improved(*rewrites: str, prompt: str = PROMPT, **changes: Any) -> tuple[Improved, list[str]]:
    """What comes of these rewrites, and the inputs that were judged."""
    seen: list[str] = []

    def shares(text: str) -> dict[str, float]:
        seen.append(text)
        return judged(text)

    panel = Panel(
        [Judge(name, Model(Weighted(shares, name)), RUBRIC, WORDING, criteria=("correctness",)) for name in "ab"],
        {"a": 1.0, "b": 1.0},
    )
    config = RewriteConfig.model_validate({"test": {"proof": 3}, **changes})
    main, writer, rewriter = (
        Model(ScriptedBackend(said, name=name, fingerprint=name))
        for name, said in (("main", answered), ("writer", lambda one: f"the cat number {'abcdefgh'[one.repeat]}"),
                           ("rewriter", lambda one: rewrites[one.repeat]))
    )  # fmt: skip

    async def go() -> Improved:
        async with main, writer, rewriter, panel:
            proof = Proof(main, writer, panel, WORDING, config)
            return await improve(rewriter, WORDING, prompt, count=len(rewrites), proof=proof)

    return asyncio.run(go()), seen


def test_a_rewrite_that_does_better_is_offered_with_what_it_gained() -> None:
    found, _ = improved(CLEAR)
    assert found.rewrite == CLEAR
    assert found.expected == pytest.approx(0.8)
    assert "3 inputs" in found.reason


def test_a_rewrite_that_does_no_better_leaves_the_prompt_alone() -> None:
    found, _ = improved(SAME)
    assert found.rewrite is None
    assert "better" in found.reason


def test_a_later_rewrite_is_offered_where_the_first_does_no_better() -> None:
    assert improved(SAME, CLEAR)[0].rewrite == CLEAR


def test_answers_are_judged_by_what_the_prompt_itself_asks_for() -> None:
    _, seen = improved(CLEAR)
    assert all(f"Instruction: {PROMPT}" in text for text in seen)
    assert {f"cat number {name}" in text for text in seen for name in "abc"} == {True, False}
    assert not any("cat number d" in text for text in seen)


def test_a_prompt_that_is_complete_in_itself_is_asked_again_instead() -> None:
    found, seen = improved(CLEAR, synthesize={"inputs": 0}, answer={"temperature": 0.7})
    assert not any("cat number" in text for text in seen)
    assert (found.rewrite, found.reason) == (CLEAR, "better in 3 answers to it")


def test_the_same_answer_over_again_is_one_witness() -> None:
    found, seen = improved(CLEAR, synthesize={"inputs": 0})
    assert (found.rewrite, found.reason) == (CLEAR, "its answer is better")
    assert len(seen) == 2 * 2, "two judges are asked once of the prompt and once of the rewrite"


@pytest.mark.parametrize(
    ("margins", "chosen"),
    [
        ([Margin(0.2, 0.01, 4), Margin(0.9, 0.01, 4)], 0),  # the rewriter's own choice, where it is better at all
        ([Margin(0.05, 0.01, 4), Margin(0.3, 0.01, 4), Margin(0.4, 0.01, 4)], 2),
        ([Margin(0.05, 0.01, 4), None], None),
        ([Margin(0.3, 0.5, 4)], None),
        ([], None),
    ],
)
def test_only_what_is_better_beyond_doubt_is_offered(margins: list[Margin | None], chosen: int | None) -> None:
    config = RewriteConfig.model_validate({"test": {"margin": 0.12}, "pairs": {"z": 1}})
    nobody: Any = None
    assert Proof(nobody, nobody, nobody, WORDING, config).best(margins) == chosen


def test_what_could_not_be_tried_is_said_and_is_no_word_on_the_prompt() -> None:
    found, _ = improved("Say it, for refusal.", prompt="refuse it")
    assert found.untried
    assert "refused: no" in found.reason
