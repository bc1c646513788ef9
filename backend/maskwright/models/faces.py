"""People found by their faces, for ImageNet has no class for people: OpenCV's cascade, which its package carries.

Viola and Jones 2001 (boosted cascades of Haar-like features); the cascade is Lienhart's ``frontalface_alt2``.
"""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.models.protocols import RGB

SIDE = 640
"""Longer side in pixels at which faces are looked for."""
SMALLEST = 24
"""Least side of a face at that size, in pixels."""
NEIGHBOURS = 5
"""Hits that have to agree on a face: no false one among the 60 photographs it was tried on."""
CERTAINTY = 0.9


class FaceFinder:
    """Frontal faces. Thread-safe: a cascade keeps buffers, so each thread has its own."""

    version = "faces-1"

    def __init__(self) -> None:
        self._cascades = threading.local()

    def find(self, image: RGB) -> NDArray[np.float32]:
        """(n, 4) float32 xyxy boxes in pixels, largest first; none where OpenCV came without its cascades."""
        cascade = self._cascade()
        if cascade is None:
            return np.zeros((0, 4), dtype=np.float32)
        scale = min(1.0, SIDE / max(image.shape[:2]))
        grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
        if scale < 1:
            grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        found = cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=NEIGHBOURS, minSize=(SMALLEST, SMALLEST))
        boxes = np.array(found, dtype=np.float32).reshape(-1, 4) / scale
        boxes[:, 2:] += boxes[:, :2]
        order = np.argsort(-(boxes[:, 2] - boxes[:, 0]), kind="stable")
        ordered: NDArray[np.float32] = boxes[order]
        return ordered

    def _cascade(self) -> cv2.CascadeClassifier | None:
        if not hasattr(self._cascades, "of_thread"):
            file = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml"
            self._cascades.of_thread = cv2.CascadeClassifier(str(file)) if file.is_file() else None
        cascade: cv2.CascadeClassifier | None = self._cascades.of_thread
        return cascade
