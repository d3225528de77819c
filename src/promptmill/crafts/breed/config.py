"""The settings of a breed, with what the paper used beside them."""

from __future__ import annotations

from pydantic import Field

from promptmill.settings import Strict


class BreedConfig(Strict, frozen=True):
    """PromptBreeder (arXiv 2309.16797) on a small budget; the paper has population 50, 20 generations, batch 100."""

    population: int = Field(10, ge=2, description="prompts alive at once (even numbers pair without a rest)")
    generations: int = Field(6, ge=1, description="rounds of tournaments")
    batch: int = Field(24, ge=1, description="train examples drawn anew for each generation's fitness")
    finalists: int = Field(4, ge=1, description="prompts besides the seed that meet on dev")
    zero_order_share: float = Field(0.25, ge=0, le=1, description="share of mutations made from the description alone")
    writer_temperature: float = Field(1.0, ge=0, description="sampling temperature of the writer")
    writer_max_tokens: int = Field(160, ge=1, description="new tokens of a written instruction at most")
    attempts: int = Field(3, ge=1, description="requests to the writer for one child before it is given up")
