"""A picture of sample images with their regions drawn in, to see at one glance what a dataset holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw

from maskwright.errors import MaskwrightError
from maskwright.export.records import ImageRecord
from maskwright.images import ImageLimits, decode_image, draw_overlay, label_colours
from maskwright.images.formats import DEFAULT_LIMITS
from maskwright.images.overlay import Colour, Font, readable_font
from maskwright.masks import Mask

MOST_SAMPLES = 24
_CELL = 360
_CELL_HEIGHT = 270
"""Room for a sample in pixels of width and height."""
_GAP = 16
_LINE = 20
_TEXT = 13
_MOST_COLUMNS = 6
_MOST_CLASSES = 40
_PAGE: Colour = (250, 250, 250)
_EMPTY: Colour = (208, 208, 208)
_INK: Colour = (32, 32, 32)
_PALE: Colour = (110, 110, 110)
_COMPRESSION = 3
"""Half the time of zlib's usual level for a tenth more bytes."""
_FEW = 6
"""Up to so many regions have room for their names in a sample."""

Sample = tuple[ImageRecord, bytes | None]
"""An image, and its encoded file where that is at hand."""


def draw_contact_sheet(
    samples: Sequence[Sample], categories: Mapping[str, int], limits: ImageLimits = DEFAULT_LIMITS
) -> bytes:
    """Draw up to 24 samples in a grid, classes in the same colours everywhere, with a key below.

    A sample whose file is not at hand, or cannot be read, or has another size than its masks, is drawn on grey.

    Args:
        samples: The first 24 are drawn.
        categories: Class names in the order in which they get their colours.
        limits: Bounds on image files.

    Returns:
        A PNG file, the same bytes for the same arguments.
    """
    colours = label_colours(categories)
    cells = [(_picture(record, image, colours, limits), record) for record, image in samples[:MOST_SAMPLES]]
    columns = max(1, min(_MOST_COLUMNS, math.ceil(math.sqrt(1.5 * len(cells)))))
    width = columns * (_CELL + _GAP) + _GAP
    rows = [cells[n : n + columns] for n in range(0, len(cells), columns)]
    heights = [max(picture.shape[0] for picture, _ in row) for row in rows]
    shown = {str(region.label) for record, _ in samples[:MOST_SAMPLES] for region in record.regions}
    key = _key([name for name in categories if name in shown][:_MOST_CLASSES], width)
    height = _GAP + sum(h + 2 * _LINE + _GAP for h in heights) + (len(key) * (_LINE + 4) + _GAP if key else 0)
    page = PillowImage.new("RGB", (width, max(height, 2 * _GAP + _LINE)), _PAGE)
    draw = ImageDraw.Draw(page)
    top = _GAP
    for row, row_height in zip(rows, heights, strict=True):
        for column, (picture, record) in enumerate(row):
            left = _GAP + column * (_CELL + _GAP)
            spare = _CELL - picture.shape[1]
            page.paste(PillowImage.fromarray(picture), (left + spare // 2, top + row_height - picture.shape[0]))
            _write(draw, (left, top + row_height + 3), record.file_name, _CELL, _INK, keep_end=True)
            _write(draw, (left, top + row_height + 3 + _LINE - 3), _caption(record), _CELL, _PALE)
        top += row_height + 2 * _LINE + _GAP
    if not cells:
        _write(draw, (_GAP, _GAP), "no image", width, _PALE)
    for line in key:
        for left, name in line:
            draw.rectangle((left, top + 3, left + 13, top + 16), fill=colours[name])
            _write(draw, (left + 20, top), name, width, _INK)
        top += _LINE + 4
    sink = BytesIO()
    page.save(sink, "PNG", compress_level=_COMPRESSION)
    return sink.getvalue()


def _picture(
    record: ImageRecord, image: bytes | None, colours: Mapping[str | None, Colour], limits: ImageLimits
) -> NDArray[np.uint8]:
    scale = min(_CELL / record.size[1], _CELL_HEIGHT / record.size[0])
    small = max(1, round(record.size[0] * scale)), max(1, round(record.size[1] * scale))
    canvas = _background(record, image, limits, small)
    regions = sorted(record.regions, key=lambda region: -region.mask.area)
    drawn = [(_resized(region.mask, small), str(region.label)) for region in regions]
    if len(drawn) <= _FEW:
        return draw_overlay(canvas, [(mask, name, None) for mask, name in drawn], colours=colours)
    for mask, name in drawn:
        # One by one: draw_overlay writes a caption wherever there is a name, and finds the colour by the name.
        canvas = draw_overlay(canvas, [(mask, None, None)], colours={None: colours.get(name, _INK)})
    return canvas


def _background(
    record: ImageRecord, image: bytes | None, limits: ImageLimits, small: tuple[int, int]
) -> NDArray[np.uint8]:
    if image is not None:
        try:
            pixels = decode_image(image, limits=limits).pixels
        except MaskwrightError:
            pixels = None
        if pixels is not None and pixels.shape[:2] == record.size:
            shrinks = small[0] < record.size[0]
            how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
            return np.asarray(cv2.resize(pixels, small[::-1], interpolation=how), dtype=np.uint8)
    return np.full((*small, 3), _EMPTY, dtype=np.uint8)


def _resized(mask: Mask, small: tuple[int, int]) -> Mask:
    """A mask in another frame; of a pixel there, what covers most of it counts, but nothing vanishes altogether."""
    if mask.is_empty:
        return Mask.empty(small)
    down, across = small[0] / mask.height, small[1] / mask.width
    left, top, right, bottom = mask.box
    x0, y0 = math.floor(left * across), math.floor(top * down)
    x1, y1 = max(x0 + 1, math.ceil(right * across)), max(y0 + 1, math.ceil(bottom * down))
    inside = mask.crop_array(int(left), int(top), int(right), int(bottom)).view(np.uint8) * np.uint8(255)
    how = cv2.INTER_AREA if down < 1 else cv2.INTER_NEAREST
    part = cv2.resize(inside, (x1 - x0, y1 - y0), interpolation=how)
    # What is too small even for the palest grey keeps a pixel.
    most = int(part.max())
    return Mask.from_crop(part >= min(128, most) if most else np.ones_like(part), (x0, y0), small)


def _caption(record: ImageRecord) -> str:
    count = len(record.regions)
    regions = "1 region" if count == 1 else f"{count:,} regions"
    return ", ".join(part for part in (record.split, regions, f"{record.size[1]} x {record.size[0]}") if part)


def _key(names: Sequence[str], width: int) -> list[list[tuple[int, str]]]:
    """Lines of (left edge, class name)."""
    lines: list[list[tuple[int, str]]] = []
    left = width
    for name in names:
        font, text = readable_font(name, _TEXT)
        wide = 20 + math.ceil(font.getlength(text)) + 24
        if left + wide > width - _GAP:
            lines.append([])
            left = _GAP
        lines[-1].append((left, name))
        left += wide
    return lines


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, room: int, colour: Colour, *, keep_end: bool = False
) -> None:
    """A line of text, cut to the room it has."""
    font, shown = readable_font(text, _TEXT)
    draw.text(place, _cut(font, shown, room, keep_end=keep_end), font=font, fill=colour)


def _cut(font: Font, text: str, room: int, *, keep_end: bool) -> str:
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "...") > room:
        text = text[1:] if keep_end else text[:-1]
    return "..." + text if keep_end else text + "..."
