"""What a report page is made of: plain data, no markup. Every text is shown as it is, whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

Cell = str | int | float | None
"""A float is shown with three decimals, an int with thousands set apart, None as a dash."""
Tone = Literal["good", "bad", "open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """title: heading of a section, none where empty. note: a line below the block that says how to read it."""

    kind: ClassVar[str]
    title: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Facts(Block):
    """Labels and values."""

    rows: Sequence[tuple[str, Cell]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True, slots=True)
class Verdict(Block):
    """One sentence. With value, lo and hi its interval is drawn: around zero, or from 0 to 1 where `whole`."""

    sentence: str
    tone: Tone = "open"
    value: float | None = None
    lo: float | None = None
    hi: float | None = None
    whole: bool = False
    kind: ClassVar[str] = "verdict"


@dataclass(frozen=True, slots=True)
class Table(Block):
    """A column of numbers is set flush right. strong: indices of rows that stand out."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    strong: Sequence[int] = ()
    kind: ClassVar[str] = "table"

    def numeric(self, column: int) -> bool:
        """Whether a column holds numbers and nothing else."""
        return all(not isinstance(row[column], str) for row in self.rows)


@dataclass(frozen=True, slots=True)
class Series:
    """Points of a plot. steps: a line that holds each value until the next; dots: no line."""

    name: str
    points: Sequence[tuple[float, float]]
    style: Literal["line", "steps", "dots"] = "line"


@dataclass(frozen=True, slots=True)
class LinePlot(Block):
    """Several series over one pair of axes. bounds: of what y can be at all; the axis does not go beyond."""

    series: Sequence[Series]
    x: str
    y: str
    bounds: tuple[float, float] | None = None
    kind: ClassVar[str] = "lines"


@dataclass(frozen=True, slots=True)
class BarPlot(Block):
    """Horizontal bars from zero, values written beside them. x: what the values are."""

    bars: Sequence[tuple[str, float]]
    x: str
    kind: ClassVar[str] = "bars"


@dataclass(frozen=True, slots=True)
class WordDiff(Block):
    """Two texts side by side, the words that were lost and gained marked."""

    before: str
    after: str
    names: tuple[str, str] = ("before", "after")
    kind: ClassVar[str] = "diff"


@dataclass(frozen=True, slots=True)
class Step:
    """A node of a tree. label: how it came about (an operator); text: what it is; values: name and score."""

    label: str
    text: str
    values: Sequence[tuple[str, Cell]] = ()
    strong: bool = False
    children: Sequence[Step] = ()

    @property
    def chain(self) -> Sequence[Step]:
        """This step and those after it, as far as there is only one way on."""
        line = [self]
        while len(line[-1].children) == 1:
            line.append(line[-1].children[0])
        return line


@dataclass(frozen=True, slots=True)
class Tree(Block):
    """Steps from a root; only where there are several children are they set in, so that a long line stays readable."""

    root: Step
    kind: ClassVar[str] = "tree"


@dataclass(frozen=True, slots=True)
class Shown:
    """An example with its answers under one prompt or two; None where no answer came."""

    input: str
    gold: str
    after: str | None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Examples(Block):
    """Examples with answers. groups: heading → examples (gained, lost). names: what the answers are called; without a
    name for `before` there is one prompt only."""

    groups: Mapping[str, Sequence[Shown]]
    names: tuple[str, str] = ("before", "after")
    kind: ClassVar[str] = "examples"


@dataclass(frozen=True, slots=True)
class Text(Block):
    """Plain text. verbatim: line breaks and spaces are kept (a prompt). name: a small heading, as that of a part."""

    text: str
    verbatim: bool = False
    name: str = ""
    kind: ClassVar[str] = "text"


@dataclass(frozen=True, slots=True)
class Page:
    """A whole report. craft: the kind of run, set small above the title."""

    title: str
    subtitle: str
    blocks: Sequence[Block]
    craft: str = ""
