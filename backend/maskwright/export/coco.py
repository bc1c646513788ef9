"""COCO instance segmentation files, written as a stream: memory does not grow with the number of regions.

Format: the data section of COCO's documentation (Lin et al. 2014). The file appears under its name only when it is
whole: it is written beside, synced and renamed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import orjson

from maskwright.errors import InvalidInput
from maskwright.labels import LabelSet
from maskwright.regions import Region

SCORE_DIGITS = 6


class CocoWriter:
    """Writes one file; use it as a context manager. If the block ends by an exception, nothing is left behind.

    Category ids are 1, 2, ... in the order of the label set; image and annotation ids are 1, 2, ... in the order of
    writing. Segmentations are compressed run lengths, ``iscrowd`` is 0, ``score`` is the region's.

    Args:
        path: The file to be; its folder must exist. An old file of that name is replaced at the end.
        labels: The classes.
        description: A sentence for the file's ``info``.

    Raises:
        InvalidInput: If the folder cannot be written to.
    """

    def __init__(self, path: Path, labels: LabelSet, description: str = "") -> None:
        self._path = path
        self._categories = {name: i for i, name in enumerate(labels.names, start=1)}
        self._description = description
        self._images = 0
        self._annotations = 0

    def __enter__(self) -> CocoWriter:
        try:
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        except OSError as error:
            raise InvalidInput(f"cannot write {self._path}: {error.strerror}") from None
        self._temporary = Path(name)
        self._sink: IO[bytes] = os.fdopen(handle, "wb")
        # The list of images grows along with that of annotations, and a JSON file can only be written front to back.
        self._image_list: IO[bytes] = tempfile.TemporaryFile()
        head = {"description": self._description} if self._description else {}
        categories = [{"id": i, "name": name, "supercategory": "object"} for name, i in self._categories.items()]
        self._sink.write(
            b'{"info":' + _dump(head) + b',"licenses":[],"categories":' + _dump(categories) + b',"annotations":['
        )
        return self

    def add(self, file_name: str, size: tuple[int, int], regions: Iterable[Region]) -> int:
        """Write an image and its regions; returns the image's id.

        Args:
            file_name: As it should stand in the file.
            size: (H, W) of the image in pixels.
            regions: Masks of that size, each with a class of the label set.

        Raises:
            InvalidInput: If a region's class is not in the label set or its mask has another size.
        """
        # Everything is checked before anything is written, so that a refused image leaves no half of itself.
        written = [self._annotation(region, size, file_name) for region in regions]
        self._images += 1
        row = {"id": self._images, "file_name": file_name, "height": size[0], "width": size[1]}
        self._image_list.write((b"," if self._images > 1 else b"") + b"\n" + _dump(row))
        for annotation in written:
            self._annotations += 1
            annotation = {"id": self._annotations, "image_id": self._images, **annotation}
            self._sink.write((b"," if self._annotations > 1 else b"") + b"\n" + _dump(annotation))
        return self._images

    def _annotation(self, region: Region, size: tuple[int, int], file_name: str) -> dict[str, Any]:
        if region.label not in self._categories:
            raise InvalidInput(f"{file_name}: a region has the class {region.label!r}, which the label set lacks")
        if tuple(region.mask.size) != tuple(size):
            raise InvalidInput(f"{file_name}: a mask of {region.mask.size} (height, width) in an image of {size}")
        x1, y1, x2, y2 = region.mask.box
        return {
            "category_id": self._categories[region.label],
            "segmentation": region.mask.to_coco(),
            "area": region.mask.area,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "iscrowd": 0,
            "score": round(float(region.score), SCORE_DIGITS),
        }

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        except OSError as failure:
            raise InvalidInput(f"cannot write {self._path}: {failure.strerror}") from None
        finally:
            self._sink.close()
            self._image_list.close()
            self._temporary.unlink(missing_ok=True)

    def _finish(self) -> None:
        self._sink.write(b'\n],"images":[')
        self._image_list.seek(0)
        shutil.copyfileobj(self._image_list, self._sink)
        self._sink.write(b"\n]}\n")
        self._sink.flush()
        os.fchmod(self._sink.fileno(), 0o644)
        os.fsync(self._sink.fileno())
        self._temporary.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            # The new name must outlive a power cut as well as the content.
            os.fsync(folder)
        finally:
            os.close(folder)


def _dump(value: object) -> bytes:
    return orjson.dumps(value)
