"""Looks whose numbers are known, and the embedded segmenter with weights drawn from a seed."""

import numpy as np
import pytest
import torch

from maskwright.learn.acquisition.candidates import Candidate, Look, ProposedRegion
from maskwright.masks import Mask
from maskwright.models.device import ComputeDevice
from maskwright.models.efficientnet_lite import EfficientNetLite0, folded
from maskwright.models.embedded.network import EmbeddedNetwork
from maskwright.models.embedded.segmenter import EmbeddedSegmenter
from maskwright.models.families import ModelDescription
from maskwright.models.protocols import ImageEmbedding
from maskwright.prompts import Prompt
from maskwright.regions import Provenance, Region


@pytest.fixture(scope="session")
def description():
    return ModelDescription("tiny", "tiny-1", "tiny-0", 10**7)


@pytest.fixture(scope="session")
def device():
    return ComputeDevice("cpu", "float32")


@pytest.fixture(scope="session")
def network():
    torch.manual_seed(3)
    made = EmbeddedNetwork(folded(EfficientNetLite0().eval()))
    for head in made.decoder.hyper:
        torch.nn.init.normal_(head[-1].weight, std=0.2)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def segmenter(network, description, device):
    return EmbeddedSegmenter(description, network, device)


@pytest.fixture(scope="session")
def scenery():
    """(60, 80, 3): a bright disk on a dark, slightly noisy ground."""
    rng = np.random.default_rng(0)
    image = rng.integers(20, 40, (60, 80, 3)).astype(np.uint8)
    ys, xs = np.mgrid[:60, :80]
    image[(ys - 30) ** 2 + (xs - 30) ** 2 < 15**2] = (200, 180, 40)
    return image


@pytest.fixture
def look():
    """Makes a look of logits (h, w), each with a predicted IoU, and of class scores."""

    def make(*logits, predicted_iou=0.5, class_scores=()):
        embedding = ImageEmbedding({}, (32, 32), (32, 32), "planted")
        prompt = Prompt(box=(4, 4, 28, 28))
        proposals = tuple(ProposedRegion(prompt, np.asarray(item, dtype=np.float32), predicted_iou) for item in logits)
        regions = tuple(
            Region(Mask.full((32, 32)), "any", 0.5, Provenance("preannotation"), scores) for scores in class_scores
        )
        return Look(embedding, proposals, regions)

    return make


@pytest.fixture
def candidate(look):
    """Makes a candidate that is looked at, from what ``look`` takes."""
    return lambda key, *logits, **more: Candidate(key, lambda: look(*logits, **more))
