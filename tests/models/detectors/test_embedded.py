"""The embedded detector on photographs: what ImageNet knows is found, under honest names."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.models.detectors.embedded import EmbeddedDetector
from maskwright.models.detectors.phrases import RECALL, Thresholds
from maskwright.models.detectors.suppression import box_ious
from maskwright.models.protocols import Detector, Evidence
from maskwright.models.stages import Stages


@pytest.fixture(scope="module")
def photograph():
    folder = Path(pytest.importorskip("skimage").__file__).parent / "data"

    def of(name):
        return np.asarray(Image.open(folder / name).convert("RGB"))

    return of


@pytest.fixture(scope="module")
def detector() -> Detector:
    return EmbeddedDetector()


def test_a_cat_is_found_where_it_is(detector, photograph):
    image = photograph("chelsea.png")  # a cat's head and breast fill the middle
    found = detector.detect(image, ["dog", "cat"])
    assert found.phrase_indices[0] == 1
    assert box_ious(found.boxes[0], np.array([[60, 20, 400, 300]], dtype=np.float32))[0] > 0.5


def test_a_person_is_found_by_the_face(detector, photograph):
    image = photograph("astronaut.png")
    found = detector.detect(image, ["person"])
    ious = box_ious(np.array([20, 0, 420, 512], dtype=np.float32), found.boxes)
    assert ious.max() > 0.7


def test_what_is_not_there_is_not_found(detector, photograph):
    assert len(detector.detect(photograph("chelsea.png"), ["aeroplane"]).boxes) == 0


@pytest.mark.parametrize("size", [(1, 1), (1023, 7)])
def test_any_shape_of_image_is_answered(detector, picture, size):
    found = detector.with_thresholds(Thresholds(0.01)).detect(picture(*size), ["cat", "dog"])
    assert (found.boxes <= np.array([size[1], size[0]] * 2)).all()


class Told:
    """A locator that says what it was told."""

    name = version = "told"

    def __init__(self, maps):
        self._evidence = Evidence(maps, np.zeros((0, 4), np.float32), np.zeros((0, maps.shape[2]), np.float32))

    def classify(self, image, masks, phrases):
        raise AssertionError("not asked")

    def locate(self, image, phrases):
        return self._evidence


def test_the_proposal_that_fits_a_peak_gives_its_box():
    image = np.full((120, 160, 3), 40, np.uint8)
    image[30:90, 50:110] = (220, 60, 60)
    maps = np.zeros((72, 96, 2), np.float32)
    ys, xs = np.mgrid[:72, :96]
    maps[..., 1] = 0.6 * np.exp(-((xs - 48) ** 2 + (ys - 36) ** 2) / (2 * 15**2))
    found = EmbeddedDetector(classifier=Told(maps)).detect(image, ["cat", "box"])
    np.testing.assert_allclose(found.boxes, [[50, 30, 110, 90]], atol=2)
    assert found.phrase_indices.tolist() == [1]
    assert found.scores.tolist() == pytest.approx([0.6])


def test_a_large_image_is_answered_in_its_own_pixels():
    image = np.kron(np.full((120, 160, 3), 40, np.uint8), np.ones((10, 10, 1), np.uint8))
    image[300:900, 500:1100] = (220, 60, 60)
    ys, xs = np.mgrid[:72, :96]
    maps = (0.6 * np.exp(-((xs - 48) ** 2 + (ys - 36) ** 2) / (2 * 15**2)))[..., None].astype(np.float32)
    found = EmbeddedDetector(classifier=Told(maps)).detect(image, ["box"])
    np.testing.assert_allclose(found.boxes, [[500, 300, 1100, 900]], atol=8)


def test_without_a_proposal_the_peak_gives_its_box_and_the_threshold_is_strict():
    image = np.full((96, 96, 3), 40, np.uint8)
    maps = np.zeros((96, 96, 2), np.float32)
    maps[10:20, 30:50, 0] = np.float32(0.19)
    maps[60:70, 30:50, 1] = np.float32(0.18)
    found = EmbeddedDetector(classifier=Told(maps), thresholds=RECALL).detect(image, ["cat", "dog"])
    assert found.boxes.tolist() == [[30, 10, 50, 20]]
    assert found.phrase_indices.tolist() == [0]


def test_it_is_the_embedded_detector_of_the_stages(settings):
    detector = Stages(settings).detector("embedded")
    assert detector.name == "embedded-detector"
    assert Stages(settings).describe("detector", "embedded").version == detector.version
