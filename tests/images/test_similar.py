"""Copies of a picture are found whatever was done to the file; other pictures are left alone."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maskwright.errors import InvalidInput
from maskwright.images.similar import Fingerprint, fingerprint, near_duplicates


def encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    sink = io.BytesIO()
    picture.save(sink, kind, **options)
    return sink.getvalue()


def scene(seed: int, height: int = 240, width: int = 320) -> np.ndarray:
    """Soft blobs: a picture with content at every scale, as photographs have."""
    rng = np.random.default_rng(seed)
    layers = np.zeros((height, width, 3))
    for side in (3, 6, 12, 24):
        coarse = rng.normal(size=(side, side, 3))
        for channel in range(3):
            part = Image.fromarray(coarse[..., channel].astype(np.float32)).resize((width, height), Image.BICUBIC)
            layers[..., channel] += np.asarray(part) / np.sqrt(side)
    scaled = (layers - layers.min()) / (layers.max() - layers.min()) * 255
    return scaled.astype(np.uint8)


def copies(pixels: np.ndarray) -> dict[str, bytes]:
    picture = Image.fromarray(pixels)
    noise = np.random.default_rng(1).normal(0, 6, pixels.shape)
    turned = Image.fromarray(np.rot90(pixels, 1))
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "jpeg": encoded(pixels, "JPEG", quality=40),
        "half the size": encoded(picture.resize((picture.width // 2, picture.height // 2))),
        "twice the size": encoded(picture.resize((picture.width * 2, picture.height * 2))),
        "brighter": encoded(np.clip(pixels.astype(int) + 12, 0, 255).astype(np.uint8)),
        "webp": encoded(pixels, "WEBP", quality=60),
        "turned by its orientation tag": encoded(turned, "JPEG", quality=95, exif=exif),
        "noisy": encoded(np.clip(pixels + noise, 0, 255).astype(np.uint8)),
    }


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_copies_of_a_picture_are_one_group(seed: int):
    pixels = scene(seed)
    files = {"itself": encoded(pixels), **copies(pixels)}
    prints = {name: fingerprint(data) for name, data in files.items()}
    for name, found in prints.items():
        assert len(near_duplicates([prints["itself"], found])) == 1, name


def test_other_pictures_are_other_groups():
    prints = [fingerprint(encoded(scene(seed, 60, 80))) for seed in range(150)]
    assert near_duplicates(prints) == [[n] for n in range(150)]


def test_blank_pictures_are_alike_only_if_the_files_are():
    black, dark = encoded(np.zeros((20, 30, 3), np.uint8)), encoded(np.full((20, 30, 3), 3, np.uint8))
    prints = [fingerprint(data) for data in (black, dark, black)]
    assert prints[0].coarse is None
    assert near_duplicates(prints) == [[0, 2], [1]]


def test_what_resembles_a_member_belongs_to_the_group():
    fine = bytes(32)
    chain = [Fingerprint(str(n), (1 << 5 * n) - 1, fine) for n in range(5)]
    assert near_duplicates(chain) == [[0, 1, 2, 3, 4]]


@given(st.integers(0, 2**64 - 1), st.sets(st.integers(0, 63), max_size=9), st.sets(st.integers(0, 255), max_size=60))
def test_six_of_the_coarse_and_forty_of_the_fine_bits_may_differ(base: int, coarse: set[int], fine: set[int]):
    other = base ^ sum(1 << bit for bit in coarse)
    prints = [Fingerprint("a", base, bytes(32)), Fingerprint("b", other, sum(1 << bit for bit in fine).to_bytes(32))]
    alike = len(coarse) <= 6 and len(fine) <= 40
    assert (len(near_duplicates(prints)) == 1) == alike


def test_a_hundred_thousand_images_take_seconds():
    rng = np.random.default_rng(0)
    count = 100_000
    coarse = rng.integers(0, 2**63, count).tolist()
    fine = rng.integers(0, 256, (count, 32), dtype=np.uint8)
    prints = [Fingerprint(str(n), value, fine[n].tobytes()) for n, value in enumerate(coarse)]
    for n in range(500):
        flipped = sum(1 << int(bit) for bit in rng.choice(63, 6, replace=False))
        prints[count // 2 + n] = Fingerprint(f"copy {n}", coarse[n] ^ flipped, prints[n].fine)
    began = time.perf_counter()
    groups = near_duplicates(prints)
    assert time.perf_counter() - began < 20, "1 s when the machine is idle"
    assert [group for group in groups if len(group) > 1] == [[n, count // 2 + n] for n in range(500)]


def test_a_crowd_of_alike_pictures_is_one_group_in_seconds():
    rng = np.random.default_rng(0)
    prints = []
    for n in range(5_000):
        flipped = sum(1 << int(bit) for bit in rng.choice(20, rng.integers(0, 4), replace=False))
        prints.append(Fingerprint(str(n), 0x123456789ABCDEF0 ^ flipped, rng.bytes(2) + bytes(30)))
    began = time.perf_counter()
    assert len(near_duplicates(prints)) == 1
    assert time.perf_counter() - began < 10


@given(st.none() | st.integers(0, 2**64 - 1), st.binary(min_size=32, max_size=32))
def test_fingerprints_survive_being_written_down(coarse: int | None, fine: bytes):
    one = Fingerprint("ab" * 32, coarse, b"" if coarse is None else fine)
    assert len(one.to_text()) <= 64
    assert Fingerprint.from_text(one.sha256, one.to_text()) == one


def test_no_image_is_refused():
    with pytest.raises(InvalidInput):
        fingerprint(b"no image")
    with pytest.raises(InvalidInput):
        Fingerprint.from_text("", "???")
    assert near_duplicates([]) == []
