from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from maskwright.export.formats.panoptic import PanopticFormat
from maskwright.export.formats.png import PngFormat
from maskwright.export.formats.stuff import StuffFormat
from maskwright.masks import Mask

UPRIGHT = np.zeros((8, 16, 3), np.uint8)
UPRIGHT[:, :8] = 255


def encoded(picture, kind, orientation=1):
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    sink = io.BytesIO()
    Image.fromarray(picture).save(sink, kind, exif=exif)
    return sink.getvalue()


@pytest.mark.parametrize("form", [PanopticFormat(), StuffFormat(), PngFormat()], ids=lambda form: form.name)
@pytest.mark.parametrize(
    ("own", "kind", "orientation", "name"),
    [
        ("a/b.JPG", "JPEG", 1, "a/b.JPG"),
        ("a/b.png", "PNG", 1, "a/b.png"),
        ("a/b", "PNG", 1, "a/b.png"),
        ("a/b.jpg", "PNG", 1, "a/b.png"),
        ("a/b.jpg", "JPEG", 6, "a/b.jpg"),
        ("a/b.webp", "WEBP", 6, "a/b.png"),
    ],
)
def test_images_lie_beside_the_masks_upright_and_under_the_name_in_the_index(
    kit, tmp_path, form, own, kind, orientation, name
):
    item = kit.record(kit.region(Mask.full((8, 16))), file_name=own)
    image = encoded(UPRIGHT if orientation == 1 else np.rot90(UPRIGHT), kind, orientation)
    done = kit.export(form, [item], tmp_path, images={item.key: image})
    (entry,) = json.loads((tmp_path / done.written[-1]).read_text())["images"]
    assert entry["file_name"] == name
    content = done.files[f"images/{name}"]
    assert (content == image) == (orientation == 1), "an upright file is copied byte for byte"
    seen = Image.open(io.BytesIO(content))
    assert seen.getexif().get(0x0112, 1) == 1
    pixels = np.array(seen.convert("RGB"))
    assert pixels.shape == (8, 16, 3)
    assert pixels[:, :7].min() > 200 > 50 > pixels[:, 9:].max()
