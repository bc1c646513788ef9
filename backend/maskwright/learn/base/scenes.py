"""Scenes put together from cut-outs on photographs, textures and invented ground; their truth is known."""

from __future__ import annotations

import cv2
import numpy as np

from maskwright.learn.base.augment import apply_table, degrade, recolour, tone_table, turn_colours
from maskwright.learn.base.backgrounds import background, smooth_noise, texture
from maskwright.learn.base.cutouts import CutOut, CutOuts
from maskwright.learn.base.pasting import Canvas, Pasted, transformed
from maskwright.learn.base.photographs import Photographs
from maskwright.learn.base.sampling import MOST_TRIES, Image, Sample, check_side, frame, kept

SIZES = (0.05, 0.75)
"""Lengths of things, of the longer side of the picture; log-uniform."""
LEAST_SEEN = 0.35
"""A thing is a target if at least so much of it can be seen, a background's region if ``LEAST_REGION_SEEN``."""
LEAST_REGION_SEEN = 0.6


class Scenes:
    """Composed scenes.

    Args:
        cutouts: What is pasted.
        photographs: What it is pasted on.
        side: Longer side of the samples in pixels.
    """

    name = "scenes"

    def __init__(self, cutouts: CutOuts, photographs: Photographs, side: int = 512) -> None:
        self._side = check_side(side)
        self._cutouts, self._photographs = cutouts, photographs

    def sample(self, rng: np.random.Generator) -> Sample:
        """A scene with 1 to 8 things, or many that are alike."""
        for _ in range(MOST_TRIES):
            height, width = frame(rng, self._side)
            ground, regions = background(rng, self._photographs, height, width)
            if rng.random() < 0.12:
                ground, regions = np.asarray(cv2.GaussianBlur(ground, (0, 0), float(rng.uniform(1, 4)))), []
            canvas = Canvas(ground)
            if rng.random() < 0.15:
                self._many_alike(rng, canvas)
            else:
                self._some_things(rng, canvas)
            if rng.random() < 0.12:
                thin_occluders(rng, canvas, self._photographs)
            free = canvas.owner < 0
            uncovered = [(mask & free, np.count_nonzero(mask)) for mask in regions]
            left = [mask for mask, whole in uncovered if np.count_nonzero(mask) >= LEAST_REGION_SEEN * whole]
            things = kept(canvas.visible(LEAST_SEEN), rng, 8)
            masks = things + kept(left, rng, 4)
            if things:
                return Sample(finished(rng, canvas.image), masks, self.name)
        raise RuntimeError("no scene with a visible thing in so many tries")

    def _some_things(self, rng: np.random.Generator, canvas: Canvas) -> None:
        """Things of independent sizes, the smaller ones over the larger ones half of the time."""
        count = int(rng.choice(np.arange(1, 9), p=[0.2, 0.2, 0.18, 0.14, 0.1, 0.08, 0.05, 0.05]))
        sizes = [self._size(rng) for _ in range(count)]
        if rng.random() < 0.5:
            sizes.sort(reverse=True)
        shadows = rng.random() < 0.35
        for size in sizes:
            self._put(rng, canvas, self._varied(rng, self._cutouts.draw(rng)), size, shadows)

    def _many_alike(self, rng: np.random.Generator, canvas: Canvas) -> None:
        """One thing many times, with jitter; in a row or grid at times."""
        cutout = self._varied(rng, self._cutouts.draw(rng))
        count, size = int(rng.integers(4, 16)), float(np.exp(rng.uniform(np.log(0.07), np.log(0.25)))) * self._side
        shadows = rng.random() < 0.35
        for _ in range(count):
            self._put(rng, canvas, cutout, size * float(np.exp(rng.normal(0, 0.12))), shadows, alike=True)

    def _size(self, rng: np.random.Generator) -> float:
        return float(np.exp(rng.uniform(*np.log(SIZES)))) * self._side

    def _varied(self, rng: np.random.Generator, cutout: CutOut) -> CutOut:
        """The thing itself, in other colours, or only its outline filled with some texture."""
        chance = rng.random()
        if chance < 0.12:
            height, width = cutout.alpha.shape
            return CutOut(texture(rng, self._photographs, height, width), cutout.alpha, cutout.enlarge)
        if chance < 0.3:
            colour = turn_colours(cutout.colour, float(np.exp(rng.normal(0, 0.3))), float(rng.uniform(-180, 180)))
            return CutOut(colour, cutout.alpha, cutout.enlarge)
        return cutout

    def _put(
        self, rng: np.random.Generator, canvas: Canvas, cutout: CutOut, size: float, shadow: bool, alike: bool = False
    ) -> None:
        colour, alpha = transformed(rng, cutout, size)
        colour = apply_table(colour, tone_table(rng, 0.4 if alike else 1.0))
        height, width = canvas.image.shape[:2]
        x, y = rng.uniform(0.05, 0.95) * width, rng.uniform(0.05, 0.95) * height
        if not alike and rng.random() < 0.6:  # mostly inside the picture when it fits
            x = np.clip(x, min(alpha.shape[1] / 2, width / 2), max(width - alpha.shape[1] / 2, width / 2))
            y = np.clip(y, min(alpha.shape[0] / 2, height / 2), max(height - alpha.shape[0] / 2, height / 2))
        if rng.random() < 0.12:
            sigma = float(rng.uniform(0.6, 2.0))
            colour = np.asarray(cv2.GaussianBlur(colour, (0, 0), sigma), dtype=np.uint8)
            alpha = np.asarray(cv2.GaussianBlur(alpha, (0, 0), sigma), dtype=np.uint8)
        match = float(rng.uniform(0, 0.5)) if rng.random() < 0.6 else 0.0
        canvas.paste(
            Pasted(colour, alpha, round(x), round(y)), match, float(rng.uniform(0.2, 0.6)) if shadow else 0.0, rng
        )


def thin_occluders(rng: np.random.Generator, canvas: Canvas, photographs: Photographs) -> None:
    """Bars, stalks or wires in front of everything: what is behind stays one thing, in pieces."""
    height, width = canvas.image.shape[:2]
    drawn = np.zeros((height, width), dtype=np.uint8)
    turn = rng.uniform(0, np.pi)
    for _ in range(int(rng.integers(1, 5))):
        angle = turn + rng.normal(0, 0.3)
        along, centre = (
            np.array([np.cos(angle), np.sin(angle)]) * max(height, width),
            rng.uniform(0.2, 0.8, 2) * (width, height),
        )
        bend = np.array([-along[1], along[0]]) * rng.normal(0, 0.08)
        t = np.linspace(-1, 1, 24)[:, None]
        points = np.round((centre + along * t + bend * t**2) * 16).astype(np.int32)
        thick = max(2, int(rng.uniform(0.006, 0.025) * max(height, width)))
        cv2.polylines(drawn, [points], False, 255, thick, cv2.LINE_AA, 4)
    colour = texture(rng, photographs, height, width)
    canvas.cover(colour, drawn)


def finished(rng: np.random.Generator, image: Image) -> Image:
    """Light over the whole scene, and what the camera did to it."""
    if rng.random() < 0.3:
        height, width = image.shape[:2]
        light = 1 + smooth_noise(rng, height, width, max(height, width) / 1.5) * float(rng.uniform(0.05, 0.25))
        image = np.clip(image * light, 0, 255).astype(np.uint8)
    return degrade(rng, recolour(rng, image, 0.7))
