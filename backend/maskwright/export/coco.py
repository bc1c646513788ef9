"""COCO instance segmentation files from regions that come one image at a time, such as pre-annotations.

Memory does not grow with the number of regions. Format and entries: :mod:`maskwright.export.coco_document`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO

from maskwright.errors import InvalidInput
from maskwright.export.coco_document import (
    annotation_entry,
    category_entries,
    dump,
    image_entry,
    stream_sections,
    whole_file,
)
from maskwright.labels import LabelSet
from maskwright.regions import Region


class CocoWriter:
    """Writes one file; use it as a context manager. If the block ends by an exception, nothing is left behind.

    Category ids are 1, 2, ... in the order of the label set; image and annotation ids are 1, 2, ... in the order of
    writing. Segmentations are compressed run lengths, ``iscrowd`` is 0.

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
        self._open = ExitStack()

    def __enter__(self) -> CocoWriter:
        self._sink: IO[bytes] = self._open.enter_context(whole_file(self._path))
        # Both lists grow together, and a JSON file can only be written front to back.
        self._image_rows: IO[bytes] = self._open.enter_context(tempfile.TemporaryFile())
        self._annotation_rows: IO[bytes] = self._open.enter_context(tempfile.TemporaryFile())
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
        checked = [self._checked(region, size, file_name) for region in regions]
        self._images += 1
        self._image_rows.write(dump(image_entry(self._images, file_name, size)) + b"\n")
        for region, category in checked:
            self._annotations += 1
            entry = annotation_entry(self._annotations, self._images, category, region, region.mask.to_coco())
            self._annotation_rows.write(dump(entry) + b"\n")
        return self._images

    def _checked(self, region: Region, size: tuple[int, int], file_name: str) -> tuple[Region, int]:
        if region.label not in self._categories:
            raise InvalidInput(f"{file_name}: a region has the class {region.label!r}, which the label set lacks")
        if tuple(region.mask.size) != tuple(size):
            raise InvalidInput(f"{file_name}: a mask of {region.mask.size} (height, width) in an image of {size}")
        return region, self._categories[region.label]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._open:
                if error is not None:
                    # Passed on to the file, which is then not put in place.
                    raise error
                self._finish()
        except OSError as failure:
            if failure is error:
                raise
            raise InvalidInput(f"cannot write {self._path}: {failure.strerror}") from None

    def _finish(self) -> None:
        head = {"description": self._description} if self._description else {}
        stream_sections(
            self._sink,
            (
                ("info", dump(head)),
                ("licenses", dump([])),
                ("images", _lines(self._image_rows)),
                ("annotations", _lines(self._annotation_rows)),
                ("categories", dump(category_entries(self._categories))),
            ),
        )


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    stream.seek(0)
    return (line.rstrip(b"\n") for line in stream)
