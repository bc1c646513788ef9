"""SigLIP's patches in the space of its texts."""

import numpy as np
import pytest
import torch

from maskwright.models.dense.siglip import through_value_path


@pytest.fixture(scope="module")
def folders(tiny_clip, tmp_path_factory):
    return {
        "siglip": tiny_clip.save_tiny_siglip(tmp_path_factory.mktemp("siglip")),
        "siglip2": tiny_clip.save_tiny_siglip2(tmp_path_factory.mktemp("siglip2")),
    }


@pytest.fixture(scope="module")
def plain(folders):
    from transformers import AutoModel

    return {name: AutoModel.from_pretrained(folder).eval().requires_grad_(False) for name, folder in folders.items()}


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_a_patch_alone_goes_the_way_that_the_pooling_head_goes(plain, family):
    head = plain[family].vision_model.head
    tokens = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    ours = through_value_path(head, tokens)
    for index in range(5):
        torch.testing.assert_close(ours[:, index], head(tokens[:, index : index + 1]), atol=1e-5, rtol=0)


def test_siglip_equals_the_plain_call_patch_by_patch(stages, folders, plain, picture):
    loaded, vision = stages.dense(f"siglip:{folders['siglip']}"), plain["siglip"].vision_model
    image = picture(40, 40)
    pixels = torch.from_numpy(loaded._grid.pixels(image))[None]
    tokens = vision(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state
    expected = vision.head(tokens[0][:, None])
    expected = (expected / expected.norm(dim=1, keepdim=True)).reshape(42, 42, -1)
    np.testing.assert_allclose(loaded.features(image), expected.numpy(), atol=1e-5)


def test_siglip_2_takes_patches_of_any_grid(stages, folders, plain, picture):
    loaded, vision = stages.dense(f"siglip:{folders['siglip2']}"), plain["siglip2"].vision_model
    image = picture(40, 40)
    pixels = loaded._grid.pixels(image)
    patches = [
        pixels[:, y : y + 8, x : x + 8].transpose(1, 2, 0).reshape(-1)
        for y in range(0, 336, 8)
        for x in range(0, 336, 8)
    ]
    tokens = vision(
        pixel_values=torch.from_numpy(np.array(patches))[None],
        pixel_attention_mask=torch.ones((1, 42 * 42), dtype=torch.long),
        spatial_shapes=torch.tensor([[42, 42]]),
    ).last_hidden_state
    expected = through_value_path(vision.head, tokens[0])
    expected = (expected / expected.norm(dim=1, keepdim=True)).reshape(42, 42, -1)
    np.testing.assert_allclose(loaded.features(image), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("family", "sentence"),
    [("siglip", "this is a photo of street light"), ("siglip2", "this is a photo of street light.")],
)
def test_phrases_are_lower_case_with_an_end_and_padded_to_full_length(stages, folders, plain, family, sentence):
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(folders[family])
    tokens = [one for one in tokenizer(sentence)["input_ids"] if one != tokenizer.eos_token_id]
    tokens = [*tokens, tokenizer.eos_token_id]
    filled = torch.tensor([tokens + [tokenizer.pad_token_id] * (64 - len(tokens))])
    expected = plain[family].get_text_features(filled).pooler_output[0]
    found = stages.dense(f"siglip:{folders[family]}").text(["Street Light"])[0]
    np.testing.assert_allclose(found, (expected / expected.norm()).numpy(), atol=1e-5)


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_features_and_phrases_meet_in_one_space(stages, folders, picture, family):
    loaded = stages.dense(f"siglip:{folders[family]}")
    assert loaded.features(picture(60, 80)).shape[-1] == loaded.text(["cat"]).shape[1] == 32
