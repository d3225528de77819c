"""The settings of a breed, with what the paper used beside them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from promptmill.settings import Strict


class BreedConfig(Strict, frozen=True):
    """Two searches: `race` (an incumbent, reflection on its failures, challengers that stop when they have lost) and
    `paper` (PromptBreeder, arXiv 2309.16797: population 50, 20 to 30 generations, batch 100)."""

    strategy: Literal["race", "paper"] = Field("race", description="which search")
    calls: int = Field(1500, ge=20, description="calls of the search, task and writer together (race)")
    proposals: int = Field(2, ge=1, description="children asked for at once (race)")
    sample: int = Field(12, ge=4, description="train examples that an incumbent is first known by (race)")
    accept: float = Field(0.65, gt=0.5, lt=1, description="a challenger wins when it is better with this probability")
    plateau: int = Field(0, ge=0, description="stop after so many children in a row that did not win; 0: never")
    target: float = Field(1.0, gt=0, le=1, description="stop when an incumbent's score on its sample is this and sure")
    demos: int = Field(0, ge=0, le=8, description="worked examples in a prompt at most; 0: instructions only")
    adaptive: bool = Field(True, description="operators are drawn by what they have brought, else evenly")
    population: int = Field(10, ge=2, description="prompts alive at once (paper)")
    generations: int = Field(6, ge=1, description="rounds of tournaments (paper)")
    batch: int = Field(24, ge=1, description="train examples drawn anew for each generation's fitness (paper)")
    finalists: int = Field(4, ge=1, description="prompts besides the seed that meet on dev")
    writer_temperature: float = Field(1.0, ge=0, description="sampling temperature of the writer")
    writer_max_tokens: int = Field(160, ge=1, description="new tokens of a written instruction at most")
    temperature_drift: float = Field(0.0, ge=0, description="change of a child's writer temperature at most")
    attempts: int = Field(3, ge=1, description="requests to the writer for one child before it is given up")


AS_PAPER: dict[str, Any] = {
    "strategy": "paper", "population": 50, "generations": 20, "batch": 100, "temperature_drift": 0.2,
}  # fmt: skip
"""PromptBreeder's own settings, for `--as-paper`."""
