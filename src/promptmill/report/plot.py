"""Where things stand in a plot: per cent of its width and height, so that it fits any screen.

Lines and dots are SVG paths in a square of 100 × 100 that is stretched; labels are text at such places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from promptmill.report.blocks import BarPlot, LinePlot, Series, Verdict


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """A series as a path; dots are strokes without length whose ends are round."""

    name: str
    path: str
    dots: bool


@dataclass(frozen=True, slots=True)
class Axes:
    x: Sequence[Tick]
    y: Sequence[Tick]
    drawn: Sequence[Drawn]


@dataclass(frozen=True, slots=True)
class Ruler:
    """An interval on a scale. Places in per cent; zero: of the value that means "no gain", None where there is none."""

    value: float
    lo: float
    hi: float
    zero: float | None
    ticks: Sequence[Tick]


SMALLEST = 1e-300
"""A span below this is none: its steps could not be told apart."""


def nice_ticks(lo: float, hi: float, about: int = 5, least: float = 0.0) -> list[float]:
    """Round numbers that span lo to hi: steps of 1, 2 or 5 times a power of ten, or of `least` where that is more."""
    if not hi - lo > SMALLEST:
        pad = abs(lo) * 0.1 or 0.5
        lo, hi = lo - pad, hi + pad
    raw = (hi - lo) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = max(least, next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999))
    first, last = math.floor(lo / step + 1e-9), math.ceil(hi / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [round(i * step, digits) for i in range(first, last + 1)]


def axes(plot: LinePlot) -> Axes | None:
    """None where there is nothing to draw."""
    points = [point for series in plot.series for point in series.points if all(map(math.isfinite, point))]
    if not points:
        return None
    right = max(x for x, _ in points)
    whole = all(float(x).is_integer() for x, _ in points)  # of rounds and steps there are no halves
    xs = nice_ticks(*_span([x for x, _ in points]), least=1.0 if whole else 0.0)
    ys = nice_ticks(*_span([y for _, y in points]))
    if plot.bounds:
        ys = [y for y in ys if plot.bounds[0] <= y <= plot.bounds[1]]
    width = (xs[0], right if right > xs[0] else xs[-1])  # no empty paper to the right of the last point
    drawn = [_draw(series, width, ys) for series in plot.series if series.points]
    return Axes(_ticks([x for x in xs if x <= width[1]], width), _ticks(ys, ys), drawn)


def _draw(series: Series, xs: Sequence[float], ys: Sequence[float]) -> Drawn:
    places = [(_place(x, xs), 100 - _place(y, ys)) for x, y in series.points if math.isfinite(x) and math.isfinite(y)]
    if series.style == "dots":
        return Drawn(series.name, "".join(f"M{x:.2f} {y:.2f}h0" for x, y in places), True)
    path = ""
    for at, (x, y) in enumerate(places):
        path += (
            f"M{x:.2f} {y:.2f}" if at == 0 else f"H{x:.2f}V{y:.2f}" if series.style == "steps" else f"L{x:.2f} {y:.2f}"
        )
    return Drawn(series.name, path, False)


def ruler(verdict: Verdict) -> Ruler | None:
    """None where value or interval is not known."""
    value, lo, hi = verdict.value, verdict.lo, verdict.hi
    if value is None or lo is None or hi is None or not all(map(math.isfinite, (value, lo, hi))):
        return None
    if verdict.whole:
        ticks, zero = [0.0, 0.25, 0.5, 0.75, 1.0], None
    else:
        reach = max(abs(value), abs(lo), abs(hi), 0.01)
        half = nice_ticks(0, reach, 2)[-1]
        ticks, zero = [-half, -half / 2, 0.0, half / 2, half], 50.0
    places = [_place(one, ticks) for one in (value, lo, hi)]
    return Ruler(places[0], places[1], places[2], zero, _ticks(ticks, ticks, signed=not verdict.whole))


def bar_widths(plot: BarPlot) -> list[float]:
    """Per cent of the longest bar."""
    most = max((abs(value) for _, value in plot.bars), default=0.0)
    return [100 * abs(value) / most if most else 0.0 for _, value in plot.bars]


def _span(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _place(value: float, ticks: Sequence[float]) -> float:
    return 100 * (value - ticks[0]) / (ticks[-1] - ticks[0])


def _ticks(values: Sequence[float], span: Sequence[float], signed: bool = False) -> list[Tick]:
    digits = max(_digits(value) for value in values)
    return [Tick(_place(value, span), _label(value, digits, signed)) for value in values]


def _label(value: float, digits: int, signed: bool) -> str:
    text = f"{value:+,.{digits}f}" if signed and value else f"{value:,.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _digits(value: float) -> int:
    """Decimals that a round number needs."""
    return next((n for n in range(7) if abs(round(value, n) - value) < 1e-9), 7)
