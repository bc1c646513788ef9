"""How good a candidate region is expected to be: linear formulas over what was measured on it.

The coefficients are calibration constants: ridge regression of true IoU on the measurements, thinned to the few that
matter and rounded, over simulated clicks and boxes on the three development sets (``proposal``: on nuclei alone).
``tests/bench/bench_classical.py`` prints how well the estimates follow the truth.
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
        "one": 0.785, "size2": -0.005, "frame": -1.2, "frame2": 0.55, "size_frame": -0.455, "central2": 0.293,
        "ragged": -0.149, "depth": 0.057, "depth2": 0.006, "contrast": 0.094,
    },
    "add": {
        "one": 0.101, "size2": -0.003, "frame": -0.773, "frame2": 0.683, "size_frame": -0.258, "central": 0.221,
        "shared": 0.434,
    },
    "remove": {"one": 0.648, "strength": 0.057, "depth": 0.061, "relative": 0.049},
    "box": {
        "one": 0.189, "box_iou": 0.42, "box_share": 1.032, "box_share2": -0.592, "weak": -0.169, "strength": 0.16,
        "ragged": -0.114, "contrast": 0.06,
    },
    "proposal": {
        "one": 2.3, "strength": 0.22, "weak": -0.15, "frame": -0.3, "ragged": -0.37, "depth": 0.21, "contrast": 0.06,
    },
    "refined": {"one": 1.6, "frame": -0.71, "size_frame": -0.368, "ragged": -0.205, "depth": 0.079, "contrast": 0.049},
})  # fmt: skip
"""Per stage the weight of every measurement that counts (see ``classical_regions.FEATURES``)."""


def expected_iou(stage: Stage, measured: Floats) -> Floats:
    """(K,) estimate in [0.01, 0.99] for (K, len(FEATURES)) measurements."""
    weights = COEFFICIENTS[stage]
    columns = [FEATURES.index(name) for name in weights]
    value: Floats = np.clip(measured[:, columns] @ np.array(list(weights.values())), 0.01, 0.99)
    return value
