"""The files that go beside a dataset: its card and its contact sheet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from maskwright.export.card import CONTACT_SHEET, write_card
from maskwright.export.contact_sheet import Sample, draw_contact_sheet
from maskwright.export.records import Dataset
from maskwright.export.selection import Selection
from maskwright.export.tally import Tally
from maskwright.images import ImageLimits

CARD = "README.md"
"""Under this name hubs and code hosts show the card by themselves."""


@dataclass(frozen=True)
class Companions:
    """Makes card and contact sheet.

    Attributes:
        format_name: As ``--format`` names it.
        dataset: What is true of all images.
        selection: What was taken.
        source: Where it was taken from, as a phrase.
        limits: Bounds on image files.
    """

    format_name: str
    dataset: Dataset
    selection: Selection
    source: str
    limits: ImageLimits

    def make(
        self, tally: Tally, samples: Sequence[Sample], files: Mapping[str, str], index: str
    ) -> Iterator[tuple[str, bytes]]:
        """(relative path, content) of each file.

        Args:
            tally: What the export counted.
            samples: Images for the contact sheet, with their encoded files where these are at hand.
            files: SHA-256 in hex by relative path, of the files of the dataset.
            index: Relative path of the file that a loader opens.
        """
        sheet = draw_contact_sheet(samples, self.dataset.categories, self.limits)
        yield CONTACT_SHEET, sheet
        card = write_card(
            tally,
            self.dataset,
            {**files, CONTACT_SHEET: hashlib.sha256(sheet).hexdigest()},
            self.source,
            self.selection,
            tally.newest,
            format_name=self.format_name,
            index=index,
        )
        yield CARD, card.encode("utf-8", "replace")
