"""Tiny stand-ins for the packages that the corpus reads."""

import gzip
import hashlib
import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask


def compiled(files: dict[str, bytes], compress: bool = False) -> bytes:
    """A Qt resource container (version 2) of files in one folder ``r``."""
    names, data, nodes = b"", b"", []
    places = {}
    for name in ("r", *files):
        places[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    nodes.append(struct.pack(">IHIIQ", 0, 2, 1, 1, 0))
    nodes.append(struct.pack(">IHIIQ", places["r"], 2, len(files), 2, 0))
    for name, content in files.items():
        stored = struct.pack(">I", len(content)) + zlib.compress(content) if compress else content
        nodes.append(struct.pack(">IHHHIQ", places[name], int(compress), 0, 0, len(data), 0))
        data += struct.pack(">I", len(stored)) + stored
    tree = b"".join(nodes)
    head = struct.pack(">4sIIII", b"qres", 2, 20, 20 + len(tree), 20 + len(tree) + len(data))
    return head + tree + data + names


def encoded(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def disc(height: int, width: int, radius: float) -> np.ndarray:
    ys, xs = np.indices((height, width))
    return (ys - height / 2) ** 2 + (xs - width / 2) ** 2 < radius**2


@pytest.fixture
def container():
    return compiled


@pytest.fixture
def free_pictures(tmp_path):
    """(root, packed annotations) of packages with two photographs and some cut-outs."""
    rng, root = np.random.default_rng(0), tmp_path / "root"
    photograph = rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)
    thing = disc(240, 320, 70)
    photograph[thing] = (200, 30, 40)
    content, other = encoded(photograph), encoded(photograph[::-1].copy())
    folder = root / "usr/share/gcompris-qt/rcc"
    folder.mkdir(parents=True)
    (folder / "farm.rcc").write_bytes(compiled({"a.png": content}))
    nature = root / "usr/share/backgrounds/mate/nature"
    nature.mkdir(parents=True)
    (nature / "b.png").write_bytes(other)
    rle = coco_mask.encode(np.asfortranarray(thing.astype(np.uint8)))
    region = {"name": "Ball", "size": rle["size"], "counts": rle["counts"].decode()}
    listed = [
        {"source": "gcompris-qt-data:farm.rcc:/r/a.png", "sha256": hashlib.sha256(content).hexdigest(),
         "regions": [region]},
        {"source": "mate-backgrounds:/usr/share/backgrounds/mate/nature/b.png",
         "sha256": hashlib.sha256(other).hexdigest(), "regions": []},
    ]  # fmt: skip
    packed = tmp_path / "packed.json.gz"
    packed.write_bytes(gzip.compress(json.dumps({"photographs": listed}).encode(), mtime=0))
    for package, places in {
        "tuxpaint/stamps": ["animals/a.png", "symbols/b.png"],
        "openclipart/png": ["animals/a.png"],
        "fonts/truetype/noto": [],
        "icons/Tango": ["32x32/a.png"],
    }.items():
        (root / "usr/share" / package).mkdir(parents=True)
        for k, place in enumerate(places):
            path = root / "usr/share" / package / place
            path.parent.mkdir(parents=True, exist_ok=True)
            rgba = rng.integers(0, 255, (80, 100, 4), dtype=np.uint8)
            rgba[:, :, 3] = disc(80, 100, 36 - k) * 255
            path.write_bytes(encoded(rgba))
    return root, packed


@pytest.fixture
def nuclei_folder(tmp_path):
    """A data folder with two images of nuclei."""
    folder = tmp_path / "data" / "nuclei"
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for k in range(2):
        mask = np.roll(disc(256, 256, 30), 40 * k, axis=1)
        Image.fromarray(np.where(mask, 180, 20).astype(np.uint8)).save(folder / "images" / f"{k}.png")
        rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        images.append({"id": k, "file_name": f"images/{k}.png"})
        annotations.append({"image_id": k, "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()}})
    (folder / "instances.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return folder.parent
