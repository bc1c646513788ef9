"""Pictures to try things on: photographs in the public domain that scikit-image carries inside its package."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from maskwright.errors import InvalidInput
from maskwright.labels import LabelClass, LabelSet
from maskwright.prompts import Box

SAMPLE_LABELS = LabelSet(
    (
        LabelClass("cat", ("tabby cat", "tiger cat", "Egyptian cat")),
        LabelClass("cup", ("espresso", "coffee mug", "cup")),
        LabelClass("person", ("astronaut", "woman", "man")),
        LabelClass("helmet", ("crash helmet", "football helmet")),
        LabelClass("rocket", ("rocket", "missile", "projectile")),
        # The embedded tagger knows no coins; the other words are what it calls worn ones.
        LabelClass("coin", ("coin", "Petri dish", "nematode", "gong", "loupe", "bolo tie", "face powder", "pick")),
    )
)


@dataclass(frozen=True)
class Sample:
    """One picture.

    Attributes:
        file: Its name in the package.
        licence: Under what terms and by whom, as the package documents it.
        click: (x, y) in pixels on the thing that the picture shows.
        box: xyxy in pixels around it.
        label: The class of that thing.
    """

    file: str
    licence: str
    click: tuple[float, float]
    box: Box
    label: str


SAMPLES: Mapping[str, Sample] = MappingProxyType(
    {
        sample.file: sample
        for sample in (
            Sample("chelsea.png", "CC0, Stefan van der Walt", (190.0, 60.0), (22.0, 1.0, 385.0, 299.0), "cat"),
            Sample("coffee.png", "CC0, Rachel Michetti", (300.0, 180.0), (168.0, 14.0, 425.0, 240.0), "cup"),
            Sample("astronaut.png", "public domain, NASA", (220.0, 350.0), (16.0, 8.0, 370.0, 511.0), "person"),
            Sample("rocket.jpg", "CC0, SpaceX", (322.0, 250.0), (303.0, 122.0, 341.0, 392.0), "rocket"),
            Sample(
                "coins.png",
                "no known copyright restrictions, Brooklyn Museum",
                (107.0, 49.0),
                (80.0, 33.0, 127.0, 77.0),
                "coin",
            ),
        )
    }
)


def sample_images() -> tuple[Path, ...]:
    """The files of ``SAMPLES``.

    Raises:
        InvalidInput: If scikit-image is not installed.
    """
    spec = importlib.util.find_spec("skimage")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    found = tuple(path for place in places for name in SAMPLES if (path := Path(place) / "data" / name).is_file())
    if not found:
        raise InvalidInput("the sample pictures come with scikit-image: pip install 'maskwright[demo]'")
    return found
