"""Nothing is decoded that the header, the limits or the number of pictures forbid."""

from __future__ import annotations

import io
import struct
import tracemalloc
import warnings

import cv2
import numpy as np
import psutil
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from maskwright.errors import InvalidInput, TooLarge
from maskwright.images import ImageLimits, decode_image, read_header

ACCEPTED = ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"]


def webp_claiming(kind: bytes, body: bytes) -> bytes:
    chunk = kind + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def bombs(png_claiming) -> dict[str, bytes]:
    side = 50_000
    gif = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(6)
    gif += b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x44\x01\x00;"
    bmp = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 1000, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(900)
    jpeg = (
        b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", side, side) + b"\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00"
    )
    return {
        "PNG": png_claiming(side, side),
        "GIF": gif,
        "BMP": bmp,
        "JPEG": jpeg + b"\xff\xda\x00\x0c\x03\x01\x00\x02\x00\x03\x00\x00\x3f\x00" + bytes(64),
        "TIFF": tiff_claiming(side, side),
        "TIFF, one huge tile": tiff_claiming(10, 10, tile=(65536, 65536)),
        "WEBP, extended": webp_claiming(b"VP8X", bytes(4) + (16382).to_bytes(3, "little") * 2),
        "WEBP, lossless": webp_claiming(b"VP8L", b"\x2f" + (16382 | 16382 << 14).to_bytes(4, "little") + bytes(20)),
        "WEBP, lossy": webp_claiming(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 16383, 16383) + bytes(20)),
    }


def tiff_claiming(width: int, height: int, tile: tuple[int, int] | None = None) -> bytes:
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1)]
    entries += [(322, 4, tile[0]), (323, 4, tile[1]), (324, 4, 8), (325, 4, 8)] if tile else [(273, 4, 8), (279, 4, 8)]
    body = b"".join(struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<I", 16) + bytes(8) + struct.pack("<H", len(entries)) + body + bytes(4)


@pytest.mark.parametrize("name", list(bombs(lambda w, h: b"")))
def test_a_small_file_that_claims_a_huge_picture_is_refused_without_memory(png_claiming, name):
    data = bombs(png_claiming)[name]
    assert len(data) < 2000
    before = psutil.Process().memory_info().rss
    tracemalloc.start()
    for reader in (decode_image, read_header):
        with pytest.raises(TooLarge, match=r"claims \d+ x \d+ pixels.*MASKWRIGHT_MAX_IMAGE_PIXELS"):
            reader(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000
    assert psutil.Process().memory_info().rss - before < 50_000_000


def test_the_pixel_limit_is_ours_and_the_libraries_own_is_neither_used_nor_changed(encode, monkeypatch):
    data = {name: encode(PillowImage.new("RGB", (100, 80)), name) for name in ("PNG", "JPEG", "BMP", "GIF", "TIFF")}
    data["TIFF, compressed"] = encode(PillowImage.new("L", (100, 80)), "TIFF", compression="tiff_lzw")
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for encoded in data.values():
            assert decode_image(encoded).size == (80, 100)
            with pytest.raises(TooLarge, match="100 x 80"):
                decode_image(encoded, limits=ImageLimits(max_pixels=7999))
            assert decode_image(encoded, limits=ImageLimits(max_pixels=8000)).size == (80, 100)
    assert PillowImage.MAX_IMAGE_PIXELS == 10


def test_a_picture_that_is_larger_in_bytes_than_allowed_is_refused_by_name_of_the_setting(encode):
    data = encode(PillowImage.new("RGB", (9, 9)), "PNG")
    assert decode_image(data, limits=ImageLimits(max_bytes=len(data))).size == (9, 9)
    with pytest.raises(TooLarge, match="MASKWRIGHT_MAX_IMAGE_BYTES"):
        decode_image(data, limits=ImageLimits(max_bytes=len(data) - 1))


@pytest.mark.parametrize("file_format", ACCEPTED)
def test_the_formats_of_the_allow_list_are_recognised_by_content(encode, file_format):
    header = read_header(encode(PillowImage.new("RGB", (30, 20)), file_format))
    assert (header.format, header.size, header.orientation) == (file_format, (20, 30), 1)
    with pytest.raises(InvalidInput, match=f"{file_format} images are not accepted here; accepted formats: "):
        decode_image(
            encode(PillowImage.new("RGB", (30, 20)), file_format),
            limits=ImageLimits(formats=frozenset(ACCEPTED) - {file_format}),
        )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><svg/>", "SVG"),
        (b"\n<!DOCTYPE html><html>Log in</html>", "web page"),
        (b"%PDF-1.7", "no known image format"),
        (b"SIMPLE  =                    T", "no known image format"),
        (b"8BPS\0\1", "no known image format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "no known image format"),
        (b"\0\0\0\x20ftypavif", "no known image format"),
        (b"\0" * 100, "no known image format"),
    ],
)
def test_anything_else_is_refused_in_words(data, message):
    with pytest.raises(InvalidInput, match=message) as refused:
        decode_image(data)
    assert "MPO" not in str(refused.value)


FRAMES = [PillowImage.new("RGB", (20, 10), colour) for colour in ("red", "green", "blue")]


@pytest.mark.parametrize(
    ("file_format", "words"),
    [
        ("GIF", "animation.*extract its frames"),
        ("WEBP", "animation"),
        ("PNG", "animation"),
        ("TIFF", "several pages.*save"),
    ],
)
def test_several_pictures_in_one_file_are_refused_with_advice(encode, file_format, words):
    data = encode(FRAMES[0], file_format, save_all=True, append_images=FRAMES[1:])
    for reader in (decode_image, read_header):
        with pytest.raises(InvalidInput, match=words):
            reader(data)


def test_a_thousand_pages_are_refused_as_fast_as_two():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for _ in range(1000):
            writer.write(np.zeros((2, 2), np.uint8), contiguous=False)
    with pytest.raises(InvalidInput, match="several pages"):
        decode_image(buffer.getvalue())


def test_overviews_and_masks_of_one_page_are_not_pages():
    picture = np.arange(64 * 64, dtype=np.uint32).reshape(64, 64).astype(np.uint8)
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(picture)
        writer.write(picture[::2, ::2], subfiletype=1)
        writer.write(picture[::4, ::4], subfiletype=1)
        writer.write(picture > 9, subfiletype=4)
    assert np.array_equal(decode_image(buffer.getvalue()).pixels[..., 0], picture)


def test_of_a_multi_picture_jpeg_the_first_is_shown(encode):
    data = encode(FRAMES[0], "MPO", save_all=True, append_images=FRAMES[1:], quality=95)
    assert np.abs(decode_image(data).pixels.astype(int) - (255, 0, 0)).max() <= 2


def small_files() -> dict[str, bytes]:
    rng = np.random.default_rng(1)
    colours = PillowImage.fromarray(rng.integers(0, 255, (5, 6, 3), dtype=np.uint8))
    deep = PillowImage.fromarray(rng.integers(0, 65535, (5, 6), dtype=np.uint16))
    variants = {
        "PNG": (colours, "PNG", {}),
        "PNG, palette": (colours.quantize(8), "PNG", {}),
        "PNG, 16 bits": (deep, "PNG", {}),
        "JPEG": (colours, "JPEG", {}),
        "JPEG, progressive": (colours, "JPEG", {"progressive": True}),
        "WEBP": (colours, "WEBP", {}),
        "WEBP, lossless": (colours, "WEBP", {"lossless": True}),
        "BMP": (colours, "BMP", {}),
        "GIF": (colours, "GIF", {}),
        "TIFF": (colours, "TIFF", {}),
        "TIFF, LZW": (colours, "TIFF", {"compression": "tiff_lzw"}),
        "TIFF, 16 bits": (deep, "TIFF", {}),
    }
    files = {}
    for name, (picture, file_format, options) in variants.items():
        buffer = io.BytesIO()
        picture.save(buffer, file_format, **options)
        files[name] = buffer.getvalue()
    colours_16 = rng.integers(0, 65535, (5, 6, 3), dtype=np.uint16)
    for name, suffix in {"PNG, 16-bit colour": ".png", "TIFF, 16-bit colour": ".tif"}.items():
        files[name] = cv2.imencode(suffix, colours_16)[1].tobytes()
    return files


FILES = small_files()


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_refused_or_still_the_same_picture(name):
    whole = decode_image(FILES[name]).pixels
    refused = 0
    for length in range(len(FILES[name])):
        try:
            image = decode_image(FILES[name][:length])
        except InvalidInput:
            refused += 1
        else:
            assert np.array_equal(image.pixels, whole), length
    assert refused > len(FILES[name]) * 0.5


@settings(deadline=None)
@given(
    name=st.sampled_from(sorted(FILES)),
    edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8),
)
def test_damaged_bytes_give_a_picture_or_one_of_our_errors(name, edits):
    data = bytearray(FILES[name])
    for position, value in edits:
        data[position % len(data)] = value
    try:
        image = decode_image(bytes(data), limits=ImageLimits(max_pixels=1_000_000))
    except InvalidInput:
        return
    assert image.pixels.ndim == 3
    assert image.pixels.shape[2] == 3


@settings(deadline=None)
@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8X"]),
)
def test_arbitrary_bytes_are_never_more_than_an_invalid_input(body, magic):
    with pytest.raises(InvalidInput):
        decode_image(magic + body, limits=ImageLimits(max_pixels=1000))
