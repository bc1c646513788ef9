"""The context of a click: which of the regions in it are the prompt, and what they point at.

The browser repeats every unaccepted prompt of the same label and type with each new one, in drawing order, and REST
callers may mix several labels, controls and finished regions. The last prompt drawn decides: only what belongs to the
same region (same label, same image, compatible control) is read, so the time does not depend on what else is there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskwright.errors import InvalidInput
from maskwright.masks import Mask
from maskwright.prompts import Box, Prompt, Scribble
from maskwright_label_studio.bitmask import decode_bitmask
from maskwright_label_studio.body import RequestBody
from maskwright_label_studio.brush import decode_brush
from maskwright_label_studio.config import REMARKS, ControlTag, LabelingConfig, Shape
from maskwright_label_studio.geometry import ellipse_outline, rectangle_corners, to_pixels
from maskwright_label_studio.image_tags import ImageTag
from maskwright_label_studio.strokes import strokes_of

MAX_POINTS = 1000
MAX_PAINTED = 16
_PROMPT_FAMILY: Mapping[Shape, tuple[Shape, ...]] = {
    "keypoint": ("keypoint", "rectangle"),
    "rectangle": ("rectangle", "keypoint"),
    "brush": ("brush",),
    "bitmask": ("bitmask",),
    "polygon": ("polygon",),
    "ellipse": ("ellipse",),
    "textarea": ("textarea",),
}


@dataclass(frozen=True)
class PromptGroup:
    """The region in hand.

    Attributes:
        items: Its prompts as sent, oldest first.
        control: Control of the last one.
        image: Image that it is drawn on.
        item_index: Which image of a value list, or None.
        labels: Labels that were selected, normally one; empty for a phrase.
        phrase: What was typed, or None.
    """

    items: tuple[tuple[Shape, Mapping[str, Any]], ...]
    control: ControlTag
    image: ImageTag
    item_index: int | None
    labels: tuple[str, ...]
    phrase: str | None = None

    def prompt(self, size: tuple[int, int], body: RequestBody) -> Prompt:
        """The prompt in pixels of an image of ``size`` (h, w); coordinates beyond the image are moved to its edge.

        Points and one rectangle combine. A turned rectangle becomes the upright box around it. A polygon or an ellipse
        becomes the box around it and a point deep inside; see ``outline``. Painted strokes become scribbles.

        Raises:
            InvalidInput: If a number is missing, not finite, or the image is turned in the editor.
        """
        points: list[tuple[float, float, int]] = []
        scribbles: list[Scribble] = []
        box: Box | None = None
        for shape, item in self.items:
            value = item["value"]
            positive = item.get("is_positive") is not False
            if shape == "keypoint":
                x, y = to_pixels(value, ("x", "y"), size)
                points.append((_clamp(x, size[1]), _clamp(y, size[0]), int(positive)))
            elif shape == "rectangle":
                box = _box_around(rectangle_corners(value, size), size)
            elif shape in ("polygon", "ellipse"):
                outline = _outline(shape, value, size)
                box = _box_around(outline, size)
                points = [(*_deepest(outline, box, size), 1)]
            elif shape in ("brush", "bitmask"):
                painted = _painted(shape, item, size, body)
                scribbles += strokes_of(painted, positive=positive)
        prompt = Prompt.from_points(points, box, self.phrase)
        return Prompt(prompt.point_coords, prompt.point_labels, box, tuple(scribbles), None, self.phrase)

    def outline(self, size: tuple[int, int]) -> Mask | None:
        """What a polygon or an ellipse holds of an image of ``size`` (h, w); None for others, and if that is no pixel.

        Raises:
            InvalidInput: If a number is missing or not finite.
        """
        shape, item = self.items[-1]
        if shape not in ("polygon", "ellipse"):
            return None
        area = Mask.from_polygons([_outline(shape, item["value"], size)], size)
        return None if area.is_empty else area


def prompt_group(context: Mapping[str, Any] | None, config: LabelingConfig) -> PromptGroup | None:
    """Find the region in hand in a context; None where it holds no prompt.

    Raises:
        InvalidInput: If the context is malformed, or the last prompt names a control that the configuration lacks.
    """
    results = (context or {}).get("result")
    if results is None:
        return None
    if not isinstance(results, list) or not all(isinstance(item, dict) for item in results):
        raise InvalidInput("the context's 'result' must be a list of regions")
    names = _labels_by_id(results)
    prompts = [(control, item) for item in results if (control := _prompting_control(item, config)) is not None]
    # A control with smart="false" sends no prompts: what it drew is finished. Hand-made contexts may have nothing else.
    prompts = [pair for pair in prompts if pair[0].smart] or prompts
    if not prompts:
        return None
    control, last = prompts[-1]
    labels, place = _labels_of(last, names), _place(last)
    family = _PROMPT_FAMILY[control.shape]
    items = [
        (other.shape, item)
        for other, item in prompts
        if other.shape in family and _place(item) == place and _labels_of(item, names) == labels
    ]
    if last.get("image_rotation") not in (None, 0):
        raise InvalidInput("the image is turned in the editor; turn it back to use the assistant")
    return PromptGroup(
        items=_of_one_region(control.shape, items),
        control=control,
        image=config.image(str(place[0]) if place[0] is not None else None),
        item_index=place[1],
        labels=labels,
        phrase=_phrase(last) if control.shape == "textarea" else None,
    )


def prompts_from_context(
    context: Mapping[str, Any] | None, config: LabelingConfig, size: tuple[int, int]
) -> tuple[PromptGroup, Prompt] | None:
    """``prompt_group`` and its prompt for an image of ``size`` (h, w) at once; None where there is no prompt."""
    group = prompt_group(context, config)
    return (group, group.prompt(size, RequestBody({}))) if group is not None else None


def _prompting_control(item: Mapping[str, Any], config: LabelingConfig) -> ControlTag | None:
    control = config.control(item.get("from_name"))
    if control is None:
        if str(item.get("type", "")).removesuffix("labels") in _PROMPT_FAMILY:
            raise InvalidInput(f"the configuration has no control named {item.get('from_name')!r}")
        return None
    if control.shape not in _PROMPT_FAMILY or (control.shape == "textarea" and control.name == REMARKS):
        return None
    if not isinstance(item.get("value"), dict):
        raise InvalidInput("a region of the context has no 'value'")
    return control


def _of_one_region(last: Shape, items: Sequence[tuple[Shape, Mapping[str, Any]]]) -> tuple[Any, ...]:
    if last in ("polygon", "ellipse", "textarea"):
        return tuple(items[-1:])
    if last in ("brush", "bitmask"):
        return tuple(items[-MAX_PAINTED:])
    points = [item for item in items if item[0] == "keypoint"][-MAX_POINTS:]
    boxes = [item for item in items if item[0] == "rectangle"][-1:]
    if boxes and last == "keypoint" and not any(_inside(point, boxes[0][1]) for _, point in points):
        # A rectangle that none of the clicks fell into belongs to another object.
        boxes = []
    return (*boxes, *points)


def _inside(point: Mapping[str, Any], rectangle: Mapping[str, Any]) -> bool:
    frame = (100, 100)
    x, y = to_pixels(point["value"], ("x", "y"), frame)
    left, top, right, bottom = _box_around(rectangle_corners(rectangle["value"], frame), frame)
    return point.get("is_positive") is not False and left <= x <= right and top <= y <= bottom


def _labels_by_id(results: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Labels that a <Labels> tag gave to the regions of plain controls, which share their id."""
    return {str(r.get("id")): _strings(r.get("value"), "labels") for r in results if r.get("type") == "labels"}


def _labels_of(item: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    value = item.get("value")
    return _strings(value, str(item.get("type"))) or _strings(value, "labels") or names.get(str(item.get("id")), ())


def _strings(value: object, key: str) -> tuple[str, ...]:
    found = value.get(key) if isinstance(value, dict) else None
    return tuple(v for v in found if isinstance(v, str)) if isinstance(found, list) else ()


def _place(item: Mapping[str, Any]) -> tuple[object, int | None]:
    index = item.get("item_index")
    return item.get("to_name"), index if type(index) is int else None


def _phrase(item: Mapping[str, Any]) -> str | None:
    text = item["value"].get("text")
    lines = (
        [text] if isinstance(text, str) else [t for t in text if isinstance(t, str)] if isinstance(text, list) else []
    )
    return next((line.strip() for line in reversed(lines) if line.strip()), None)


def _outline(shape: Shape, value: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray[Any, Any]:
    if shape == "ellipse":
        return ellipse_outline(value, size)
    points = value.get("points")
    if not isinstance(points, list) or len(points) < 3:
        raise InvalidInput("a polygon of the context needs at least three points")
    try:
        outline = np.array(points, dtype=np.float64).reshape(len(points), 2) * (size[1] / 100, size[0] / 100)
    except (TypeError, ValueError) as error:
        raise InvalidInput("the points of a polygon must be pairs of numbers") from error
    if not np.isfinite(outline).all():
        raise InvalidInput("the points of a polygon must be finite numbers")
    return outline


def _painted(shape: Shape, item: Mapping[str, Any], size: tuple[int, int], body: RequestBody) -> Mask:
    value = item["value"]
    if shape == "bitmask":
        return decode_bitmask(value.get("imageDataURL"), size)
    return decode_brush(body.run_lengths(value), size)


def _deepest(outline: np.ndarray[Any, Any], box: Box, size: tuple[int, int]) -> tuple[float, float]:
    mask = Mask.from_polygons([outline], size)
    if mask.is_empty:
        return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    stroke = strokes_of(mask, positive=True)[0]
    x, y = stroke.points[len(stroke.points) // 2]
    return float(x), float(y)


def _box_around(corners: np.ndarray[Any, Any], size: tuple[int, int]) -> Box:
    height, width = size
    left, right = np.clip((corners[:, 0].min(), corners[:, 0].max()), 0, width)
    top, bottom = np.clip((corners[:, 1].min(), corners[:, 1].max()), 0, height)
    # A click that became a box of no size still means the pixel under it.
    if right - left < 1:
        left = min(math.floor(left), width - 1)
        right = left + 1
    if bottom - top < 1:
        top = min(math.floor(top), height - 1)
        bottom = top + 1
    return float(left), float(top), float(right), float(bottom)


def _clamp(value: float, side: int) -> float:
    return min(max(value, 0.0), float(side))
