"""Things with nothing around them: pictures with alpha from installed packages, decoded when first wanted."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from maskwright.learn.base.corpus import Corpus
from maskwright.learn.base.photographs import Photographs, whole_object

PACKAGES = ("tuxpaint-stamps-default", "openclipart-png", "fonts-noto-color-emoji", "tango-icon-theme")
LONGEST = 360
"""Cut-outs are kept at most this long, in pixels."""
LARGEST_FILE, MOST_PIXELS = 4 << 20, 1_000_000
EMOJI_SIZE = 109
"""Pixels per em of the bitmaps in the emoji font."""
EMOJI = ((0x1F300, 0x1F320), (0x1F32D, 0x1F394), (0x1F399, 0x1F3FA), (0x1F400, 0x1F440), (0x1F451, 0x1F463),
         (0x1F466, 0x1F487), (0x1F488, 0x1F489), (0x1F48D, 0x1F48F), (0x1F4A1, 0x1F4FD), (0x1F525, 0x1F52D),
         (0x1F57A, 0x1F57B), (0x1F5A5, 0x1F5A6), (0x1F680, 0x1F6A8), (0x1F6E0, 0x1F6FD), (0x1F950, 0x1F97F),
         (0x1F980, 0x1F9AF), (0x1F9C0, 0x1F9FF), (0x1FA70, 0x1FAA9), (0x1FAB0, 0x1FABF),
         (0x1FAD0, 0x1FADC))  # fmt: skip
"""Code points, ends excluded, of things rather than signs, letters, flags and faces."""
CLIP_ART = ("animals", "people", "food", "transportation", "tools", "office", "buildings", "plants", "containers",
            "science", "electronics", "decorations", "special", "recreation", "unsorted")  # fmt: skip
NOT_STAMPS = ("symbols",)
PHOTO_COLOURS = 0.12
"""A cut-out with more distinct colours (5 bits a channel) than this share of its pixels, up to 4096, is photo-like."""


@dataclass(frozen=True, eq=False)
class CutOut:
    """A thing to paste.

    Attributes:
        colour: (h, w, 3) uint8 RGB; beyond the thing its colours go on, so that resizing makes no rim.
        alpha: (h, w) uint8.
        enlarge: Factor up to which it may be enlarged and still looks right.
    """

    colour: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    enlarge: float


Decode = Callable[[], "CutOut | None"]


class CutOuts:
    """All cut-outs of some kinds, each decoded once.

    Args:
        kinds: Per kind how often it is drawn beside the others, and one function per cut-out that decodes it and
            answers None if it turns out to be none.
    """

    def __init__(self, kinds: Sequence[tuple[float, Sequence[Decode]]]) -> None:
        self._kinds = [(weight, list(decoders)) for weight, decoders in kinds if decoders]
        weights = np.array([weight for weight, _ in self._kinds], dtype=np.float64)
        self._chances = weights / weights.sum() if len(weights) else weights
        self._read: dict[tuple[int, int], CutOut | None] = {}

    def draw(self, rng: np.random.Generator) -> CutOut:
        """A random one."""
        while True:
            kind = int(rng.choice(len(self._kinds), p=self._chances))
            found = self.get(kind, int(rng.integers(len(self._kinds[kind][1]))))
            if found is not None:
                return found

    def get(self, kind: int, index: int) -> CutOut | None:
        """The cut-out ``index`` of a kind."""
        if (kind, index) not in self._read:
            self._read[kind, index] = self._kinds[kind][1][index]()
        return self._read[kind, index]


def open_cutouts(corpus: Corpus, photographs: Photographs | None) -> CutOuts:
    """The cut-outs of the installed packages, photo-like ones most often.

    Raises:
        ModelUnavailable: If packages are missing.
    """
    corpus.require(PACKAGES)
    folders = {name: corpus.folder(name) or Path() for name in PACKAGES}
    stamps = [
        path
        for path in pictures(folders["tuxpaint-stamps-default"])
        if path.relative_to(folders["tuxpaint-stamps-default"]).parts[0] not in NOT_STAMPS
    ]
    clips = [path for part in CLIP_ART for path in pictures(folders["openclipart-png"] / part)]
    icons = pictures(folders["tango-icon-theme"] / "32x32")
    font = folders["fonts-noto-color-emoji"] / "NotoColorEmoji.ttf"
    points = [point for first, last in EMOJI for point in range(first, last)] if font.is_file() else []
    return CutOuts([
        (0.50, [lambda p=p: read(p, photo=True) for p in stamps]),  # type: ignore[misc]
        (0.07, [lambda p=p: read(p, photo=False) for p in stamps]),  # type: ignore[misc]
        (0.13, [lambda p=p: read(p, photo=None) for p in clips]),  # type: ignore[misc]
        (0.07, [lambda c=c: glyph(font, c) for c in points]),  # type: ignore[misc]
        (0.02, [lambda p=p: read(p, photo=None) for p in icons]),  # type: ignore[misc]
        (0.30, from_photographs(photographs) if photographs is not None else []),
    ])  # fmt: skip


def pictures(folder: Path) -> list[Path]:
    """The PNG files below a folder that are of a moderate size, in order, links left out."""
    found = sorted(folder.rglob("*.png"))
    return [path for path in found if not path.is_symlink() and 200 < path.stat().st_size <= LARGEST_FILE]


def read(path: Path, photo: bool | None) -> CutOut | None:
    """A file's cut-out; None if it is not one, or is (not) photo-like as asked."""
    try:
        content = path.read_bytes()
        if int.from_bytes(content[16:20], "big") * int.from_bytes(content[20:24], "big") > MOST_PIXELS:
            return None  # width and height in the header of a PNG
        with PillowImage.open(io.BytesIO(content), formats=["PNG"]) as picture:
            rgba = np.asarray(picture.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError):
        return None
    found = trimmed(rgba)
    if found is None or (photo is not None and photo != photo_like(found)):
        return None
    return found


def glyph(font: Path, point: int) -> CutOut | None:
    """A colour glyph; None if the font has none for the code point."""
    face = ImageFont.truetype(str(font), EMOJI_SIZE)
    canvas = PillowImage.new("RGBA", (160, 160))
    ImageDraw.Draw(canvas).text((10, 10), chr(point), font=face, embedded_color=True)
    return trimmed(np.asarray(canvas))


def trimmed(rgba: NDArray[np.uint8], enlarge: float = 1.7) -> CutOut | None:
    """Cut to what is opaque and to ``LONGEST``; None if that is nothing, nearly a full rectangle, lines or crumbs."""
    solid = rgba[:, :, 3] >= 128
    ys, xs = np.nonzero(solid.any(axis=1))[0], np.nonzero(solid.any(axis=0))[0]
    if len(ys) < 12 or len(xs) < 12:
        return None
    top, bottom, left, right = ys[0], ys[-1] + 1, xs[0], xs[-1] + 1
    rgba, solid = rgba[top:bottom, left:right], solid[top:bottom, left:right]
    share = float(solid.mean())
    counts = cv2.connectedComponentsWithStats(solid.astype(np.uint8), connectivity=8)[2][1:, cv2.CC_STAT_AREA]
    if not 0.12 < share < 0.97 or counts.max() < 0.75 * counts.sum():
        return None
    outlines = cv2.findContours(solid.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    if sum(cv2.contourArea(line) for line in outlines) > 1.6 * counts.sum():
        return None
    scale = LONGEST / max(solid.shape)
    alpha = np.ascontiguousarray(rgba[:, :, 3])
    colour = bled(np.ascontiguousarray(rgba[:, :, :3]), alpha)
    if scale < 1:
        size = (max(1, round(solid.shape[1] * scale)), max(1, round(solid.shape[0] * scale)))
        colour, alpha = (cv2.resize(a, size, interpolation=cv2.INTER_AREA) for a in (colour, alpha))
    return CutOut(np.asarray(colour, dtype=np.uint8), np.asarray(alpha, dtype=np.uint8), enlarge)


def bled(colour: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Let the colours of a thing go on where it is transparent."""
    solid = (alpha >= 200).astype(np.float32)
    spread = cv2.GaussianBlur(colour.astype(np.float32) * solid[:, :, None], (0, 0), 3)
    weight = cv2.GaussianBlur(solid, (0, 0), 3)[:, :, None]
    mean = (colour * solid[:, :, None]).sum(axis=(0, 1)) / max(float(solid.sum()), 1.0)
    around = np.where(weight > 1e-3, spread / np.maximum(weight, 1e-3), mean)
    return np.where(alpha[:, :, None] >= 60, colour, np.clip(around, 0, 255)).astype(np.uint8)


def photo_like(cutout: CutOut) -> bool:
    """Whether it has the many colours of a photograph."""
    inside = cutout.colour[cutout.alpha >= 200].astype(np.int32) >> 3
    distinct = len(np.unique(inside[:, 0] << 10 | inside[:, 1] << 5 | inside[:, 2]))
    return distinct > PHOTO_COLOURS * min(len(inside), 4096)


def from_photographs(photographs: Photographs) -> list[Decode]:
    """The whole things among the regions drawn on the photographs."""

    def cut(index: int, number: int) -> CutOut | None:
        photograph = photographs[index]
        mask = photograph.masks[number]
        if not whole_object(photograph.names[number], mask):
            return None
        height, width = photograph.image.shape[:2]
        wide = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
        radius = max(0.8, max(height, width) / 700)
        inner = cv2.erode((wide >= 128).astype(np.uint8) * 255, np.ones((3, 3), np.uint8))  # leaves the old rim behind
        alpha = cv2.GaussianBlur(inner, (0, 0), radius)
        return trimmed(np.dstack([photograph.image, alpha]), enlarge=1.3)

    numbers = [(k, j) for k in photographs.annotated for j in range(len(photographs.regions(k)))]
    return [lambda k=k, j=j: cut(k, j) for k, j in numbers]  # type: ignore[misc]
