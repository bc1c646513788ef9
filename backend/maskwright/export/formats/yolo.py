"""YOLO segmentation labels, as in Ultralytics' documentation ("Instance Segmentation Datasets Overview").

``labels/<split>/<name>.txt`` has a line ``class x1 y1 x2 y2 ...`` per object, ``images/<split>/<name>.<suffix>`` the
image where it is at hand, ``data.yaml`` the folders and the names of the classes. Classes are numbered from 0 in the
order of the categories. A dataset that is not split is ``train``, and ``val`` points there too, because both are
required.

Coordinates are those of pixel centres, ((column + 0.5) / width, (row + 0.5) / height). Ultralytics multiplies them by
the size, cuts off the fraction, and fills with ``cv2.fillPoly``, which draws the outline as well: with centres every
pixel comes back as it was, where corners of pixels would grow the object by a row and a column, and contour points
without the half would fall short by rounding. One object is one line: parts and holes are joined by seams
(``formats.seams``). What that costs is counted by filling each ring again and comparing it with the mask. Objects that
stand for a crowd cannot be told from others in this format; they are left out, as Ultralytics' own converter does, and
counted as ``crowd``.

Ultralytics drops a line whose class and box repeat those of another. A different object with the same box therefore has
its coordinates moved by a fiftieth of a pixel, which cutting off removes again. The same object twice, class and pixels
alike, is written once, and its pixels are counted as ``duplicate``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from maskwright.errors import InvalidInput
from maskwright.export.formats.image_files import upright
from maskwright.export.formats.names import SPLITS, apart_from_files, stem
from maskwright.export.formats.seams import Points, ring
from maskwright.export.records import Dataset, ImageRecord, Loss, Rendered, Rows
from maskwright.export.simple_polygons import check_tolerance
from maskwright.masks import Mask

INDEX = "data.yaml"
_DIGITS = 7
_MIDDLE = 0.5
_STEP = 0.02
_STEPS = 20
_OUR_FOLDERS = re.compile(r"(?:images|labels)_*")


@dataclass(frozen=True)
class YoloFormat:
    """Writes YOLO segmentation datasets.

    Overlaps are kept. Wrong pixels are counted as ``parts`` where an object has several, as ``holes`` where it has
    holes, and as ``outline`` where outlines are simplified (``Dataset.tolerance``).
    """

    name: str = "yolo"
    wants_image: bool = True
    indexes: tuple[str, ...] = (INDEX,)

    def render(self, record: ImageRecord, dataset: Dataset, image: bytes | None) -> Rendered:
        """See :class:`maskwright.export.records.Format`.

        Raises:
            InvalidInput: If a mask is not of the image's size, the image cannot be read, or the tolerance is no number.
        """
        check_tolerance(dataset.tolerance)
        classes = {name: number for number, name in enumerate(dataset.categories)}
        lines: list[str] = []
        lost: list[Loss] = []
        seen: dict[tuple[int, tuple[float, ...]], list[Mask]] = {}
        for region in record.regions:
            label, mask = region.label or "", region.mask
            if mask.size != record.size:
                raise InvalidInput(f"a mask of {mask.size} (height, width) in an image of {record.size}")
            if mask.is_empty:
                continue
            if region.is_crowd:
                lost.append(Loss(label, "crowd", mask.area))
                continue
            alike = seen.setdefault((classes[label], mask.box), [])
            if mask in alike:
                lost.append(Loss(label, "duplicate", mask.area))
                continue
            points, wrong = _outline(mask, label, dataset.tolerance)
            lost += wrong
            lines.append(f"{classes[label]} {_coordinates(points, record.size, len(alike))}\n")
            alike.append(mask)
        split, name = record.split or "train", _name(record)
        files = [(f"labels/{split}/{name}.txt", "".join(lines).encode())]
        if image is not None:
            content, suffix = upright(record, image)
            files.append((f"images/{split}/{name}{suffix}", content))
        rows = ((split, b"1" if image is not None else b"0"),)
        return Rendered(rows, tuple(files), tuple(lost))

    def finish(self, folder: Path, rows: Rows, dataset: Dataset) -> tuple[str, ...]:
        """See :class:`maskwright.export.records.Format`."""
        counts = {split: [row == b"1" for row in rows(split)] for split in SPLITS}
        lines = []
        if not all(all(found) for found in counts.values()):
            lines.append("# Some images are not in this dataset: put each where its label file is, below images/ in")
            lines.append("# place of labels/, under the same name with the image's own suffix.")
        lines.append('path: ""  # empty: the folder of this file')
        lines.append("train: images/train")
        lines.append("val: images/val" if counts["val"] else "val: images/train  # nothing was set aside")
        if counts["test"]:
            lines.append("test: images/test")
        lines.append("names:")
        lines += [f"  {number}: {_quoted(name)}" for number, name in enumerate(dataset.categories)]
        (folder / INDEX).write_text("\n".join([*lines, ""]), encoding="utf-8")
        return (INDEX,)


def _name(record: ImageRecord) -> str:
    """Ultralytics finds labels by replacing the last folder called images: none may come after ours.

    ``images`` gets ``_`` at its end, and so does ``images_``, lest the two meet.
    """
    parts = apart_from_files(stem(record)).split("/")
    return "/".join(f"{part}_" if _OUR_FOLDERS.fullmatch(part) else part for part in parts)


def _outline(mask: Mask, label: str, tolerance: float) -> tuple[Points, list[Loss]]:
    """The ring in the image's pixels, and what it shows wrongly."""
    left, top, right, bottom = (int(v) for v in mask.box)
    inside = mask.crop_array(left, top, right, bottom)
    points = ring(inside)
    if tolerance > 0:
        simple = cv2.approxPolyDP(points.astype(np.int32), tolerance, closed=True).reshape(-1, 2).astype(np.int64)
        points = simple if len(simple) >= 3 else points
    picture = np.zeros(inside.shape, dtype=np.uint8)
    cv2.fillPoly(picture, [points.astype(np.int32)], 1)
    wrong = int(np.count_nonzero(picture.view(np.bool_) != inside))
    lost = [Loss(label, _reason(inside, tolerance), wrong)] if wrong else []
    return points + np.array([left, top]), lost


def _reason(inside: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], tolerance: float) -> str:
    if tolerance > 0:
        return "outline"
    parts, _ = cv2.connectedComponents(inside.astype(np.uint8), connectivity=8)
    return "parts" if parts > 2 else "holes"


def _coordinates(points: Points, size: tuple[int, int], before: int) -> str:
    """The points as text, moved a little for each different object of the same class and box before it."""
    middle = _MIDDLE + _STEP * math.remainder(before, _STEPS) if before else _MIDDLE
    height, width = size
    columns, rows = points[:, 0].tolist(), points[:, 1].tolist()
    texts_x = {x: _number((x + middle) / width) for x in set(columns)}
    texts_y = {y: _number((y + middle) / height) for y in set(rows)}
    return " ".join(f"{texts_x[x]} {texts_y[y]}" for x, y in zip(columns, rows, strict=True))


def _number(value: float) -> str:
    return f"{value:.{_DIGITS}f}".rstrip("0")


def _quoted(name: str) -> str:
    """A double-quoted scalar of YAML 1.2 (5.7, escaped characters)."""
    plain = name.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in plain) + '"'
