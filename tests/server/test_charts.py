from __future__ import annotations

import re
from itertools import pairwise

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import given
from hypothesis import strategies as st

from maskwright.server.dashboard.charts import Bar, Line, Point, interval_chart, line_chart

NUMBERS = st.floats(-1e4, 1e4, allow_nan=False).map(lambda value: round(value, 4))
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="￾￿"), max_size=30)
POINTS = st.lists(st.builds(Point, NUMBERS, st.none() | NUMBERS, st.sampled_from(["", "dot", "ring"]), NAMES))
LINES = st.lists(st.builds(Line, NAMES, POINTS.map(tuple)), max_size=4)


def places(svg: str) -> list[tuple[str, float]]:
    found = re.findall(r'\b(x1|x2|y1|y2|cx|cy)="([^"]+)"', svg)
    pairs = [("cx", x) for points in re.findall(r'points="([^"]+)"', svg) for x in re.findall(r"([\d.-]+),", points)]
    return [(name, float(value)) for name, value in [*found, *pairs]]


@given(LINES, st.booleans())
def test_every_mark_of_a_line_chart_lies_inside_it_whatever_the_numbers_and_names(lines, whole):
    svg = line_chart(lines, label="a <b>", x_label="x", y_label="y", whole_x=whole)
    fromstring(str(svg))
    assert all(-1 <= value <= (561 if "x" in name else 271) for name, value in places(svg))


@given(st.lists(st.builds(Bar, NAMES, NUMBERS, st.none() | NUMBERS, st.none() | NUMBERS, NAMES), min_size=1))
def test_every_interval_lies_inside_its_chart(bars):
    svg = interval_chart(bars, label="gains", x_label="gain", centre=True)
    fromstring(str(svg))
    assert all(-1 <= value <= 561 for name, value in places(svg) if "x" in name)


def test_names_cannot_break_out_of_a_chart():
    bad = '"><script>alert(1)</script>'
    svg = interval_chart([Bar(bad, 0.5, 0.4, 0.6, bad)], label=bad, x_label=bad)
    svg += line_chart([Line(bad, (Point(0, 1, "dot", bad),))], label=bad, x_label=bad, y_label=bad)
    assert "<script" not in svg
    assert "&lt;script" in svg


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ((0.52, 0.93), ["0.5", "0.6", "0.7", "0.8", "0.9", "1.0"]),
        ((7.4, 2.1), ["2", "4", "6", "8"]),
        ((100.0, 112.0), ["100.0", "102.5", "105.0", "107.5", "110.0", "112.5"]),
    ],
)
def test_the_axis_has_round_numbers_around_the_values(values, ticks):
    svg = line_chart(
        [Line("", tuple(Point(x, y) for x, y in enumerate(values)))], label="", x_label="", y_label="", whole_x=True
    )
    assert re.findall(r'class="tick end"[^>]*>([^<]+)<', svg) == ticks


def test_a_line_is_broken_where_a_value_is_unknown_and_a_ring_is_joined_to_nothing():
    points = (Point(0, 1.0), Point(1, 2.0), Point(1, 5.0, "ring"), Point(2, None), Point(3, 3.0), Point(4, 4.0))
    svg = line_chart([Line("n", points)], label="", x_label="", y_label="")
    assert [len(run.split()) for run in re.findall(r'points="([^"]+)"', svg)] == [2, 2]
    assert svg.count("<circle") == 1


def test_names_at_the_ends_of_lines_do_not_cover_each_other():
    lines = [Line(name, (Point(0, 0.0), Point(1, value))) for name, value in (("a", 0.9), ("b", 0.901), ("c", 0.902))]
    svg = line_chart(lines, label="", x_label="", y_label="")
    heights = sorted(float(y) for y in re.findall(r'class="name line-\d" x="[^"]+" y="([^"]+)"', svg))
    assert all(below - above >= 12 for above, below in pairwise(heights))


def test_a_chart_of_nothing_is_still_a_chart():
    fromstring(str(line_chart([], label="", x_label="", y_label="")))
