"""The detector that works on a fresh machine: where the region classifier sees a class, and the proposal that fits.

It knows what ImageNet's tags know and is no open-set detector: crowds are one box, and what the tagger has no word near
to is not found. Its scores are the classifier's evidence, not comparable with those of other detectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.models.classical import ClassicalSegmenter
from maskwright.models.detectors.phrases import INTERACTIVE, PhraseDetector, Thresholds, joined
from maskwright.models.learning_classifier import LocatingClassifier, tag_classifier
from maskwright.models.peaks import Map, coverage, fit, peaks
from maskwright.models.protocols import RGB, Detections, Proposals, Proposer, Segmenter
from maskwright.models.stages import StageDescription

REVISION = 1
SIDE = 640
"""Longer side in pixels to which images are reduced: none of the models inside sees more."""
LEVEL = 0.5
"""Height of a peak at which it is boxed where no proposal fits."""
FITTING = 0.7
"""Correlation with a peak from which a proposal is what stands there."""
BODY = (1.2, 0.5, 6.5)
"""Of a person, in sides of the face: beyond the face on the left and right, above it, and from its top down."""


@runtime_checkable
class ProposingSegmenter(Segmenter, Proposer, Protocol):
    """A segmenter that proposes regions of a whole image."""


class EmbeddedDetector(PhraseDetector):
    """Implements ``Detector`` with the models that travel with the package. Making one loads nothing.

    Args:
        segmenter: Proposes regions; None for the one without weights.
        classifier: Says where the image shows the phrases; None for the one that needs no training.
        thresholds: What counts as found.
    """

    def __init__(
        self,
        segmenter: ProposingSegmenter | None = None,
        classifier: LocatingClassifier | None = None,
        thresholds: Thresholds = INTERACTIVE,
    ) -> None:
        self._segmenter = ClassicalSegmenter() if segmenter is None else segmenter
        self._classifier = tag_classifier()[0] if classifier is None else classifier
        version = f"embedded-detector-{REVISION}({self._segmenter.version}, {self._classifier.version})"
        super().__init__(StageDescription("embedded-detector", version), thresholds)

    def find(self, image: RGB, phrases: Sequence[str]) -> Detections:
        """See ``PhraseDetector``. A box's score is the evidence at its highest place, or that of a face."""
        small = _reduced(image)
        found = self._find(small, phrases)
        down, across = (whole / part for whole, part in zip(image.shape[:2], small.shape[:2], strict=True))
        return replace(found, boxes=found.boxes * np.array([across, down, across, down], dtype=np.float32))

    def _find(self, image: RGB, phrases: Sequence[str]) -> Detections:
        evidence = self._classifier.locate(image, [[phrase] for phrase in phrases])
        parts: list[Detections] = []
        places = [(index, p) for index in range(len(phrases)) for p in self._peaks(evidence.maps[..., index])]
        proposals = self._segmenter.propose(self._segmenter.encode([image])[0]) if places else _no_proposals()
        covered = coverage(proposals.masks, evidence.maps.shape[:2])
        for index, peak in places:
            box = _box(peak, proposals, covered, (image.shape[0], image.shape[1]))
            parts.append(_one(box, float(peak.max()), index))
        for head, classes in zip(evidence.heads, evidence.head_classes, strict=True):
            index = int(classes.argmax())
            if classes[index] > self.thresholds.box:
                parts.append(_one(_body(head), float(classes[index]), index))
        return joined(parts)

    def _peaks(self, plane: Map) -> list[Map]:
        return [peak for peak in peaks(plane, self.thresholds.box) if peak.max() > self.thresholds.box]


def _reduced(image: RGB) -> RGB:
    scale = SIDE / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    reduced: RGB = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return reduced


def _box(peak: Map, proposals: Proposals, covered: Sequence[Map], size: tuple[int, int]) -> NDArray[np.float32]:
    """(4,) float32 xyxy in pixels of an (H, W) image: of the proposal that fits a peak best, or of the peak."""
    fits = [fit(plane, peak) for plane in covered]
    if max(fits, default=0.0) >= FITTING:
        return np.array(proposals.masks[int(np.argmax(fits))].box, dtype=np.float32)
    inside = peak >= LEVEL * peak.max()
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    across, down = size[1] / peak.shape[1], size[0] / peak.shape[0]
    return np.array(
        [columns[0] * across, rows[0] * down, (columns[-1] + 1) * across, (rows[-1] + 1) * down], dtype=np.float32
    )


def _body(head: NDArray[np.float32]) -> NDArray[np.float32]:
    """(4,) float32 xyxy around the person whose face this is; may reach beyond the image."""
    left, top, right, _ = head
    side = right - left
    aside, above, down = BODY
    return np.array([left - aside * side, top - above * side, right + aside * side, top + down * side], np.float32)


def _one(box: NDArray[np.float32], score: float, index: int) -> Detections:
    return Detections(box[None], np.array([score], dtype=np.float32), np.array([index], dtype=np.int64))


def _no_proposals() -> Proposals:
    return Proposals((), np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.float32))
