import string
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from maskwright.errors import InvalidInput
from maskwright.models.checkpoints import Fingerprints, locate
from maskwright.models.describers import vocabulary
from maskwright.models.describers.image_text import TEMPLATES, ImageTextModel
from maskwright.models.describers.tiles import tiles
from maskwright.models.describers.vocabulary import NEUTRAL, VocabularyTagger, common_words
from maskwright.models.device import ComputeDevice
from maskwright.models.protocols import Tag
from maskwright.models.stages import StageDescription
from maskwright.models.uri import parse_model_uri

KINDS = ["clip", "siglip", "siglip2"]
WORDS = ("cat", "dog", "traffic light", "sky")


@pytest.fixture(scope="session")
def models(folders):
    made = {}

    def model(kind):
        if kind not in made:
            uri = parse_model_uri(f"{kind.removesuffix('2')}:{folders(kind)}", "tagger")
            made[kind] = ImageTextModel(locate(uri, Fingerprints()), ComputeDevice("cpu", "float32"))
        return made[kind]

    return model


def tagger(model, words=WORDS, thresholds=None, threshold=0.0):
    return VocabularyTagger(model, StageDescription("n", "v"), words, thresholds or {}, threshold=threshold)


@pytest.fixture(scope="session")
def plain(folders):
    """A function of (kind, images, texts): the package's own logits, its processors and model, image by text."""
    import torch
    import transformers

    def logits(kind, images, texts):
        folder = folders(kind)
        name = {"clip": "CLIP", "siglip": "Siglip", "siglip2": "Siglip2"}[kind]
        processor = getattr(transformers, f"{name}ImageProcessorPil").from_pretrained(folder)
        model = getattr(transformers, f"{name}Model").from_pretrained(folder).eval()
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
        padding = {"padding": True} if kind == "clip" else {"padding": "max_length", "max_length": 64}
        if kind == "siglip":  # the package's own tokenizer of SigLIP takes it out, and needs sentencepiece
            texts = [text.translate(str.maketrans("", "", string.punctuation)) for text in texts]
        inputs = {**tokenizer(texts, return_tensors="pt", **padding)}
        inputs = {key: inputs[key] for key in (["input_ids", "attention_mask"] if kind == "clip" else ["input_ids"])}
        inputs |= processor(images, return_tensors="pt", input_data_format="channels_last")
        with torch.inference_mode():
            output = model(**inputs)
        return output.logits_per_image.numpy(), output.image_embeds.numpy(), output.text_embeds.numpy()

    return logits


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_and_logits_are_those_of_the_package(models, plain, picture, kind):
    images = [picture(40, 50, 1), picture(64, 33, 2), picture(20, 20, 3)]
    texts = ["a photo of a cat.", "the traffic light in the street", "sky"]
    expected, image_vectors, text_vectors = plain(kind, images, texts)
    model = models(kind)
    np.testing.assert_allclose(model.images(images), image_vectors, atol=1e-5)
    np.testing.assert_allclose(model.texts(texts), text_vectors, atol=1e-5)
    found = model.scale * model.images(images) @ model.texts(texts).T + model.bias
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(expected, axis=0).min() > 1e-3  # answers that depend on the picture, or the comparison says little


def test_threads_use_the_tokenizer_one_after_another(models, monkeypatch):
    model, inside, most = models("clip"), [], []
    tokenizer = model._tokenizer

    class Watched:
        def __getattr__(self, name):
            return getattr(tokenizer, name)

        def __call__(self, texts):
            inside.append(texts)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()
            return tokenizer(texts)

    monkeypatch.setattr(model, "_tokenizer", Watched())
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(model.texts, [["a dog."]] * 8))
    assert max(most) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_phrases_are_the_normalised_mean_of_normalised_templates(models, plain, picture, kind):
    templates = ("a photo of a {}.", "{} in the street", "{}")
    sentences = [template.replace("{}", word) for word in WORDS for template in templates]
    rows = plain(kind, [picture(20, 20)], sentences)[2]
    for i, word in enumerate(WORDS):
        mean = sum(row / np.sqrt((row**2).sum()) for row in rows[3 * i : 3 * i + 3]) / 3
        expected = mean / np.sqrt((mean**2).sum())
        np.testing.assert_allclose(models(kind).phrases([word], templates)[0], expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_follow_the_formula(models, picture, kind):
    model, image = models(kind), picture(30, 44)
    cosines = (model.images([image]) @ model.phrases(WORDS, TEMPLATES).T)[0]
    if kind == "clip":
        neutral = float((model.images([image]) @ model.phrases([""], NEUTRAL).T)[0, 0])
        both = np.exp(model.scale * np.stack([cosines, np.full(4, neutral)]))
        expected = both[0] / both.sum(axis=0)
    else:
        expected = 1 / (1 + np.exp(-(model.scale * cosines + model.bias)))
    np.testing.assert_allclose(tagger(model).probabilities(image), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_tags_of_a_large_image_are_exactly_the_union_of_its_tiles(models, picture, kind):
    image = picture(700, 650, 5)
    model = models(kind)
    middle = float(np.median([tagger(model).probabilities(tile) for tile in tiles(image)]))
    one = tagger(model, threshold=middle)
    whole = one.tags([image])[0]
    parts = [one.tags([tile])[0] for tile in tiles(image)]
    assert {tag.word for tag in whole} == {tag.word for part in parts for tag in part} != set()
    for tag in whole:
        best = max(t.confidence for part in parts for t in part if t.word == tag.word)
        assert tag.confidence == pytest.approx(best, abs=1e-5)


def test_each_word_has_its_own_threshold_and_must_exceed_it(models, picture):
    model, image = models("clip"), picture(40, 40)
    row = tagger(model).probabilities(image)
    kept = tagger(model, thresholds={"cat": float(row[0]), "dog": float(row[1]) - 1e-4}, threshold=1.0).tags([image])
    assert kept == [[Tag("dog", float(row[1]))]]


def test_tags_come_most_probable_first_and_at_most_top(models, picture):
    model, image = models("siglip"), picture(40, 40)
    tags = tagger(model).tags([image], top=3)[0]
    assert len(tags) == 3
    assert [t.confidence for t in tags] == sorted(tagger(model).probabilities(image).tolist(), reverse=True)[:3]
    assert tagger(model).tags([]) == []


@pytest.mark.parametrize("thresholds", [{"cat": 1.5}, {"cat": -0.1}, {"cat": float("nan")}, {"unicorn": 0.5}])
def test_impossible_thresholds_are_refused(models, thresholds):
    with pytest.raises(InvalidInput, match="threshold"):
        tagger(models("clip"), thresholds=thresholds)


def test_more_words_leave_the_others_as_they_are_and_change_the_version(models, picture):
    base, image = tagger(models("clip")), picture(40, 40)
    more = base.extended(["zebra", "cat"], {"zebra": 0.3})
    assert more.words == (*WORDS, "zebra")
    assert more.version != base.version
    np.testing.assert_allclose(more.probabilities(image)[:4], base.probabilities(image), atol=1e-6)
    fresh = tagger(models("clip"), (*WORDS, "zebra"))
    np.testing.assert_allclose(more.probabilities(image), fresh.probabilities(image), atol=1e-6)
    assert base.extended(thresholds={"cat": 0.3}).version != base.extended(thresholds={"cat": 0.4}).version


def test_a_projects_words_are_found_and_read_once_for_all_threads(models, picture, monkeypatch):
    model, image = models("clip"), picture(40, 40)
    base, asked = tagger(model), []
    base.tags([image])
    original = model.texts
    monkeypatch.setattr(model, "texts", lambda texts: asked.append(texts) or time.sleep(0.01) or original(texts))
    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(lambda _: base.knowing(["Cat", "hex bolt", "rivet", "hex bolt"]), range(8)))
    (told,) = made
    assert told.words == (*WORDS, "hex bolt", "rivet"), "what the list has already is not told twice"
    assert {tag.word for tag in told.tags([image])[0]} >= {"hex bolt", "rivet"}
    count = len(asked)
    assert base.knowing(["hex bolt", "rivet"]) is told
    assert len(asked) == count
    assert base.knowing(["SKY"]) is base


def test_the_words_of_few_projects_are_kept_and_of_endless_ones_the_first(models, monkeypatch):
    monkeypatch.setattr(vocabulary, "MOST_ADDED", 2)
    base = tagger(models("clip"))
    first = base.knowing(["w0"])
    assert base.knowing(["a", "b", "c"]).words == (*WORDS, "a", "b")
    for number in range(1, 9):
        base.knowing([f"w{number}"])
    assert base.knowing(["w8"]) is base.knowing(["w8"])
    assert base.knowing(["w0"]) is not first


def test_words_are_read_once(models, picture, monkeypatch):
    model = models("clip")
    one, asked = tagger(model), []
    original = model.texts
    monkeypatch.setattr(model, "texts", lambda texts: asked.append(len(texts)) or original(texts))
    one.tags([picture(20, 20)])
    assert asked
    asked.clear()
    one.tags([picture(20, 20), picture(30, 30)])
    assert not asked


def test_words_are_read_once_for_all_processes_where_a_folder_is_given(models, picture, monkeypatch, tmp_path):
    model, image = models("clip"), picture(20, 20)
    first = tagger(model)
    first.keep_vectors(tmp_path / "vectors")
    expected = first.probabilities(image)
    (file,) = (tmp_path / "vectors").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(model, "texts", lambda texts: pytest.fail("read again"))
        second = tagger(model)
        second.keep_vectors(tmp_path / "vectors")
        np.testing.assert_array_equal(second.probabilities(image), expected)
    for damaged in (b"", b"junk", file.read_bytes()[:-40]):
        file.write_bytes(damaged)
        third = tagger(model)
        third.keep_vectors(tmp_path / "vectors")
        np.testing.assert_array_equal(third.probabilities(image), expected)
    other = tagger(model, ("sky", "cat", "dog", "traffic light"))
    other.keep_vectors(tmp_path / "vectors")
    np.testing.assert_allclose(other.probabilities(image)[0], expected[3], atol=1e-5)


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(models, picture, tmp_path, caplog):
    (tmp_path / "file").touch()
    one = tagger(models("clip"))
    one.keep_vectors(tmp_path / "file")
    assert one.probabilities(picture(20, 20)).shape == (4,)
    assert "are not kept" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_longer_than_the_model_reads_is_refused_with_its_length(models, kind):
    limit = 77 if kind == "clip" else 64
    with pytest.raises(InvalidInput, match=rf"has \d+ tokens, but the model reads at most {limit}; shorten it"):
        models(kind).texts(["sky", "zzzz " * 50])
    assert models(kind).texts(["z" * 60]).shape[0] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_punctuation_counts_where_the_model_was_trained_with_it(models, kind):
    bare, stopped = models(kind).texts(["a cat", "A cat."])
    assert np.allclose(bare, stopped, atol=1e-5) == (kind == "siglip")


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_image_is_refused(models, kind):
    with pytest.raises(InvalidInput, match="an image must be"):
        tagger(models(kind)).tags([np.zeros((0, 3, 3), dtype=np.uint8)])


@pytest.mark.parametrize(("scheme", "kind"), [("clip", "clip"), ("siglip", "siglip"), ("siglip", "siglip2")])
def test_a_folder_becomes_a_tagger_over_the_packages_words(stages, folders, picture, monkeypatch, scheme, kind):
    monkeypatch.setattr(vocabulary, "common_words", lambda: common_words()[:30])
    uri = f"{scheme}:{folders(kind)}"
    described = stages.describe("tagger", uri)
    made = stages.tagger(uri)
    assert (made.name, made.version) == (described.name, described.version)
    images = [picture(50, 70, 1), picture(40, 40, 2)]
    assert made.extended(thresholds=dict.fromkeys(made.words, 0.0)).tags(images)[0]
    assert made.tags(images) == made.tags(images) == [made.tags([image])[0] for image in images]


def test_the_vocabulary_holds_plain_words_that_labels_use():
    words = common_words()
    assert len(words) == len(set(words)) > 850
    assert all(word == " ".join(word.split()) and len(word) < 30 for word in words)
    street = {"sky", "building", "pole", "road", "pavement", "tree", "fence", "car", "pedestrian", "cyclist"}
    assert street | {"person", "dog", "bicycle", "traffic light", "dining table", "cell nucleus"} <= set(words)
