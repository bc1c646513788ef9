"""Class heads as files: named by their content, refused by name, and what a model URI means with one."""

import numpy as np
import pytest

from maskwright.assist.assistant import Assistant
from maskwright.assist.classifiers import Classifiers
from maskwright.assist.preannotate import PreannotationOptions
from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.images import Image
from maskwright.labels import LabelSet
from maskwright.masks import Mask
from maskwright.models.class_heads import ClassHeadShelf
from maskwright.models.learning_classifier import made_for
from maskwright.models.region_classifier import TagRegionClassifier
from maskwright.models.region_features import DIMENSIONS, RegionFeatures
from maskwright.models.region_head import NONE, RegionHead
from maskwright.models.registry import ModelRegistry
from maskwright.models.sentences import SentenceEncoder
from maskwright.models.tagger import ImageNetTagger
from maskwright.prompts import Prompt
from maskwright.settings import Settings

NAMES = ("red", "green")
SIZE = (64, 96)
RED, GREEN = Mask.from_box((8, 8, 40, 56), SIZE), Mask.from_box((52, 8, 88, 56), SIZE)


@pytest.fixture(scope="module")
def tagger():
    return ImageNetTagger()


@pytest.fixture(scope="module")
def base(tagger):
    return TagRegionClassifier(tagger, SentenceEncoder())


@pytest.fixture(scope="module")
def features(tagger):
    return RegionFeatures(tagger)


@pytest.fixture
def shelf(tmp_path):
    return ClassHeadShelf(tmp_path / "classes")


@pytest.fixture(scope="module")
def picture():
    pixels = np.full((*SIZE, 3), 90, np.uint8)
    pixels[RED.to_array()], pixels[GREEN.to_array()] = (200, 30, 20), (20, 190, 40)
    return pixels


def head_of(version, classes=NAMES, indices=(0, 1, NONE), seed=0):
    features = np.random.default_rng(seed).normal(0, 0.03, (len(indices), DIMENSIONS)).astype(np.float32)
    prior = np.full((len(indices), len(classes)), 0.3, np.float32)
    return RegionHead.fit(features, indices, prior, classes=classes, made_for=version)


def test_a_head_is_read_as_it_was_written_under_a_name_made_of_its_content(shelf):
    head = head_of("tests")
    identifier = shelf.write(head)
    assert shelf.write(head) == identifier != shelf.write(head_of("tests", seed=1))
    assert shelf.read(identifier).version == head.version
    assert {path.name for path in shelf.folder.iterdir()} >= {f"{identifier}.safetensors"}
    assert len(list(shelf.folder.iterdir())) == 2, "nothing is left beside the files"


def test_a_head_with_a_number_that_is_not_finite_is_not_written(shelf):
    head = head_of("tests")
    head.weights[3, 0] = np.nan
    with pytest.raises(InvalidInput, match="not finite"):
        shelf.write(head)


@pytest.mark.parametrize("harm", ["missing", "truncated", "altered", "exchanged", "empty"])
def test_a_file_that_is_not_what_its_name_says_is_refused_by_name_with_advice(shelf, harm):
    identifier, other = shelf.write(head_of("tests")), shelf.write(head_of("tests", seed=1))
    path = shelf.folder / f"{identifier}.safetensors"
    content = path.read_bytes()
    match harm:
        case "missing":
            path.unlink()
        case "exchanged":
            path.write_bytes((shelf.folder / f"{other}.safetensors").read_bytes())
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "altered":
            path.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
        case "empty":
            path.write_bytes(b"")
    with pytest.raises(ModelUnavailable, match=rf"{identifier}.*learn it again or go back to an earlier version"):
        shelf.read(identifier)


@pytest.mark.parametrize("identifier", ["", "..", "../../etc/passwd", "0" * 31, "G" * 32])
def test_what_is_no_id_never_becomes_a_path(shelf, identifier):
    with pytest.raises(ModelUnavailable, match="32 hex digits"):
        shelf.read(identifier)


def test_a_uri_with_classes_means_the_same_segmenter_and_a_classifier_that_has_learnt(
    shelf, base, features, picture, tmp_path
):
    vectors = features.describe(picture, [RED, GREEN])
    prior = base.classify(picture, [RED, GREEN], [["red"], ["green"]])
    head = RegionHead.fit(
        np.repeat(vectors, 5, axis=0), np.repeat([0, 1], 5), np.repeat(prior, 5, axis=0),
        classes=NAMES, made_for=made_for(base, features),
    )  # fmt: skip
    uri = f"classical+classes:{shelf.write(head)}"
    labels = LabelSet.of(NAMES)
    learnt = Classifiers(base, features, shelf).choose(labels, uri)
    answers = learnt.classify(picture, [RED, GREEN], [item.phrases for item in labels])
    assert answers.argmax(axis=1).tolist() == [0, 1]
    assert answers.max(axis=1).min() > 0.7 > prior.max()
    registry = ModelRegistry(Settings(_env_file=None, home=tmp_path))
    assert registry.segmenter(uri) is registry.segmenter("classical")
    assert registry.describe(uri) == registry.describe("classical")
    assert registry.base_identity(uri) == registry.base_identity("classical")


def test_pre_annotation_says_what_people_taught_and_clicks_stay_as_they_were(tmp_path, base, features, picture):
    """Taught the wrong way round, so that nothing but the lesson can be the reason."""
    vectors = features.describe(picture, [RED, GREEN])
    prior = base.classify(picture, [RED, GREEN], [["red"], ["green"]])
    head = RegionHead.fit(
        np.repeat(vectors, 20, axis=0), np.repeat([1, 0], 20), np.repeat(prior, 20, axis=0),
        classes=NAMES, made_for=made_for(base, features),
    )  # fmt: skip
    uri = f"classical+classes:{ClassHeadShelf(tmp_path / 'classes').write(head)}"
    assistant = Assistant(Settings(_env_file=None, home=tmp_path, model="classical"), classifier=base)
    image, labels = Image(picture, "0" * 64, "0" * 64), LabelSet.of(NAMES)
    found = assistant.preannotate(image, labels, PreannotationOptions(score_threshold=0.2), model=uri)
    named = {region.label: region.mask for region in found.regions}
    assert named["green"].iou(RED) > 0.9
    assert named["red"].iou(GREEN) > 0.9
    assert found.model_version == assistant.model_version(labels, uri) != assistant.model_version(labels)
    click = Prompt.from_points([(20.0, 20.0, 1)])
    taught, plain = (assistant.answer(image, click, labels=labels, model=model) for model in (uri, None))
    assert taught.mask == plain.mask
    assert assistant.health()["encoder"]["encoded_images"] == 1
    assistant.close()


def test_the_model_version_follows_the_head_and_loads_no_network(tmp_path):
    settings = Settings(_env_file=None, home=tmp_path, model="embedded")
    assistant = Assistant(settings)
    tagger = ImageNetTagger()
    version = made_for(TagRegionClassifier(tagger, SentenceEncoder()), RegionFeatures(tagger))
    shelf = ClassHeadShelf(tmp_path / "classes")
    uris = [f"embedded+classes:{shelf.write(head_of(version, seed=seed))}" for seed in (0, 1)]
    labels = LabelSet.of(NAMES)
    versions = [assistant.model_version(labels, uri) for uri in ("embedded", *uris)]
    assert len(set(versions)) == 3
    assert versions == [Assistant(settings).model_version(labels, uri) for uri in ("embedded", *uris)]
    assert assistant.health()["load_count"] == 0
    assert not assistant._classifiers._features._tagger.is_loaded
    assistant.close()


def test_a_head_that_says_nothing_about_the_classes_is_left_out(shelf, base, features):
    classifiers = Classifiers(base, features, shelf)
    version = made_for(base, features)
    uri = f"embedded+classes:{shelf.write(head_of(version))}"
    alone = f"embedded+classes:{shelf.write(head_of(version, indices=(0, 1)))}"
    assert classifiers.choose(LabelSet.of(["cat", "dog"]), uri) is base
    assert classifiers.choose(LabelSet.of(["cat"]), uri) is None
    assert classifiers.choose(LabelSet(()), uri) is None
    assert classifiers.choose(LabelSet.of(["red"]), alone) is None, "nothing was shown that is not red"
    assert classifiers.choose(LabelSet.of(["red"]), uri) is not None, "what was deleted is not red"
    assert classifiers.choose(LabelSet.of(["red", "blue"]), uri) is classifiers.choose(
        LabelSet.of(["red", "blue"]), uri
    )


def test_a_head_of_another_version_of_the_tagger_is_refused_with_advice(shelf, base, features):
    uri = f"embedded+classes:{shelf.write(head_of('tagger-0'))}"
    with pytest.raises(ModelUnavailable, match="another version of the image tagger; learn them again"):
        Classifiers(base, features, shelf).choose(LabelSet.of(NAMES), uri)
