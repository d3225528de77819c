"""The searches by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from promptmill.crafts.breed import paper, race

if TYPE_CHECKING:
    from promptmill.crafts.breed.breeder import Breeder

SEARCHES: dict[str, Callable[[Breeder], Awaitable[str | None]]] = {"race": race.evolve, "paper": paper.evolve}
"""Each takes a Breeder and gives the reason for an early end, or None."""
