"""The gate with the real embedded segmenter: a broken adapter is refused, the served model stays as it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from maskwright.learn.gate.asking import Asking, HeldOutImage, HeldOutObject
from maskwright.learn.gate.measure import measure
from maskwright.learn.gate.verdict import Verdict, judge
from maskwright.masks import Mask
from maskwright.models.adapters.merging import merged
from maskwright.models.checkpoints import PACKAGED_WEIGHTS
from maskwright.models.device import ComputeDevice
from maskwright.models.embedded.segmenter import EmbeddedSegmenter
from maskwright.models.embedded.weights import read_network
from maskwright.models.families import ModelDescription

QUICK = Asking(most_clicks=5)


def drawn(number):
    """A picture with five discs and squares of other colours than its noisy ground."""
    rng = np.random.default_rng(number)
    image = rng.integers(60, 110, (112, 160, 3)).astype(np.uint8)
    ys, xs = np.mgrid[:112, :160]
    objects = []
    for n, (y, x) in enumerate([(28, 28), (28, 80), (28, 130), (82, 50), (82, 110)]):
        y, x, r = y + int(rng.integers(-4, 5)), x + int(rng.integers(-4, 5)), int(rng.integers(11, 17))
        round_one = n % 2 == 0
        inside = (ys - y) ** 2 + (xs - x) ** 2 < r**2 if round_one else np.maximum(abs(ys - y), abs(xs - x)) < r
        image[inside] = rng.integers(0, 256, 3) * 0.7 + image[inside] * 0.3
        objects.append(HeldOutObject(str(n), "disc" if round_one else "square", Mask.from_array(inside)))
    return HeldOutImage(f"drawn{number}", lambda: image, tuple(objects))


@pytest.fixture(scope="module")
def network():
    return read_network(PACKAGED_WEIGHTS / "embedded.safetensors")


def segmenter(network, version):
    return EmbeddedSegmenter(
        ModelDescription("embedded", version, "e", 10**7), network, ComputeDevice("cpu", "float32")
    )


@pytest.mark.slow
def test_a_broken_adapter_is_refused_with_the_reason_and_equal_ones_gain_nothing(network):
    pictures = [drawn(n) for n in range(6)]
    generator = torch.Generator().manual_seed(0)
    broken = {
        name: torch.randn(value.shape, generator=generator) * value.std()
        for name, value in network.named_parameters()
        if name.startswith("decoder.hyper.") and name.endswith("weight")
    }
    assert broken
    served = measure(segmenter(network, "base"), pictures, QUICK)
    harmful = measure(segmenter(merged(network, broken), "base+broken"), pictures, QUICK)
    verdict = judge(served, harmful)
    assert verdict.outcome == "refuse"
    assert verdict.gains["iou"].high < 0
    assert "1 click lost" in verdict.reason
    assert verdict.served == "base"
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json(), allow_nan=False))) == verdict

    again = measure(segmenter(merged(network, {}), "base"), pictures, QUICK)
    assert again.records == served.records
    assert judge(served, again).gains["iou"].mean == 0
    assert judge(harmful, served).outcome == "promote"
