"""Brush streams, against the SDK's own reader and writer and against any other writer of the format."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from label_studio_sdk.converter.brush import decode_rle, encode_rle, mask2rle

from maskwright.errors import InvalidInput, TooLarge
from maskwright.masks import Mask
from maskwright_label_studio.brush import decode_brush, encode_brush

steady = settings(deadline=None, derandomize=True)
sides = st.one_of(st.just(1), st.integers(1, 14), st.sampled_from([31, 64, 65]))


@st.composite
def bitmaps(draw):
    size = draw(sides), draw(sides)
    rows, columns = np.indices(size)
    kind = draw(st.sampled_from(["noise", "sparse", "empty", "full", "checkerboard", "stripes", "frame"]))
    if kind == "noise":
        return draw(hnp.arrays(np.bool_, size))
    if kind == "sparse":
        return draw(hnp.arrays(np.bool_, size, fill=st.just(False)))
    return {
        "empty": np.zeros(size, dtype=bool),
        "full": np.ones(size, dtype=bool),
        "checkerboard": (rows + columns) % 2 == 0,
        "stripes": (rows if draw(st.booleans()) else columns) % 2 == 1,
        "frame": (rows == 0) | (columns == 0) | (rows == size[0] - 1) | (columns == size[1] - 1),
    }[kind]


@st.composite
def foreign_streams(draw):
    """Pictures of any samples, written with any sample width, run sizes and tokens: (stream, size, samples)."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    sample_bits = draw(st.integers(1, 8))
    run_sizes = draw(st.lists(st.integers(1, 16), min_size=4, max_size=4))
    values = st.integers(0, 2**sample_bits - 1)
    if draw(st.booleans()):  # four equal samples per pixel, alpha of any strength, as the browser writes
        pixels = draw(st.lists(values, min_size=height * width, max_size=height * width))
        samples = np.repeat(pixels, 4).tolist()
    else:
        samples = draw(st.lists(values, min_size=4 * height * width, max_size=4 * height * width))
    bits = f"{len(samples):032b}{sample_bits - 1:05b}" + "".join(f"{size - 1:04b}" for size in run_sizes)
    at = 0
    while at < len(samples):
        choice = draw(st.integers(0, 3))
        size = run_sizes[choice]
        alike = next((i for i in range(at, len(samples)) if samples[i] != samples[at]), len(samples)) - at
        repeated = draw(st.booleans())
        count = draw(st.integers(1, min(2**size, alike if repeated else len(samples) - at)))
        told = samples[at : at + 1] if repeated else samples[at : at + count]
        bits += f"{int(repeated)}{choice:02b}{count - 1:0{size}b}" + "".join(f"{v:0{sample_bits}b}" for v in told)
        at += count
    bits += "0" * (-len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8)), (height, width), samples


def assert_same_but_for_a_spare_zero(ours, sdk):
    """The SDK adds a zero byte where the bits end with a byte; the front end, which re-writes regions, does not."""
    assert sdk[: len(ours)] == ours.tolist()
    assert sdk[len(ours) :] in ([], [0])


@steady
@given(bitmaps())
def test_a_mask_is_written_byte_for_byte_as_the_sdk_writes_it_but_for_a_spare_zero(bitmap):
    assert_same_but_for_a_spare_zero(encode_brush(Mask.from_array(bitmap)), mask2rle(bitmap.astype(np.uint8) * 255))


@steady
@given(bitmaps())
def test_what_we_write_the_sdk_reads_and_what_it_writes_we_read(bitmap):
    mask = Mask.from_array(bitmap)
    assert np.array_equal(decode_rle(encode_brush(mask)).reshape(*mask.size, 4)[:, :, 3], bitmap * np.uint8(255))
    assert decode_brush(mask2rle(bitmap.astype(np.uint8) * 255), mask.size) == mask


@pytest.mark.parametrize("size", [(1, 16_384), (1, 16_385), (128, 128), (257, 511), (700, 300)])
@pytest.mark.parametrize("inside", [0, 1, 63, 64, 65, 16_383, 16_384])
def test_runs_beyond_the_longest_are_cut_as_the_sdk_cuts_them(size, inside):
    bitmap = np.zeros(size, dtype=bool)
    bitmap.reshape(-1)[5 : 5 + inside] = True
    for variant in (bitmap, ~bitmap):
        stream = mask2rle(variant.astype(np.uint8) * 255)
        assert_same_but_for_a_spare_zero(encode_brush(Mask.from_array(variant)), stream)
        assert np.array_equal(decode_brush(stream, size).to_array(), variant)


@steady
@given(foreign_streams())
def test_a_stream_of_any_other_writer_is_read_as_the_sdk_reads_it(stream_size_samples):
    stream, (height, width), samples = stream_size_samples
    assert decode_rle(stream).tolist() == samples
    alpha = np.reshape(samples, (height, width, 4))[:, :, 3]
    assert np.array_equal(decode_brush(stream, (height, width)).to_array(), alpha > 0)


@steady
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8), st.just(4))))
def test_any_colours_are_read_by_their_alpha(picture):
    stream = encode_rle(picture.reshape(-1))
    assert np.array_equal(decode_brush(stream, picture.shape[:2]).to_array(), picture[:, :, 3] > 0)


def soft_disc(height, width):
    y, x = np.indices((height, width)) + 0.5
    return np.clip((height / 3 - np.hypot(y - height / 2, x - width / 2)) * 200 + 100, 0, 255).astype(np.uint8)


WRITTEN_BY_THE_BROWSER = {
    "a disc with a soft border": (
        "00000120391bfe27008c7675b8c76d8046771e44fff1e4467738047437ffe3a19c023c8bfff1e44e011d0dfff8e867008cee3c89ffe3c88c"
        "eed80463b3adc63b89c000",
        soft_disc(9, 8),
    ),
    "one run of the greatest length": ("00010000391bffffffff", np.full((128, 128), 255)),
    "one run beyond the greatest length": ("00010810391bffffffffe101ffe0", np.full((130, 130), 255)),
    "two runs beyond the greatest length": (
        "00021020391bffffffffe101fffffffc0384078000",
        np.repeat([255, 0], 130)[:, None] * np.ones((1, 130), dtype=int),
    ),
    "samples that all differ": (
        "00000030391bfa2f000102030400010203040001020304000102030400010203040001020304000102030400010203040001020304000102",
        np.arange(48).reshape(3, 4, 4)[:, :, 3] % 5,
    ),
}


@pytest.mark.parametrize("name", [name for name in WRITTEN_BY_THE_BROWSER if name.startswith(("one run", "two runs"))])
def test_a_mask_is_written_byte_for_byte_as_the_browser_writes_it(name):
    stream, alpha = WRITTEN_BY_THE_BROWSER[name]
    assert bytes(encode_brush(Mask.from_array(alpha > 0))).hex() == stream


@pytest.mark.parametrize("name", WRITTEN_BY_THE_BROWSER)
def test_streams_recorded_from_label_studios_own_front_end_are_read(name):
    stream, alpha = WRITTEN_BY_THE_BROWSER[name]
    assert np.array_equal(decode_brush(bytes.fromhex(stream), alpha.shape).to_array(), alpha > 0)


def test_a_faint_border_as_a_browser_paints_it_belongs_to_the_mask():
    alpha = np.array([[0, 1, 128, 255, 254, 3, 0]], dtype=np.uint8)
    stream = encode_rle(np.repeat(alpha.reshape(-1), 4))
    assert np.array_equal(decode_brush(stream, (1, 7)).to_array(), alpha > 0)


def test_lists_bytes_and_arrays_of_every_integer_kind_are_the_same_stream():
    mask = Mask.from_ellipse(20, 15, 12, 9, 30, (30, 40))
    stream = encode_brush(mask)
    assert stream.dtype == np.uint8
    for form in (stream, stream.tolist(), tuple(stream.tolist()), stream.tobytes(), stream.astype(np.int64)):
        assert decode_brush(form, mask.size) == mask


def test_bytes_behind_the_picture_are_left_alone():
    mask = Mask.from_ellipse(20, 15, 12, 9, 30, (30, 40))
    assert decode_brush([*encode_brush(mask).tolist(), 255, 0, 170, 17], mask.size) == mask


@steady
@given(bitmaps(), st.data())
def test_a_stream_cut_short_is_refused(bitmap, data):
    stream = encode_brush(Mask.from_array(bitmap)).tolist()
    cut = data.draw(st.integers(0, len(stream) - 2))
    with pytest.raises(InvalidInput):
        decode_brush(stream[:cut], bitmap.shape)


@steady
@given(bitmaps(), st.tuples(st.integers(1, 70), st.integers(1, 70)))
def test_a_stream_made_for_another_size_is_refused(bitmap, size):
    stream = encode_brush(Mask.from_array(bitmap))
    if size[0] * size[1] != bitmap.size:
        with pytest.raises(InvalidInput, match="another image"):
            decode_brush(stream, size)


@pytest.mark.parametrize(
    "rle",
    [None, 5, 10**15, "0123456789", {}, [], b"", [0] * 6, [300] * 20, [-1] * 20, [1.0] * 20, [None] * 20, [[1]] * 20],
    ids=repr,
)
def test_what_is_no_stream_is_refused(rle):
    with pytest.raises(InvalidInput, match="rle"):
        decode_brush(rle, (4, 4))


@steady
@given(st.binary(max_size=200), st.integers(1, 6), st.integers(1, 6))
def test_random_bytes_behind_a_good_count_are_read_or_refused(noise, height, width):
    stream = (4 * height * width).to_bytes(4) + noise
    with contextlib.suppress(InvalidInput):
        assert decode_brush(stream, (height, width)).size == (height, width)


def test_a_small_picture_in_a_huge_stream_costs_no_more_than_the_picture():
    stream = (4).to_bytes(4) + bytes(20_000_000)
    assert decode_brush(stream, (1, 1)).is_empty


def test_a_mask_whose_samples_the_format_cannot_count_is_refused():
    with pytest.raises(TooLarge):
        encode_brush(Mask.empty((2**15, 2**15)))


def test_a_large_picture_is_never_built():
    mask = Mask.from_ellipse(15_000, 14_000, 9_000, 11_000, 12, (30_000, 30_000))
    assert decode_brush(encode_brush(mask), mask.size) == mask
