"""Descriptors in their context, and small objects found by tiles."""

import numpy as np
import pytest

from maskwright.errors import InvalidInput
from maskwright.labels import LabelClass, LabelSet
from maskwright.masks import Mask
from maskwright.models.dense.langseg import LangSeg, LangSegOptions, class_scores, class_vector, pyramid
from maskwright.models.dense.pooling import class_map

AXES = {word: number for number, word in enumerate(["red", "green", "blue", "a ripe one", "an unripe one", "else"])}


class Colours:
    """Sees the mean colour of each cell of a coarse grid; words are the axes that they are named after."""

    name, version, cells = "colours", "colours-1", 4

    def features(self, image):
        height, width = (side // self.cells for side in image.shape[:2])
        seen = image[: height * self.cells, : width * self.cells].astype(np.float32)
        seen = seen.reshape(self.cells, height, self.cells, width, 3).mean(axis=(1, 3))
        wide = np.concatenate([seen, np.zeros((*seen.shape[:2], 3), np.float32)], axis=-1)
        return wide / np.maximum(np.linalg.norm(wide, axis=-1, keepdims=True), 1e-6)

    def text(self, phrases):
        vectors = np.eye(6, dtype=np.float32)[[AXES[phrase] for phrase in phrases]]
        for row, phrase in zip(vectors, phrases, strict=True):
            if phrase.endswith("ripe one"):  # ripe is red, unripe is green
                row[[0, 1]] = (0.9, 0) if phrase == "a ripe one" else (0, 0.9)
                row /= np.linalg.norm(row)
        return vectors


def picture(side=64, box=None, ground=(0, 0, 200), colour=(200, 0, 0)):
    image = np.full((side, side, 3), ground, dtype=np.uint8)
    if box is not None:
        left, top, right, bottom = box
        image[top:bottom, left:right] = colour
    return image


def test_a_class_is_what_those_of_its_words_mean_that_the_image_speaks_for():
    words = np.eye(3, dtype=np.float32)[:2]
    image = np.array([0.07 * np.log(3), 0, 1], dtype=np.float32)
    np.testing.assert_allclose(class_vector(words, image), np.array([3, 1, 0]) / np.sqrt(10), rtol=1e-5)
    np.testing.assert_allclose(class_vector(words, image[[1, 1, 2]]), [0.5**0.5, 0.5**0.5, 0], rtol=1e-5)


@pytest.mark.parametrize("ensemble", ["mean", "any", "best", "names"])
def test_classes_keep_their_scores_under_other_numbers_and_one_word_is_its_own_class(ensemble):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    features, words, context = vectors[:4].reshape(2, 2, 5), [vectors[4:6], vectors[6:7], vectors[7:8]], vectors[8]
    options = LangSegOptions(ensemble=ensemble)
    found = class_scores(features, words, context, options)
    again = class_scores(features, [words[2], words[0], words[1]], context, options)
    np.testing.assert_allclose(found, again[..., [1, 2, 0]], rtol=1e-6)
    np.testing.assert_allclose(found[..., 1], features @ vectors[6], atol=1e-6)


def test_any_word_is_the_log_of_the_mean_of_powers_and_never_above_the_best():
    features = np.array([[[1, 0]]], dtype=np.float32)
    words = [np.array([[1, 0], [0.6, 0.8]], dtype=np.float32)]
    found = {e: float(class_scores(features, words, features[0, 0], LangSegOptions(ensemble=e, scale=2.0)).item())
             for e in ("any", "best")}  # fmt: skip
    assert found["best"] == 1
    assert found["any"] == pytest.approx(np.log((np.exp(2) + np.exp(1.2)) / 2) / 2, rel=1e-5)


def test_an_object_of_four_pixels_is_lost_in_one_look_and_found_in_tiles():
    box = (20, 36, 24, 40)
    image, phrases = picture(box=box), [["blue"], ["red"]]
    once = class_map(LangSeg(Colours(), options=LangSegOptions(levels=(1,), nothing=())).maps(image, phrases), (64, 64))
    tiled = class_map(
        LangSeg(Colours(), options=LangSegOptions(levels=(1, 4), nothing=())).maps(image, phrases), (64, 64)
    )
    assert (once == 0).all()
    assert (tiled[36:40, 20:24] == 1).sum() >= 12  # all but the corners
    assert (tiled == 1).sum() <= 32
    large = picture(box=(0, 0, 64, 32))
    for levels in ((1,), (1, 4)):
        found = class_map(
            LangSeg(Colours(), options=LangSegOptions(levels=levels, nothing=())).maps(large, phrases), (64, 64)
        )
        assert (found[:28] == 1).all()
        assert (found[36:] == 0).all()


def test_descriptors_tell_what_a_name_does_not():
    labels = LabelSet((LabelClass("else", descriptors=("a ripe one",)), LabelClass("blue")))
    image, phrases = picture(box=(0, 0, 32, 64)), [["else"], ["blue"]]
    left = Mask.from_box((0, 0, 32, 64), (64, 64))
    described, named = (
        LangSeg(Colours(), labels, LangSegOptions(descriptors=d, nothing=("green",))) for d in (True, False)
    )
    assert described.classify(image, [left], phrases)[0].argmax() == 0
    assert described.classify(image, [left], phrases)[0, 0] > 0.5 > named.classify(image, [left], phrases)[0, 0]
    assert described.version != named.version


def test_either_name_is_enough_and_more_descriptors_make_a_class_no_likelier():
    image, phrases = picture(box=(0, 0, 32, 64)), [["green", "red"], ["blue"]]
    left = Mask.from_box((0, 0, 32, 64), (64, 64))
    more = LabelSet((LabelClass("colour", ("green", "red")), LabelClass("blue", descriptors=("else", "red"))))

    def share(labels, ensemble):
        options = LangSegOptions(levels=(1,), ensemble=ensemble, nothing=("else",))
        return LangSeg(Colours(), labels, options).classify(image, [left], phrases)

    np.testing.assert_allclose(share(None, "names"), share(None, "best"), atol=1e-6)
    assert share(more, "names")[0, 0] > 0.9
    assert share(more, "best")[0, 0] == pytest.approx(0.5, abs=0.01), (
        "one of the descriptors looks like the other class"
    )


class Attends:
    """A network that meets phrases inside; notes which."""

    name, version, seen = "attends", "attends-1", {"cat": 0.4, "pet": 0.2, "dog": 0.4, "fur": 0.7, "no fur": 0.1}

    def features(self, image):
        raise InvalidInput("no vectors")

    text = features

    def maps(self, image, phrases):
        self.asked = list(phrases)
        return np.broadcast_to(np.float32([self.seen[one] for one in phrases]), (2, 2, len(phrases)))


def test_of_what_a_network_sees_itself_more_descriptors_make_no_class_likelier_either():
    dense, labels = Attends(), LabelSet((LabelClass("cat", ("pet", "cat"), ("fur", "no fur")), LabelClass("dog")))
    options = LangSegOptions(levels=(1,), ensemble="names")
    phrases = [item.phrases for item in labels]
    found = LangSeg(dense, labels, options).maps(picture(), phrases)
    np.testing.assert_allclose(found[0, 0], [0.4, 0.4], rtol=1e-6)
    assert sorted(dense.asked) == ["cat", "dog", "fur", "no fur", "pet"], "each is asked for once"
    np.testing.assert_allclose(LangSeg(dense, None, options).maps(picture(), phrases)[0, 0], [0.4, 0.4], rtol=1e-6)


def test_a_descriptor_that_the_image_does_not_speak_for_counts_less():
    words = Colours().text(["a ripe one", "an unripe one"])
    green = np.eye(6, dtype=np.float32)[1]
    vector = class_vector(words, green)
    assert vector @ words[1] > 0.999
    assert vector @ words[0] < 0.5


def test_looks_of_any_levels_add_up_to_what_is_there():
    image = np.random.default_rng(0).integers(0, 255, (37, 53, 3)).astype(np.uint8)

    def constant(tile):
        return np.full((3, 5, 2), (0.25, 0.75), dtype=np.float32)

    for levels in ((1,), (2,), (1, 2), (3, 1, 2)):
        found = pyramid(image, levels, constant)
        assert found.shape == (3 * max(levels), 5 * max(levels), 2)
        np.testing.assert_allclose(found, np.broadcast_to(np.float32([0.25, 0.75]), found.shape), rtol=1e-6)
    assert pyramid(image[:1], (1, 4), constant).shape == (3, 5, 2)


def test_what_cannot_be_asked_is_refused():
    for levels in ((), (0, 1), (2, 2)):
        with pytest.raises(InvalidInput, match="levels"):
            LangSegOptions(levels=levels)
    with pytest.raises(InvalidInput, match="without words"):
        LangSeg(Colours()).maps(picture(), [["red"], []])
    assert LangSeg(Colours()).classify(picture(), [], [["red"]]).shape == (0, 1)


def test_a_real_network_is_read_at_two_scales_from_a_saved_checkpoint(stages, clip_folder, picture):
    dense = stages.dense(f"maskclip:{clip_folder}")
    labels = LabelSet((LabelClass("cat", descriptors=("a cat with pointed ears",)), LabelClass("road")))
    image, phrases = picture(60, 80), [item.phrases for item in labels]
    once = LangSeg(dense, labels, LangSegOptions(levels=(1,))).maps(image, phrases)
    twice = LangSeg(dense, labels).maps(image, phrases)
    assert once.shape == (*dense.features(image).shape[:2], 2)
    assert twice.shape == (2 * once.shape[0], 2 * once.shape[1], 2)
    assert np.isfinite(twice).all()
    assert (twice.sum(axis=-1) <= 1 + 1e-5).all()
