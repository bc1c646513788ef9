"""Charts as inline SVG, drawn by the server; colours and fonts are in the style sheet, for light and for dark.

Marks differ in shape as well as in colour, lines carry their names at their right end, and every mark has a tooltip.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from markupsafe import Markup, escape

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 62, 12, 40
_ROW, _NAME, _NOTE = 26, 130, 130
_LABEL_GAP = 13.0
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Point:
    """One value of a line.

    Attributes:
        x: Where.
        y: The value, or None where it is not known: the line is broken there.
        mark: ``dot`` on the line, ``ring`` beside it (joined to nothing), or empty for no mark.
        note: Tooltip.
    """

    x: float
    y: float | None
    mark: str = ""
    note: str = ""


@dataclass(frozen=True)
class Line:
    """A named line of points in order of x."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Bar:
    """A value with its interval, one row of an interval chart.

    Attributes:
        name: Left of it.
        value: The value.
        low: Lower bound of the interval, or None.
        high: Upper bound, or None.
        note: Right of it.
        tone: ``good``, ``bad`` or empty.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""
    tone: str = ""


@dataclass(frozen=True)
class _Scale:
    """Numbers from ``low`` to ``high`` onto pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...] = field(default=())

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def line_chart(
    lines: Sequence[Line],
    *,
    label: str,
    x_label: str,
    y_label: str,
    whole_x: bool = False,
    from_zero: bool = False,
    size: tuple[int, int] = (560, 270),
) -> Markup:
    """Lines over a common x axis.

    Args:
        lines: At most four can be told apart by colour.
        label: What the picture shows, for those who hear it.
        x_label: Under the x axis.
        y_label: Above the y axis.
        whole_x: Whether x has whole numbers only.
        from_zero: Whether the y axis begins at 0.
        size: Width and height in pixels.
    """
    width, height = size
    known = [(point.x, point.y) for line in lines for point in line.points if point.y is not None]
    xs, ys = [x for x, _ in known] or [0.0], [y for _, y in known] or [0.0]
    across = _scale(min(xs), max(xs), _LEFT, width - _RIGHT, count=8, whole=whole_x, snug=True)
    up = _scale(0.0 if from_zero else min(ys), max(ys), height - _BOTTOM, _TOP + 14, count=5)
    parts = [_open(width, height, label), _text(4, _TOP, y_label, "axis")]
    for tick in up.ticks:
        y = up(tick)
        parts += [_rule(_LEFT, y, width - _RIGHT, y, "grid"), _text(_LEFT - 7, y + 4, _number(tick, up), "tick end")]
    for tick in across.ticks:
        parts.append(_text(across(tick), height - _BOTTOM + 17, _number(tick, across), "tick middle"))
    parts.append(_text((_LEFT + width - _RIGHT) / 2, height - 5, x_label, "axis middle"))
    ends = []
    for index, line in enumerate(lines, start=1):
        parts += _line(line, across, up, f"line-{index}")
        on_line = [point for point in line.points if point.y is not None and point.mark != "ring"]
        if on_line and on_line[-1].y is not None:
            ends.append((up(on_line[-1].y), across(on_line[-1].x), line.name, f"line-{index}"))
    parts += [_text(x + 9, y + 4, name, f"name {style}") for y, x, name, style in _apart(ends)]
    return Markup("").join([*parts, Markup("</svg>")])


def interval_chart(bars: Sequence[Bar], *, label: str, x_label: str, centre: bool = False, width: int = 560) -> Markup:
    """Values with their intervals, one row each, on one axis.

    Args:
        bars: The rows.
        label: What the picture shows, for those who hear it.
        x_label: Under the axis.
        centre: Whether 0 gets a line, as for gains; else the axis begins at 0.
        width: Pixels.
    """
    bottom = 10 + _ROW * len(bars)
    edges = [edge for bar in bars for edge in (bar.value, bar.low, bar.high) if edge is not None] or [0.0]
    across = _scale(min(0.0, *edges), max(0.0, *edges), _NAME, width - _NOTE, count=5)
    parts = [_open(width, bottom + 40, label)]
    for tick in across.ticks:
        x = across(tick)
        parts += [_rule(x, 4, x, bottom, "grid"), _text(x, bottom + 16, _number(tick, across), "tick middle")]
    if centre:
        parts.append(_rule(across(0), 4, across(0), bottom, "zero"))
    for index, bar in enumerate(bars):
        y = 10 + _ROW * (index + 0.5)
        style = f"bar {bar.tone}".strip()
        parts.append(_text(_NAME - 10, y + 4, _short(bar.name), "name end", bar.name))
        if bar.low is not None and bar.high is not None:
            parts.append(_rule(across(bar.low), y, across(bar.high), y, style))
        shown = f"{bar.name}: {bar.value:.3f}" + (
            f" ({bar.low:.3f} to {bar.high:.3f})" if bar.low is not None and bar.high is not None else ""
        )
        parts.append(_circle(across(bar.value), y, 5, style, shown))
        parts.append(_text(width - _NOTE + 10, y + 4, bar.note, "note"))
    parts.append(_text((_NAME + width - _NOTE) / 2, bottom + 35, x_label, "axis middle"))
    return Markup("").join([*parts, Markup("</svg>")])


def _line(line: Line, across: _Scale, up: _Scale, style: str) -> Iterator[Markup]:
    runs: list[list[str]] = [[]]
    for point in line.points:
        if point.mark == "ring":
            continue
        if point.y is None:
            runs.append([])
        else:
            runs[-1].append(f"{across(point.x):.1f},{up(point.y):.1f}")
    for run in runs:
        if len(run) > 1:
            yield Markup('<polyline class="{}" points="{}"/>').format(style, " ".join(run))
    for point in line.points:
        if point.y is not None and point.mark:
            yield _circle(across(point.x), up(point.y), 4, f"{point.mark} {style}", point.note)


def _scale(
    low: float, high: float, start: float, end: float, *, count: int, whole: bool = False, snug: bool = False
) -> _Scale:
    """An axis that ends at its outermost ticks, or, ``snug``, at its outermost values."""
    if high - low < 1e-9:
        low, high = (low - 1, high + 1) if whole or snug else (low - 0.05, high + 0.05)
    step = 10.0 ** math.floor(math.log10((high - low) / count))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if (high - low) / (step * factor) <= count)
    if whole:
        step = max(1.0, float(math.ceil(step)))
    if snug:
        first, last = math.ceil(low / step - _ROUNDING), math.floor(high / step + _ROUNDING)
    else:
        first, last = math.floor(low / step + _ROUNDING), math.ceil(high / step - _ROUNDING)
    ticks = tuple(index * step for index in range(first, last + 1))
    return _Scale(low, high, start, end, ticks) if snug else _Scale(ticks[0], ticks[-1], start, end, ticks)


def _apart(ends: Iterable[tuple[float, float, str, str]]) -> Iterator[tuple[float, float, str, str]]:
    """The names of lines pushed down so far that none covers another."""
    ordered = sorted(ends)
    places = [y for y, *_ in ordered]
    for index, (above, below) in enumerate(pairwise(places), start=1):
        places[index] = max(below, max(above, places[index - 1]) + _LABEL_GAP)
    for place, (_, x, name, style) in zip(places, ordered, strict=True):
        yield place, x, name, style


def _number(value: float, scale: _Scale) -> str:
    step = scale.ticks[1] - scale.ticks[0] if len(scale.ticks) > 1 else 1.0
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, decimals) != round(step, 9):  # steps of 2.5 need one more
        decimals += 1
    return f"{value if round(value, decimals) else 0:.{decimals}f}"


def _short(name: str, longest: int = 18) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _open(width: int, height: int, label: str) -> Markup:
    opening = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    return opening.format(width, height, label)


def _text(x: float, y: float, text: str, style: str, full: str = "") -> Markup:
    tooltip = Markup("<title>{}</title>").format(full) if full and full != text else Markup("")
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}{}</text>').format(style, x, y, tooltip, escape(text))


def _rule(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    shape = Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
    return shape.format(style, x1, y1, x2, y2)


def _circle(x: float, y: float, radius: float, style: str, note: str) -> Markup:
    shape = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>')
    return shape.format(style, x, y, radius, note)
