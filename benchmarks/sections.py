"""Figures into the documentation, between markers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def write_section(name: str, lines: Sequence[str], start: str, end: str) -> None:
    """Put the lines between the markers of a page of the documentation."""
    page = DOCS / name
    before, _, rest = page.read_text(encoding="utf-8").partition(start)
    after = rest.partition(end)[2]
    page.write_text(f"{before}{start}\n" + "\n".join(lines) + f"\n{end}{after}", encoding="utf-8")
