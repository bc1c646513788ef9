"""Inputs are those of the public processors, for images of any shape."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import ModelUnavailable
from maskwright.models.detectors.inputs import AspectFrame, PaddedFrame

SIZES = [(1, 1), (1023, 7), (7, 1023), (60, 80), (33, 32), (100, 37)]


@pytest.mark.parametrize("size", SIZES)
def test_grounding_dinos_input_is_its_processors(picture, size):
    from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil

    image = picture(*size)
    sizes = {"shortest_edge": 96, "longest_edge": 150}
    theirs = GroundingDinoImageProcessorPil(size=sizes)(
        images=image, return_tensors="np", input_data_format="channels_last"
    )
    ours = AspectFrame.of({"size": sizes}).pixels(image)
    np.testing.assert_allclose(ours, theirs["pixel_values"][0], atol=1e-5)
    assert theirs["pixel_mask"].all()


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_grounding_dinos_input_has_the_size_of_its_processors(height, width):
    from transformers.image_transforms import get_size_with_aspect_ratio

    ours = AspectFrame().input_size((height, width))
    theirs = get_size_with_aspect_ratio((height, width), 800, 1333)
    assert ours == tuple(max(1, side) for side in theirs)


@pytest.mark.parametrize("side", [32, 48])
@pytest.mark.parametrize("size", SIZES)
def test_owlv2s_input_is_its_processors(picture, size, side):
    from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil

    image = picture(*size)
    processor = Owlv2ImageProcessorPil(size={"height": side, "width": side})
    theirs = processor(images=image, return_tensors="np", input_data_format="channels_last")["pixel_values"][0]
    np.testing.assert_allclose(PaddedFrame(side).pixels(image), theirs, atol=1e-5)


@pytest.mark.parametrize("size", [(40, 20_000), (20_000, 40)])
def test_owlv2s_input_of_a_thin_image_takes_memory_for_the_image_and_not_for_its_square(picture, size):
    image = picture(*size)
    tracemalloc.start()
    PaddedFrame(32).pixels(image)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20 * image.nbytes


@pytest.mark.parametrize("size", [{"shortest_edge": "wide"}, 800])
def test_a_malformed_configuration_is_named(size):
    with pytest.raises(ModelUnavailable, match="size must hold shortest_edge and longest_edge"):
        AspectFrame.of({"size": size})
