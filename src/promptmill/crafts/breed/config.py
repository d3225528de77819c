"""The settings of a breed, with what the paper used beside them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from promptmill.settings import Strict

RACE_CALLS = 1500


class BreedConfig(Strict, frozen=True):
    """Two searches: `race` (an incumbent, reflection on its failures, challengers that stop when they have lost) and
    `paper` (PromptBreeder, arXiv 2309.16797: population 50, 20 to 30 generations, batch 100)."""

    strategy: Literal["race", "paper"] = Field("race", description="which search")
    calls: int | None = Field(
        None, ge=20, description="calls of the search at most, task and writer together (race: 1500; paper: any)"
    )
    proposals: int = Field(2, ge=1, description="children asked for at once (race)")
    sample: int = Field(12, ge=4, description="train examples that an incumbent is first known by (race)")
    accept: float = Field(0.65, gt=0.5, lt=1, description="a challenger wins when it is better with this probability")
    parents: Literal["incumbent", "pareto"] = Field(
        "incumbent", description="whose children: the incumbent's, or those of all that are best on some example (race)"
    )
    plateau: int = Field(0, ge=0, description="stop after so many children in a row that did not win; 0: never")
    target: float = Field(1.0, gt=0, le=1, description="stop when an incumbent's score on its sample is this and sure")
    prompts: Literal[1, 2] = Field(1, description="task prompts applied in turn")
    chain: Literal["as_is", "with", "without", "both"] = Field(
        "as_is", description="prompts are tried with a worked chain, without, or both, the better counting"
    )
    demos: int = Field(0, ge=0, le=8, description="worked examples in a prompt at most; 0: instructions only")
    length_weight: float = Field(0.0, ge=0, description="score given up for a prompt that is 100 tokens shorter")
    operators: Literal["adaptive", "uniform", "in_turn"] = Field(
        "adaptive", description="drawn by what they have brought, evenly, or one after another"
    )
    embedder: str | None = Field(None, description="sentence embeddings for diversity, as minilm; none: n-grams")
    population: int = Field(10, ge=2, description="prompts alive at once (paper)")
    generations: int = Field(6, ge=1, description="rounds of tournaments (paper)")
    batch: int = Field(24, ge=1, description="train examples drawn anew for each generation's fitness (paper)")
    sharing: bool = Field(False, description="fitness is shared among prompts that are alike (paper)")
    finalists: int = Field(4, ge=1, description="prompts besides the seed that meet on dev")
    writer_temperature: float = Field(1.0, ge=0, description="sampling temperature of the writer")
    writer_max_tokens: int = Field(160, ge=1, description="new tokens of a written instruction at most")
    temperature_drift: float = Field(0.0, ge=0, description="change of a child's writer temperature at most")
    eda_shown: int = Field(5, ge=2, description="instructions shown by estimation of distribution")
    lamarckian_shown: int = Field(3, ge=1, description="correct workings out shown by the Lamarckian operator")
    attempts: int = Field(3, ge=1, description="requests to the writer for one child before it is given up (paper)")

    @property
    def most_calls(self) -> int | None:
        """Of the search; None: as many as it takes."""
        return RACE_CALLS if self.calls is None and self.strategy == "race" else self.calls


AS_PAPER: dict[str, Any] = {
    "strategy": "paper", "population": 50, "generations": 20, "batch": 100, "temperature_drift": 0.2, "sharing": True,
    "operators": "uniform",
}  # fmt: skip
"""PromptBreeder's own settings, for `--as-paper`."""
