from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskwright.errors import InvalidInput
from maskwright.export.layers import flatten
from maskwright.masks import Mask

STACKS = st.tuples(st.integers(1, 17), st.integers(1, 17)).flatmap(
    lambda size: st.tuples(st.just(size), st.lists(hnp.arrays(np.bool_, size), max_size=6))
)


@given(STACKS)
def test_the_last_mask_to_cover_a_pixel_owns_it(stack):
    size, bitmaps = stack
    expected = np.full(size, -1)
    for i, bitmap in enumerate(bitmaps):
        expected[bitmap] = i
    layers = flatten([Mask.from_array(bitmap) for bitmap in bitmaps], size)
    lengths = np.diff(layers.starts, append=size[0] * size[1])
    assert (lengths > 0).all()
    assert np.array_equal(np.repeat(layers.owners, lengths).reshape(size), expected)
    assert layers.shown.tolist() == [int((expected == i).sum()) for i in range(len(bitmaps))]
    for i, (bitmap, visible) in enumerate(zip(bitmaps, layers.visible, strict=True)):
        assert np.array_equal(visible.to_array(), expected == i)
        assert layers.hidden[i] == bitmap.sum() - (expected == i).sum()


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(InvalidInput, match="height, width"):
        flatten([Mask.full((3, 4))], (4, 3))
