import numpy as np
import pytest

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.describers.image_input import ImageInput, PatchInput
from maskwright.models.uri import parse_model_uri

SHAPES = [(32, 32), (48, 64), (65, 33), (7, 200), (300, 11), (1, 1), (37, 38)]


def checkpoint(**processor):
    return Checkpoint(parse_model_uri("clip:owner/name", "tagger"), None, "", processor=processor)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("package_class", "said"),
    [
        ("CLIPImageProcessorPil", {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}),
        ("CLIPImageProcessorPil", {"size": {"shortest_edge": 40}, "crop_size": 32, "resample": 2}),
        ("SiglipImageProcessorPil", {"size": {"height": 24, "width": 40}}),
        ("BlipImageProcessorPil", {"size": {"height": 32, "width": 32}, "image_mean": [0.1, 0.2, 0.3]}),
    ],
)
def test_pixels_are_those_of_the_package(picture, package_class, said, shape):
    import transformers

    image = picture(*shape)
    package = getattr(transformers, package_class)(**said)
    expected = package(image, return_tensors="np", input_data_format="channels_last")["pixel_values"][0]
    defaults = {"do_center_crop": package_class.startswith("CLIP")}
    if package_class.startswith("Siglip"):
        defaults |= {"image_mean": (0.5,) * 3, "image_std": (0.5,) * 3}
    found = ImageInput.of(checkpoint(**said), 32, **defaults).pixels(image)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES[:5])
def test_patches_are_those_of_the_package(picture, shape):
    from transformers import Siglip2ImageProcessorPil

    image = picture(*shape)
    expected = Siglip2ImageProcessorPil(patch_size=4, max_num_patches=64)(
        image, return_tensors="np", input_data_format="channels_last"
    )
    patches, inside, grid = PatchInput.of(checkpoint(patch_size=4, max_num_patches=64), 4).patches(image)
    assert grid == tuple(expected["spatial_shapes"][0])
    np.testing.assert_array_equal(inside, expected["pixel_attention_mask"][0])
    np.testing.assert_allclose(patches, expected["pixel_values"][0], atol=1e-5)


def test_a_thin_image_of_which_only_the_centre_is_resized_is_nearly_the_same(picture):
    from transformers import CLIPImageProcessorPil

    image, said = picture(2400, 11), {"size": {"shortest_edge": 32}, "crop_size": 32}
    package = CLIPImageProcessorPil(**said)
    expected = package(image, return_tensors="np", input_data_format="channels_last")["pixel_values"][0]
    found = ImageInput.of(checkpoint(**said), 32, do_center_crop=True).pixels(image)
    levels = np.abs(found - expected) * 255 * 0.27
    assert levels.max() < 16
    assert levels.mean() < 0.5


def test_a_very_thin_image_costs_no_memory(picture):
    assert ImageInput.of(checkpoint(size=224, crop_size=224, do_center_crop=True), 224).pixels(
        picture(60_000, 1)
    ).shape == (3, 224, 224)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (5, 5), (5, 5, 4)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(InvalidInput, match="an image must be"):
        ImageInput.of(checkpoint(), 32).pixels(np.zeros(shape, dtype=np.uint8))
    with pytest.raises(InvalidInput, match="an image must be"):
        PatchInput.of(checkpoint(), 16).patches(np.zeros(shape, dtype=np.uint8))


@pytest.mark.parametrize(
    "said",
    [
        {"size": {"width": 3}}, {"size": -1}, {"size": "big"}, {"image_mean": [1, 2]}, {"resample": 99},
        {"size": 16, "crop_size": 32, "do_center_crop": True}, {"image_std": "x"},
    ],
)  # fmt: skip
def test_a_malformed_configuration_is_named(said):
    with pytest.raises(ModelUnavailable, match=r"clip:owner/name: its preprocessor_config.json is malformed"):
        ImageInput.of(checkpoint(**said), 32)
