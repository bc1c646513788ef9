"""The embedded segmenter with weights drawn from a seed: what is promised for any weights needs no trained ones."""

import numpy as np
import pytest
import torch

from maskwright.models.device import ComputeDevice
from maskwright.models.efficientnet_lite import EfficientNetLite0, folded
from maskwright.models.embedded.network import EmbeddedNetwork
from maskwright.models.embedded.segmenter import EmbeddedSegmenter
from maskwright.models.families import ModelDescription


@pytest.fixture(scope="session")
def network():
    torch.manual_seed(3)
    made = EmbeddedNetwork(folded(EfficientNetLite0().eval()))
    for head in made.decoder.hyper:
        torch.nn.init.normal_(head[-1].weight, std=0.2)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def segmenter(network):
    return EmbeddedSegmenter(
        ModelDescription("tiny", "tiny-1", "tiny-0", 10**7), network, ComputeDevice("cpu", "float32")
    )


@pytest.fixture(scope="session")
def scenery():
    """(120, 150, 3): a bright disk and a square on a dark, slightly noisy ground."""
    rng = np.random.default_rng(0)
    image = rng.integers(20, 40, (120, 150, 3)).astype(np.uint8)
    ys, xs = np.mgrid[:120, :150]
    image[(ys - 60) ** 2 + (xs - 45) ** 2 < 25**2] = (200, 180, 40)
    image[30:80, 95:135] = (40, 90, 210)
    return image
