"""OWLv2: transformers' answers, in pixels of the image and not of the padded square."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from maskwright.errors import InvalidInput
from maskwright.models.detectors.inputs import PaddedFrame
from maskwright.models.detectors.owlv2 import PHRASES_PER_PASS, Owlv2
from maskwright.models.detectors.phrases import Thresholds, _within, joined
from maskwright.models.detectors.suppression import suppress
from maskwright.models.device import ComputeDevice
from maskwright.models.stages import StageDescription

PHRASES = ["cat", "red car", "t-shirt", "a phrase of far more tokens than fit"]
EVERYTHING = Thresholds(0.0)


@pytest.fixture
def detector(owlv2_folder, stages):
    return stages.detector(f"owlv2:{owlv2_folder}").with_thresholds(EVERYTHING)


@pytest.fixture(scope="module")
def plain(owlv2_folder):
    """transformers' own (boxes, scores, labels) of an image."""
    from transformers import AutoTokenizer, Owlv2ForObjectDetection
    from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil

    model = Owlv2ForObjectDetection.from_pretrained(owlv2_folder).eval()
    processor = Owlv2ImageProcessorPil.from_pretrained(owlv2_folder)
    tokenizer = AutoTokenizer.from_pretrained(owlv2_folder)

    def ask(image, phrases, threshold):
        text = tokenizer(phrases, padding="max_length", truncation=True, max_length=16, return_tensors="pt")
        pixels = processor(images=image, return_tensors="pt", input_data_format="channels_last")
        with torch.inference_mode():
            outputs = model(**text, **pixels)
        result = processor.post_process_object_detection(outputs, threshold, [image.shape[:2]])[0]
        return (result[name].numpy() for name in ("boxes", "scores", "labels"))

    return ask


@pytest.mark.parametrize("size", [(60, 80), (33, 20), (1, 1), (1023, 7)])
def test_boxes_and_scores_are_transformers_own(detector, plain, picture, size):
    image = picture(*size)
    found = detector.find(image, PHRASES)
    boxes, scores, labels = plain(image, PHRASES, 0.0)
    assert len(set(labels.tolist())) > 1 or size == (1, 1)
    np.testing.assert_allclose(found.boxes, boxes, rtol=1e-5, atol=1e-5 * max(size))
    np.testing.assert_allclose(found.scores, scores, atol=1e-5)
    np.testing.assert_array_equal(found.phrase_indices, labels)


def test_many_phrases_find_what_each_finds_alone(detector, picture):
    image = picture(40, 60)
    letters = "abcdefghijklmnopqrstuvwxyz"
    phrases = [first + second for first in "abc" for second in letters]
    assert len(phrases) > PHRASES_PER_PASS
    alone = [
        replace(detector.find(image, [phrase]), phrase_indices=np.full(16, index))
        for index, phrase in enumerate(phrases)
    ]
    merged, together = suppress(_within(joined(alone), (40, 60))), detector.detect(image, phrases)
    np.testing.assert_allclose(together.boxes, merged.boxes, atol=1e-3)
    np.testing.assert_allclose(together.scores, merged.scores, atol=1e-5)
    np.testing.assert_array_equal(together.phrase_indices, merged.phrase_indices)


@pytest.mark.parametrize("size", [(1, 1), (1023, 7), (20, 33)])
def test_boxes_lie_in_the_image(detector, picture, size):
    found = detector.detect(picture(*size), PHRASES)
    assert (found.boxes >= 0).all()
    assert (found.boxes <= np.array([size[1], size[0]] * 2)).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()


class Planted:
    """Answers of a network: a logit per box and phrase, and boxes as parts of the padded square."""

    config = SimpleNamespace(text_config=SimpleNamespace(max_position_embeddings=16))

    def __init__(self, logits, boxes):
        self._logits, self._boxes = torch.tensor([logits]), torch.tensor([boxes])
        self.owlv2 = SimpleNamespace(get_text_features=lambda *_: SimpleNamespace(pooler_output=torch.zeros(1, 1)))

    def image_embedder(self, pixel_values):
        return (torch.zeros(1, 1, self._boxes.shape[1], 1),)

    def class_predictor(self, *_):
        return (self._logits,)

    def box_predictor(self, *_):
        return self._boxes


@pytest.mark.parametrize("size", [(1, 1), (1023, 7), (7, 1023)])
def test_planted_boxes_come_back_in_pixels_of_the_image(detector, picture, size):
    height, width = size
    longest = max(size)
    in_square = [
        [width / 2 / longest, height / 2 / longest, width / longest, height / longest],
        [0.999, 0.999, 1e-4, 1e-4],
    ]
    planted = Owlv2(
        Planted([[0.0, 2.0], [-5.0, -5.0]], in_square), detector._words, StageDescription("p", "p-1"),
        ComputeDevice("cpu", "float32"), PaddedFrame(32),
    )  # fmt: skip
    found = planted.detect(picture(*size), ["cat", "dog"])
    np.testing.assert_allclose(found.boxes, [[0, 0, width, height]], rtol=1e-6)
    assert found.phrase_indices.tolist() == [1]
    assert found.scores.tolist() == pytest.approx([1 / (1 + np.exp(-2.0))])


def test_what_it_was_released_with_is_its_threshold(owlv2_folder, stages):
    assert stages.detector(f"owlv2:{owlv2_folder}").thresholds.box == 0.1


def test_a_phrase_that_says_nothing_is_refused(detector, picture):
    with pytest.raises(InvalidInput, match=r"phrase 0 .* names nothing"):
        detector.detect(picture(4, 4), ["  "])
