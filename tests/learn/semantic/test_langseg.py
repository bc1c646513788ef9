"""The method with and without each part, on pictures whose truth is planted."""

import numpy as np
import pytest

from maskwright.errors import InvalidInput
from maskwright.labels import LabelClass, LabelSet
from maskwright.learn.semantic.langseg import ROWS, UNTRAINED, compare_trained, compare_untrained

COLOURS = {
    "red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220),
    "yellow": (220, 220, 20), "cyan": (20, 220, 220), "magenta": (220, 20, 220),
}  # fmt: skip
LABELS = LabelSet.of(COLOURS)
ROTATION = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0][:3].astype(np.float32)
SIZE = (32, 32)


def direction(colour):
    vector = np.array(colour, dtype=np.float32)
    return vector / np.linalg.norm(vector)


class Colours:
    """Each cell's mean colour; words are colours too."""

    name, version = "colours", "colours-1"

    def __init__(self):
        self.looks = 0

    def features(self, image):
        self.looks += 1
        height, width = (side // 8 for side in image.shape[:2])
        means = image.reshape(8, height, 8, width, 3).mean(axis=(1, 3)).astype(np.float32)
        return means / np.linalg.norm(means, axis=-1, keepdims=True)

    def text(self, phrases):
        return np.stack([direction(COLOURS.get(phrase, (1, 1, 1))) for phrase in phrases])


def rotated(phrases):
    """Words of an encoder that knows nothing of the features."""
    return Colours().text(phrases) @ ROTATION


def picture(left, right):
    pixels, labels = np.zeros((*SIZE, 3), dtype=np.uint8), np.zeros(SIZE, dtype=np.int32)
    pixels[:, :16], pixels[:, 16:] = COLOURS[left], COLOURS[right]
    labels[:, :16], labels[:, 16:] = LABELS.names.index(left), LABELS.names.index(right)
    return pixels, labels


SHOWN = [picture("red", "green"), picture("green", "blue"), picture("blue", "red")]
NEW = [picture("yellow", "cyan"), picture("cyan", "magenta"), picture("magenta", "yellow")]


def test_without_training_every_variant_is_measured_on_the_same_looks():
    dense = Colours()
    found = compare_untrained(lambda: SHOWN + NEW, dense, LABELS)
    assert list(found) == [row.title for row in UNTRAINED]
    assert found["all of it"].pixel_accuracy.mean == 1
    assert found["all of it"].images == 6
    assert dense.looks <= 6 * (1 + 4)


def test_descriptors_tell_classes_that_their_names_do_not():
    labels = LabelSet((LabelClass("ripe", descriptors=("red",)), LabelClass("unripe", descriptors=("green",))))
    pixels, _ = picture("red", "green")
    truth = np.zeros(SIZE, dtype=np.int32)
    truth[:, 16:] = 1
    found = compare_untrained(lambda: [(pixels, truth)], Colours(), labels)
    assert found["all of it"].pixel_accuracy.mean == 1
    assert found["names only"].pixel_accuracy.mean == 0.5


def test_only_words_find_classes_that_no_picture_to_learn_from_shows():
    found = compare_trained(lambda: SHOWN, lambda: NEW, Colours(), rotated, LABELS)
    assert list(found) == [row.title for row in ROWS]
    for title in ("all of it", "no triplet", "one scale"):
        assert found[title].pixel_accuracy.mean == 1
    assert found["no language"].pixel_accuracy.mean < 0.5
    again = compare_trained(lambda: SHOWN, lambda: NEW, Colours(), rotated, LABELS)
    assert {t: r.as_json() for t, r in found.items()} == {t: r.as_json() for t, r in again.items()}


def test_nothing_to_learn_from_is_said():
    with pytest.raises(InvalidInput, match="no image to learn"):
        compare_trained(list, lambda: NEW, Colours(), rotated, LABELS)
