from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from maskwright.export.formats.png import PngFormat
from maskwright.export.records import Dataset
from maskwright.masks import Mask


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_region_has_its_exact_picture_and_the_label_map_shows_the_topmost(kit, data):
    item = data.draw(kit.records())
    done = kit.render(PngFormat(), [item])
    (row,) = (json.loads(r) for r in done.rows["images"])
    drawn = [region for region in item.regions if not region.mask.is_empty]
    assert len(row["instances"]) == len(drawn)
    for instance, region in zip(row["instances"], drawn, strict=True):
        assert np.array_equal(kit.png(done.files[instance["file"]]), region.mask.to_array() * 255)
        assert (instance["class"], instance["area"]) == (region.label, region.mask.area)
    values = [kit.dataset.categories[region.label] for region in item.regions]
    assert np.array_equal(kit.png(done.files[row["mask"]]), kit.painted(item, values))
    assert set(done.files) == {row["mask"], *(i["file"] for i in row["instances"])}


def test_the_index_names_classes_ids_and_the_colours_of_the_palette(kit, tmp_path):
    item = kit.record(kit.region(Mask.from_box((1, 1, 3, 3), (5, 6)), kit.names[1], is_crowd=True), split="val")
    assert kit.export(PngFormat(), [item], tmp_path).written == ("index.json",)
    index = json.loads((tmp_path / "index.json").read_text())
    assert [(c["id"], c["name"]) for c in index["categories"]] == list(enumerate(kit.names, start=1))
    (image,) = index["images"]
    assert (image["width"], image["height"], image["split"]) == (6, 5, "val")
    assert image["mask"] == "masks/val/folder/1.png"
    picture = Image.open(tmp_path / image["mask"])
    assert picture.convert("RGB").getpixel((1, 1)) == tuple(index["categories"][1]["color"])
    (instance,) = image["instances"]
    assert instance["file"] == "instances/val/folder/1/0001.png"
    assert (instance["bbox"], instance["iscrowd"]) == ([1, 1, 2, 2], 1)


def test_only_other_classes_take_pixels_from_a_class(kit):
    size = (10, 10)
    low, high = Mask.from_box((0, 0, 6, 10), size), Mask.from_box((4, 0, 10, 10), size)
    same = kit.render(PngFormat(), [kit.record(kit.region(low), kit.region(high))])
    other = kit.render(PngFormat(), [kit.record(kit.region(low), kit.region(high, "sky"))])
    assert same.lost == [()]
    assert kit.total(other.lost[0]) == {"cat": 20}


def test_category_ids_above_255_need_16_bits(kit):
    dataset = Dataset({"cat": 1, "sky": 256})
    item = kit.record(kit.region(Mask.from_box((1, 1, 3, 3), (4, 4)), "sky"))
    done = kit.render(PngFormat(), [item], dataset)
    assert kit.png(done.files["masks/folder/1.png"]).max() == 256
