"""Large images in parts that a tagger's small input still resolves, and the union of what the parts show."""

from __future__ import annotations

from collections.abc import Iterable

from maskwright.models.describers.image_input import checked
from maskwright.models.protocols import RGB, Tag

LONGEST_SIDE = 640
"""Pixels above which an image is cut (training-free segmentation with LLM refinement, BMVC 2024)."""


def tiles(image: RGB, longest: int = LONGEST_SIDE) -> list[RGB]:
    """Cut an image into 2 x 2 quarters, and these again, until no side is above ``longest`` pixels.

    Args:
        image: (H, W, 3) uint8 RGB.
        longest: Pixels.

    Returns:
        Views of the image that cover it without overlap, in reading order of the quarters; the image itself if it fits.

    Raises:
        InvalidInput: If the image has another form or holds no pixel.
    """
    height, width = checked(image).shape[:2]
    if max(height, width) <= longest:
        return [image]
    halves = [
        part
        for rows in (image[: height // 2], image[height // 2 :])
        for part in (rows[:, : width // 2], rows[:, width // 2 :])
    ]
    return [tile for part in halves if part.size for tile in tiles(part, longest)]


def united(parts: Iterable[Iterable[Tag]], top: int) -> list[Tag]:
    """Every word of any part with its highest confidence, the ``top`` most confident first, ties by first mention."""
    best: dict[str, float] = {}
    for tag in (tag for part in parts for tag in part):
        best[tag.word] = max(tag.confidence, best.get(tag.word, 0.0))
    order = sorted(best.items(), key=lambda item: -item[1])
    return [Tag(word, confidence) for word, confidence in order[:top]]
