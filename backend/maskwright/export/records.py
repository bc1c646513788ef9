"""What travels through an export: images with their regions in, rows and files out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from maskwright.masks import Size
from maskwright.regions import Region

if TYPE_CHECKING:
    from maskwright.export.agreement import Agreement

Split = Literal["train", "val", "test"]
Segmentation = Literal["rle", "rle-uncompressed", "polygon"]


@dataclass(frozen=True)
class ImageRecord:
    """One image as it goes into a dataset.

    Attributes:
        key: ``<project>/<task>/<position of the image>``; stable over exports, ids are derived from it.
        task: The task's identifier.
        is_only_image: Whether its task has no other image.
        file_name: Relative POSIX path in the dataset, without ``..``.
        source: Its address at the platform.
        size: (H, W) in pixels of the displayed image.
        regions: In the order of drawing; later ones lie on top.
        split: Which part of the dataset it belongs to, or None where nothing is split.
        annotators: Who made the annotations that the regions come from.
        model_versions: Versions whose proposals these annotations began from.
        agreement: How far several annotators agree, where there are several.
        data: The task's fields.
        problems: Sentences about regions that could not be read.
    """

    key: str
    task: str
    file_name: str
    source: str
    size: Size
    regions: tuple[Region, ...]
    is_only_image: bool = True
    split: Split | None = None
    annotators: tuple[str, ...] = ()
    model_versions: tuple[str, ...] = ()
    agreement: Agreement | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """What is true of a whole export, and known before the first image is read. Can be pickled.

    Attributes:
        categories: Category id by class name, in the order of the ids, which begin at 1.
        segmentation: How COCO files hold masks.
        tolerance: Pixels by which simplified outlines may stray (Douglas-Peucker); 0 keeps every corner.
        image_files: Whether images are copied into the dataset.
        grid: Side of the grid of semantic descriptors (Text4Seg).
        description: A sentence for the files' ``info`` and the card.
        licence: As it should stand in the files and the card, or empty.
    """

    categories: Mapping[str, int]
    segmentation: Segmentation = "rle"
    tolerance: float = 0.0
    image_files: bool = False
    grid: int = 16
    description: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Loss:
    """Pixels that a format cannot hold.

    Attributes:
        label: Class of the region.
        reason: ``overlap``, ``holes``, ``parts``, ``outline`` ... as the card names it.
        pixels: How many pixels are wrong in the file: lost or added.
    """

    label: str
    reason: str
    pixels: int


@dataclass(frozen=True)
class Rendered:
    """What a format makes of one image.

    Attributes:
        rows: (section, row): kept in order and handed to ``Format.finish`` by section.
        files: (relative path in the dataset's folder, content).
        lost: What the format could not hold.
    """

    rows: tuple[tuple[str, bytes], ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()
    lost: tuple[Loss, ...] = ()


Rows = Callable[[str], Iterator[bytes]]
"""By section, its rows in the order of the tasks; may be called several times."""


class Format(Protocol):
    """One file format of datasets. A value that can be pickled: ``render`` runs in many processes.

    Attributes:
        name: As ``--format`` names it.
        wants_image: Whether ``render`` needs the image's encoded bytes to do its work in full.

    Two more are optional: ``indexes``, relative paths that are written whatever the images hold, so that files of
    somebody else are found before the work begins; ``copies_images``, False where images go along on request only.
    """

    @property
    def name(self) -> str:
        """See above."""
        ...

    @property
    def wants_image(self) -> bool:
        """See above."""
        ...

    def render(self, record: ImageRecord, dataset: Dataset, image: bytes | None) -> Rendered:
        """Write one image; a pure function.

        Args:
            record: The image and its regions, whose labels are all in ``dataset.categories``.
            dataset: What is true of all images.
            image: The encoded image as it is stored, or None where it is not at hand.
        """
        ...

    def finish(self, folder: Path, rows: Rows, dataset: Dataset) -> tuple[str, ...]:
        """Write the files that need all images, streaming.

        Args:
            folder: Where the files of ``Rendered.files`` lie already; not yet visible to the user.
            rows: What ``render`` gave.
            dataset: What is true of all images.

        Returns:
            Relative paths of what was written; the last is the one that a loader opens.
        """
        ...
