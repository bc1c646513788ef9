"""The charts of the pages: what they show, and in which words."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from maskwright.server.dashboard.charts import Bar, Line, Point, interval_chart, line_chart
from maskwright.server.dashboard.report import Compared, Group, Report
from maskwright.server.dashboard.words import count, figure, prompt
from maskwright.store.rounds import RoundState

_PROMPTS = {"iou_box": "box", "iou_5": "5 clicks", "iou_3": "3 clicks", "iou_1": "1 click"}
_MOST_BARS = 20


def learning_curve(reports: Sequence[Report]) -> Markup | None:
    """IoU by round: lines of the version in service after each round, rings for candidates that were refused.

    Args:
        reports: Of finished rounds, oldest first.
    """
    return _by_round(reports, _PROMPTS, "IoU by round, for a box and for 1, 3 and 5 clicks", "IoU", from_zero=False)


def clicks_curve(reports: Sequence[Report]) -> Markup | None:
    """Clicks per object by round, likewise."""
    names = {"noc85": "to 0.85", "noc90": "to 0.90"}
    return _by_round(reports, names, "Clicks per object by round", "clicks per object", from_zero=True)


def _by_round(
    reports: Sequence[Report], names: dict[str, str], label: str, y_label: str, *, from_zero: bool
) -> Markup | None:
    measured = [report for report in reports if any(report.after.get(name) is not None for name in names)]
    if not measured:
        return None
    lines = [Line(words, tuple(_points(measured, name, words))) for name, words in names.items()]
    known = [line for line in lines if any(point.y is not None for point in line.points)]
    return line_chart(known, label=label, x_label="round", y_label=y_label, whole_x=True, from_zero=from_zero)


def _points(reports: Sequence[Report], name: str, words: str) -> list[Point]:
    first = reports[0]
    before, start = first.served.get(name), first.round.number - 1
    points = [Point(start, before, "dot", f"before round {first.round.number}, {words}: {figure(before)}")]
    for report in reports:
        number = report.round.number
        points.append(Point(number, report.after.get(name), *_mark(report, report.after.get(name), words)))
        tried = report.candidate.get(name)
        if report.round.state is not RoundState.PROMOTED and tried is not None:
            points.append(Point(number, tried, "ring", f"round {number}, {words}: {figure(tried)}, not promoted"))
    return points


def _mark(report: Report, value: float | None, words: str) -> tuple[str, str]:
    if report.round.state is RoundState.PROMOTED:
        return "dot", f"round {report.round.number}, {words}: {figure(value)}, promoted"
    return "", ""


def training_charts(report: Report) -> list[Markup]:
    """Loss by step, and IoU on the validation part where it was measured."""
    steps = report.curve
    size = (560, 240)
    found = []
    loss = [Point(step, loss) for step, loss, _ in steps if loss is not None]
    iou = [Point(step, iou, "dot", f"step {step:g}: {iou:.3f}") for step, _, iou in steps if iou is not None]
    for name, points in (("loss", loss), ("validation IoU", iou)):
        if points:
            line = Line("", tuple(points))
            label = f"{name} by training step"
            found.append(line_chart([line], label=label, x_label="step", y_label=name, whole_x=True, size=size))
    return found


def gain_chart(rows: Sequence[Compared], what: str) -> Markup | None:
    """The gain in IoU of each prompt type or class, with its interval."""
    bars = [
        Bar(
            prompt(row.name) if what == "prompt" else row.name,
            row.gain,
            row.low,
            row.high,
            f"{figure(row.served)} → {figure(row.candidate)}",
            _tone(row),
        )
        for row in rows[:_MOST_BARS]
    ]
    label = f"gain in IoU by {what}, with intervals"
    return interval_chart(bars, label=label, x_label="gain in IoU", centre=True) if bars else None


def _tone(row: Compared) -> str:
    if row.low is not None and row.low > 0:
        return "good"
    return "bad" if row.high is not None and row.high < 0 else ""


def group_chart(groups: Sequence[Group], field: str) -> Markup | None:
    """The error of each group, with its interval; groups whose interval lies above another's are marked."""
    least = min((group.high for group in groups if group.high is not None), default=None)
    bars = [
        Bar(
            group.name or "(empty)",
            group.error,
            group.low,
            group.high,
            f"{figure(group.error)} · {count(group.objects)} objects",
            "bad" if least is not None and group.low is not None and group.low > least else "",
        )
        for group in groups[:_MOST_BARS]
    ]
    label = f"error by {field}, with intervals"
    return interval_chart(bars, label=label, x_label="error (1 − IoU)") if bars else None
