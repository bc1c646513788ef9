"""Where in an image a prompt is answered: checks against the image's borders, and the window of a large image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from maskwright.errors import InvalidInput
from maskwright.images.tiles import IntBox, crop_window
from maskwright.masks import Mask
from maskwright.prompts import Box, Prompt

MAX_POINTS = 1000
TOLERANCE = 1.0
"""Pixels by which a coordinate may lie outside the image, for callers that round; it is moved onto the border."""
CONTEXT = 1 / 8
"""Part of a window's side that an earlier click's window must leave around later clicks for them to stay in it."""
CUT_CONTACT = 1 / 32
"""A window cuts a mask if along an edge inside the image the mask touches it over more than this part of the side."""


def checked_prompt(prompt: Prompt, size: tuple[int, int]) -> Prompt:
    """The prompt with all coordinates inside an image of ``size`` (H, W); boxes and strokes are clipped to it.

    Raises:
        InvalidInput: If it is empty, holds only a phrase, holds more than 1000 points, or a click or a whole box lies
            outside the image.
    """
    if not prompt.has_spatial:
        if prompt.phrase:
            raise InvalidInput("finding a region by a phrase alone is not supported; add a click or a box")
        raise InvalidInput("the prompt is empty; give at least one click, box or stroke")
    if len(prompt.point_labels) > MAX_POINTS:
        raise InvalidInput(f"{len(prompt.point_labels)} clicks were given; at most {MAX_POINTS} are accepted")
    height, width = size
    low, high = np.zeros(2, dtype=np.float32), np.array([width, height], dtype=np.float32)
    coords = prompt.point_coords
    outside = ((coords < low - TOLERANCE) | (coords > high + TOLERANCE)).any(axis=1)
    if outside.any():
        x, y = coords[outside][0]
        raise InvalidInput(f"the click at {x:g},{y:g} lies outside the image, which is {width} x {height} pixels")
    # The right and bottom borders belong to the last pixel.
    inner = np.nextafter(high, low)
    strokes = tuple(replace(s, points=np.clip(s.points, low, inner).astype(np.float32)) for s in prompt.scribbles)
    return replace(prompt, point_coords=np.clip(coords, low, inner), box=_clipped(prompt.box, size), scribbles=strokes)


def _clipped(box: Box | None, size: tuple[int, int]) -> Box | None:
    if box is None:
        return None
    height, width = size
    inside = max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        raise InvalidInput(
            f"the box {','.join(f'{v:g}' for v in box)} lies outside the image, which is {width} x {height} pixels"
        )
    return inside


def has_positive(prompt: Prompt) -> bool:
    """Whether anything is marked as belonging to the object."""
    return bool((prompt.point_labels == 1).any()) or prompt.box is not None or any(s.positive for s in prompt.scribbles)


def window_for(prompt: Prompt, size: tuple[int, int], tile_size: int) -> IntBox | None:
    """The window in which to answer a prompt on an image of ``size`` (H, W); None = the whole image.

    Depends on the prompt alone, and stays where the first click put it as long as the later ones keep an eighth of its
    side as context, so that most regions need one embedding however many clicks they take.
    """
    if max(size) <= tile_size:
        return None
    whole = prompt.extent()
    if whole is None:
        return None
    for clicks in range(len(prompt.point_labels)):
        extent = prompt.prefix(clicks).extent()
        window = crop_window(size, extent, tile_size) if extent is not None else None
        if window is not None and _holds(window, whole, size, tile_size * CONTEXT):
            return window
    return crop_window(size, whole, tile_size)


def _holds(window: IntBox, extent: Box, size: tuple[int, int], context: float) -> bool:
    height, width = size
    return (
        window[0] <= max(0.0, extent[0] - context)
        and window[1] <= max(0.0, extent[1] - context)
        and window[2] >= min(width, extent[2] + context)
        and window[3] >= min(height, extent[3] + context)
    )


def touches_cut(mask: Mask, window: IntBox, size: tuple[int, int]) -> bool:
    """Whether a mask (in the image's frame) was cut off by an edge of the window that is not the image's border."""
    if mask.is_empty:
        return False
    x0, y0, x1, y1 = window
    height, width = size
    edges = (
        (x0 > 0, (x0, y0, x0 + 1, y1)),
        (y0 > 0, (x0, y0, x1, y0 + 1)),
        (x1 < width, (x1 - 1, y0, x1, y1)),
        (y1 < height, (x0, y1 - 1, x1, y1)),
    )
    left, top, right, bottom = mask.box
    for inside_image, (a, b, c, d) in edges:
        reached = left < c and a < right and top < d and b < bottom
        if inside_image and reached and mask.crop_array(a, b, c, d).sum() > CUT_CONTACT * max(c - a, d - b):
            return True
    return False
