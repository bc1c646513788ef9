"""How good a candidate region is expected to be: linear formulas over what was measured on it.

The coefficients are calibration constants: ridge regression of true IoU on the measurements, thinned to the few that
matter and rounded, over simulated clicks and boxes. ``tests/bench/fit_classical.py`` repeats the fit. It reads objects
of the first 100 images of the 2018 Data Science Bowl nuclei (CC0) and scenes that ``tests/bench/drawn_scenes.py``
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
        "one": -0.205, "size": -0.186, "size2": -0.019, "frame": -0.098, "central2": 0.317, "extent": 0.136,
        "depth": 0.15, "depth2": 0.015, "contrast": 0.115,
    },
    "add": {
        "one": 0.495, "size": -0.077, "size2": -0.007, "central": 0.22, "depth": 0.294, "depth2": 0.028,
        "shared": 0.305, "contrast": 0.048,
    },
    "remove": {
        "one": 0.397, "relative": 0.054,
    },
    "box": {
        "one": 0.633, "strength": 0.043, "ragged": -0.192, "extent": -0.181, "contrast": 0.072, "box_iou": 0.82,
    },
    "refined": {
        "one": 0.98, "frame": 0.63, "frame2": -1.355, "ragged": -0.203, "depth": -0.23, "depth2": -0.05,
        "contrast": 0.093,
    },
    "proposal": {
        "one": 2.951, "strength": 0.202, "weak": -0.358, "frame": 0.197, "ragged": -0.393, "depth": 0.339,
        "contrast": 0.03,
    },
})  # fmt: skip
"""Per stage the weight of every measurement that counts (see ``classical_regions.FEATURES``)."""


def expected_iou(stage: Stage, measured: Floats) -> Floats:
    """(K,) estimate in [0.01, 0.99] for (K, len(FEATURES)) measurements."""
    weights = COEFFICIENTS[stage]
    columns = [FEATURES.index(name) for name in weights]
    value: Floats = np.clip(measured[:, columns] @ np.array(list(weights.values())), 0.01, 0.99)
    return value
