"""What several tests of the plugin share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from maskwright.masks import Mask
from maskwright.regions import Provenance, Region


@pytest.fixture
def ring_and_blob() -> Mask:
    """A ring with a hole and, apart from it, a blob: what one polygon cannot hold."""
    picture = np.zeros((240, 320), np.uint8)
    cv2.circle(picture, (110, 110), 60, 255, -1)
    cv2.circle(picture, (100, 115), 25, 0, -1)
    cv2.ellipse(picture, (250, 150), (30, 50), 20, 0, 360, 255, -1)
    return Mask.from_array(picture > 0)


@pytest.fixture
def region() -> Callable[..., Region]:
    def make(mask: Mask, label: str | None = "Cat", score: float = 0.75, **more: Any) -> Region:
        return Region(mask, label, score, Provenance("interactive", "v1"), **more)

    return make
