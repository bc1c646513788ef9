"""Pasting cut-outs on a picture, with the truth of what can be seen."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.learn.base.cutouts import CutOut
from maskwright.learn.base.sampling import Image, Pixels

SOLID = 128
"""Where alpha is at least this, the thing is what is seen."""
Alpha = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Pasted:
    """A thing at its final size.

    Attributes:
        colour: (h, w, 3) uint8.
        alpha: (h, w) uint8.
        x: Column of its middle on the canvas.
        y: Row of its middle.
    """

    colour: Image
    alpha: Alpha
    x: int
    y: int


def transformed(rng: np.random.Generator, cutout: CutOut, size: float) -> tuple[Image, Alpha]:
    """A cut-out about ``size`` pixels long, mirrored and turned at times, with colour (h, w, 3) and alpha (h, w)."""
    colour, alpha = cutout.colour, cutout.alpha
    scale = min(size / max(alpha.shape), cutout.enlarge)
    stretch = float(np.exp(rng.normal(0, 0.08)))
    wh = max(4, round(alpha.shape[1] * scale * stretch)), max(4, round(alpha.shape[0] * scale / stretch))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    colour, alpha = (np.asarray(cv2.resize(a, wh, interpolation=method), np.uint8) for a in (colour, alpha))
    if rng.random() < 0.5:
        colour, alpha = np.ascontiguousarray(colour[:, ::-1]), np.ascontiguousarray(alpha[:, ::-1])
    chance = rng.random()
    if chance < 0.5:
        angle = float(rng.normal(0, 15) if chance < 0.38 else rng.uniform(-180, 180))
        c, s = abs(np.cos(np.deg2rad(angle))), abs(np.sin(np.deg2rad(angle)))
        w, h = round(wh[0] * c + wh[1] * s) + 2, round(wh[0] * s + wh[1] * c) + 2
        matrix = cv2.getRotationMatrix2D((wh[0] / 2, wh[1] / 2), angle, 1.0)
        matrix[:, 2] += (w - wh[0]) / 2, (h - wh[1]) / 2
        colour = np.asarray(cv2.warpAffine(colour, matrix, (w, h), borderMode=cv2.BORDER_REPLICATE), np.uint8)
        alpha = np.asarray(cv2.warpAffine(alpha, matrix, (w, h)), np.uint8)
    return colour, alpha


class Canvas:
    """A picture that things are pasted on.

    Attributes:
        image: (H, W, 3) uint8.
        owner: (H, W) int16; the number of the thing that is seen, -1 for the ground, -2 for what is no thing.
    """

    def __init__(self, ground: Image) -> None:
        self.image = ground.copy()
        self.owner = np.full(ground.shape[:2], -1, dtype=np.int16)
        self._areas: list[int] = []

    def paste(self, thing: Pasted, match: float, shadow: float, rng: np.random.Generator) -> None:
        """Put a thing over what is there.

        Args:
            thing: It may lie partly beyond the canvas.
            match: 0 to 1, how far its mean colour moves to that of what it covers.
            shadow: 0 to 1, how dark its shadow is.
            rng: Decides where the shadow falls.
        """
        height, width = self.image.shape[:2]
        h, w = thing.alpha.shape
        top, left = thing.y - h // 2, thing.x - w // 2
        if shadow > 0:
            self._shade(thing.alpha, top, left, shadow, rng)
        y0, y1, x0, x1 = max(top, 0), min(top + h, height), max(left, 0), min(left + w, width)
        if y0 >= y1 or x0 >= x1:
            return
        inside = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
        colour, alpha = thing.colour, thing.alpha[inside]
        place = self.image[y0:y1, x0:x1]
        if match > 0:
            towards = (np.array(cv2.mean(place)[:3]) - cv2.mean(colour, thing.alpha)[:3]) * match
            colour = np.asarray(cv2.add(colour, (*towards, 0.0)), np.uint8)
        blend(place, np.ascontiguousarray(colour[inside]), alpha)
        solid = alpha >= SOLID
        self.owner[y0:y1, x0:x1][solid] = len(self._areas)
        self._areas.append(int(np.count_nonzero(solid)))

    def cover(self, colour: Image, alpha: Alpha) -> None:
        """Paint over everything something that is no target; arrays as large as the canvas."""
        blend(self.image, colour, alpha)
        self.owner[alpha >= SOLID] = -2

    def visible(self, least: float) -> list[Pixels]:
        """The seen pixels (H, W) of every thing of which at least the share ``least`` is seen."""
        counts = np.bincount(self.owner[self.owner >= 0], minlength=len(self._areas))
        return [self.owner == k for k, whole in enumerate(self._areas) if counts[k] and counts[k] >= least * whole]

    def _shade(self, alpha: Alpha, top: int, left: int, depth: float, rng: np.random.Generator) -> None:
        height, width = self.image.shape[:2]
        size = max(alpha.shape)
        sigma = max(1.0, size * float(rng.uniform(0.02, 0.08)))
        margin = int(2 * sigma)
        cast = cv2.GaussianBlur(np.pad(alpha, margin), (0, 0), sigma)
        dx, dy = (int(v) for v in rng.normal(0, 0.08, 2) * size)
        top, left = top - margin + abs(dy), left - margin + dx
        y0, y1 = max(top, 0), min(top + cast.shape[0], height)
        x0, x1 = max(left, 0), min(left + cast.shape[1], width)
        if y0 < y1 and x0 < x1:
            part = np.ascontiguousarray(cast[y0 - top : y1 - top, x0 - left : x1 - left])
            place = self.image[y0:y1, x0:x1]
            blend(place, np.zeros_like(place), np.asarray(part * depth, np.uint8))


def blend(place: Image, colour: Image, alpha: Alpha) -> None:
    """Mix ``colour`` into ``place`` by ``alpha``, in place."""
    weight = cv2.merge([alpha] * 3).astype(np.int32)
    mixed = place.astype(np.int32)
    mixed += ((colour.astype(np.int32) - mixed) * weight + 127) // 255
    place[:] = mixed
