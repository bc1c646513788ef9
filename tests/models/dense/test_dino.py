"""Patch features that were learnt without words, of every family."""

import numpy as np
import pytest
import torch

from maskwright.assist.discovery import SeesObjects, object_prompts
from maskwright.errors import InvalidInput, ModelUnavailable

from ..tiny_dense import save_tiny_dino

FAMILIES = ["dinov2", "registers", "dinov3", "dino"]
SCHEME = {"dinov2": "dinov2", "registers": "dinov2", "dinov3": "dinov3", "dino": "dino"}
PREFIX = {"dinov2": 1, "registers": 5, "dinov3": 5, "dino": 1}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: save_tiny_dino(tmp_path_factory.mktemp(name), name) for name in FAMILIES}


def plain_call(name, folder, pixels):
    import transformers

    options = {"interpolate_pos_encoding": True} if name == "dino" else {}
    model = transformers.AutoModel.from_pretrained(
        folder, attn_implementation="eager", **({"add_pooling_layer": False} if name == "dino" else {})
    ).eval()
    with torch.inference_mode():
        return model(torch.from_numpy(pixels)[None], output_attentions=True, **options)


@pytest.mark.parametrize("name", FAMILIES)
def test_features_keys_and_attention_equal_the_plain_call(stages, folders, picture, name):
    image = picture(50, 70)
    loaded = stages.dense(f"{SCHEME[name]}:{folders[name]}")
    plain = plain_call(name, folders[name], loaded._grid.pixels(image))
    tokens = plain.last_hidden_state[0, PREFIX[name] :]
    cells = (32, 45) if name in ("dinov2", "registers") else (28, 39)
    expected = (tokens / tokens.norm(dim=1, keepdim=True)).reshape(*cells, 32)
    np.testing.assert_allclose(loaded.features(image), expected.numpy(), atol=1e-5)

    shares = plain.attentions[-1][0, :, 0, PREFIX[name] :].mean(dim=0).reshape(cells)
    np.testing.assert_allclose(loaded.attention(image), shares.numpy(), atol=1e-6)
    assert loaded.attention(image).sum() < 1

    keys = loaded.keys(image)
    assert keys.shape == (*cells, 32)
    np.testing.assert_allclose(np.linalg.norm(keys, axis=-1), 1, atol=1e-5)


def test_keys_are_those_of_the_last_block(stages, folders, picture):
    image = picture(48, 48)
    loaded = stages.dense(f"dino:{folders['dino']}")
    import transformers

    model = transformers.ViTModel.from_pretrained(folders["dino"], add_pooling_layer=False).eval()
    with torch.inference_mode():
        before = model(
            torch.from_numpy(loaded._grid.pixels(image))[None], interpolate_pos_encoding=True, output_hidden_states=True
        ).hidden_states[-2]
        block = model.layers[-1]
        keys = block.attention.k_proj(block.layernorm_before(before))[0, 1:]
    expected = (keys / keys.norm(dim=1, keepdim=True)).reshape(28, 28, -1)
    np.testing.assert_allclose(loaded.keys(image), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_sees_objects_as_prompts_within_the_picture(stages, folders, picture, name):
    loaded, image = stages.dense(f"{SCHEME[name]}:{folders[name]}"), picture(50, 70)
    assert isinstance(loaded, SeesObjects)
    for prompt in object_prompts(loaded, image):
        x0, y0, x1, y1 = prompt.box
        assert 0 <= x0 < x1 <= 70
        assert 0 <= y0 < y1 <= 50


@pytest.mark.parametrize(
    ("scheme", "name", "kinds"),
    [
        ("dinov2", "dinov3", "'dinov3_vit', but 'dinov2:' loads dinov2 or dinov2_with_registers"),
        ("dinov3", "registers", "'dinov2_with_registers', but 'dinov3:' loads dinov3_vit"),
        ("dino", "dinov2", "'dinov2', but 'dino:' loads vit"),
    ],
)
def test_each_generation_has_a_scheme_of_its_own(stages, folders, scheme, name, kinds):
    with pytest.raises(ModelUnavailable, match=f"its config.json says model_type {kinds}"):
        stages.dense(f"{scheme}:{folders[name]}")


def test_a_family_without_words_says_which_ones_read(stages, folders):
    with pytest.raises(InvalidInput, match=r"without words.*cat.*maskclip, gem or siglip"):
        stages.dense(f"dinov2:{folders['dinov2']}").text(["cat"])


def test_thin_images_are_seen_whole(stages, folders, picture):
    assert stages.dense(f"dinov2:{folders['dinov2']}").features(picture(2, 300)).shape == (1, 96, 32)
