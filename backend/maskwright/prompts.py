"""What a person or a detector points with: clicks, a box, scribbles, previous logits, a phrase.

All coordinates are absolute pixels of the displayed image, x to the right and y down, where the centre of the first
pixel is (0.5, 0.5); a box is xyxy.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in absolute pixels (xyxy); right and bottom are exclusive edges."""


@dataclass(frozen=True, eq=False)
class Scribble:
    """A free-hand stroke.

    Attributes:
        points: (M, 2) float32 xy, M >= 1, in drawing order.
        positive: Whether the stroke marks the object (True) or what is not part of it.
        radius: Half the stroke's width in pixels.
    """

    points: NDArray[np.float32]
    positive: bool = True
    radius: float = 1.0


def _no_points() -> NDArray[np.float32]:
    return np.zeros((0, 2), dtype=np.float32)


def _no_labels() -> NDArray[np.int64]:
    return np.zeros((0,), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Prompt:
    """Everything that is known about one wanted region.

    Attributes:
        point_coords: (N, 2) float32 xy.
        point_labels: (N,) int64, 1 = on the object, 0 = not on it.
        box: xyxy around the object, or None.
        scribbles: Strokes on and off the object.
        mask_input: (h, w) float32 low-resolution logits of the same segmenter's last answer for this region, or None.
        phrase: Words that name the object, or None.
    """

    point_coords: NDArray[np.float32] = field(default_factory=_no_points)
    point_labels: NDArray[np.int64] = field(default_factory=_no_labels)
    box: Box | None = None
    scribbles: tuple[Scribble, ...] = ()
    mask_input: NDArray[np.float32] | None = None
    phrase: str | None = None

    def __post_init__(self) -> None:
        coords = np.asarray(self.point_coords, dtype=np.float32).reshape(-1, 2)
        labels = np.asarray(self.point_labels, dtype=np.int64).reshape(-1)
        if len(coords) != len(labels):
            raise InvalidInput(
                f"{len(coords)} points came with {len(labels)} labels; give one label (1 or 0) per point"
            )
        if not np.isfinite(coords).all():
            raise InvalidInput("point coordinates must be finite numbers")
        if not np.isin(labels, (0, 1)).all():
            raise InvalidInput("point labels must be 1 (on the object) or 0 (not on it)")
        if self.box is not None:
            box = tuple(float(v) for v in self.box)
            if len(box) != 4 or not all(np.isfinite(box)) or box[2] <= box[0] or box[3] <= box[1]:
                raise InvalidInput("a box is x1,y1,x2,y2 in pixels with x2 > x1 and y2 > y1")
            object.__setattr__(self, "box", box)
        coords.setflags(write=False)
        labels.setflags(write=False)
        object.__setattr__(self, "point_coords", coords)
        object.__setattr__(self, "point_labels", labels)

    @classmethod
    def from_points(
        cls, points: list[tuple[float, float, int]], box: Box | None = None, phrase: str | None = None
    ) -> Prompt:
        """Build a prompt from (x, y, label) triples; see the class for units and labels."""
        coords = np.array([p[:2] for p in points], dtype=np.float32).reshape(-1, 2)
        labels = np.array([p[2] for p in points], dtype=np.int64)
        return cls(point_coords=coords, point_labels=labels, box=box, phrase=phrase)

    @property
    def is_empty(self) -> bool:
        """Whether nothing spatial and no phrase was given."""
        return not len(self.point_labels) and self.box is None and not self.scribbles and not self.phrase

    @property
    def has_spatial(self) -> bool:
        """Whether a point, a box or a scribble was given."""
        return bool(len(self.point_labels)) or self.box is not None or bool(self.scribbles)

    @property
    def is_ambiguous(self) -> bool:
        """One positive click and nothing else: the case for which SAM answers with three masks (paper, section 3)."""
        return (
            len(self.point_labels) == 1
            and self.point_labels[0] == 1
            and self.box is None
            and not self.scribbles
            and self.mask_input is None
        )

    def extent(self) -> Box | None:
        """The tight box (xyxy) around everything spatial, or None; a single click gives a box of no size."""
        parts = [self.point_coords, *(s.points for s in self.scribbles)]
        if self.box is not None:
            parts.append(np.array(self.box, dtype=np.float32).reshape(2, 2))
        xy = np.concatenate(parts)
        if not len(xy):
            return None
        low, high = xy.min(axis=0), xy.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def shifted(self, dx: float, dy: float) -> Prompt:
        """The same prompt in a frame whose origin lies at (-dx, -dy) of this one; ``mask_input`` is kept."""
        return self.transformed(1.0, 1.0, dx, dy)

    def scaled(self, sx: float, sy: float) -> Prompt:
        """The same prompt with x multiplied by ``sx`` and y by ``sy``; ``mask_input`` is kept."""
        return self.transformed(sx, sy, 0.0, 0.0)

    def transformed(self, sx: float, sy: float, dx: float, dy: float) -> Prompt:
        """Map every x to ``x * sx + dx`` and every y to ``y * sy + dy``; ``mask_input`` is kept."""
        scale, shift = np.array([sx, sy], dtype=np.float32), np.array([dx, dy], dtype=np.float32)
        box = self.box
        if box is not None:
            box = (box[0] * sx + dx, box[1] * sy + dy, box[2] * sx + dx, box[3] * sy + dy)
        factor = float(np.sqrt(abs(sx * sy)))
        strokes = tuple(replace(s, points=s.points * scale + shift, radius=s.radius * factor) for s in self.scribbles)
        return replace(self, point_coords=self.point_coords * scale + shift, box=box, scribbles=strokes)

    def prefix(self, clicks: int) -> Prompt:
        """The prompt as it was after its first ``clicks`` points (box and scribbles kept, ``mask_input`` dropped)."""
        return replace(
            self, point_coords=self.point_coords[:clicks], point_labels=self.point_labels[:clicks], mask_input=None
        )

    def content_hash(self) -> str:
        """32 hex digits that are equal for prompts with equal coordinates (to 1/100 pixel), labels, box and phrase.

        ``mask_input`` does not take part: it is what this hash is used to find.
        """
        digest = hashlib.blake2b(digest_size=16)
        digest.update(np.round(self.point_coords * 100).astype("<i8").tobytes())
        digest.update(self.point_labels.astype("<i8").tobytes())
        digest.update(repr([round(v * 100) for v in self.box] if self.box else None).encode())
        for stroke in self.scribbles:
            digest.update(np.round(stroke.points * 100).astype("<i8").tobytes())
            digest.update(repr((stroke.positive, round(stroke.radius * 100))).encode())
        digest.update(repr(self.phrase).encode())
        return digest.hexdigest()
