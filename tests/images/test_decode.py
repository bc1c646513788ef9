"""What an annotator sees in the browser is what the models see."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from maskwright.errors import InvalidInput, NotFound, TooLarge
from maskwright.images import ImageLimits, Window, decode_image, load_image, read_header


def one_colour(mode: str, colour: object) -> PillowImage.Image:
    return PillowImage.new(mode, (7, 5), colour)


def palette(mode: str, index: int, **info: object) -> PillowImage.Image:
    picture = PillowImage.new("P", (7, 5), index)
    picture.putpalette([0, 0, 0, 200, 100, 50, 10, 20, 30], mode)
    picture.info.update(info)
    return picture


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "WEBP"])
def test_colours_survive_lossless_formats_exactly(encode, patch_of_colours, file_format):
    options = {"lossless": True} if file_format == "WEBP" else {}
    image = decode_image(encode(patch_of_colours, file_format, **options))
    assert np.array_equal(image.pixels, patch_of_colours)
    assert image.pixels.dtype == np.uint8
    assert image.size == (6, 8)


@pytest.mark.parametrize(
    ("picture", "file_format", "options", "expected"),
    [
        pytest.param(one_colour("1", 1), "PNG", {}, (255, 255, 255), id="1-bit PNG, white"),
        pytest.param(one_colour("1", 0), "PNG", {}, (0, 0, 0), id="1-bit PNG, black"),
        pytest.param(one_colour("1", 1), "TIFF", {"compression": "group4"}, (255, 255, 255), id="fax TIFF"),
        pytest.param(one_colour("1", 1), "BMP", {}, (255, 255, 255), id="1-bit BMP"),
        pytest.param(one_colour("L", 77), "PNG", {}, (77, 77, 77), id="grey PNG"),
        pytest.param(one_colour("L", 77), "GIF", {}, (77, 77, 77), id="grey GIF"),
        pytest.param(one_colour("L", 77), "JPEG", {}, (77, 77, 77), id="grey JPEG"),
        pytest.param(palette("RGB", 1), "PNG", {}, (200, 100, 50), id="palette PNG"),
        pytest.param(palette("RGB", 1), "GIF", {}, (200, 100, 50), id="palette GIF"),
        pytest.param(palette("RGB", 1), "BMP", {}, (200, 100, 50), id="palette BMP"),
        pytest.param(palette("RGB", 1), "PNG", {"transparency": 1}, (255, 255, 255), id="transparent palette PNG"),
        pytest.param(palette("RGB", 1), "PNG", {"transparency": 2}, (200, 100, 50), id="other entry transparent"),
        pytest.param(palette("RGB", 1), "GIF", {"transparency": 1}, (255, 255, 255), id="transparent GIF"),
        pytest.param(one_colour("L", 9), "PNG", {"transparency": 9}, (255, 255, 255), id="transparent grey value"),
        pytest.param(
            one_colour("RGB", (9, 8, 7)), "PNG", {"transparency": (9, 8, 7)}, (255, 255, 255), id="transparent colour"
        ),
        pytest.param(one_colour("LA", (100, 255)), "PNG", {}, (100, 100, 100), id="grey with opaque alpha"),
        pytest.param(one_colour("LA", (100, 0)), "PNG", {}, (255, 255, 255), id="grey, transparent"),
        pytest.param(one_colour("RGBA", (200, 100, 0, 255)), "PNG", {}, (200, 100, 0), id="opaque RGBA"),
        pytest.param(one_colour("RGBA", (200, 100, 0, 0)), "PNG", {}, (255, 255, 255), id="transparent RGBA"),
        pytest.param(one_colour("RGBA", (200, 100, 0, 51)), "PNG", {}, (244, 224, 204), id="a fifth opaque RGBA"),
        pytest.param(one_colour("RGBA", (200, 100, 0, 51)), "TIFF", {}, (244, 224, 204), id="RGBA TIFF"),
        pytest.param(
            one_colour("RGBA", (200, 100, 0, 0)), "WEBP", {"lossless": True}, (255, 255, 255), id="transparent WEBP"
        ),
        pytest.param(one_colour("CMYK", (0, 255, 255, 0)), "TIFF", {}, (255, 0, 0), id="CMYK TIFF, red"),
        pytest.param(one_colour("CMYK", (0, 0, 0, 128)), "TIFF", {}, (127, 127, 127), id="CMYK TIFF, half black"),
        pytest.param(
            one_colour("CMYK", (0, 255, 255, 0)), "JPEG", {"quality": 100}, (254, 0, 0), id="CMYK JPEG, inverted"
        ),
        pytest.param(one_colour("YCbCr", (76, 85, 255)), "TIFF", {}, (254, 0, 0), id="YCbCr TIFF"),
    ],
)
def test_every_pixel_layout_shows_the_colours_of_a_browser(encode, picture, file_format, options, expected):
    image = decode_image(encode(picture, file_format, **options))
    assert image.size == (5, 7)
    assert np.abs(image.pixels.astype(int) - expected).max() <= 1
    assert len(np.unique(image.pixels.reshape(-1, 3), axis=0)) == 1


RAMP = np.array([[0, 1000, 2000], [3000, 4000, 5000]], dtype=np.uint16)
SHOWN = np.array([[0, 51, 102], [153, 204, 255]])


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bit_grey_spans_its_own_range_by_default(encode, file_format):
    image = decode_image(encode(RAMP, file_format))
    assert np.array_equal(image.pixels, np.repeat(SHOWN[..., None], 3, axis=2))


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4", "<f4"])
def test_deep_tiffs_of_any_sample_type_span_their_range(encode, dtype):
    offset = -2500 if np.dtype(dtype).kind != "u" else 100
    picture = PillowImage.fromarray((RAMP.astype(np.int64) + offset).astype(dtype))
    assert picture.mode in ("I;16", "I;16B", "I", "F")
    assert np.array_equal(decode_image(encode(picture, "TIFF")).pixels[..., 1], SHOWN)


def test_a_white_is_zero_16_bit_tiff_is_inverted(encode):
    data = encode(PillowImage.fromarray(RAMP), "TIFF", tiffinfo={262: 0})
    written = decode_image(data)
    assert np.array_equal(written.pixels[..., 0], 255 - SHOWN)


def test_a_window_maps_level_and_width_linearly_and_clips(encode):
    data = encode(RAMP, "PNG")
    image = decode_image(data, window=Window(level=2000, width=2000))
    assert image.pixels[..., 0].tolist() == [[0, 0, 128], [255, 255, 255]]


def test_not_a_number_is_black_and_infinity_is_white(encode):
    values = np.array([[np.nan, -np.inf, 0], [np.inf, 10, 5]], dtype=np.float32)
    assert decode_image(encode(values, "TIFF")).pixels[..., 0].tolist() == [[0, 0, 0], [255, 255, 128]]


def test_a_deep_image_of_one_value_is_black(encode):
    assert not decode_image(encode(np.full((3, 4), 777, np.uint16), "PNG")).pixels.any()
    assert not decode_image(encode(np.full((3, 4), np.nan, np.float32), "TIFF")).pixels.any()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_colour_keeps_its_precision_under_a_window(suffix):
    bgr = np.arange(6 * 8 * 3, dtype=np.uint16).reshape(6, 8, 3) + 300
    data = cv2.imencode(suffix, bgr)[1].tobytes()
    image = decode_image(data, window=Window(level=372, width=144))
    expected = np.rint((bgr[..., ::-1].astype(float) - 300) / 144 * 255)
    assert np.array_equal(image.pixels, expected)


def test_16_bit_colour_with_alpha_is_laid_over_white():
    bgra = np.zeros((2, 2, 4), np.uint16)
    bgra[0, :, :3] = 65535
    bgra[:, 0, 3] = 65535
    image = decode_image(cv2.imencode(".png", bgra)[1].tobytes())
    assert image.pixels[..., 0].tolist() == [[255, 255], [0, 255]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_16_bit_and_8_bit_tiffs_turn_alike(encode, patch_of_colours, orientation, deep):
    import io

    import tifffile

    buffer = io.BytesIO()
    array = patch_of_colours.astype(np.uint16) * 257 if deep else patch_of_colours
    tifffile.imwrite(buffer, array, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    image = decode_image(buffer.getvalue(), window=Window(32767.5, 65535))
    assert np.array_equal(image.pixels, displayed(patch_of_colours, orientation))


def displayed(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """EXIF 2.32: where the stored row 0 and column 0 belong on the display."""
    return {
        1: pixels,
        2: np.fliplr(pixels),
        3: np.rot90(pixels, 2),
        4: np.flipud(pixels),
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1),
        7: np.rot90(pixels, 2).transpose(1, 0, 2),
        8: np.rot90(pixels, 1),
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_exif_orientation_is_applied_and_the_header_agrees(encode, patch_of_colours, file_format, orientation):
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if file_format == "WEBP" else {}
    plain = decode_image(encode(patch_of_colours, file_format, **options))
    data = encode(patch_of_colours, file_format, exif=exif, **options)
    image = decode_image(data)
    assert np.array_equal(image.pixels, displayed(plain.pixels, orientation))
    assert image.pixels.flags["C_CONTIGUOUS"]
    header = read_header(data)
    assert header.size == image.size
    assert (header.format, header.orientation) == (file_format, orientation)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_nonsense_orientations_are_ignored(encode, patch_of_colours, value):
    exif = PillowImage.Exif()
    exif[0x0112] = value
    assert np.array_equal(decode_image(encode(patch_of_colours, "PNG", exif=exif)).pixels, patch_of_colours)


def test_damaged_exif_does_not_lose_the_picture(encode, patch_of_colours):
    data = encode(patch_of_colours, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert np.array_equal(decode_image(data).pixels, patch_of_colours)


def test_pixels_are_read_only(encode, patch_of_colours):
    for data in (encode(patch_of_colours, "PNG"), encode(RAMP, "PNG")):
        with pytest.raises(ValueError, match="read-only"):
            decode_image(data).pixels[0, 0, 0] = 1


def test_an_image_is_identified_by_its_bytes_and_the_window_that_was_applied(encode, patch_of_colours):
    plain, deep, window = encode(patch_of_colours, "PNG"), encode(RAMP, "PNG"), Window(40.5, 80)
    assert decode_image(plain).sha256 == hashlib.sha256(plain).hexdigest()
    assert decode_image(plain, window=window).key == decode_image(plain).sha256, "a window does nothing to 8 bits"
    keys = {decode_image(deep, window=w).key for w in (None, window, Window(40, 80), Window(40.5, 81))}
    assert len(keys) == 4
    assert decode_image(deep, window=Window(40.5, 80.0)).key in keys


@pytest.mark.parametrize(("level", "width"), [(0, 0), (0, -1), (float("nan"), 1), (0, float("inf"))])
def test_an_impossible_window_is_refused(level, width):
    with pytest.raises(InvalidInput, match="window"):
        Window(level, width)


def test_a_file_is_loaded_and_named_in_errors_without_its_folder(encode, patch_of_colours, tmp_path):
    path = tmp_path / "kitten.png"
    path.write_bytes(encode(patch_of_colours, "PNG"))
    assert np.array_equal(load_image(path).pixels, patch_of_colours)
    with pytest.raises(NotFound, match=r"there is no file 'missing\.png'") as missing:
        load_image(tmp_path / "missing.png")
    assert str(tmp_path) not in str(missing.value)
    path.write_bytes(b"not a picture")
    with pytest.raises(InvalidInput, match=r"kitten\.png: .*no known image format"):
        load_image(str(path))
    with pytest.raises(TooLarge, match=r"kitten\.png"):
        load_image(path, limits=ImageLimits(max_bytes=5))
    with pytest.raises(NotFound):
        load_image(tmp_path)
