"""Photographs of installed packages with masks that were drawn on them for this project."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.learn.base.augment import cropped_mask, degrade, flipped, recolour, resized, turned
from maskwright.learn.base.corpus import Corpus
from maskwright.learn.base.sampling import MOST_TRIES, SMALLEST_SIDE, Image, Pixels, Sample, check_side, kept
from maskwright.masks import Mask

PACKED = Path(__file__).with_name("data") / "photographs.json.gz"
PACKAGES = ("gcompris-qt-data", "mate-backgrounds", "plasma-workspace-wallpapers", "scikit-image", "scikit-learn")
LONGEST = 1024
"""Photographs are kept at most this long, in pixels."""
FLATTEST = 1.7
"""Most that one side of a crop is longer than the other."""
MOST_ENLARGED = 2.5
"""Crops are not so small that they must be enlarged more, unless the whole photograph is."""
LEAST_LEFT, LARGE_SHARE = 0.5, 0.05
"""A mask is dropped if less than so much of it is in the crop, unless it fills so much of the crop."""


@dataclass(frozen=True, eq=False)
class Photograph:
    """A decoded photograph.

    Attributes:
        image: (H, W, 3) uint8 RGB, at most ``LONGEST`` long.
        names: What the drawn regions are, in a few words; may be empty.
        masks: One (h, w) uint8 per name, 0 or 255, on a grid of its own of about the same aspect.
    """

    image: Image
    names: tuple[str, ...]
    masks: tuple[NDArray[np.uint8], ...]


class Photographs:
    """The photographs that are listed in the packed annotations and installed here.

    Args:
        corpus: Finds the packages.
        packed: The file that ``collect`` writes.
        partial: Whether photographs may be missing; what is learnt then is not what the recipe says.

    Raises:
        InvalidInput: If the file is damaged.
        ModelUnavailable: If packages are missing or hold none of the photographs.
    """

    def __init__(self, corpus: Corpus, packed: Path = PACKED, *, partial: bool = False) -> None:
        try:
            listed = json.loads(gzip.decompress(packed.read_bytes()))["photographs"]
        except (OSError, EOFError, ValueError, KeyError) as error:
            raise InvalidInput(f"{packed.name}: cannot be read; write it anew with learn.base.collect") from error
        found = [(corpus.photograph(item["source"], item["sha256"]), item["regions"]) for item in listed]
        corpus.release()
        missing = [item["source"] for item, (content, _) in zip(listed, found, strict=True) if not content]
        if missing and not partial:
            corpus.require(PACKAGES)
            raise ModelUnavailable(
                f"photographs: {len(missing)} of {len(listed)} are missing, {missing[0]} for one: the installed "
                "packages hold other pictures than those that the regions were drawn on"
            )
        self._stored = [(content, regions) for content, regions in found if content]
        self._read: dict[int, Photograph] = {}
        self.annotated = tuple(k for k, (_, regions) in enumerate(self._stored) if regions)

    def __len__(self) -> int:
        return len(self._stored)

    def regions(self, index: int) -> tuple[str, ...]:
        """Names of the regions of a photograph, which is not decoded."""
        return tuple(str(region["name"]).lower() for region in self._stored[index][1])

    def __getitem__(self, index: int) -> Photograph:
        if index not in self._read:
            content, regions = self._stored[index]
            masks = tuple(Mask.from_coco(region).to_array().astype(np.uint8) * 255 for region in regions)
            self._read[index] = Photograph(decoded(content), self.regions(index), masks)
        return self._read[index]


def decoded(content: bytes) -> Image:
    """(H, W, 3) uint8 of an encoded picture, at most ``LONGEST`` long."""
    with PillowImage.open(io.BytesIO(content)) as picture:
        picture.draft("RGB", (LONGEST, LONGEST))
        pixels = np.asarray(picture.convert("RGB"))
    scale = LONGEST / max(pixels.shape[:2])
    if scale < 1:
        pixels = resized(pixels, round(pixels.shape[0] * scale), round(pixels.shape[1] * scale))
    return np.ascontiguousarray(pixels)


def crop(
    rng: np.random.Generator, photograph: Photograph, side: int, smallest: float = 0.35, aspect: float | None = None
) -> tuple[Image, list[tuple[str, Pixels]]]:
    """A random part of a photograph, ``side`` long, with the regions that are still in it.

    Args:
        rng: Decides which part.
        photograph: To crop from.
        side: Longer side of the part after scaling, in pixels.
        smallest: Least length of the part, of the photograph's own.
        aspect: Width over height of the part; near the photograph's own where not given.
    """
    full_height, full_width = photograph.image.shape[:2]
    smallest = min(max(smallest, side / MOST_ENLARGED / max(full_width, full_height)), 1.0)
    share = float(rng.uniform(smallest, 1.0)) if rng.random() < 0.75 else 1.0
    if aspect is None:
        flattest = min(FLATTEST, side / SMALLEST_SIDE)
        aspect = float(np.clip(full_width / full_height * np.exp(rng.normal(0, 0.2)), 1 / flattest, flattest))
    width = min(share * full_width, share * full_height * aspect)
    w, h = min(max(8, round(width)), full_width), min(max(8, round(width / aspect)), full_height)
    left, top = int(rng.integers(full_width - w + 1)), int(rng.integers(full_height - h + 1))
    height, width_out = (side, max(1, round(side * aspect))) if aspect <= 1 else (max(1, round(side / aspect)), side)
    image = resized(np.ascontiguousarray(photograph.image[top : top + h, left : left + w]), height, width_out)
    regions = []
    for name, mask in zip(photograph.names, photograph.masks, strict=True):
        sx, sy = mask.shape[1] / full_width, mask.shape[0] / full_height
        seen = cropped_mask(mask, (left * sx, top * sy, (left + w) * sx, (top + h) * sy), height, width_out)
        area = int(np.count_nonzero(seen))
        whole = np.count_nonzero(mask) / (sx * sy) * (height * width_out) / (h * w)
        if area >= LEAST_LEFT * whole or area > LARGE_SHARE * seen.size:
            regions.append((name, seen))
    return image, regions


class PhotographSource:
    """Samples cropped from the annotated photographs.

    Args:
        photographs: To crop from.
        side: Longer side of the samples in pixels.

    Raises:
        ModelUnavailable: If no installed photograph is annotated.
    """

    name = "photographs"

    def __init__(self, photographs: Photographs, side: int = 512) -> None:
        self._side = check_side(side)
        self._photographs = photographs
        if not photographs.annotated:
            raise ModelUnavailable("photographs: no installed photograph is annotated; run learn.base.collect first")

    def sample(self, rng: np.random.Generator) -> Sample:
        """A crop of an annotated photograph, as another camera might have taken it."""
        for _ in range(MOST_TRIES):
            index = self._photographs.annotated[int(rng.integers(len(self._photographs.annotated)))]
            image, regions = crop(rng, self._photographs[index], self._side)
            image, masks = flipped(rng, image, [mask for _, mask in regions])
            if rng.random() < 0.25:
                image, masks = turned(rng, image, masks, 12.0)
            if chosen := kept(masks, rng):
                return Sample(degrade(rng, recolour(rng, image)), chosen, self.name)
        raise ModelUnavailable("photographs: no annotated region is of a size to learn from")


def whole_object(name: str, mask: NDArray[np.uint8]) -> bool:
    """Whether a region can be pasted elsewhere: a thing by its name, in one piece, hardly cut by the edge."""
    if set(name.replace(",", " ").replace("-", " ").split()) & NOT_OBJECTS:
        return False
    ys, xs = (
        np.nonzero(cv2.reduce(mask, 1, cv2.REDUCE_MAX)[:, 0])[0],
        np.nonzero(cv2.reduce(mask, 0, cv2.REDUCE_MAX)[0])[0],
    )
    if not len(ys):
        return False
    edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    outline = 2 * (np.ptp(ys) + np.ptp(xs) + 2)
    share = np.count_nonzero(mask) / mask.size
    return bool(
        0.01 < share < 0.6 and np.count_nonzero(edge) < 0.06 * outline and cv2.connectedComponents(mask)[0] == 2
    )


NOT_OBJECTS = frozenset((
    "all", "arch", "arches", "arm", "arms", "backdrop", "background", "backrest", "bank", "base", "beach", "beak",
    "bill", "blade", "body", "both", "breast", "bushes", "center", "centre", "chest", "cliff", "cloth", "cloud",
    "clouds", "coat", "column", "columns", "courtyard", "desert", "dirt", "dome", "door", "doors", "dune", "ear",
    "ears", "earth", "everything", "eye", "eyes", "facade", "face", "field", "fields", "fin", "flipper", "floor",
    "foliage", "foreground", "forest", "gate", "gown", "grass", "ground", "group", "hair", "hand", "handle",
    "hands", "head", "hill", "hills", "horizon", "horn", "horns", "ice", "interior", "lake", "land", "landscape",
    "lawn", "leaves", "leg", "legs", "mane", "meadow", "middle", "mountain", "mountains", "muzzle", "neck", "nose",
    "ocean", "opening", "panel", "part", "parts", "path", "pavement", "petal", "petals", "plain", "plaza",
    "reflection", "reflections", "river", "road", "rocks", "roof", "sand", "scrub", "sea", "seat", "shadow",
    "shadows", "shore", "sky", "snow", "soil", "square", "stairs", "stairway", "stairways", "steps", "street",
    "surface", "table", "tail", "top", "torso", "tower", "towers", "trees", "trunk", "two", "vegetation", "wall",
    "walls", "water", "window", "windows", "wing", "wings",
))  # fmt: skip
"""Words of region names that tell stuff, parts and groups from whole things."""
