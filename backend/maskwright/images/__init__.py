"""Encoded bytes to RGB pixels, tiles of large images, and overlays to look at."""

from __future__ import annotations

from maskwright.images.decode import Image, decode_image, load_image
from maskwright.images.formats import ImageHeader, ImageLimits, read_header
from maskwright.images.overlay import draw_overlay, label_colours
from maskwright.images.pixels import Window
from maskwright.images.tiles import Tile, crop_window, tile_grid

__all__ = [
    "Image",
    "ImageHeader",
    "ImageLimits",
    "Tile",
    "Window",
    "crop_window",
    "decode_image",
    "draw_overlay",
    "label_colours",
    "load_image",
    "read_header",
    "tile_grid",
]
