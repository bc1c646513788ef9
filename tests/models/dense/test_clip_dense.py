"""Dense features of CLIP from saved checkpoints: against a slow implementation, by hand, and through the loader."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.checkpoints import Fingerprints, locate
from maskwright.models.dense.gem import CLEARCLIP, GEM, NACLIP, SCLIP
from maskwright.models.dense.input_grid import CLIP_MEAN, CLIP_STD, InputGrid
from maskwright.models.dense.maskclip import MASKCLIP
from maskwright.models.dense.phrases import IMAGENET_TEMPLATES
from maskwright.models.dense.self_attention import DenseCLIP
from maskwright.models.device import ComputeDevice
from maskwright.models.stages import StageDescription
from maskwright.models.transformers_loading import load_pretrained
from maskwright.models.uri import parse_model_uri

METHODS = {"maskclip": MASKCLIP, "gem": GEM, "sclip": SCLIP, "naclip": NACLIP, "clearclip": CLEARCLIP}
CPU = ComputeDevice("cpu", "float32")
SMALL = InputGrid(8, CLIP_MEAN, CLIP_STD, short_side=32, longest=128, window=32, stride=16)


class SlowCLIP:
    """CLIP's image encoder from its weights alone, one token and one head after the other, in float64."""

    def __init__(self, folder, heads=2):
        self.weights = {
            name: value.astype(np.float64) for name, value in load_file(folder / "model.safetensors").items()
        }
        self.heads = heads
        self.layers = 1 + max(int(name.split(".")[3]) for name in self.weights if name.startswith(VISION + "encoder"))

    def linear(self, name, x):
        bias = self.weights.get(f"{name}.bias", 0)
        return x @ self.weights[f"{name}.weight"].T + bias

    def norm(self, name, x):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def embedded(self, pixels):
        kernel = self.weights[VISION + "embeddings.patch_embedding.weight"]
        tokens = [self.weights[VISION + "embeddings.class_embedding"]]
        for y in range(0, pixels.shape[1], 8):
            for x in range(0, pixels.shape[2], 8):
                tokens.append([(filter_ * pixels[:, y : y + 8, x : x + 8]).sum() for filter_ in kernel])
        tokens = np.array(tokens, dtype=np.float64) + self.weights[VISION + "embeddings.position_embedding.weight"]
        return self.norm(VISION + "pre_layrnorm", tokens)

    def mlp(self, block, x):
        hidden = self.linear(block + "mlp.fc1", self.norm(block + "layer_norm2", x))
        return self.linear(block + "mlp.fc2", hidden / (1 + np.exp(-1.702 * hidden)))

    def attention(self, block, answers):
        return self.linear(block + "self_attn.out_proj", np.concatenate(answers, axis=1))

    def split(self, block, normed):
        projected = [self.linear(f"{block}self_attn.{name}_proj", normed) for name in "qkv"]
        return [np.split(part, self.heads, axis=1) for part in projected]

    def features(self, pixels, name):
        tokens = self.embedded(pixels)
        path = None
        for layer in range(self.layers):
            block = f"{VISION}encoder.layers.{layer}."
            normed = self.norm(block + "layer_norm1", tokens)
            queries, keys, values = self.split(block, normed)
            if name == "gem" and path is None:
                path = tokens
            if name == "gem" or layer == self.layers - 1:
                heads = zip(queries, keys, values, strict=True)
                answer = self.attention(block, [self.mixed(name, *head, normed) for head in heads])
                if name == "gem":
                    path = path + answer
                elif name == "sclip":
                    path = tokens + answer
                    path = path + self.mlp(block, path)
                else:
                    path = answer
            ordinary = [mix(q @ k.T / len(q[0]) ** 0.5, v) for q, k, v in zip(queries, keys, values, strict=True)]
            tokens = tokens + self.attention(block, ordinary)
            tokens = tokens + self.mlp(block, tokens)
        found = self.linear("visual_projection", self.norm(VISION + "post_layernorm", path))[1:]
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).reshape(4, 4, -1)

    @staticmethod
    def mixed(name, q, k, v, normed):
        scale = q.shape[1] ** -0.5
        if name == "maskclip":
            return v
        if name == "clearclip":
            return mix(scale * q @ q.T, v)
        if name == "sclip":
            return mix(scale * q @ q.T, v) + mix(scale * k @ k.T, v)
        if name == "naclip":
            scores = scale * k @ k.T
            for i in range(16):
                for j in range(16):
                    distance = (i // 4 - j // 4) ** 2 + (i % 4 - j % 4) ** 2
                    scores[1 + i, 1 + j] += np.exp(-distance / (2 * 5.0**2))
            return mix(scores, v)
        temperature = np.mean([np.linalg.norm(token) for token in normed]) * scale
        answers = []
        for x in (q, k, v):
            x = x / np.linalg.norm(x, axis=1, keepdims=True)
            x = mix(temperature * x @ x.T, x)
            x = x / np.linalg.norm(x, axis=1, keepdims=True)
            answers.append(mix(temperature * x @ x.T, v))
        return sum(answers) / 3


VISION = "vision_model."


def mix(scores, values):
    rows = []
    for row in scores:
        shares = np.exp(row - row.max())
        rows.append(sum(share * value for share, value in zip(shares / shares.sum(), values, strict=True)))
    return np.array(rows)


@pytest.fixture(scope="module")
def model(clip_folder):
    from transformers import CLIPModel

    return load_pretrained(CLIPModel, locate(parse_model_uri(f"gem:{clip_folder}", "dense"), Fingerprints()), CPU)


def dense(model, method, grid=SMALL):
    return DenseCLIP(model, None, grid, method, StageDescription("tiny", "tiny-1"), CPU)


@pytest.mark.parametrize("name", METHODS)
def test_features_equal_the_formula_worked_out_slowly(clip_folder, model, picture, name):
    image = picture(32, 32, seed=3)
    slow = SlowCLIP(clip_folder).features(SMALL.pixels(image), name)
    np.testing.assert_allclose(dense(model, METHODS[name]).features(image), slow, atol=1e-5)


def test_gem_has_its_path_beside_the_last_six_blocks(clip_folder, model):
    assert len(dense(model, GEM)._blocks) == 2  # this network has no more
    assert GEM.blocks == 6


@pytest.fixture
def one_layer(tiny_clip):
    """One block, no place in the tokens: what a patch becomes depends on its pixels alone."""
    import transformers

    config = transformers.CLIPConfig(
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 32, "patch_size": 8,
        },
        text_config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2},
        projection_dim=16,
    )  # fmt: skip
    model = tiny_clip.randomise(transformers.CLIPModel(config)).requires_grad_(False)
    model.vision_model.embeddings.position_embedding.weight.zero_()
    return model


def test_maskclip_of_one_layer_is_two_1x1_convolutions(one_layer, picture):
    image, vision = picture(32, 48, seed=5), one_layer.vision_model
    grid = InputGrid(8, CLIP_MEAN, CLIP_STD, short_side=32, longest=128, window=None)
    block = vision.encoder.layers[0]
    places = vision.embeddings.patch_embedding(torch.from_numpy(grid.pixels(image))[None])  # (1, 32, 4, 6)
    normed = block.layer_norm1(vision.pre_layrnorm(places.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
    value, out = (
        (layer.weight[:, :, None, None], layer.bias) for layer in (block.self_attn.v_proj, block.self_attn.out_proj)
    )
    convolved = torch.nn.functional.conv2d(torch.nn.functional.conv2d(normed, *value), *out).permute(0, 2, 3, 1)
    expected = torch.nn.functional.normalize(one_layer.visual_projection(vision.post_layernorm(convolved)), dim=-1)
    np.testing.assert_allclose(dense(one_layer, MASKCLIP, grid).features(image), expected[0].numpy(), atol=1e-5)


def test_the_words_that_stand_for_a_region_are_found_there_and_nowhere_else(one_layer):
    image = np.full((32, 32, 3), 200, dtype=np.uint8)
    image[8:24, 8:24] = (20, 60, 120)
    features = dense(one_layer, MASKCLIP).features(image)
    planted = np.stack([features[0, 0], features[1, 1]])  # what surrounds the square, and the square
    inside = np.zeros((4, 4), dtype=bool)
    inside[1:3, 1:3] = True
    assert np.array_equal((features @ planted.T).argmax(axis=-1), inside.astype(int))
    assert np.array_equal((features @ planted[::-1].T).argmax(axis=-1), 1 - inside)


@pytest.mark.parametrize("name", ["maskclip", "gem", "sclip", "clearclip"])
def test_without_places_patches_may_change_places(one_layer, picture, name):
    image = picture(32, 32, seed=7)
    patches = image.reshape(4, 8, 4, 8, 3).transpose(0, 2, 1, 3, 4).reshape(16, 8, 8, 3)
    order = np.random.default_rng(0).permutation(16)
    shuffled = patches[order].reshape(4, 4, 8, 8, 3).transpose(0, 2, 1, 3, 4).reshape(32, 32, 3)
    method = METHODS[name]
    straight = dense(one_layer, method).features(image).reshape(16, -1)[order]
    np.testing.assert_allclose(dense(one_layer, method).features(shuffled).reshape(16, -1), straight, atol=1e-5)


def test_larger_input_of_any_shape_equals_the_plain_transformers_call(model, picture):
    image = picture(40, 90, seed=2)
    grid = InputGrid(8, CLIP_MEAN, CLIP_STD, short_side=48, longest=200, window=None)
    vision = model.vision_model
    pixels = torch.from_numpy(grid.pixels(image))[None]
    assert pixels.shape == (1, 3, 48, 112)
    plain = vision(pixel_values=pixels, interpolate_pos_encoding=True, output_hidden_states=True)
    block = vision.encoder.layers[-1]
    value = block.self_attn.out_proj(block.self_attn.v_proj(block.layer_norm1(plain.hidden_states[-2])))
    expected = torch.nn.functional.normalize(model.visual_projection(vision.post_layernorm(value)), dim=-1)[0, 1:]
    found = dense(model, MASKCLIP, grid).features(image)
    np.testing.assert_allclose(found, expected.reshape(6, 14, -1).numpy(), atol=1e-5)


def test_overlapping_windows_are_averaged(model, picture):
    image = picture(32, 48, seed=1)
    whole = dense(model, GEM).features(image)
    left, right = (dense(model, GEM).features(part) for part in (image[:, :32], image[:, 16:]))
    np.testing.assert_allclose(whole[:, :2], left[:, :2], atol=1e-5)
    np.testing.assert_allclose(whole[:, 4:], right[:, 2:], atol=1e-5)
    both = left[:, 2:] + right[:, :2]
    np.testing.assert_allclose(whole[:, 2:4], both / np.linalg.norm(both, axis=-1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("scheme", ["maskclip", "gem"])
def test_a_saved_checkpoint_is_loaded_by_its_uri(stages, clip_folder, picture, scheme):
    uri = f"{scheme}:{clip_folder}"
    described, loaded = stages.describe("dense", uri), stages.dense(uri)
    assert (loaded.name, loaded.version) == (described.name, described.version)
    features, text = loaded.features(picture(60, 80)), loaded.text(["cat", "road sign"])
    assert features.shape == (42, 56, 16)
    assert text.shape == (2, 16)
    assert features.dtype == text.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(text, axis=-1), 1, atol=1e-5)


def test_maskclip_and_gem_of_the_same_weights_have_different_versions(stages, clip_folder):
    versions = {stages.describe("dense", f"{scheme}:{clip_folder}").version for scheme in ("maskclip", "gem")}
    assert len(versions) == 2


@pytest.mark.parametrize(("scheme", "templates"), [("maskclip", IMAGENET_TEMPLATES), ("gem", ("a photo of a {}.",))])
def test_phrases_equal_the_average_of_the_plain_call_over_the_sentences(stages, clip_folder, model, scheme, templates):
    from transformers import AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(clip_folder)([t.format("dog") for t in templates], padding=True)
    with torch.inference_mode():
        plain = model.get_text_features(**{key: torch.tensor(value) for key, value in tokens.items()}).pooler_output
    mean = (plain / plain.norm(dim=1, keepdim=True)).mean(dim=0)
    loaded = stages.dense(f"{scheme}:{clip_folder}")
    np.testing.assert_allclose(loaded.text(["cat", " dog "])[1], (mean / mean.norm()).numpy(), atol=1e-5)


def test_a_phrase_longer_than_the_network_reads_is_cut(stages, clip_folder):
    assert stages.dense(f"gem:{clip_folder}").text(["a very long {name} " * 60]).shape == (1, 16)


def test_no_phrase_is_an_error_that_says_so(stages, clip_folder):
    with pytest.raises(InvalidInput, match="at least one class"):
        stages.dense(f"gem:{clip_folder}").text([])


def test_threads_do_not_see_each_others_images(model, picture):
    images = [picture(32, 40 + 8 * i, seed=i) for i in range(6)]
    shared = dense(model, GEM)
    alone = [shared.features(image) for image in images]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(shared.features, images * 3))
    for index, features in enumerate(together):
        np.testing.assert_allclose(features, alone[index % 6], atol=1e-6)


def test_other_families_and_torn_checkpoints_are_refused(stages, clip_folder, tmp_path):
    torn = tmp_path / "torn"
    shutil.copytree(clip_folder, torn)
    weights = load_file(torn / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, torn / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match=r"incomplete .* visual_projection"):
        stages.dense(f"gem:{torn}")
    with pytest.raises(ModelUnavailable, match="model_type 'clip'"):
        stages.dense(f"dinov2:{clip_folder}")


def test_metaclip_2_is_read_as_clip_is(stages, tiny_clip, tmp_path, picture):
    tiny_clip.save_tiny_metaclip2(tmp_path)
    loaded = stages.dense(f"gem:{tmp_path}")
    assert loaded.features(picture(40, 50)).shape == (21, 26, 16)
    assert loaded.text(["cat"]).shape == (1, 16)
