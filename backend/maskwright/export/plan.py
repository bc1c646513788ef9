"""What to export, and how."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import orjson

from maskwright.annotated import TaskReader
from maskwright.export.card import CONTACT_SHEET
from maskwright.export.companions import CARD, Companions
from maskwright.export.dataset_record import RECORD
from maskwright.export.image_sources import ImageFetcher
from maskwright.export.records import Dataset, Format, Split
from maskwright.export.selection import Selection


@dataclass(frozen=True)
class Plan:
    """What to export, and how.

    Attributes:
        reader: Reads the platform's JSON of a task.
        selection: Chooses the regions of a task, image by image.
        format: How images are written.
        dataset: What is true of all images.
        settings: What the user asked for, as JSON values. It goes into ``dataset.json``, and an interrupted export
            goes on only under the same.
        splits: The part of each task by its key, where that was found beforehand.
        images: Where image files come from, or None.
        companions: Makes the files beside the dataset, or None.
        category_ids: Ids by class name that later exports into the folder must keep, those of classes that are not
            in it included; None for those of ``dataset``.
    """

    reader: TaskReader
    selection: Selection
    format: Format
    dataset: Dataset
    settings: Mapping[str, Any]
    splits: Mapping[str, Split] | None = None
    images: ImageFetcher | None = None
    companions: Companions | None = None
    category_ids: Mapping[str, int] | None = None

    def certain_files(self) -> list[str]:
        """Relative paths of files that will be written whatever the tasks hold."""
        beside = [CARD, CONTACT_SHEET] if self.companions is not None else []
        return [RECORD, *beside, *getattr(self.format, "indexes", ())]

    def fingerprint(self) -> str:
        """The same for plans that write the same."""
        splits = sorted((self.splits or {}).items())
        settings = [
            dict(self.settings), self.selection.to_json(), self.format.name, asdict(self.dataset), splits,
            version("maskwright"), repr(self.reader), repr(self.images),
        ]  # fmt: skip
        text = orjson.dumps(settings, option=orjson.OPT_SORT_KEYS, default=str)
        return hashlib.blake2b(text, digest_size=16).hexdigest()
