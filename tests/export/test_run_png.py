from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from maskwright.export.run_png import encode_mask, encode_runs
from maskwright.masks import Mask

SIZES = st.tuples(st.integers(1, 20), st.integers(1, 20))
PALETTE = bytes(range(256)) * 3


def read(content):
    with Image.open(io.BytesIO(content)) as image:
        image.verify()
    return Image.open(io.BytesIO(content))


@given(SIZES.flatmap(lambda size: hnp.arrays(np.bool_, size)))
def test_a_mask_becomes_black_and_white(bitmap):
    image = read(encode_mask(Mask.from_array(bitmap)))
    assert image.mode == "L"
    assert np.array_equal(np.array(image), bitmap * 255)


@pytest.mark.parametrize("kind", ["palette", "grey", "deep", "rgb"])
@given(data=st.data())
def test_pillow_and_opencv_read_the_values_back(kind, data):
    height, width = data.draw(SIZES)
    cuts = data.draw(st.sets(st.integers(1, height * width - 1))) if height * width > 1 else set()
    starts = np.array([0, *sorted(cuts)], dtype=np.int64)
    dtype = np.uint16 if kind == "deep" else np.uint8
    values = data.draw(hnp.arrays(dtype, (len(starts), 3) if kind == "rgb" else len(starts)))
    expected = np.repeat(values, np.diff(starts, append=height * width), axis=0).reshape(
        height, width, *values.shape[1:]
    )
    content = encode_runs((height, width), starts, values, PALETTE if kind == "palette" else b"")
    image = read(content)
    assert image.mode in {"palette": ("P",), "grey": ("L",), "deep": ("I;16", "I"), "rgb": ("RGB",)}[kind]
    assert np.array_equal(np.array(image), expected)
    if kind == "palette":
        assert bytes(image.getpalette()) == PALETTE
    else:
        seen = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(seen[..., ::-1] if kind == "rgb" else seen, expected)
