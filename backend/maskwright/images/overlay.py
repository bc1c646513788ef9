"""Masks drawn over their image, for people to look at."""

from __future__ import annotations

import colorsys
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from maskwright.masks import Mask

Colour = tuple[int, int, int]
"""RGB, 0..255."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "arial.ttf")
_NO_CHARACTER = "\uffff"
_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
_FILL = 0.4
_BRIGHTNESS = (1.0, 0.75)


def label_colours(labels: Iterable[str | None]) -> dict[str | None, Colour]:
    """A colour for each distinct label, in order of first appearance: hues a golden ratio apart stay distinct."""
    colours: dict[str | None, Colour] = {}
    for label in dict.fromkeys(labels):
        index = len(colours)
        red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN_RATIO % 1, 0.9, _BRIGHTNESS[index // 6 % 2])
        colours[label] = (round(red * 255), round(green * 255), round(blue * 255))
    return colours


def draw_overlay(
    image_pixels: NDArray[np.uint8],
    regions: Sequence[tuple[Mask, str | None, float | None]],
    *,
    colours: Mapping[str | None, Colour] | None = None,
) -> NDArray[np.uint8]:
    """Draw masks as tinted areas with outlines, label and score; large regions first, so that small ones stay visible.

    The font built into Pillow knows ASCII only. Other labels are written in a common system font that has all their
    characters; where there is none, accents are dropped and the rest shows as placeholders.

    Args:
        image_pixels: (H, W, 3) uint8 RGB; left as it is.
        regions: (mask of the image's size, label, score in [0, 1]) each; label and score may be None.
        colours: Colour per label, where pictures should agree; missing labels, or all, get ``label_colours``.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    canvas = image_pixels.copy()
    chosen = label_colours(label for _, label, _ in regions) | dict(colours or {})
    line = max(1, round(max(canvas.shape[:2]) / 600))
    shown = [item for item in sorted(regions, key=lambda item: -item[0].area) if not item[0].is_empty]
    for mask, label, _ in shown:
        _tint(canvas, mask, chosen[label], line)
    if all(label is None and score is None for _, label, score in shown):
        return canvas
    picture = PillowImage.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    font_size = max(11, round(max(canvas.shape[:2]) / 55))
    taken: list[tuple[float, float, float, float]] = []
    for mask, label, score in shown:
        text = " ".join(part for part in (label, None if score is None else f"{score:.2f}") if part)
        if text:
            font, text = readable_font(text, font_size)
            _caption(draw, font, text, mask.box, chosen[label], taken)
    return np.array(picture)


def draw_heat(image_pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay a map over its image: blue where it is low, over green and yellow to red where it is high.

    Args:
        image_pixels: (H, W, 3) uint8 RGB.
        heat: (h, w) in [0, 1], on a grid laid over the whole image; enlarged bilinearly.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = image_pixels.shape[:2]
    grey = cv2.resize(np.rint(heat * 255).astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)
    colours = cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    mixed: NDArray[np.uint8] = cv2.addWeighted(image_pixels, 0.5, colours, 0.5, 0)
    return mixed


def _tint(canvas: NDArray[np.uint8], mask: Mask, colour: Colour, line: int) -> None:
    x0, y0, x1, y1 = (round(v) for v in mask.box)
    inside = mask.crop_array(x0, y0, x1, y1)
    area = canvas[y0:y1, x0:x1]
    # Every channel has 256 values, so mixing is looking up.
    values = np.arange(256)[:, None] * (1 - _FILL) + np.array(colour) * _FILL
    mixed = cv2.LUT(np.ascontiguousarray(area), np.rint(values).astype(np.uint8)[None])
    np.copyto(area, mixed, where=inside[..., None])
    # One pixel of margin, so that outlines close along the border of the crop.
    padded = np.pad(inside.astype(np.uint8), 1)
    outlines, _ = cv2.findContours(padded, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x0 - 1, y0 - 1))
    cv2.drawContours(canvas, outlines, -1, colour, line, cv2.LINE_AA)


def readable_font(text: str, size: int) -> tuple[Font, str]:
    """A font that can write a text, and the text as it can be written with it.

    Args:
        text: Any Unicode.
        size: In pixels.
    """
    builtin = ImageFont.load_default(size)
    if text.isascii():
        return builtin, text
    for name in _SYSTEM_FONTS:
        font = _system_font(name, size)
        if font is not None and not any(_is_placeholder(font, character) for character in set(text)):
            return font, text
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return builtin, plain


@cache
def _system_font(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _is_placeholder(font: ImageFont.FreeTypeFont, character: str) -> bool:
    return not character.isspace() and bytes(font.getmask(character)) == bytes(font.getmask(_NO_CHARACTER))


def _caption(
    draw: ImageDraw.ImageDraw,
    font: Font,
    text: str,
    box: tuple[float, float, float, float],
    colour: Colour,
    taken: list[tuple[float, float, float, float]],
) -> None:
    """Write above the region, moved into the picture, and down past captions that are already there."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    pad = 2
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = min(max(box[0], 0), max(0, draw.im.size[0] - width))
    lowest = max(0, draw.im.size[1] - height)
    y = min(max(box[1] - height, 0), lowest)
    while y < lowest and any(x < t[2] and t[0] < x + width and y < t[3] and t[1] < y + height for t in taken):
        y = min(y + height, lowest)
    taken.append((x, y, x + width, y + height))
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    draw.text((x + pad - left, y + pad - top), text, font=font, fill=(0, 0, 0) if dark else (255, 255, 255))
