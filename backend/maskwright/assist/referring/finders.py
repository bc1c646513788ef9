"""Who finds things by words: what pre-annotation found, the classifier of regions, or a detector with a segmenter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from maskwright.assist.everything import propose_regions
from maskwright.assist.located import locate_objects
from maskwright.assist.preannotate import PreannotationOptions, proposal_options
from maskwright.assist.referring.grammar import bare
from maskwright.assist.referring.resolve import Find, Found
from maskwright.assist.suggestion.names import ClassNames
from maskwright.errors import InvalidInput
from maskwright.images import Image
from maskwright.images.tiles import IntBox
from maskwright.labels import LabelSet
from maskwright.models.detectors.suppression import suppress
from maskwright.models.protocols import (
    Detector,
    ImageEmbedding,
    Locator,
    Proposals,
    RegionClassifier,
    Segmenter,
)
from maskwright.prompts import Prompt
from maskwright.regions import Region

_BATCH = 64


def finder_by_looks(
    image: Image,
    *,
    segmenter: Segmenter,
    encode: Callable[[IntBox], ImageEmbedding],
    classifier: RegionClassifier,
    tile_size: int,
) -> Find:
    """What finds things where a classifier sees what words mean; works on a fresh machine.

    Args:
        image: The image; its longer side at most ``tile_size``.
        segmenter: Draws the masks.
        encode: Gives the embedding of a window (xyxy, whole pixels) of this image.
        classifier: Tells where an image shows what words mean.
        tile_size: In pixels.

    Raises:
        InvalidInput: If the image is too large, or the classifier cannot tell where things are.
    """
    if not isinstance(classifier, Locator):
        raise InvalidInput("this classifier cannot find a region by a phrase alone; add a click or a box")
    _check_size(image, tile_size)
    proposals: list[Proposals] = []

    def find(words: tuple[str, ...]) -> list[Found]:
        evidence = classifier.locate(image.pixels, [words])
        embedding = encode((0, 0, image.size[1], image.size[0]))
        if not proposals:
            options = proposal_options(PreannotationOptions(), segmenter, 1, tile_size, 0)
            proposals.append(propose_regions(segmenter, lambda window: embedding, image.size, options))
        located = locate_objects(image.pixels, evidence, [words], proposals[0], segmenter, embedding, classifier)
        return [Found(item.mask, item.quality * float(item.probabilities[0])) for item in located]

    return find


def finder_by_classes(labels: LabelSet, regions: Callable[[], Sequence[Region]], otherwise: Find) -> Find:
    """What finds things of a project's classes among its pre-annotated regions, and everything else as another does.

    A class that is told from the others of its project is seen more surely than a word by itself, and each member of a
    crowd too.

    Args:
        labels: The project's classes.
        regions: Gives the image's regions with their classes; asked only for what is one of these.
        otherwise: Asked for other things, and where there is no region of a class.
    """
    names = ClassNames(labels)

    def find(words: tuple[str, ...]) -> Sequence[Found]:
        meant = next((item for word in words if (item := names.find(bare(word))) is not None), None)
        if meant is None:
            return otherwise(words)
        alike = [Found(one.mask, one.score, is_judged=True) for one in regions() if one.label == meant.name]
        return alike or otherwise(words)

    return find


def finder_by_detector(
    image: Image,
    *,
    detector: Detector,
    segmenter: Segmenter,
    encode: Callable[[IntBox], ImageEmbedding],
    tile_size: int,
) -> Find:
    """What finds things by a detector's boxes, which the segmenter answers; arguments and errors as above."""
    _check_size(image, tile_size)

    def find(words: tuple[str, ...]) -> list[Found]:
        detections = detector.detect(image.pixels, words)
        # The words mean one thing, so that boxes of different words repeat each other as those of one do.
        found = suppress(replace(detections, phrase_indices=np.zeros_like(detections.phrase_indices)))
        height, width = image.size
        boxes = found.boxes.clip(0, (width, height, width, height))
        there = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
        if not len(there):
            return []
        prompts = [Prompt(box=tuple(boxes[i].tolist())) for i in there]
        embedding = encode((0, 0, width, height))
        scores = [float(found.scores[i]) for i in there]
        return [item for item in _drawn(segmenter, embedding, prompts, scores) if not item.mask.is_empty]

    return find


def _drawn(
    segmenter: Segmenter, embedding: ImageEmbedding, prompts: Sequence[Prompt], scores: Sequence[float]
) -> list[Found]:
    drawn: list[Found] = []
    for start in range(0, len(prompts), _BATCH):
        answer = segmenter.decode(embedding, prompts[start : start + _BATCH])
        qualities = np.clip(answer.predicted_iou[:, 0], 0, 1)
        for logits, quality, score in zip(
            answer.low_res_logits[:, 0], qualities, scores[start : start + _BATCH], strict=True
        ):
            drawn.append(Found(segmenter.upsample(embedding, logits), float(quality) * score))
    return drawn


def _check_size(image: Image, tile_size: int) -> None:
    if max(image.size) > tile_size:
        raise InvalidInput(
            f"a phrase alone finds regions on images of at most {tile_size} pixels a side; add a click or a box"
        )
