"""Masks of every awkward kind, for property tests: ask hypothesis for a `Mask`."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskwright.masks import Mask

SIDES = st.one_of(st.just(1), st.integers(1, 12), st.sampled_from([31, 32, 33, 64]))


@st.composite
def bitmaps(draw):
    size = draw(SIDES), draw(SIDES)
    rows, columns = np.indices(size)
    kind = draw(st.sampled_from(["noise", "sparse", "empty", "full", "checkerboard", "stripes", "frame", "blocks"]))
    if kind == "noise":
        return draw(hnp.arrays(np.bool_, size))
    if kind == "sparse":
        return draw(hnp.arrays(np.bool_, size, fill=st.just(False)))
    if kind == "blocks":
        coarse = draw(hnp.arrays(np.bool_, (4, 4)))
        return coarse[rows * 4 // size[0], columns * 4 // size[1]]
    return {
        "empty": np.zeros(size, dtype=bool),
        "full": np.ones(size, dtype=bool),
        "checkerboard": (rows + columns) % 2 == 0,
        "stripes": (rows if draw(st.booleans()) else columns) % 2 == 1,
        "frame": (rows == 0) | (columns == 0) | (rows == size[0] - 1) | (columns == size[1] - 1),
    }[kind]


def as_either_comes(bitmap, by_column):
    """Masks from arrays know their runs along the rows, those from COCO files down the columns; both must do."""
    mask = Mask.from_array(bitmap)
    return Mask(mask.size, mask.edges) if by_column else mask


st.register_type_strategy(Mask, st.builds(as_either_comes, bitmaps(), st.booleans()))
