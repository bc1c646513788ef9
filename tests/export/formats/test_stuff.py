from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from maskwright.export.formats.stuff import StuffFormat
from maskwright.export.records import Dataset
from maskwright.masks import Mask


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_run_lengths_and_pixel_maps_agree_and_give_the_masks_less_the_counted_loss(kit, data):
    item = data.draw(kit.records())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = kit.export(StuffFormat(), [item], folder)
        document = json.loads((folder / "stuff.json").read_text())
        if item.split:
            assert json.loads((folder / f"stuff_{item.split}.json").read_text()) == document
        pixels = np.array(Image.open(folder / "stuff_pixelmaps" / (item.split or "") / "folder/1.png"))
    expected = kit.painted(item, [kit.dataset.categories[r.label] for r in item.regions])
    assert np.array_equal(pixels, expected)
    from_json = np.zeros(item.size, dtype=np.int64)
    for annotation in document["annotations"]:
        inside = coco_mask.decode(annotation["segmentation"]).astype(bool)
        assert not from_json[inside].any(), "a pixel has one class"
        from_json[inside] = annotation["category_id"]
        assert annotation["area"] == inside.sum()
        assert annotation["iscrowd"] == 0
    assert np.array_equal(from_json, expected)
    lost = {}
    for label, value in kit.dataset.categories.items():
        union = np.zeros(item.size, dtype=bool)
        for region in item.regions:
            if region.label == label:
                union |= region.mask.to_array()
        if gone := int((union & (expected != value)).sum()):
            lost[label] = gone
    assert kit.total(done.lost[0]) == lost


def test_pycocotools_opens_it_and_a_class_of_two_regions_is_one_annotation(kit, tmp_path):
    size = (10, 12)
    sky = [kit.region(Mask.from_box(box, size), "sky") for box in ((0, 0, 4, 4), (2, 0, 8, 4))]
    kit.export(StuffFormat(), [kit.record(*sky, kit.region(Mask.from_box((6, 6, 9, 9), size)))], tmp_path)
    coco = COCO(str(tmp_path / "stuff.json"))
    assert [(a["category_id"], a["area"], a["bbox"]) for a in coco.loadAnns(coco.getAnnIds())] == [
        (1, 9, [6, 6, 3, 3]),
        (4, 32, [0, 0, 8, 4]),
    ]
    image = Image.open(tmp_path / "stuff_pixelmaps/folder/1.png")
    assert (image.mode, np.unique(image).tolist()) == ("P", [0, 1, 4])


def test_category_ids_above_255_need_16_bits(kit):
    dataset = Dataset({"cat": 1, "sky": 700})
    item = kit.record(kit.region(Mask.from_box((1, 1, 3, 3), (4, 4)), "sky"))
    (content,) = kit.render(StuffFormat(), [item], dataset).files.values()
    assert sorted(np.unique(kit.png(content)).tolist()) == [0, 700]
