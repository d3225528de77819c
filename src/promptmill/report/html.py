"""From a page to one HTML file that needs nothing else: no script, and no style or picture from anywhere."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptmill.report.blocks import Cell, Page
from promptmill.report.diff import word_diff
from promptmill.report.plot import axes, bar_widths, ruler

if TYPE_CHECKING:
    from jinja2 import Environment

MOST = 1200
"""Characters of an example's text that are shown; the rest is counted."""
# What a browser would drop or act upon is shown as a sign: control codes, and codes that turn the direction of writing.
SIGNS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}
SIGNS |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)], 0xFFFD)


def render(page: Page) -> str:
    """The page as HTML. Everything in it is escaped: what a prompt or an answer says is text, whatever it is like."""
    return _environment().get_template("page.html.j2").render(page=page)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
                       finalize=_finalize, trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    made.globals.update(axes=axes, ruler=ruler, bar_widths=bar_widths, word_diff=word_diff)
    made.filters.update(cell=cell, clip=clip)
    return made


def cell(value: Cell) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "\N{EN DASH}"
    if isinstance(value, float):
        return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")
    return f"{value:,}" if isinstance(value, int) else value


def clip(text: str) -> str:
    """The beginning of a long text, and how much more there is."""
    more = len(text) - MOST
    return text if more <= 0 else f"{text[:MOST]} … ({more:,} more characters)"


def _finalize(value: Any) -> Any:
    return value.translate(SIGNS) if type(value) is str else value
