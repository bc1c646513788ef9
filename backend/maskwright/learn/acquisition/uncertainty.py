"""What a segmenter says of its own answers: entropy of masks, predicted IoU, and entropy of class suggestions."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.learn.acquisition.candidates import Context, Look, Signal

BAND = 2
"""Cells on either side of a mask's border that its entropy is averaged over: over whole images, large backgrounds
would drown it."""
DOUBTFUL = 0.25
"""Cells whose probability lies between this and one minus this belong to the band wherever they are."""


def binary_entropy(probability: NDArray[np.floating]) -> NDArray[np.float64]:
    """Shannon's entropy of a yes-or-no variable in nats, any shape.

    ln 2 at 0.5, 0 at 0 and 1, and the same for p and 1 - p.

    C. E. Shannon, "A Mathematical Theory of Communication" (1948).
    """
    p = np.asarray(probability, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = -(np.where(p > 0, p * np.log(p), 0.0) + np.where(p < 1, (1 - p) * np.log1p(-p), 0.0))
    return np.asarray(found)


def sigmoid(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities of logits, any shape; infinities become 0 and 1."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64))))


def uncertain_band(probability: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(h, w) bool: the cells of (h, w) probabilities near a mask's border or doubtful in themselves.

    Where there is no such cell, everything: a mask without a border is still an answer.
    """
    inside = (probability > 0.5).astype(np.uint8)
    kernel = np.ones((2 * BAND + 1, 2 * BAND + 1), dtype=np.uint8)
    grown = cv2.dilate(inside, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    shrunk = cv2.erode(inside, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    band: NDArray[np.bool_] = (grown != shrunk) | ((probability >= DOUBTFUL) & (probability <= 1 - DOUBTFUL))
    return band if band.any() else np.ones_like(band)


class PredictiveEntropy(Signal):
    """Mean entropy over the uncertain bands of the proposed masks, in nats, in [0, ln 2].

    Entropy as a measure of what a label would tell: Shannon (1948); pooled near borders, since the rest of an image is
    easy background.
    """

    name = "entropy"

    def measure(self, key: str, look: Look, context: Context) -> float:
        """See ``Signal``; NaN without proposals."""
        return mean([_band_entropy(item.logits) for item in look.proposals])


class PredictedIoU(Signal):
    """One minus the mean calibrated IoU that the segmenter predicts of its proposals, in [0, 1].

    The IoU head is SAM's (Kirillov et al. 2023); uncalibrated it is too sure of itself outside what it was trained on.
    """

    name = "predicted-iou"

    def measure(self, key: str, look: Look, context: Context) -> float:
        """See ``Signal``; NaN without proposals."""
        return mean(list(1 - context.calibration([item.predicted_iou for item in look.proposals])))


class ClassEntropy(Signal):
    """Mean entropy of the class suggested for every region of the pre-annotation, in nats.

    What a region's scores lack to 1 is the probability of no class, and counts as a class of its own. Uncertainty
    sampling: Lewis & Gale, "A Sequential Algorithm for Training Text Classifiers" (SIGIR 1994).
    """

    name = "class-entropy"

    def measure(self, key: str, look: Look, context: Context) -> float:
        """See ``Signal``; NaN without regions that a classifier was asked about."""
        return mean([_class_entropy(list(r.class_scores.values())) for r in look.regions if r.class_scores])


def mean(values: list[float]) -> float:
    """Their mean; NaN of none."""
    return float(np.mean(values)) if values else float("nan")


def _band_entropy(logits: NDArray[np.float32]) -> float:
    probability = sigmoid(logits)
    return float(binary_entropy(probability[uncertain_band(probability)]).mean())


def _class_entropy(scores: list[float]) -> float:
    found = np.clip(np.asarray(scores, dtype=np.float64), 0, None)
    share = np.append(found, max(0.0, 1 - found.sum()))
    share = share[share > 0] / share.sum()
    return float(-(share * np.log(share)).sum())
