"""How good a candidate region is expected to be: linear formulas over what was measured on it.

The coefficients are calibration constants: ridge regression of true IoU on the measurements, thinned to the few that
matter and rounded, over simulated clicks and boxes. ``tests/bench/fit_classical.py`` repeats the fit. It reads objects
of the first 100 images of the 2018 Data Science Bowl nuclei (CC0) and scenes that ``maskwright.learn.base.drawn``
draws, whose textures are invented or cropped from eleven photographs that scikit-image ships under CC0 or in the public
domain; for ``proposal`` it reads the nuclei alone. Research-only sets serve evaluation only:
``tests/bench/bench_classical.py`` prints how good answers are there and on the other nuclei, and how well the estimates
follow the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np

from maskwright.models.classical_hierarchy import Floats
from maskwright.models.classical_regions import FEATURES

Stage = Literal["first", "add", "remove", "box", "refined", "proposal"]

COEFFICIENTS: Mapping[Stage, Mapping[str, float]] = MappingProxyType({
    "first": {
        "one": -0.445, "size": -0.152, "size2": -0.017, "frame2": -0.423, "central2": 0.346, "extent": 0.217,
        "depth": 0.01, "contrast": 0.125,
    },
    "add": {
        "one": 0.372, "size": -0.112, "size2": -0.011, "central": 0.317, "depth": 0.303, "depth2": 0.032,
        "shared": 0.443, "contrast": 0.031, "relative": 0.025,
    },
    "remove": {
        "one": 0.461, "relative": 0.068,
    },
    "box": {
        "one": 0.157, "strength": 0.031, "ragged": -0.151, "depth": -0.102, "depth2": -0.018, "contrast": 0.064,
        "box_iou": 0.384, "box_share": 1.528, "box_share2": -1.15,
    },
    "refined": {
        "one": 0.819, "frame2": -0.788, "size_frame": -0.156, "ragged": -0.158, "depth": -0.238, "depth2": -0.053,
        "contrast": 0.099,
    },
    "proposal": {
        "one": 1.67, "strength": 0.201, "weak": -0.05, "frame": -0.114, "ragged": -0.29, "depth": 0.098,
        "contrast": 0.043,
    },
})  # fmt: skip
"""Per stage the weight of every measurement that counts (see ``classical_regions.FEATURES``)."""


def expected_iou(stage: Stage, measured: Floats) -> Floats:
    """(K,) estimate in [0.01, 0.99] for (K, len(FEATURES)) measurements."""
    weights = COEFFICIENTS[stage]
    columns = [FEATURES.index(name) for name in weights]
    value: Floats = np.clip(measured[:, columns] @ np.array(list(weights.values())), 0.01, 0.99)
    return value
