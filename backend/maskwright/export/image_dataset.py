"""Datasets in any of the formats from regions that come one image at a time, such as pre-annotations.

For what has no tasks and no platform; exports of projects go through :mod:`maskwright.export.engine`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

from maskwright.errors import InvalidInput
from maskwright.export.formats.names import stem
from maskwright.export.records import Dataset, Format, ImageRecord
from maskwright.export.shards import read_rows, write_shard
from maskwright.labels import LabelSet
from maskwright.regions import Region


class ImageDatasetWriter:
    """Writes one dataset; use it as a context manager. If the block ends by an exception, nothing is left behind.

    Category ids are 1, 2, ... in the order of the label set; image ids are 1, 2, ... in the order of writing, save for
    images whose names differ by nothing but a suffix.

    Args:
        folder: The folder to be. It must not be there, or be empty; the folder around it must exist.
        form: How images are written.
        labels: The classes.
        description: A sentence for the files' ``info``.

    Raises:
        InvalidInput: If the folder holds something, or cannot be written to.
    """

    def __init__(self, folder: Path, form: Format, labels: LabelSet, description: str = "") -> None:
        self._folder, self._form = folder, form
        self._dataset = Dataset({name: i for i, name in enumerate(labels.names, start=1)}, description=description)
        self._shards: list[Path] = []
        self._stems: set[str] = set()

    def __enter__(self) -> ImageDatasetWriter:
        try:
            if self._folder.exists() and (not self._folder.is_dir() or any(self._folder.iterdir())):
                raise InvalidInput(f"{self._folder} is there already and is no empty folder; name another one")
            self._work = Path(tempfile.mkdtemp(dir=self._folder.parent, prefix=f".{self._folder.name}."))
            self._made, self._rows = self._work / "dataset", self._work / "rows"
            self._made.mkdir()
            self._rows.mkdir()
        except OSError as error:
            raise InvalidInput(f"cannot write {self._folder}: {error.strerror}") from None
        return self

    def add(self, file_name: str, size: tuple[int, int], regions: Sequence[Region]) -> None:
        """Write an image and its regions.

        Args:
            file_name: Relative POSIX path, as it should stand in the files.
            size: (H, W) of the image in pixels.
            regions: Masks of that size, each with a class of the label set, best first: of two that overlap, the better
                one shows where a pixel can have but one.

        Raises:
            InvalidInput: If a region does not fit, or the disk refuses.
        """
        for region in regions:
            if region.label not in self._dataset.categories:
                raise InvalidInput(f"{file_name}: a region has the class {region.label!r}, which the label set lacks")
        number = str(len(self._shards) + 1)
        record = ImageRecord(f"files/{file_name}/0", number, file_name, file_name, size, tuple(reversed(regions)))
        if stem(record) in self._stems:  # cat.png beside cat.jpg
            record = ImageRecord(record.key, number, file_name, file_name, size, record.regions, is_only_image=False)
        self._stems.add(stem(record))
        rendered = self._form.render(record, self._dataset, None)
        try:
            for name, content in rendered.files:
                path = self._made / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self._shards.append(self._rows / number)
            write_shard(self._shards[-1], rendered.rows)
        except OSError as error:
            raise InvalidInput(f"cannot write {self._folder}: {error.strerror}") from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._form.finish(self._made, partial(read_rows, self._shards), self._dataset)
                self._made.replace(self._folder)
        except OSError as failure:
            raise InvalidInput(f"cannot write {self._folder}: {failure.strerror}") from None
        finally:
            shutil.rmtree(self._work, ignore_errors=True)
