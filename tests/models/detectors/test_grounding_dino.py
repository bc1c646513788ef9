"""Grounding DINO: transformers' answers, each box with the phrase that was asked."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.detectors.grounding_dino import Caption, GroundingDino, captions, read_answer
from maskwright.models.detectors.inputs import AspectFrame
from maskwright.models.detectors.phrases import RECALL, Thresholds, joined
from maskwright.models.device import ComputeDevice
from maskwright.models.stages import StageDescription

FRAME, STOP = (101, 102), 1012
PHRASES = ["Cat", "traffic light", "t-shirt", "dog"]
EVERYTHING = Thresholds(0.0, 0.0)


@pytest.fixture(scope="module")
def checkpoints(grounding_dino_folders):
    """By variant: (transformers' model, image processor, tokenizer, URI)."""
    import transformers
    from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil

    made = {}
    for modern, folder in grounding_dino_folders.items():
        name = "MMGroundingDinoForObjectDetection" if modern else "GroundingDinoForObjectDetection"
        made[modern] = (
            getattr(transformers, name).from_pretrained(folder).eval(),
            GroundingDinoImageProcessorPil.from_pretrained(folder),
            transformers.AutoTokenizer.from_pretrained(folder),
            f"grounding-dino:{folder}",
        )
    return made


def plain(checkpoint, image, phrases, thresholds):
    """What transformers says: (boxes, scores, words)."""
    from transformers import GroundingDinoProcessor

    model, images, tokenizer, _ = checkpoint
    caption = ". ".join(phrase.lower() for phrase in phrases) + "."
    inputs = {
        **images(images=image, return_tensors="pt", input_data_format="channels_last"),
        **tokenizer([caption], return_tensors="pt"),
    }
    with torch.inference_mode():
        outputs = model(**inputs)
    result = GroundingDinoProcessor.post_process_grounded_object_detection(
        SimpleNamespace(batch_decode=tokenizer.batch_decode), outputs, inputs["input_ids"], thresholds.box,
        thresholds.text, [image.shape[:2]],
    )[0]  # fmt: skip
    return result["boxes"].numpy(), result["scores"].numpy(), result["text_labels"]


@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize("size", [(60, 80), (1, 1), (1023, 7)])
def test_boxes_and_scores_are_transformers_own(checkpoints, stages, picture, modern, size):
    image = picture(*size)
    detector = stages.detector(checkpoints[modern][3])
    thresholds = Thresholds(0.3, 0.3)
    found = detector.with_thresholds(thresholds).find(image, [phrase.lower() for phrase in PHRASES])
    boxes, scores, words = plain(checkpoints[modern], image, PHRASES, thresholds)
    naming = [any(c.isalpha() for c in text) for text in words]
    assert sum(naming) >= 3
    np.testing.assert_allclose(found.boxes, boxes[naming], rtol=1e-5, atol=1e-5 * max(size))
    np.testing.assert_allclose(found.scores, scores[naming], atol=1e-5)
    for index, text in zip(found.phrase_indices, np.array(words)[naming], strict=True):
        pieces = PHRASES[index].lower().replace("-", " - ").split()
        assert set(pieces) & set(text.split())


def test_the_tokens_are_those_of_the_caption(checkpoints, stages):
    _, _, tokenizer, uri = checkpoints[False]
    words = stages.detector(uri)._words
    made = captions(words.pieces(["cat", "traffic light", "t-shirt"]), words.frame, words.number("."), 256)
    assert [caption.tokens.tolist() for caption in made] == [tokenizer("cat. traffic light. t-shirt.")["input_ids"]]
    assert made[0].owners.tolist() == [-1, 0, -1, 1, 1, -1, 2, 2, 2, -1, -1]


@pytest.mark.parametrize("size", [(1, 1), (1023, 7), (37, 100)])
def test_boxes_lie_in_the_image(checkpoints, stages, picture, size):
    detector = stages.detector(checkpoints[False][3]).with_thresholds(EVERYTHING)
    found = detector.detect(picture(*size), PHRASES)
    assert len(found.boxes)
    assert (found.boxes >= 0).all()
    assert (found.boxes <= np.array([size[1], size[0]] * 2)).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert (np.diff(found.scores) <= 0).all()


def test_more_phrases_than_a_caption_holds_are_asked_in_several(checkpoints, stages, picture, monkeypatch):
    image = picture(40, 50)
    detector = stages.detector(checkpoints[False][3]).with_thresholds(Thresholds(0.2, 0.1))
    every = detector.find(image, ["cat", "traffic light", "dog", "car", "tree"])
    assert len(every.boxes)
    # Room for six: three short phrases, or a long and a short one.
    monkeypatch.setattr(detector._model.config, "max_text_len", 8)
    split = detector.find(image, ["cat", "traffic light", "dog", "car", "tree"])
    alone = [detector.find(image, part) for part in (["cat", "traffic light"], ["dog", "car", "tree"])]
    alone[1].phrase_indices[:] += 2
    merged = joined(alone)
    np.testing.assert_array_equal(split.boxes, merged.boxes)
    np.testing.assert_array_equal(split.scores, merged.scores)
    np.testing.assert_array_equal(split.phrase_indices, merged.phrase_indices)


@given(st.lists(st.lists(st.integers(1100, 1150), min_size=1, max_size=5), max_size=12), st.integers(8, 20))
def test_captions_hold_every_phrase_once_in_order_and_are_short_enough(pieces, limit):
    made = captions(pieces, FRAME, STOP, limit)
    assert all(len(caption.tokens) <= limit for caption in made)
    tokens = [token for caption in made for token in caption.tokens.tolist()]
    owners = [owner for caption in made for owner in caption.owners.tolist()]
    assert [t for t, o in zip(tokens, owners, strict=True) if o >= 0] == [t for piece in pieces for t in piece]
    assert [o for o in owners if o >= 0] == [i for i, piece in enumerate(pieces) for _ in piece]
    # No two neighbours would fit into one.
    for one, next_one in itertools.pairwise(made):
        first = int((next_one.owners == next_one.owners[1]).sum())
        assert len(one.tokens) + first + 1 > limit


def test_a_phrase_that_is_too_long_is_named(checkpoints, stages, picture):
    with pytest.raises(InvalidInput, match="phrase 1 has 300 tokens, but the detector reads 253"):
        stages.detector(checkpoints[False][3]).detect(picture(8, 8), ["cat", "dog " * 300])


# Planted answers: two boxes far apart, and what each word says of them.

CAPTION = Caption(np.array([101, 1, 1012, 2, 3, 1012, 102]), np.array([-1, 0, -1, 1, 1, -1, -1]))
"""cat. traffic light."""
FAR = np.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]], dtype=np.float32)


def answers(rows):
    return np.array(rows, dtype=np.float32)


def test_a_score_must_lie_above_the_threshold():
    found = read_answer(answers([[0, 0.19, 0, 0, 0, 0, 0], [0, 0.18, 0, 0, 0, 0, 0]]), FAR, CAPTION, (10, 20), RECALL)
    assert found.boxes.tolist() == [[0, 0, 10, 5]]
    assert found.scores.tolist() == pytest.approx([0.19])
    assert found.phrase_indices.tolist() == [0]


def test_of_the_words_of_several_phrases_the_most_probable_names_the_box():
    found = read_answer(
        answers([[0, 0.3, 0, 0.2, 0.4, 0, 0], [0, 0.5, 0, 0.4, 0.4, 0, 0]]), FAR, CAPTION, (8, 8), RECALL
    )
    assert found.phrase_indices.tolist() == [1, 0]


def test_a_box_without_a_word_above_the_text_threshold_goes():
    found = read_answer(
        answers([[0.9, 0.15, 0.9, 0, 0, 0, 0], [0, 0, 0.9, 0.16, 0, 0, 0]]), FAR, CAPTION, (8, 8), RECALL
    )
    assert found.phrase_indices.tolist() == [1]
    assert found.scores.tolist() == pytest.approx([0.9])


def logit(probability):
    """Of a float32 probability, or of the next lower one where the sigmoid would round up."""
    value = torch.tensor(math.log(probability / (1 - probability)), dtype=torch.float32)
    while torch.sigmoid(value) > torch.tensor(probability, dtype=torch.float32):
        value = torch.nextafter(value, torch.tensor(-torch.inf))
    return float(value)


class Planted:
    """Answers of a network: logits of (box, place in the caption), and boxes."""

    config = SimpleNamespace(max_text_len=256, text_config=SimpleNamespace(max_position_embeddings=512))

    def __init__(self, logits, boxes):
        self._logits, self._boxes = logits, boxes

    def __call__(self, input_ids, **_):
        logits = torch.full((1, len(self._boxes), 256), -torch.inf)
        for (box, place), value in self._logits.items():
            logits[0, box, place] = value
        return SimpleNamespace(logits=logits, pred_boxes=torch.tensor([self._boxes]))


@pytest.fixture
def planted(checkpoints, stages):
    words = stages.detector(checkpoints[False][3])._words

    def make(logits, boxes):
        return GroundingDino(
            Planted(logits, boxes), words, StageDescription("planted", "planted-1"), ComputeDevice("cpu", "float32"),
            AspectFrame(32, 32), RECALL,
        )  # fmt: skip

    return make


@pytest.mark.parametrize("size", [(1, 1), (1023, 7), (100, 100)])
def test_planted_boxes_come_back_exactly_with_their_phrases(planted, picture, size):
    height, width = size
    whole, half = [0.5, 0.5, 1.0, 1.0], [0.25, 0.5, 0.5, 1.0]
    detector = planted(
        {(0, 1): logit(0.19), (1, 4): logit(0.9), (2, 1): logit(0.18)}, [whole, half, [0.75, 0.5, 0.5, 1.0]]
    )
    found = detector.detect(picture(*size), ["Cat", "Traffic light"])
    assert found.boxes.tolist() == [[0, 0, width / 2, height], [0, 0, width, height]]
    assert found.phrase_indices.tolist() == [1, 0]
    assert found.scores.tolist() == pytest.approx([0.9, 0.19])


def test_two_boxes_of_an_iou_of_81_hundredths_are_one(planted, picture):
    detector = planted({(0, 1): 1.0, (1, 3): 0.5}, [[0.5, 0.5, 1.0, 1.0], [0.5, 0.405, 1.0, 0.81]])
    found = detector.detect(picture(100, 100), ["cat", "dog"])
    assert found.phrase_indices.tolist() == [0]


def test_a_hyphenated_label_is_one_phrase(planted, picture):
    # cat. t - shirt.
    detector = planted({(0, 5): 1.0, (1, 1): 0.5}, FAR.tolist())
    found = detector.detect(picture(10, 10), ["cat", "T-shirt"])
    assert found.phrase_indices.tolist() == [1, 0]


def test_equal_phrases_are_asked_once_and_the_first_is_answered(planted, picture):
    detector = planted({(0, 1): 1.0, (1, 3): 0.5}, FAR.tolist())
    found = detector.detect(picture(10, 10), ["dog", "Dog", "dog.", "cat"])
    assert found.phrase_indices.tolist() == [0, 3]


def test_no_phrases_find_nothing(planted, picture):
    assert len(planted({}, FAR.tolist()).detect(picture(4, 4), []).boxes) == 0


def test_a_phrase_that_says_nothing_is_refused(planted, picture):
    with pytest.raises(InvalidInput, match=r"phrase 1 .* names nothing"):
        planted({}, FAR.tolist()).detect(picture(4, 4), ["cat", " . "])


def test_an_image_of_another_kind_is_refused(planted):
    with pytest.raises(InvalidInput, match="must be"):
        planted({}, FAR.tolist()).detect(np.zeros((4, 4), np.uint8), ["cat"])


def test_other_thresholds_are_another_version_of_the_same_weights(checkpoints, stages):
    detector = stages.detector(checkpoints[False][3])
    recall = detector.with_thresholds(RECALL)
    assert recall.version == f"{detector.version}-box0.18-text0.15"
    assert recall.with_thresholds(detector.thresholds).version == detector.version
    assert recall._model is detector._model
    assert (detector.thresholds.box, detector.thresholds.text) == (0.25, 0.15)


def test_a_threshold_that_is_no_probability_is_refused():
    with pytest.raises(InvalidInput, match=r"box threshold is 1\.5"):
        Thresholds(1.5)


def test_a_folder_without_a_tokenizer_says_so(grounding_dino_folders, stages, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(grounding_dino_folders[False] / name)
    with pytest.raises(ModelUnavailable, match="holds no tokenizer"):
        stages.detector(f"grounding-dino:{tmp_path}")


def test_the_description_is_known_before_the_weights_are_read(checkpoints, stages):
    described = stages.describe("detector", checkpoints[True][3])
    detector = stages.detector(checkpoints[True][3])
    assert (detector.name, detector.version) == (described.name, described.version)
