"""What models propose for held-out images before anyone clicks, beside what people left there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from maskwright.assist.assistant import Assistant
from maskwright.export.matching import match_pair
from maskwright.images import Image
from maskwright.labels import LabelSet
from maskwright.learn.gate.preannotations import (
    PreannotationQuality,
    measure_preannotations,
    preannotation_quality,
)
from maskwright.learn.rounds.corpus import CorpusImage
from maskwright.models.registry import ModelRegistry
from maskwright.regions import Provenance, Region
from maskwright.settings import Settings

MOST_IMAGES = 8
"""Held-out images for which both models propose: each takes up to three seconds where regions need a class."""
MISSED = "(missed)"


@dataclass(frozen=True, eq=False)
class Proposed:
    """A held-out image with what a model proposes.

    Attributes:
        image: The image.
        regions: Proposals, best first.
        pairs: (number of a proposal, number of an object that people left, IoU) of those that match.
    """

    image: CorpusImage
    regions: tuple[Region, ...]
    pairs: tuple[tuple[int, int, float], ...]

    def outcomes(self) -> list[tuple[float, float]]:
        """Of each proposal its score and its IoU with what people left, 0 where nothing matches."""
        reached = {i: iou for i, _, iou in self.pairs}
        return [(region.score, reached.get(i, 0.0)) for i, region in enumerate(self.regions)]


def propose(
    settings: Settings,
    registry: ModelRegistry,
    uri: str,
    images: Sequence[CorpusImage],
    labels: LabelSet,
    step: Callable[[int], None],
) -> list[Proposed]:
    """Let a model propose regions for images, as it would for tasks that open.

    Args:
        settings: Of the process; nothing is cached on disk.
        registry: Loads the model.
        uri: Of the model, with adapter and class head.
        images: The images.
        labels: The project's classes.
        step: Told how many images are done, after each; what it raises ends it.

    Raises:
        ModelUnavailable: If the model or its class head cannot be used.
    """
    bounded = settings.model_copy(update={"disk_cache_bytes": 0, "memory_cache_bytes": 0, "image_cache_bytes": 0})
    assistant = Assistant(bounded, registry=registry)
    found = []
    try:
        for done, image in enumerate(images, start=1):
            regions = assistant.preannotate(Image(image.pixels(), image.key, image.key), labels, model=uri).regions
            found.append(Proposed(image, regions, tuple(match_pair(regions, true_regions(image)))))
            step(done)
    finally:
        assistant.close()
    return found


def true_regions(image: CorpusImage) -> list[Region]:
    """What people left on an image, as regions."""
    return [Region(one.mask, one.label, 1.0, Provenance("person")) for one in image.correction.objects]


def quality(found: Sequence[Proposed]) -> PreannotationQuality:
    """Figures over images."""
    return preannotation_quality(
        measure_preannotations(one.image.key, one.regions, true_regions(one.image)) for one in found
    )


def names_worse(before: Sequence[Proposed], after: Sequence[Proposed]) -> bool:
    """Whether the classes of the second are right less often, if that can be told."""
    one, other = quality(before).class_accuracy, quality(after).class_accuracy
    return one is not None and other is not None and other < one


def confusion(found: Sequence[Proposed], labels: LabelSet) -> dict[str, Any]:
    """Which class was proposed for regions of which class; classes that nothing here is of are left out.

    Returns:
        ``classes``, the last of which stands for none, and ``rows``: ``rows[i][j]`` regions that people called
        ``classes[i]`` were proposed as ``classes[j]``; in the last column are those that nobody proposed, in the last
        row proposals that people did not leave.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for one in found:
        true = one.image.correction.objects
        proposed_of, true_of = {j: i for i, j, _ in one.pairs}, {i for i, _, _ in one.pairs}
        for j, thing in enumerate(true):
            guess = one.regions[proposed_of[j]].label if j in proposed_of else None
            counts[thing.label or MISSED, guess or MISSED] += 1
        for i, region in enumerate(one.regions):
            if i not in true_of:
                counts[MISSED, region.label or MISSED] += 1
    met = {name for pair in counts for name in pair} - {MISSED}
    names = [*(name for name in labels.names if name in met), *sorted(met - {*labels.names}), MISSED]
    return {"classes": names, "rows": [[counts[row, column] for column in names] for row in names]}
