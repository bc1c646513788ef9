"""How good a candidate region is expected to be: linear formulas over what was measured on it.

The coefficients were fitted by ridge regression of true IoU on the measurements and rounded; ``tests/bench/
bench_classical.py`` prints how well the estimate follows the truth. No image enters an answer but the user's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np

from maskwright.models.classical_hierarchy import Floats
from maskwright.models.classical_regions import FEATURES

Stage = Literal["first", "add", "remove", "box", "refined"]

COEFFICIENTS: Mapping[Stage, Mapping[str, float]] = MappingProxyType({
    "first": {
        "one": 0.9, "size2": -0.006, "frame": -1.09, "frame2": 0.38, "size_frame": -0.255, "central2": 0.3,
        "ragged": -0.16, "depth": 0.071, "depth2": 0.008, "contrast": 0.087,
    },
    "add": {
        "one": 0.114, "size2": -0.003, "frame": -0.7, "frame2": 0.58, "size_frame": -0.142, "central": 0.22,
        "shared": 0.43,
    },
    "remove": {"one": 0.64, "strength": 0.057, "size_frame": -0.022, "depth": 0.061, "relative": 0.048},
    "box": {
        "one": 0.189, "box_iou": 0.42, "box_share": 1.032, "box_share2": -0.592, "weak": -0.169, "strength": 0.052,
        "ragged": -0.114, "contrast": 0.049,
    },
    "refined": {"one": 1.64, "frame": -0.4, "size_frame": -0.127, "ragged": -0.208, "depth": 0.081, "contrast": 0.04},
})  # fmt: skip
"""Per stage the weight of every measurement that counts (see ``classical_regions.FEATURES``)."""


def expected_iou(stage: Stage, measured: Floats) -> Floats:
    """(K,) estimate in [0.01, 0.99] for (K, len(FEATURES)) measurements."""
    weights = COEFFICIENTS[stage]
    columns = [FEATURES.index(name) for name in weights]
    value: Floats = np.clip(measured[:, columns] @ np.array(list(weights.values())), 0.01, 0.99)
    return value
