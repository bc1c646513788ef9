"""Opening the streams of training samples by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2

from maskwright.errors import InvalidInput
from maskwright.learn.base.corpus import Corpus
from maskwright.learn.base.cutouts import open_cutouts
from maskwright.learn.base.drawn import DrawnScenes
from maskwright.learn.base.nuclei import Nuclei
from maskwright.learn.base.photographs import PACKED, Photographs, PhotographSource
from maskwright.learn.base.sampling import Sample, Source, check_side
from maskwright.learn.base.scenes import Scenes

__all__ = ["NAMES", "Sample", "Source", "open_sources"]
NAMES = ("nuclei", "photographs", "scenes", "drawn")


def open_sources(
    data: Path | None, names: Sequence[str], side: int = 512, root: Path = Path("/"), packed: Path = PACKED
) -> dict[str, Source]:
    """Open sources of samples; pictures are decoded when they are first wanted, and kept.

    Args:
        data: Folder that holds the set ``nuclei``; only that source needs it.
        names: Out of ``NAMES``.
        side: Longer side of every sample in pixels.
        root: Below which the Debian packages are installed.
        packed: Annotations of the photographs.

    Raises:
        InvalidInput: If a name is unknown, or the data folder is missing or incomplete.
        ModelUnavailable: If packages are missing; the message says how to install them.
    """
    check_side(side)
    if unknown := [name for name in names if name not in NAMES]:
        raise InvalidInput(f"sources: {unknown[0]!r} is not one of {', '.join(NAMES)}")
    cv2.setNumThreads(1)  # samples are made beside training, one per core
    corpus = Corpus(root)
    photographs = Photographs(corpus, packed) if {"photographs", "scenes"} & set(names) else None
    opened: dict[str, Source] = {}
    for name in names:
        if name == "nuclei":
            if data is None:
                raise InvalidInput("nuclei: name the folder that holds the set, or leave this source out")
            opened[name] = Nuclei(data / "nuclei", side)
        elif name == "drawn":
            opened[name] = DrawnScenes(side)
        elif photographs is not None and name == "photographs":
            opened[name] = PhotographSource(photographs, side)
        elif photographs is not None:
            opened[name] = Scenes(open_cutouts(corpus, photographs), photographs, side)
    return opened
