"""Pictures of invented scenes with the truth about them, to fit the weight-free segmenter's constants on.

Shapes and areas of invented textures and of crops from photographs that scikit-image ships under CC0 or in the public
domain, with parts in other materials, occlusion, shadows, uneven light, blur, noise and JPEG.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ModelUnavailable
from maskwright.learn.base.augment import cropped_mask, resized
from maskwright.learn.base.sampling import MOST_MASKS, MOST_TRIES, Sample, check_side, kept

Pixels = NDArray[np.bool_]
Floats = NDArray[np.float64]
PICTURES = (
    "astronaut", "brick", "camera", "cat", "clock", "coffee", "grass", "gravel", "hubble_deep_field", "retina",
    "rocket",
)  # fmt: skip
"""Photographs in ``skimage.data`` that are CC0 or in the public domain."""


def pictures() -> list[Floats]:
    """The photographs, (H, W, 3) in 0..255, at most 512 pixels long.

    Raises:
        ModelUnavailable: If scikit-image is not installed.
    """
    try:
        import skimage.data
    except ImportError as error:
        raise ModelUnavailable("pictures to learn from are missing: run 'pip install scikit-image'") from error
    found = []
    for name in PICTURES:
        pixels = np.asarray(getattr(skimage.data, name)())
        pixels = np.stack([pixels] * 3, axis=2) if pixels.ndim == 2 else pixels[:, :, :3]
        scale = 512 / max(pixels.shape)
        found.append(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.float64))
    return found


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], scale: float, channels: int = 1) -> Floats:
    """(h, w, channels) in about -1..1 that varies over ``scale`` pixels."""
    coarse = rng.normal(0, 0.6, (int(size[0] / scale) + 2, int(size[1] / scale) + 2, channels))
    grown = np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), np.float64)
    return grown.reshape(*size, channels)


def material(rng: np.random.Generator, photographs: list[Floats], size: tuple[int, int], near: Floats) -> Floats:
    """(h, w, 3) of one stuff, in a colour more or less like ``near``."""
    saturation = rng.beta(1, 3)  # as in photographs: most of what is seen is nearly grey
    colour = rng.uniform(10, 240) + saturation * rng.uniform(-120, 120, 3)
    colour = np.clip(colour + rng.choice([0, 0.3, 0.6, 0.8]) * (near - colour), 5, 250)
    kind = rng.choice(["plain", "gradient", "noise", "photograph"], p=[0.2, 0.15, 0.15, 0.5])
    if kind == "gradient":
        return np.asarray(colour + smooth_noise(rng, size, rng.uniform(0.5, 1.5) * max(size), 3) * rng.uniform(10, 50))
    if kind == "noise":
        spots = smooth_noise(rng, size, rng.uniform(1.5, 25), int(rng.choice([1, 3])))
        return np.asarray(colour + spots * rng.uniform(5, 30))
    if kind == "photograph":
        picture = photographs[int(rng.integers(len(photographs)))]
        side = int(rng.uniform(0.15, 0.95) * min(picture.shape[:2]))
        y, x = (int(rng.integers(0, limit - side + 1)) for limit in picture.shape[:2])
        crop = np.rot90(picture[y : y + side, x : x + side], int(rng.integers(4)))
        crop = np.ascontiguousarray(crop)
        crop = np.asarray(cv2.resize(crop, size[::-1], interpolation=cv2.INTER_LINEAR), np.float64)
        if rng.random() < 0.3:
            return crop
        crop -= cv2.mean(crop)[:3]
        crop *= rng.uniform(0.15, 0.9)
        crop += colour
        return crop
    return np.broadcast_to(colour, (*size, 3)).copy()


def outline(rng: np.random.Generator, size: tuple[int, int], centre: Floats, radius: float, kind: str) -> Pixels:
    """One shape around a centre (xy)."""
    mask = np.zeros(size, dtype=np.uint8)
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    turn, squeeze = rng.uniform(0, np.pi), rng.uniform(0.35, 1)
    if kind == "ellipse":
        lengths = np.ones(72)
    elif kind == "box":
        lengths = 1 / np.maximum(np.abs(np.cos(angles)), np.abs(np.sin(angles)))
        turn = turn if rng.random() < 0.4 else 0.0
    elif kind == "polygon":
        lengths = np.interp(angles, np.linspace(0, 2 * np.pi, 9), np.append(v := rng.uniform(0.5, 1.1, 8), v[0]))
    elif kind == "star":
        lengths = np.interp(angles % (2 * np.pi / 5), [0, np.pi / 5, 2 * np.pi / 5], [1, rng.uniform(0.35, 0.6), 1])
        squeeze = 1.0
    else:
        waves = range(2, 7)
        lengths = 1 + sum(rng.normal(0, 0.35 / k) * np.cos(k * angles + rng.uniform(0, 6)) for k in waves)
        lengths = np.maximum(lengths, 0.25)
    xy = np.stack([np.cos(angles) * lengths, np.sin(angles) * lengths * squeeze], axis=1) * radius
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    cv2.fillPoly(mask, [np.round(centre + xy @ rotation.T).astype(np.int32)], 1)
    if kind == "limbs":
        for _ in range(int(rng.integers(2, 6))):
            angle, start = rng.uniform(0, 2 * np.pi), centre + rng.normal(0, radius / 3, 2)
            end = start + np.array([np.cos(angle), np.sin(angle)]) * radius * rng.uniform(0.8, 1.8)
            ends = [tuple(int(v) for v in np.round(p)) for p in (start, end)]
            cv2.line(mask, ends[0], ends[1], 1, max(2, int(radius * rng.uniform(0.15, 0.5))))
    return mask > 0


def around(where: Pixels, margin: int) -> tuple[slice, slice]:
    """Rows and columns of the frame that hold all of ``where`` and ``margin`` pixels more; empty if it is empty."""
    spans = (np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0)))
    rows, columns = (slice(max(s[0] - margin, 0), s[-1] + margin + 1) if len(s) else slice(0, 0) for s in spans)
    return rows, columns


def draw_scene(rng: np.random.Generator, photographs: list[Floats]) -> tuple[NDArray[np.uint8], NDArray[np.int64], int]:
    """An RGB image, the number of the thing seen at every pixel, and how many of the numbers are areas, not objects."""
    size = (int(rng.integers(220, 420)), int(rng.integers(240, 480)))
    ys, xs = np.indices(size).astype(np.float64)
    areas = int(rng.choice([1, 2, 3, 4, 5, 6, 8]))
    warp = smooth_noise(rng, size, rng.uniform(20, 120), 2) * rng.choice([0, 15, 40])
    seeds, flatness = rng.uniform(0, 1, (areas, 2)) * size, rng.choice([1.0, 1.0, 2.5, 0.5])
    away = [((ys + warp[:, :, 0] - y) * flatness) ** 2 + (xs + warp[:, :, 1] - x) ** 2 for y, x in seeds]
    number = np.argmin(away, axis=0).astype(np.int64)
    image, near = np.zeros((*size, 3)), rng.uniform(20, 230, 3)

    def paint(where: Pixels, stuff: Floats) -> None:
        box = around(where, 4)  # beyond it the soft border below has no weight
        soft = cv2.GaussianBlur(where[box].astype(np.float64), (0, 0), 0.6)[:, :, None]
        image[box] = image[box] * (1 - soft) + stuff[box] * soft

    def paint_parts(where: Pixels, radius: float, most: int) -> None:
        if not where.any():
            return
        places = np.argwhere(where)[:, ::-1]
        for _ in range(int(rng.integers(0, most + 1))):
            part = outline(
                rng, size, places[rng.integers(len(places))], radius * rng.uniform(0.15, 0.6), rng.choice(kinds)
            )
            paint(part & where, material(rng, photographs, size, np.array(cv2.mean(image, where.astype(np.uint8))[:3])))

    kinds = ["ellipse", "box", "polygon", "blob", "limbs"]
    for k in range(areas):
        image[number == k] = material(rng, photographs, size, near)[number == k]
        paint_parts(number == k, 0.2 * max(size), 4)
    alike = rng.random() < 0.25
    things = int(rng.integers(8, 40)) if alike else int(rng.integers(0, 11))
    one_kind, one_radius = rng.choice(kinds[:4]), rng.uniform(6, 25)
    one_stuff = material(rng, photographs, size, near)
    shadow = rng.normal(0, 0.25, 2) if rng.random() < 0.4 else None
    for k in range(things):
        radius = (
            one_radius * rng.uniform(0.8, 1.25) if alike else max(size) * np.exp(rng.uniform(np.log(0.02), np.log(0.3)))
        )
        centre = rng.uniform(0, 1, 2) * size[::-1]
        mask = outline(rng, size, centre, radius, one_kind if alike else rng.choice(kinds))
        if shadow is not None:
            cast = np.roll(mask, tuple((shadow * radius).astype(int)), axis=(0, 1)).astype(np.float64)
            image *= 1 - 0.5 * cv2.GaussianBlur(cast, (0, 0), 1 + radius / 10)[:, :, None]
        place = image[min(int(centre[1]), size[0] - 1), min(int(centre[0]), size[1] - 1)].copy()
        paint(mask, one_stuff if alike else material(rng, photographs, size, place))
        if not alike:
            paint_parts(mask, radius, 5)
        number[mask] = areas + k
    image *= 1 + smooth_noise(rng, size, max(size) / 2) * rng.choice([0, 0.15, 0.35])
    if (blur := rng.choice([0, 0, 0.7, 1.5])) > 0:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    image += rng.normal(0, rng.choice([0, 3, 8, 15]), image.shape)
    quality = int(rng.choice([35, 60, 80, 95]))
    written = cv2.imencode(".jpg", np.clip(image, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(written, cv2.IMREAD_COLOR), dtype=np.uint8), number, areas


def plain_scene(rng: np.random.Generator) -> tuple[NDArray[np.uint8], Pixels]:
    """One thing of one colour on a ground of another, smooth or noisy: what must never be missed."""
    size = (int(rng.integers(220, 420)), int(rng.integers(240, 480)))
    ground, colour = rng.uniform(20, 235, (2, 3))
    while np.abs(ground - colour).max() < 60:
        colour = rng.uniform(20, 235, 3)
    image = ground + rng.normal(0, rng.choice([0, 4, 8, 12, 16]), (*size, 3))
    kind = rng.choice(["ellipse", "box", "polygon", "blob", "limbs", "star"])
    mask = outline(rng, size, rng.uniform(0.35, 0.65, 2) * size[::-1], min(size) * rng.uniform(0.1, 0.3), kind)
    image[mask] = colour + rng.normal(0, rng.choice([0, 0, 6]), (int(mask.sum()), 3))
    return np.clip(image, 0, 255).astype(np.uint8), mask


def seen_parts(number: NDArray[np.int64], areas: int) -> Iterator[tuple[str, Pixels]]:
    """The connected parts of every area and object that can be seen, crumbs left out, each with which of both it is."""
    for k in np.unique(number):
        count, parts, stats, _ = cv2.connectedComponentsWithStats((number == k).astype(np.uint8), connectivity=8)
        kind, least = ("area", 0.01) if k < areas else ("object", 0.001)
        yield from ((kind, parts == j) for j in range(1, count) if stats[j, cv2.CC_STAT_AREA] > least * number.size)


def drawn(rng: np.random.Generator, scenes: int) -> Iterator[tuple[str, NDArray[np.uint8], list[Pixels]]]:
    """Per scene up to four objects and three areas, the connected parts of each that are seen; and a plain scene."""
    photographs = pictures()
    for _ in range(scenes):
        image, mask = plain_scene(rng)
        yield "plain", image, [mask]
        image, number, areas = draw_scene(rng, photographs)
        found: dict[str, list[Pixels]] = {"object": [], "area": []}
        for kind, part in seen_parts(number, areas):
            found[kind].append(part)
        for kind, most in (("object", 4), ("area", 3)):
            order = rng.permutation(len(found[kind]))[:most]
            if len(order) and not (kind == "area" and areas == 1 and len(found["object"]) == 0):
                yield kind, image, [found[kind][j] for j in order]


class DrawnScenes:
    """Invented scenes as training samples.

    Args:
        side: Longer side of the samples in pixels.

    Raises:
        ModelUnavailable: If scikit-image is not installed.
    """

    name = "drawn"

    def __init__(self, side: int = 512) -> None:
        self._side = check_side(side)
        self._photographs = pictures()

    def sample(self, rng: np.random.Generator) -> Sample:
        """A scene with objects and areas; one thing on plain ground at times."""
        for _ in range(MOST_TRIES):
            if rng.random() < 0.07:
                image, mask = plain_scene(rng)
                found = [mask]
            else:
                image, number, areas = draw_scene(rng, self._photographs)
                found = [part for _, part in seen_parts(number, areas)]
            scale = self._side / max(image.shape[:2])
            height, width = (max(1, round(length * scale)) for length in image.shape[:2])
            box = (0, 0, image.shape[1], image.shape[0])
            grids = (found[k].astype(np.uint8) * 255 for k in rng.permutation(len(found))[:MOST_MASKS])
            if masks := kept((cropped_mask(grid, box, height, width) for grid in grids), rng):
                return Sample(resized(image, height, width), masks, self.name)
        raise RuntimeError("no drawn scene with a visible thing in so many tries")
