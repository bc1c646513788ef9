"""CLIPSeg: transformers' maps of phrases, all of them from one look at the image."""

import threading

import numpy as np
import pytest
import torch

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.dense.clipseg import CLIPSegMaps
from maskwright.models.dense.region_classes import PhraseMaps, knows_words, shown_where

from ..tiny_clipseg import DRAWN, SIDE, save_tiny_clipseg

PHRASES = ["cat", "street light", "the road"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_clipseg(tmp_path_factory.mktemp("clipseg") / "tiny-clipseg")


@pytest.fixture
def model(stages, folder):
    return stages.dense(f"clipseg:{folder}")


@pytest.fixture(scope="module")
def plain(folder):
    """transformers' own (network, inputs of an image and phrases)."""
    from transformers import AutoTokenizer, CLIPSegForImageSegmentation
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    network = CLIPSegForImageSegmentation.from_pretrained(folder).eval()
    processor, tokenizer = ViTImageProcessorPil.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)

    def inputs(image, phrases):
        pixels = processor(images=[image] * len(phrases), return_tensors="pt", input_data_format="channels_last")
        return {**tokenizer(phrases, padding="max_length", return_tensors="pt"), **pixels}

    return network, inputs


@pytest.mark.parametrize("size", [(60, 80), (SIDE, SIDE), (1, 1), (300, 7)])
def test_maps_are_transformers_own(model, plain, picture, size):
    network, inputs = plain
    image = picture(*size)
    with torch.inference_mode():
        expected = network(**inputs(image, PHRASES)).logits.sigmoid()
    maps = model.maps(image, PHRASES)
    assert maps.shape == (DRAWN, DRAWN, 3)
    np.testing.assert_allclose(maps, expected.permute(1, 2, 0).numpy(), atol=1e-5)
    assert size == (1, 1) or not np.allclose(maps[..., 0], maps[..., 1], atol=1e-3)


def test_features_are_the_deepest_tokens_that_the_decoder_reads(model, plain, picture):
    network, inputs = plain
    image = picture(40, 50)
    with torch.inference_mode():
        pixels = inputs(image, ["cat"])["pixel_values"]
        tokens = network.clip.vision_model(pixels, output_hidden_states=True).hidden_states[4][0, 1:]
    expected = (tokens / tokens.norm(dim=1, keepdim=True)).reshape(6, 6, -1)
    np.testing.assert_allclose(model.features(image), expected.numpy(), atol=1e-5)


def test_the_image_is_encoded_once_however_many_phrases_are_asked(model, picture, monkeypatch):
    image, looks, look = picture(30, 40), [], CLIPSegMaps._tokens
    phrases = [f"{first} {second}" for first in ("cat", "dog", "car", "sky") for second in "abcdef"]
    alone = [model.maps(image, [phrase]) for phrase in phrases]
    monkeypatch.setattr(CLIPSegMaps, "_tokens", lambda self, seen: looks.append(1) or look(self, seen))
    np.testing.assert_allclose(model.maps(image, phrases), np.concatenate(alone, axis=-1), atol=1e-5)
    assert len(looks) == 1


def test_a_phrase_is_shown_where_the_decoder_was_moved_to(model, picture, monkeypatch):
    """With a decoder that tells bright places by the first number of a phrase's vector, its phrase is found there."""
    image = np.zeros((40, 40, 3), dtype=np.uint8)
    image[:, 20:] = 255
    places = torch.zeros(1, 37, 32)
    bright = model._frame.pixels(image)[0].reshape(6, 8, 6, 8).mean(axis=(1, 3))
    places[0, 1:, 0] = torch.from_numpy(bright).reshape(-1)
    monkeypatch.setattr(model, "_tokens", lambda _: [places] * 3)
    monkeypatch.setattr(model, "_vector", lambda phrase: torch.full((16,), {"lamp": 3.0, "hole": -3.0}[phrase]))

    def decoder(seen, condition):
        logits = (seen[-1][:, 1:, 0] * condition[:, :1]).reshape(-1, 6, 6)
        return type("Answer", (), {"logits": logits})

    monkeypatch.delattr(model._model, "decoder")
    monkeypatch.setattr(model._model, "decoder", decoder, raising=False)
    lamp, hole = np.moveaxis(shown_where(model, image, [["lamp"], ["hole"]]), -1, 0)
    assert (lamp[:, 3:] > 0.9).all()
    assert (lamp[:, :3] < 0.1).all()
    np.testing.assert_allclose(hole, 1 - lamp, atol=1e-6)


def test_words_meet_the_picture_inside_the_network(model, picture):
    assert isinstance(model, PhraseMaps)
    assert knows_words(model)
    with pytest.raises(InvalidInput, match=r"no vectors for phrases \(cat\)"):
        model.text(["cat"])
    with pytest.raises(InvalidInput, match="none of them blank"):
        model.maps(picture(8, 8), ["cat", " "])
    with pytest.raises(InvalidInput, match="uint8"):
        model.maps(picture(8, 8).astype(np.float32), ["cat"])


def test_threads_see_their_own_pictures(model, picture):
    pictures = [picture(30, 40, seed) for seed in range(4)]
    expected, found = [model.maps(image, ["cat"]) for image in pictures], [None] * 4

    def ask(index):
        for _ in range(3):
            found[index] = model.maps(pictures[index], ["cat"])

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_another_familys_folder_is_refused_by_what_it_is(stages, clip_folder):
    with pytest.raises(ModelUnavailable, match="model_type 'clip', but 'clipseg:' loads clipseg"):
        stages.dense(f"clipseg:{clip_folder}")
