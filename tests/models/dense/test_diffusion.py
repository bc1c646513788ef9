"""Maps of words from a diffusion model: attention is checked always, the model where diffusers is installed."""

import importlib
import sys
import warnings

import numpy as np
import pytest
import torch

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.dense.diffusion import attention_weights, carry, load_diffusion
from maskwright.models.device import ComputeDevice
from maskwright.models.stages import StageDescription
from maskwright.models.uri import parse_model_uri

from ..tiny_dense import save_tiny_diffusion

CPU = ComputeDevice("cpu", "float32")


def load(folder):
    checkpoint = Checkpoint(parse_model_uri(f"diffusion:{folder}", "dense"), folder, "test")
    return load_diffusion(checkpoint, StageDescription("tiny", "tiny-1"), CPU)


def test_attention_is_the_mean_softmax_of_the_heads():
    queries, keys = torch.randn(2, 6, 8), torch.randn(2, 5, 8)
    found = attention_weights(queries, keys, 2, 0.5)
    for image in range(2):
        heads = []
        for part in (slice(0, 4), slice(4, 8)):
            powers = torch.exp(queries[image, :, part] @ keys[image, :, part].T * 0.5)
            heads.append(powers / powers.sum(dim=1, keepdim=True))
        torch.testing.assert_close(found[image], (heads[0] + heads[1]) / 2, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(2, 6))


def test_places_whose_queries_point_at_a_token_attend_to_it():
    inside = torch.zeros(4, 4, dtype=torch.bool)
    inside[1:3, 1:3] = True
    keys = torch.eye(2)[None]
    queries = torch.eye(2)[inside.long().reshape(-1)][None] * 20
    found = attention_weights(queries, keys, 1, 1.0)[0, :, 1].reshape(4, 4)
    assert torch.equal(found > 0.5, inside)


def test_self_attention_to_oneself_changes_nothing_and_to_all_levels_everything():
    values = torch.rand(4, 6)
    torch.testing.assert_close(carry(values, torch.eye(24), 3), values)
    torch.testing.assert_close(carry(values, torch.full((24, 24), 1 / 24)), torch.full((4, 6), float(values.mean())))
    coarse = carry(values, torch.eye(6))
    assert coarse.shape == (4, 6)
    assert float(coarse.mean()) == pytest.approx(float(values.mean()), abs=1e-5)


def test_without_diffusers_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ModelUnavailable, match=r"pip install maskwright\[diffusion\]"):
        load(tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Stable Diffusion folder in diffusers' layout."""
    try:
        importlib.import_module("diffusers")
    except ImportError:
        warnings.warn("diffusers is not installed: diffusion models are not tested", stacklevel=1)
        pytest.skip("diffusers is not installed (pip install maskwright[diffusion])")
    return save_tiny_diffusion(tmp_path_factory.mktemp("diffusion"))


@pytest.fixture(scope="module")
def model(folder):
    return load(folder)


def test_maps_lie_over_the_whole_image_and_reach_from_0_to_1(model, picture):
    maps = model.maps(picture(30, 40), ["cat", "street light"])
    assert maps.shape == (12, 16, 2)
    assert maps.dtype == np.float32
    assert maps.min(axis=(0, 1)).tolist() == [0, 0]
    np.testing.assert_allclose(maps.max(axis=(0, 1)), 1, atol=1e-6)
    assert not np.allclose(maps[..., 0], maps[..., 1], atol=1e-3)


def test_the_noise_is_the_same_every_time(folder, model, picture):
    image = picture(32, 32)
    np.testing.assert_array_equal(model.maps(image, ["cat"]), load(folder).maps(image, ["cat"]))


def test_recorded_attention_is_what_the_network_computed(model, picture):
    """Against diffusers' own attention scores, taken by a processor that computes them explicitly."""
    from diffusers.models.attention_processor import AttnProcessor

    kept = {}

    class Keeping(AttnProcessor):
        def __init__(self, name):
            self.name = name

        def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
            context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            query, key = (attn.head_to_batch_dim(x) for x in (attn.to_q(hidden_states), attn.to_k(context)))
            kept[self.name] = attn.get_attention_scores(query, key).mean(dim=0)
            return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, temb)

    network = model._parts.network
    usual = dict(network.attn_processors)
    with torch.inference_mode():
        latent, states = model._latent(picture(32, 32)), model._states(model._tokens(["a photo of a cat."]))
        seen = model._run(latent, states, 0)
        try:
            network.set_attn_processor({name: Keeping(name.removesuffix(".processor")) for name in usual})
            model._run(latent, states, 0)
        finally:
            network.set_attn_processor(usual)
    assert set(kept) == set(model._layers)
    for name, layer in model._layers.items():
        ours = attention_weights(seen[f"{name}.q"], seen[f"{name}.k"], layer.heads, layer.scale)[0]
        torch.testing.assert_close(ours, kept[name], atol=1e-5, rtol=0)


def test_the_columns_of_a_phrase_are_those_of_its_own_tokens(model):
    tokenizer = model._parts.tokenizer
    prompt = tokenizer("a photo of a street light.")["input_ids"]
    own = tokenizer("street light", add_special_tokens=False)["input_ids"]
    assert prompt[model._columns("street light")] == own
    assert model._columns("word " * 200).stop <= 76


def test_features_are_unit_vectors_and_words_are_sent_to_maps(model, picture):
    features = model.features(picture(32, 32))
    np.testing.assert_allclose(np.linalg.norm(features, axis=-1), 1, atol=1e-5)
    with pytest.raises(InvalidInput, match="maps"):
        model.text(["cat"])
    with pytest.raises(InvalidInput, match="blank"):
        model.maps(picture(32, 32), ["cat", " "])


def test_a_folder_that_holds_something_else_is_refused(folder, clip_folder):
    with pytest.raises(ModelUnavailable, match="vae, unet"):
        load(clip_folder)


def test_models_with_two_text_encoders_are_refused(folder, tmp_path):
    import json
    import shutil

    import transformers

    torn = tmp_path / "xl"
    shutil.copytree(folder, torn)
    config = json.loads((torn / "text_encoder" / "config.json").read_text())
    narrow = transformers.CLIPTextConfig(**{**config, "hidden_size": 16})
    transformers.CLIPTextModel(narrow).save_pretrained(torn / "text_encoder")
    with pytest.raises(ModelUnavailable, match="Stable Diffusion 1 and 2"):
        load(torn)
