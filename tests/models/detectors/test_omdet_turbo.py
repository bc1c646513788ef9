"""OmDet-Turbo: transformers' answers, each box with the phrase that it shows most probably."""

import importlib.util
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.detectors.omdet_turbo import OmDetTurbo, tasks
from maskwright.models.detectors.phrases import Thresholds
from maskwright.models.device import ComputeDevice
from maskwright.models.stages import StageDescription

from ..tiny_omdet import LENGTH, SIDE, save_tiny_omdet

PHRASES = ["cat", "a dog", "t-shirt"]
EVERYTHING = Thresholds(0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_omdet(tmp_path_factory.mktemp("omdet") / "tiny-omdet")


@pytest.fixture
def detector(folder, stages):
    return stages.detector(f"omdet-turbo:{folder}")


@pytest.fixture(scope="module")
def plain(folder):
    """transformers' own (boxes in pixels, probabilities) of an image."""
    from transformers import AutoTokenizer, OmDetTurboForObjectDetection
    from transformers.image_transforms import center_to_corners_format
    from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil

    model = OmDetTurboForObjectDetection.from_pretrained(folder).eval()
    processor = DetrImageProcessorPil.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def ask(image, phrases):
        options = {"padding": "max_length", "truncation": True, "max_length": LENGTH, "return_tensors": "pt"}
        read = {
            "classes": tokenizer(phrases, **options),
            "tasks": tokenizer([f"Detect {', '.join(phrases)}."], **options),
        }
        inputs = {
            f"{name}_{key}": tokens[key] for name, tokens in read.items() for key in ("input_ids", "attention_mask")
        }
        pixels = processor(images=image, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
        with torch.inference_mode():
            answer = model(pixel_values=pixels, classes_structure=torch.tensor([len(phrases)]), **inputs)
        height, width = image.shape[:2]
        boxes = center_to_corners_format(answer.decoder_coord_logits[0]) * torch.tensor([width, height, width, height])
        return boxes.numpy(), answer.decoder_class_logits[0].sigmoid().numpy()

    return ask


@pytest.mark.parametrize("size", [(60, 80), (SIDE, SIDE), (1, 1), (1023, 7)])
def test_boxes_and_scores_are_transformers_own(detector, plain, picture, size):
    image = picture(*size)
    found = detector.with_thresholds(EVERYTHING).find(image, PHRASES)
    boxes, probabilities = plain(image, PHRASES)
    assert found.boxes.shape == (20, 4)
    np.testing.assert_allclose(found.boxes, boxes, rtol=1e-5, atol=1e-5 * max(size))
    np.testing.assert_allclose(found.scores, probabilities.max(axis=1), atol=1e-5)
    np.testing.assert_array_equal(found.phrase_indices, probabilities.argmax(axis=1))
    assert len(set(found.phrase_indices.tolist())) > 1 or size == (1, 1)


def test_more_phrases_than_a_task_names_are_asked_in_several(detector, plain, picture, monkeypatch):
    image, looks = picture(40, 50), []
    encode = OmDetTurbo._encode
    monkeypatch.setattr(OmDetTurbo, "_encode", lambda self, seen: looks.append(1) or encode(self, seen))
    found = detector.with_thresholds(EVERYTHING).find(image, ["cat", "a dog", "a tree", "car"])
    assert len(looks) == 1, "the image is encoded once"
    asked = [plain(image, part) for part in (["cat", "a dog", "a tree"], ["car"])]
    np.testing.assert_allclose(found.boxes, np.concatenate([boxes for boxes, _ in asked]), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.scores, np.concatenate([p.max(axis=1) for _, p in asked]), atol=1e-5)
    expected = np.concatenate([3 * index + p.argmax(axis=1) for index, (_, p) in enumerate(asked)])
    np.testing.assert_array_equal(found.phrase_indices, expected)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(6, 20))
def test_tasks_hold_every_phrase_once_in_order_and_are_short_enough(lengths, room):
    made = tasks(lengths, room)
    assert [index for run in made for index in range(len(lengths))[run]] == list(range(len(lengths)))
    assert all(0 < sum(length + 1 for length in lengths[run]) <= room for run in made)


def test_a_phrase_that_is_too_long_is_named(detector, picture):
    with pytest.raises(InvalidInput, match=r"phrase 1 has 30 tokens, but the detector reads 16; shorten it"):
        detector.detect(picture(8, 8), ["cat", "dog " * 10])


class Planted:
    """A network that saw a cat on the left and a dog on the right, and nothing in the third box."""

    config = SimpleNamespace(text_config=SimpleNamespace(max_position_embeddings=LENGTH))
    logits = torch.tensor([[2.0, -2.0], [-3.0, 1.0], [-4.0, -1.0]])
    boxes = torch.tensor([[0.25, 0.5, 0.5, 1.0], [0.75, 0.5, 0.5, 1.0], [0.5, 0.5, 0.2, 0.2]])

    def vision_backbone(self, pixels):
        return [pixels]

    def encoder(self, levels, return_dict):
        return SimpleNamespace(extracted_states=levels)

    def get_language_embedding(self, *_):
        return ()

    def decoder(self, levels, return_dict):
        return SimpleNamespace(decoder_classes=self.logits[None, None], decoder_coords=self.boxes[None, None])


@pytest.mark.parametrize("size", [(10, 40), (40, 10), (1, 1)])
def test_planted_boxes_come_back_in_pixels_of_the_image(detector, picture, size):
    height, width = size
    planted = OmDetTurbo(
        Planted(), detector._words, StageDescription("p", "p-1"), ComputeDevice("cpu", "float32"), detector._frame
    )
    found = planted.detect(picture(*size), ["cat", "dog"])
    half = width / 2
    np.testing.assert_allclose(found.boxes, [[0, 0, half, height], [half, 0, width, height]])
    assert found.phrase_indices.tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx([1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(-1.0))])


def test_what_it_was_released_with_is_its_threshold(detector):
    assert detector.thresholds.box == 0.3
    assert detector.for_recall().thresholds.box == 0.3


def test_models_that_were_asked_are_not_kept_for_ever(folder, picture, settings):
    import gc
    import weakref

    from maskwright.models.stages import Stages

    made = Stages(settings).detector(f"omdet-turbo:{folder}")
    made.detect(picture(8, 8), ["cat"])
    network = weakref.ref(made._model.decoder)
    del made
    gc.collect()
    assert network() is None


def test_a_backbone_of_timm_is_asked_for_by_name(folder, stages, tmp_path):
    """The public checkpoint has one."""
    if importlib.util.find_spec("timm"):
        pytest.skip("timm is installed")
    copy = tmp_path / "public"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    config |= {"backbone_config": None, "backbone": "swin_tiny_patch4_window7_224", "use_timm_backbone": True}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match=r"timm, which cannot be imported here; run 'pip install timm'"):
        stages.detector(f"omdet-turbo:{copy}")
