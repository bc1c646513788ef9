"""Regions to Label Studio's result JSON and back, for every control that draws."""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.masks import Mask, Polygon, Size
from maskwright.regions import Provenance, Region, Source
from maskwright_label_studio.bitmask import decode_bitmask, encode_bitmask
from maskwright_label_studio.body import RequestBody
from maskwright_label_studio.brush import decode_brush, encode_brush
from maskwright_label_studio.brush_drafts import add_touches
from maskwright_label_studio.config import Output
from maskwright_label_studio.geometry import number, rectangle_corners, to_pixels
from maskwright_label_studio.options import ProjectOptions
from maskwright_label_studio.polygons import outlines

log = logging.getLogger(__name__)

_DECIMALS = 9
_SHAPES = ("brush", "bitmask", "polygon", "rectangle", "ellipse")


def fresh_id() -> str:
    """An id that no other region has: the browser replaces regions whose id comes again."""
    return secrets.token_urlsafe(9)


def region_to_result(
    region: Region,
    output: Output,
    options: ProjectOptions | None = None,
    *,
    item_index: int | None = None,
    labels: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """A region as result items of the output's control; none for an empty mask.

    Usually one item. A polygon control may get several (see ``polygons``), a plain control gets a companion of type
    ``labels`` with the same id. The ``rle`` of a brush is an array of uint8 for orjson.

    Args:
        region: What to write; its mask has the size of the displayed image.
        output: The control and the tag that names its labels.
        options: How polygons are made.
        item_index: Which image of a value list, or None.
        labels: Labels instead of the region's own one (multiple choice).
    """
    if region.mask.is_empty:
        return []
    named = list(labels) or ([region.label] if region.label is not None else [])
    control = output.control
    items: list[dict[str, Any]] = []
    for geometry in _geometries(region.mask, control.shape, options or ProjectOptions()):
        common: dict[str, Any] = {
            "id": fresh_id(),
            "to_name": output.image_name,
            "original_width": region.mask.width,
            "original_height": region.mask.height,
            "image_rotation": 0,
            "score": as_score(region.score),
        }
        if item_index is not None:
            common["item_index"] = item_index
        own = {control.type: named} if control.is_labelled else {}
        items.append({**common, "from_name": control.name, "type": control.type, "value": {**geometry, **own}})
        if not control.is_labelled:
            naming = {"from_name": output.naming.name, "type": "labels", "value": {**geometry, "labels": named}}
            items.append({**common, **naming})
    return items


def as_score(value: float) -> float:
    """A number in [0, 1], whatever came: Label Studio stores anything and refuses what is not a number."""
    return min(max(float(value), 0.0), 1.0) if math.isfinite(value) else 0.0


def result_to_region(
    item: Mapping[str, Any],
    *,
    label: str | None = None,
    source: Source = "import",
    person: str | None = None,
    model_version: str | None = None,
    body: RequestBody | None = None,
) -> Region | None:
    """Read one result item back; None for types without a mask (key points, text, the companions of plain controls).

    Polygons and rectangles come with their outline.

    Args:
        item: One element of ``result``.
        label: Label that a companion gave, for plain controls.
        source: Provenance of the region.
        person: Who drew it.
        model_version: What drew it.
        body: The document that the item is a part of, where run lengths were skipped in it.

    Raises:
        InvalidInput: If the item is malformed.
    """
    kind = str(item.get("type", ""))
    shape = kind.removesuffix("labels")
    if shape not in _SHAPES:
        return None
    value = item.get("value")
    if not isinstance(value, dict):
        raise InvalidInput("a region has no 'value'")
    mask, drawn = _drawn(shape, value, item_size(item), body or RequestBody({}))
    names = labels_of(item)
    given = item.get("score")
    score = as_score(given) if isinstance(given, int | float) else 1.0
    provenance = Provenance(source, model_version, person=person)
    key = item.get("id")
    return Region(
        mask,
        names[0] if names else label,
        score,
        provenance,
        key=key if isinstance(key, str) else "" if key is None else str(key),
        outlines=drawn,
        is_crowd=_is_crowd(item),
    )


def draws_mask(item: Mapping[str, Any]) -> bool:
    """Whether a result item is a shape that holds pixels, and not a prompt that was left open.

    Such prompts are stored like regions when the annotation is submitted, but carry ``is_positive``.
    """
    return str(item.get("type", "")).removesuffix("labels") in _SHAPES and "is_positive" not in item


def labels_of(item: Mapping[str, Any]) -> list[str]:
    """The labels that a result item itself carries, under the name of its type."""
    value = item.get("value")
    own = value.get(str(item.get("type"))) if isinstance(value, dict) else None
    return [name for name in own if isinstance(name, str)] if isinstance(own, list) else []


def companion_labels(items: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """By region id, the labels that a ``<Labels>`` tag gave to regions of plain controls."""
    return {str(item.get("id")): names for item in items if item.get("type") == "labels" and (names := labels_of(item))}


def results_to_regions(
    results: Iterable[Mapping[str, Any]], *, source: Source = "person", person: str | None = None
) -> list[Region]:
    """Every region with a mask in an annotation's or prediction's ``result``.

    Prompts that were still open when the annotation was submitted are stored in it like regions, but carry
    ``is_positive``; they are left out.
    """
    items = [item for item in results if isinstance(item, Mapping)]
    named = companion_labels(items)
    regions = (
        result_to_region(item, label=next(iter(named.get(str(item.get("id")), ())), None), source=source, person=person)
        for item in items
        if draws_mask(item)
    )
    return [region for region in regions if region is not None]


def _geometries(mask: Mask, shape: str, options: ProjectOptions) -> list[dict[str, Any]]:
    height, width = mask.size
    if shape == "brush":
        return [{"format": "rle", "rle": encode_brush(mask)}]
    if shape == "bitmask":
        return [{"imageDataURL": encode_bitmask(mask)}]
    if shape == "polygon":
        found = outlines(
            mask,
            tolerance=options.polygon_tolerance,
            max_vertices=options.polygon_max_vertices,
            parts=options.polygon_parts,
        )
        return [{"points": (ring * 100 / (width, height)).tolist(), "closed": True} for ring in found.rings]
    left, top, right, bottom = mask.box
    if shape == "rectangle":
        return [
            {
                "x": left * 100 / width,
                "y": top * 100 / height,
                "width": (right - left) * 100 / width,
                "height": (bottom - top) * 100 / height,
                "rotation": 0,
            }
        ]
    return [_ellipse(mask)]


def _ellipse(mask: Mask) -> dict[str, float]:
    """The ellipse of the mask's centre and second moments; a filled ellipse's variance along an axis is r**2 / 4."""
    left, top, right, bottom = (int(v) for v in mask.box)
    moments = cv2.moments(mask.crop_array(left, top, right, bottom).astype(np.uint8), binaryImage=True)
    area = moments["m00"]
    # A pixel is a square, not a dot, and its centre lies half a pixel from its index.
    spread = np.array([[moments["mu20"], moments["mu11"]], [moments["mu11"], moments["mu02"]]]) / area + np.eye(2) / 12
    variances, axes = np.linalg.eigh(spread)
    radii = 2 * np.sqrt(variances[::-1])
    angle = math.degrees(math.atan2(axes[1, 1], axes[0, 1])) % 180
    if 45 < angle < 135:
        # The axis nearer to the horizontal is called X, so that upright ellipses need no rotation.
        radii, angle = radii[::-1], angle - 90
    angle = angle - 180 if angle >= 135 else angle
    return {
        "x": (left + 0.5 + moments["m10"] / area) * 100 / mask.width,
        "y": (top + 0.5 + moments["m01"] / area) * 100 / mask.height,
        "radiusX": float(radii[0]) * 100 / mask.width,
        "radiusY": float(radii[1]) * 100 / mask.height,
        "rotation": angle,
    }


def _drawn(
    shape: str, value: dict[str, Any], size: tuple[int, int], body: RequestBody
) -> tuple[Mask, tuple[Polygon, ...]]:
    if shape == "brush":
        return _painted(value, size, body), ()
    if shape == "bitmask":
        return decode_bitmask(value.get("imageDataURL"), size), ()
    if shape == "ellipse":
        x, y, radius_x, radius_y = to_pixels(value, ("x", "y", "radiusX", "radiusY"), size)
        return Mask.from_ellipse(x, y, radius_x, radius_y, number(value, "rotation", 0), size), ()
    outline = Polygon(rectangle_corners(value, size) if shape == "rectangle" else _corners(value, size))
    return Mask.from_polygons([outline], size), (outline,)


def _painted(value: dict[str, Any], size: Size, body: RequestBody) -> Mask:
    rle, touches, picture = (value.get(key) for key in ("rle", "touches", "maskDataURL"))
    if touches is None and picture is None:
        return decode_brush(rle if isinstance(rle, np.ndarray) else body.run_lengths(value), size)
    # Drafts hold what the browser has not yet made pixels of: in its order, pixels, the magic wand's picture, strokes.
    mask = Mask.empty(size) if rle is None else decode_brush(body.run_lengths(value), size)
    if picture is not None:
        mask = mask | decode_bitmask(picture, size)
    return mask if touches is None else add_touches(mask, touches)


def _corners(value: dict[str, Any], size: tuple[int, int]) -> NDArray[np.float64]:
    try:
        points = np.array(value.get("points"), dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise InvalidInput("the points of a polygon must be pairs of numbers") from error
    if len(points) < 3 or not np.isfinite(points).all():
        raise InvalidInput("a polygon needs at least three points of finite numbers")
    # Percent and back costs the last bits; half pixels, where the pixel rule decides, must come out exactly.
    corners: NDArray[np.float64] = np.round(points * size[::-1] / 100, _DECIMALS)
    return corners


def _is_crowd(item: Mapping[str, Any]) -> bool:
    """Whether an import marked the region; Label Studio keeps ``meta`` whatever people do to the region."""
    meta = item.get("meta")
    ours = meta.get("maskwright") if isinstance(meta, dict) else None
    return isinstance(ours, dict) and ours.get("iscrowd") is True


def item_size(item: Mapping[str, Any]) -> Size:
    """(height, width) in pixels of the image that a result item was drawn on.

    Raises:
        InvalidInput: If it does not tell it.
    """
    size = item.get("original_height"), item.get("original_width")
    if not all(type(side) is int and 0 < side <= 1_000_000 for side in size):
        raise InvalidInput("a region needs 'original_width' and 'original_height' in pixels")
    return size  # type: ignore[return-value]
