"""Nuclei under the microscope (2018 Data Science Bowl, CC0): crops of the images that constants may be fitted on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from maskwright.errors import InvalidInput
from maskwright.learn.base.augment import apply_table, cropped_mask, degrade, resized, tone_table, turn_colours
from maskwright.learn.base.sampling import MOST_TRIES, SMALLEST_SHARE, Image, Pixels, Sample, check_side, frame, kept

Kind = TypeVar("Kind", bound=np.generic)
FITTED_IMAGES = 100
"""So many first images of the file are learnt from; the others are for evaluation only."""
MOST_ENLARGED = 3.0
LEAST_LEFT = 0.5


class Nuclei:
    """Crops around nuclei, turned, mirrored and recoloured.

    Args:
        folder: Holds ``instances.json`` (COCO, compressed run lengths) and the image files that it names.
        side: Longer side of the samples in pixels.

    Raises:
        InvalidInput: If the set is not there or cannot be read.
    """

    name = "nuclei"

    def __init__(self, folder: Path, side: int = 512) -> None:
        self._side = check_side(side)
        listing = folder / "instances.json"
        if not listing.is_file():
            raise InvalidInput(f"nuclei: {listing.name} is not in the data folder; name the folder that holds 'nuclei'")
        document = json.loads(listing.read_text())
        images = document["images"][:FITTED_IMAGES]
        found: dict[int, list[dict[str, object]]] = {image["id"]: [] for image in images}
        for annotation in document["annotations"]:
            if annotation["image_id"] in found:
                found[annotation["image_id"]].append(annotation["segmentation"])
        self._images = [(folder / i["file_name"], found[i["id"]]) for i in images if found[i["id"]]]
        if not self._images:
            raise InvalidInput("nuclei: instances.json lists no annotated image")
        self._read: dict[int, tuple[Image, NDArray[np.int32]]] = {}

    def _load(self, index: int) -> tuple[Image, NDArray[np.int32]]:
        if index not in self._read:
            path, segmentations = self._images[index]
            pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if pixels is None:
                raise InvalidInput(f"nuclei: {path.name} cannot be read")
            numbers = np.zeros(pixels.shape[:2], dtype=np.int32)
            for k, segmentation in enumerate(segmentations):
                numbers[coco_mask.decode(segmentation) > 0] = k + 1
            self._read[index] = np.ascontiguousarray(pixels[:, :, ::-1]), numbers
        return self._read[index]

    def sample(self, rng: np.random.Generator) -> Sample:
        """A crop with the nuclei of which at least half is in it."""
        for _ in range(MOST_TRIES):
            image, numbers = self._load(int(rng.integers(len(self._images))))
            crop = self._crop(rng, image, numbers)
            if crop is not None:
                picture, masks = crop
                return Sample(degrade(rng, stained(rng, picture)), masks, self.name)
        raise InvalidInput("nuclei: no image has a nucleus large enough for a sample of this side")

    def _crop(
        self, rng: np.random.Generator, image: Image, numbers: NDArray[np.int32]
    ) -> tuple[Image, tuple[Pixels, ...]] | None:
        sizes = np.bincount(numbers.ravel())
        target = int(rng.integers(1, len(sizes))) if len(sizes) > 1 else 0
        if not target or not sizes[target]:
            return None
        height, width = frame(rng, self._side)
        limits = (
            image.shape[0] / height,
            image.shape[1] / width,
            np.sqrt(sizes[target] / SMALLEST_SHARE / height / width),
        )
        most, least = min(*limits, 2.0), 1 / MOST_ENLARGED
        if most < least:
            return None
        step = float(np.exp(rng.uniform(np.log(least), np.log(most))))  # pixels of the image per pixel of the sample
        h, w = min(round(height * step), image.shape[0]), min(round(width * step), image.shape[1])
        ys, xs = np.nonzero(numbers == target)
        top = round(float(ys.mean()) - h * rng.uniform(0.1, 0.9))
        left = round(float(xs.mean()) - w * rng.uniform(0.1, 0.9))
        top, left = min(max(top, 0), image.shape[0] - h), min(max(left, 0), image.shape[1] - w)
        window = numbers[top : top + h, left : left + w]
        seen = np.bincount(window.ravel(), minlength=len(sizes))
        whole = seen >= np.maximum(LEAST_LEFT * sizes, SMALLEST_SHARE * h * w)
        chosen = [k for k in range(1, len(sizes)) if whole[k]]
        chosen = [chosen[k] for k in rng.permutation(len(chosen))[:16]]
        turns, mirror = int(rng.integers(4)), rng.random() < 0.5

        def placed(pixels: NDArray[Kind]) -> NDArray[Kind]:
            around = np.rot90(pixels, turns) if height == width else np.rot90(pixels, 2 * (turns % 2))
            return np.ascontiguousarray(around[:, ::-1] if mirror else around)

        grids = (((window == k).astype(np.uint8) * 255) for k in chosen)
        masks = kept((placed(cropped_mask(g, (0, 0, w, h), height, width)) for g in grids), rng)
        crop = resized(np.ascontiguousarray(image[top : top + h, left : left + w]), height, width)
        return (placed(crop), masks) if masks else None


def stained(rng: np.random.Generator, image: Image) -> Image:
    """Another stain, lamp or camera: inverted at times, in colours where it was grey."""
    if rng.random() < 0.5:  # many are nearly black: as a viewer stretches them
        low, high = np.percentile(image[::4, ::4], (0.5, 99.8))
        high = max(high, low + 12)
        ramp = (np.arange(256)[:, None] - low) / (high - low) * rng.uniform(0.6, 1.0) * 255 + rng.uniform(0, 25)
        image = apply_table(image, np.repeat(np.clip(ramp, 0, 255), 3, axis=1).astype(np.uint8))
    grey = int(np.ptp(image[::4, ::4].astype(np.int16), axis=2).max()) < 12
    if rng.random() < 0.3:
        image = 255 - image
    if grey and rng.random() < 0.5:
        dark, bright = rng.uniform(0, 90, 3), rng.uniform(120, 255, 3)
        ramp = dark + (np.arange(256) / 255)[:, None] ** np.exp(rng.normal(0, 0.3)) * (bright - dark)
        image = apply_table(image, ramp.astype(np.uint8))
    elif not grey and rng.random() < 0.6:
        image = turn_colours(image, float(np.exp(rng.normal(0, 0.3))), float(rng.uniform(-180, 180)))
    return apply_table(image, tone_table(rng, 0.4)) if rng.random() < 0.7 else image
