"""Synthetic pictures whose right answer is known, drawn the same on every machine."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image


def star_on_texture(width: int = 320, height: int = 240, seed: int = 7) -> tuple[bytes, np.ndarray]:
    """A red star on a greenish noisy background: (PNG bytes, (H, W) bool truth)."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 18, (height // 8 + 1, width // 8 + 1)).astype(np.float32)
    texture = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    background = np.array([70, 120, 80], dtype=np.float32) + texture + rng.normal(0, 4, (height, width, 3))
    angles = np.arange(10) * np.pi / 5 - np.pi / 2
    radii = np.where(np.arange(10) % 2 == 0, 0.38, 0.2) * min(width, height)
    corners = np.stack([width * 0.55 + radii * np.cos(angles), height * 0.5 + radii * np.sin(angles)], axis=1)
    truth = np.zeros((height, width), np.uint8)
    cv2.fillPoly(truth, [np.round(corners).astype(np.int32)], 1)
    star = np.array([200, 60, 50], dtype=np.float32) + rng.normal(0, 5, (height, width, 3))
    pixels = np.clip(np.where(truth[..., None] > 0, star, background), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue(), truth.astype(bool)


def many_blobs(count: int = 40, width: int = 640, height: int = 480, seed: int = 3) -> tuple[bytes, np.ndarray]:
    """Bright round cells on a dark ground: (PNG bytes, (H, W) int32 with 0 = ground, 1..count = cells)."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((height, width), np.int32)
    pixels = rng.normal(30, 4, (height, width, 3))
    columns = int(np.ceil(np.sqrt(count * width / height)))
    rows = int(np.ceil(count / columns))
    for index in range(count):
        x = int((index % columns + 0.5) * width / columns)
        y = int((index // columns + 0.5) * height / rows)
        blob = np.zeros((height, width), np.uint8)
        radii = int(rng.integers(14, 22)), int(rng.integers(12, 20))
        cv2.ellipse(blob, (x, y), radii, float(rng.uniform(0, 180)), 0, 360, 1, -1)
        truth[blob > 0] = index + 1
        pixels[blob > 0] = rng.normal(170, 6, (int(blob.sum()), 3))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue(), truth
