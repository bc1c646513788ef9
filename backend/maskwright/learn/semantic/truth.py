"""True classes of pixels from a COCO file, image by image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.export.coco_entries import by
from maskwright.export.coco_in import CocoReader
from maskwright.export.image_folder import locate_image
from maskwright.images import Image, ImageLimits, load_image
from maskwright.labels import LabelSet
from maskwright.learn.coco_objects import shuffled
from maskwright.learn.semantic.label_maps import LabelMap, true_map
from maskwright.regions import Region


@dataclass(frozen=True, eq=False)
class TrueImage:
    """An image whose classes are known.

    Attributes:
        title: What it is called in messages.
        path: Its file.
        regions: What people drew, at least one.
        names: Of the classes.
    """

    title: str
    path: Path
    regions: tuple[Region, ...]
    names: tuple[str, ...]

    def load(self, limits: ImageLimits) -> Image:
        """The image.

        Raises:
            MaskwrightError: If it cannot be decoded, or is not of the size that its masks have.
        """
        try:
            image = load_image(self.path, limits=limits)
        except MaskwrightError as error:
            raise type(error)(f"{self.title}: {error}") from error
        size = self.regions[0].mask.size
        if image.size != size:
            raise InvalidInput(
                f"{self.title}: its masks are {by(size)} pixels, but the file {self.path.name!r} shows "
                f"{by(image.size)} (turned as its EXIF data say); the COCO file must describe the image as displayed"
            )
        return image

    @property
    def labels(self) -> LabelMap:
        """(H, W) int32 class of each pixel, -1 where nobody said one; see ``label_maps.true_map``."""
        return true_map(self.regions, self.names, self.regions[0].mask.size)


class TrueImages:
    """The images of a COCO file that have regions; a context manager.

    Args:
        coco: The file.
        folder: Where its file names start.

    Attributes:
        labels: Its categories.

    Raises:
        InvalidInput: If the file is no COCO file, names no category, or there is no such folder.
        TooLarge: If an entry is beyond all bounds.
    """

    def __init__(self, coco: Path, folder: Path) -> None:
        if not folder.is_dir():
            raise InvalidInput(f"there is no folder {folder}")
        self._folder = folder
        with ExitStack() as opened:
            self._reader = opened.enter_context(CocoReader(coco))
            self.labels = LabelSet.of(self._reader.categories)
            if not len(self.labels):
                raise InvalidInput("the COCO file names no category, so there is no class to be right about")
            opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.__exit__(kind, error, trace)

    def chosen(self, limit: int | None = None, seed: int = 0) -> Iterator[TrueImage]:
        """Images with regions in an order by lot; equal seeds choose the same.

        Args:
            limit: Most images, or None for all.
            seed: Of the lot.

        Raises:
            InvalidInput: If an annotation or file name is wrong, or no image has a region.
        """
        found = 0
        for entries in shuffled(list(self._reader.entries()), seed):
            if found == limit:
                return
            image = self._reader.read(entries)
            if not image.regions:
                continue
            found += 1
            try:
                path = locate_image(self._folder, image.file_name)
            except InvalidInput as error:
                raise InvalidInput(f"{image.title}: {error}") from error
            yield TrueImage(image.title, path, image.regions, self.labels.names)
        if not found:
            raise InvalidInput("no image of the COCO file has an annotation with a pixel: there is nothing to evaluate")
