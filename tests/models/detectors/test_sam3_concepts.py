"""SAM 3's detector: transformers' answers, or a clear refusal where torchvision is missing."""

import importlib
import sys
import warnings

import numpy as np
import pytest
import torch

from maskwright.errors import ModelUnavailable
from maskwright.models.detectors.phrases import Thresholds, joined
from maskwright.models.detectors.sam3_concepts import Sam3Concepts, input_side
from maskwright.models.detectors.words import Words
from maskwright.models.device import ComputeDevice
from maskwright.models.preprocessing import HALF, InputFrame
from maskwright.models.stages import StageDescription

PHRASES = ["cat", "red car", "t-shirt"]


@pytest.fixture(scope="module")
def parts(sam3_concepts_folder):
    """(network, tokenizer) as transformers loads them."""
    from transformers import AutoTokenizer
    from transformers.models.sam3.modeling_sam3 import Sam3Model

    return (
        Sam3Model.from_pretrained(sam3_concepts_folder).eval(),
        AutoTokenizer.from_pretrained(sam3_concepts_folder),
    )


@pytest.fixture
def detector(parts):
    model, tokenizer = parts
    return Sam3Concepts(
        model, Words(tokenizer), StageDescription("sam3", "sam3-1"), ComputeDevice("cpu", "float32"),
        InputFrame(input_side(model), False, HALF, HALF), Thresholds(0.0),
    )  # fmt: skip


def plain(parts, image, phrase):
    """What transformers says of one phrase, as its post-processing has it: (boxes, scores)."""
    model, tokenizer = parts
    text = tokenizer([phrase], padding="max_length", truncation=True, max_length=32, return_tensors="pt")
    pixels = torch.from_numpy(InputFrame(112, False, HALF, HALF).pixels(image))[None]
    with torch.inference_mode():
        outputs = model(pixel_values=pixels, **text)
    scores = outputs.pred_logits.sigmoid() * outputs.presence_logits.sigmoid()
    height, width = image.shape[:2]
    return outputs.pred_boxes[0].numpy() * [width, height, width, height], scores[0].numpy()


@pytest.mark.parametrize("size", [(60, 80), (1, 1), (1023, 7)])
def test_boxes_and_scores_are_transformers_own(parts, detector, picture, size):
    image = picture(*size)
    found = detector.find(image, PHRASES)
    boxes, scores = zip(*(plain(parts, image, phrase) for phrase in PHRASES), strict=True)
    np.testing.assert_allclose(found.boxes, np.concatenate(boxes), rtol=1e-5, atol=1e-5 * max(size))
    np.testing.assert_allclose(found.scores, np.concatenate(scores), atol=1e-5)
    assert found.phrase_indices.tolist() == [index for index, part in enumerate(scores) for _ in part]


def test_many_phrases_find_what_each_finds_alone(detector, picture):
    image = picture(40, 60)
    together, alone = detector.find(image, PHRASES), joined([detector.find(image, [phrase]) for phrase in PHRASES])
    np.testing.assert_array_equal(together.boxes, alone.boxes)
    np.testing.assert_array_equal(together.scores, alone.scores)


def test_boxes_lie_in_the_image(detector, picture):
    found = detector.detect(picture(33, 7), PHRASES)
    assert len(found.boxes)
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [7, 33, 7, 33]).all()


def test_without_torchvision_it_says_what_is_missing(sam3_concepts_folder, stages, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ModelUnavailable, match=r"needs the package torchvision, which cannot be imported here"):
        stages.detector(f"sam3:{sam3_concepts_folder}")


def test_with_torchvision_it_loads_by_uri(sam3_concepts_folder, stages, detector, picture):
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):
        warnings.warn("torchvision cannot be imported: loading SAM 3's detector by URI is not tested", stacklevel=1)
        pytest.skip("torchvision cannot be imported")
    loaded = stages.detector(f"sam3:{sam3_concepts_folder}").with_thresholds(Thresholds(0.0))
    image = picture(30, 40)
    np.testing.assert_allclose(loaded.find(image, PHRASES).boxes, detector.find(image, PHRASES).boxes, atol=1e-3)
