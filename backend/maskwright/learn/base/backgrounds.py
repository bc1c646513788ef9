"""What composed scenes stand on, and the materials that shapes are filled with."""

from __future__ import annotations

import cv2
import numpy as np

from maskwright.learn.base.augment import apply_table, resized, tone_table, turn_colours
from maskwright.learn.base.photographs import Photographs, crop
from maskwright.learn.base.sampling import Floats, Image, Pixels

KINDS = ("photograph", "plain photograph", "blurred photograph", "texture", "invented")
CHANCES = (0.52, 0.18, 0.12, 0.08, 0.10)
MOST_TRIES = 12


def background(
    rng: np.random.Generator, photographs: Photographs, height: int, width: int
) -> tuple[Image, list[Pixels]]:
    """A picture (H, W, 3) and the annotated regions that can be seen in it as they are."""
    kind = str(rng.choice(KINDS, p=CHANCES))
    if kind == "invented":
        return invented(rng, height, width), []
    if kind == "texture":
        return texture(rng, photographs, height, width), []
    if kind == "photograph" and photographs.annotated:
        for _ in range(MOST_TRIES):
            index = photographs.annotated[int(rng.integers(len(photographs.annotated)))]
            image, regions = crop(rng, photographs[index], max(height, width), aspect=width / height)
            if image.shape[:2] == (height, width):
                return image, [mask for _, mask in regions]
    image = piece(rng, photographs, height, width, float(rng.uniform(0.3, 1.0)))
    if kind == "blurred photograph":
        small = cv2.resize(image, (max(8, width // 4), max(8, height // 4)), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), float(rng.uniform(0.5, 4)))
        image = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    return image, []


def piece(rng: np.random.Generator, photographs: Photographs, height: int, width: int, share: float) -> Image:
    """A part of any photograph with the aspect asked for, as large as ``share`` of what fits."""
    image = photographs[int(rng.integers(len(photographs)))].image
    step = share * min(image.shape[0] / height, image.shape[1] / width)
    h, w = max(4, int(height * step)), max(4, int(width * step))
    top, left = int(rng.integers(image.shape[0] - h + 1)), int(rng.integers(image.shape[1] - w + 1))
    return resized(np.ascontiguousarray(image[top : top + h, left : left + w]), height, width)


def texture(rng: np.random.Generator, photographs: Photographs, height: int, width: int) -> Image:
    """A small part of a photograph, mirrored until it fills the frame, in other colours at times."""
    image = photographs[int(rng.integers(len(photographs)))].image
    least = min(image.shape[:2])
    side = min(least, int(rng.uniform(0.12, 0.4) * least) + 24)
    top, left = int(rng.integers(image.shape[0] - side + 1)), int(rng.integers(image.shape[1] - side + 1))
    part = np.ascontiguousarray(np.rot90(image[top : top + side, left : left + side], int(rng.integers(4))))
    target = max(24, min(int(side * np.exp(rng.uniform(-0.2, 1.2))), max(height, width)))
    part = resized(part, target, target)
    tile = np.vstack([np.hstack([part, part[:, ::-1]]), np.hstack([part[::-1], part[::-1, ::-1]])])
    filled = np.tile(tile, (-(-height // tile.shape[0]), -(-width // tile.shape[1]), 1))[:height, :width]
    filled = np.ascontiguousarray(filled)
    if rng.random() < 0.4:
        filled = turn_colours(filled, float(rng.uniform(0.2, 1.5)), float(rng.uniform(-180, 180)))
    return apply_table(filled, tone_table(rng, 1.5))


def invented(rng: np.random.Generator, height: int, width: int) -> Image:
    """A plain colour, a gradient or smooth noise."""
    colour = rng.uniform(15, 245) + rng.beta(1, 2) * rng.uniform(-100, 100, 3)
    scale = float(np.exp(rng.uniform(np.log(3), np.log(600))))
    noise = smooth_noise(rng, height, width, scale, int(rng.choice([1, 3]))) * float(rng.choice([4.0, 15.0, 40.0]))
    return np.clip(noise + colour.astype(np.float32), 0, 255).astype(np.uint8)


def smooth_noise(rng: np.random.Generator, height: int, width: int, scale: float, channels: int = 1) -> Floats:
    """(height, width, channels) float32 of about unit spread that varies over ``scale`` pixels."""
    coarse = rng.standard_normal((int(height / scale) + 2, int(width / scale) + 2, channels), dtype=np.float32)
    grown = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(grown, dtype=np.float32).reshape(height, width, channels)
