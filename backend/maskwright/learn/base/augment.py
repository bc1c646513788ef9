"""What cameras, light and file formats do to a picture: colours, blur, noise and JPEG."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.learn.base.sampling import Image, Pixels

_GREY = np.array([0.299, 0.587, 0.114])
Table = NDArray[np.uint8]


def tone_table(rng: np.random.Generator, strength: float = 1.0) -> Table:
    """(256, 3) uint8 look-up table of brightness, contrast, gamma and the light's colour."""
    gain = np.exp(rng.normal(0, 0.12 * strength)) * np.exp(rng.normal(0, 0.05 * strength, 3))
    gamma, shift = np.exp(rng.normal(0, 0.2 * strength)), rng.normal(0, 10 * strength)
    levels = 255 * (np.arange(256) / 255)[:, None] ** gamma
    return np.asarray(np.clip((levels - 128) * gain + 128 + shift, 0, 255), dtype=np.uint8)


def apply_table(image: Image, table: Table) -> Image:
    """Map every channel of (H, W, 3) through its column of the table."""
    return np.asarray(cv2.LUT(np.ascontiguousarray(image), np.ascontiguousarray(table[None])), dtype=np.uint8)


def turn_colours(image: Image, saturation: float, degrees: float = 0.0) -> Image:
    """Scale the saturation and turn the hues about the axis of greys."""
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    third, root = (1 - c) / 3, s / np.sqrt(3)
    turn = np.full((3, 3), third) + np.eye(3) * c + root * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    matrix = saturation * turn + (1 - saturation) * np.tile(_GREY, (3, 1))
    return np.asarray(cv2.transform(image, matrix), dtype=np.uint8)


def recolour(rng: np.random.Generator, image: Image, strength: float = 1.0) -> Image:
    """Random light and colours, as other cameras and hours would give; grey at times."""
    if rng.random() < 0.8:
        image = apply_table(image, tone_table(rng, strength))
    if rng.random() < 0.08:
        return turn_colours(image, 0.0)
    if rng.random() < 0.5:
        degrees = rng.normal(0, 12 * strength) if rng.random() < 0.5 else 0.0
        image = turn_colours(image, float(np.exp(rng.normal(0, 0.3 * strength))), float(degrees))
    return image


def degrade(rng: np.random.Generator, image: Image) -> Image:
    """Blur, noise and JPEG, each at times."""
    if rng.random() < 0.15:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.6))), dtype=np.uint8)
    elif rng.random() < 0.1:
        soft = cv2.GaussianBlur(image, (0, 0), 1.2)
        image = np.asarray(cv2.addWeighted(image, 1.6, soft, -0.6, 0), dtype=np.uint8)
    if rng.random() < 0.25:
        channels = int(rng.choice([1, 3]))
        noise = rng.standard_normal((*image.shape[:2], channels), dtype=np.float32) * np.float32(rng.uniform(1.5, 12))
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        image = jpeg(image, int(rng.integers(35, 95)))
    return image


def jpeg(image: Image, quality: int) -> Image:
    """The picture after one trip through JPEG."""
    written = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(written, cv2.IMREAD_COLOR), dtype=np.uint8)


def resized(image: Image, height: int, width: int) -> Image:
    """By area when smaller, cubic when larger."""
    smaller = height * width < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.uint8)


def cropped_mask(mask: Table, box: tuple[float, float, float, float], height: int, width: int) -> Pixels:
    """The part of a mask inside a box, at another size, with smooth borders.

    Args:
        mask: (h, w) uint8, 255 inside and 0 outside.
        box: Left, top, right and bottom on the mask's grid, in pixels; pixel k covers k to k + 1.
        height: Of the answer.
        width: Of the answer.
    """
    left, top, right, bottom = box
    sx, sy = (right - left) / width, (bottom - top) / height
    matrix = np.array([[sx, 0, left + 0.5 * sx - 0.5], [0, sy, top + 0.5 * sy - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    taken = cv2.warpAffine(mask, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(taken >= 128, dtype=np.bool_)


def turned(rng: np.random.Generator, image: Image, masks: list[Pixels], most: float) -> tuple[Image, list[Pixels]]:
    """Rotate picture and masks by up to ``most`` degrees, enlarged so that no corner is empty."""
    height, width = image.shape[:2]
    angle = float(rng.uniform(-most, most))
    c, s = abs(np.cos(np.deg2rad(angle))), abs(np.sin(np.deg2rad(angle)))
    zoom = max((width * c + height * s) / width, (width * s + height * c) / height)
    matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), angle, zoom)
    border = {"borderMode": cv2.BORDER_REFLECT_101}
    picture = np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, **border), np.uint8)
    moved = [cv2.warpAffine(m.astype(np.uint8) * 255, matrix, (width, height), **border) >= 128 for m in masks]
    return picture, moved


def flipped(rng: np.random.Generator, image: Image, masks: list[Pixels]) -> tuple[Image, list[Pixels]]:
    """Mirror left and right half of the time."""
    if rng.random() < 0.5:
        return np.ascontiguousarray(image[:, ::-1]), [np.ascontiguousarray(m[:, ::-1]) for m in masks]
    return image, masks
