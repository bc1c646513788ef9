"""Numbers, times and states as a person reads them; what is not known is a dash."""

from __future__ import annotations

import math
from typing import Any

DASH = "–"
MODES = {
    "assisted": "people see every proposal and decide",
    "semi-automatic": "people see confident regions only and add the rest",
    "automatic": "the machine annotates tasks beyond doubt while the last round was promoted; people review a sample",
}
STAGES = {
    "data": "reading corrections and images",
    "training": "training the adapter",
    "classes": "fitting the class head",
    "evaluating": "measuring both versions on the held-out part",
    "gallery": "drawing the worst and the most disputed regions",
}
FIGURES = {
    "primary": "mean IoU (box, 1, 3, 5 clicks)",
    "iou_box": "IoU with a box",
    "iou_1": "IoU at 1 click",
    "iou_3": "IoU at 3 clicks",
    "iou_5": "IoU at 5 clicks",
    "boundary_iou_5": "boundary IoU at 5 clicks",
    "noc85": "clicks to IoU 0.85",
    "noc90": "clicks to IoU 0.90",
    "failed85": "share that never reaches 0.85",
    "miou": "mIoU of pre-annotations",
    "class_accuracy": "class accuracy of pre-annotations",
    "calibration_error": "calibration error of predicted IoU",
}
FEWER_IS_BETTER = frozenset({"noc85", "noc90", "failed85", "calibration_error"})


def number(value: Any) -> float | None:
    """A finite number out of JSON, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def figure(value: Any, digits: int = 3) -> str:
    """A number with so many decimals."""
    known = number(value)
    return DASH if known is None else f"{known:.{digits}f}"


def signed(value: Any, digits: int = 3) -> str:
    """A difference with its sign."""
    known = number(value)
    return DASH if known is None else f"{known:+.{digits}f}".replace("-", "−")


def count(value: Any) -> str:
    """A whole number with its thousands apart."""
    known = number(value)
    return DASH if known is None else f"{known:,.0f}".replace(",", " ")


def percent(value: Any) -> str:
    """A share."""
    known = number(value)
    return DASH if known is None else f"{100 * known:.0f} %"


def duration(value: Any) -> str:
    """Seconds as hours, minutes and seconds, the two largest of them."""
    known = number(value)
    if known is None or known < 0:
        return DASH
    if known < 10:
        return f"{known:.1f} s"
    minutes, seconds = divmod(round(known), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    if minutes:
        return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
    return f"{seconds} s"


def moment(value: str) -> str:
    """An ISO 8601 time in UTC to the minute."""
    return f"{value[:10]} {value[11:16]}" if len(value) >= 16 else DASH


def prompt(name: str) -> str:
    """A prompt type of the gate."""
    return {"box": "box", "1": "1 click"}.get(name, f"{name} clicks")
