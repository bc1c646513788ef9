"""YOLO-seg, read the way Ultralytics documents and does it: float32, cut off to whole pixels, cv2.fillPoly."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from maskwright.export.formats.yolo import YoloFormat
from maskwright.export.records import Dataset
from maskwright.masks import Mask


def objects(text, size, classes):
    """(class, mask) per line that a training run would see."""
    found, seen = [], set()
    for line in text.splitlines():
        number, *numbers = line.split()
        assert len(numbers) >= 6, "shorter lines are read as boxes"
        assert len(numbers) % 2 == 0
        points = np.array(numbers, dtype=np.float32).reshape(-1, 2)
        assert points.min() >= 0
        assert points.max() <= 1
        assert 0 <= int(number) < classes
        low, high = points.min(axis=0), points.max(axis=0)
        row = (int(number), *((low + high) / 2).tolist(), *(high - low).tolist())
        if row in seen:
            continue  # Ultralytics removes "duplicate labels"
        seen.add(row)
        picture = np.zeros(size, dtype=np.uint8)
        points *= np.array([size[1], size[0]], dtype=np.float32)
        cv2.fillPoly(picture, [points.astype(np.int32)], 1)
        found.append((int(number), picture.astype(bool)))
    return found


@settings(max_examples=150, deadline=None)
@given(data=st.data(), tolerance=st.sampled_from([0.0, 0.0, 1.5]))
def test_what_is_read_back_differs_from_the_masks_by_exactly_the_counted_pixels(kit, data, tolerance):
    item = data.draw(kit.records())
    dataset = Dataset(kit.dataset.categories, tolerance=tolerance)
    done = kit.render(YoloFormat(), [item], dataset)
    found = objects(done.files[f"labels/{item.split or 'train'}/folder/1.txt"].decode(), item.size, len(kit.names))
    kept, wrong = [], {}
    for region in item.regions:
        if not region.mask.is_empty and (region.label, region.mask) not in kept:
            kept.append((region.label, region.mask))
        elif not region.mask.is_empty:
            wrong[region.label] = wrong.get(region.label, 0) + region.mask.area
    assert [kit.names[number] for number, _ in found] == [label for label, _ in kept]
    for (label, mask), (_, seen) in zip(kept, found, strict=True):
        if count := int((seen != mask.to_array()).sum()):
            wrong[label] = wrong.get(label, 0) + count
            _, *parts = np.unique(cv2.connectedComponents(mask.to_array().astype(np.uint8))[1])
            assert tolerance or len(parts) > 1, "only seams between parts cost anything"
    counted = {}
    for loss in done.lost[0]:
        counted[loss.label] = counted.get(loss.label, 0) + loss.pixels
    assert counted == wrong


@pytest.mark.parametrize("size", [(1080, 1920), (5000, 7919), (3, 30000)])
def test_large_images_come_back_to_the_pixel(kit, size):
    height, width = size
    masks = [Mask.from_ellipse(width / 3, height / 2, width / 5, height / 3, 10, size), Mask.full(size)]
    holed = masks[0] - Mask.from_ellipse(width / 3, height / 2, width / 9, height / 8, 70, size)
    done = kit.render(YoloFormat(), [kit.record(*(kit.region(m) for m in (*masks, holed)))])
    found = objects(done.files["labels/train/folder/1.txt"].decode(), size, len(kit.names))
    for (_, seen), mask in zip(found, (*masks, holed), strict=True):
        assert np.array_equal(seen, mask.to_array())
    assert done.lost == [()]


def test_one_object_of_two_parts_stays_one_line_and_tells_the_price(kit):
    size = (20, 40)
    mask = Mask.from_box((2, 2, 10, 18), size) | Mask.from_box((20, 2, 30, 18), size)
    done = kit.render(YoloFormat(), [kit.record(kit.region(mask))])
    ((_, seen),) = objects(done.files["labels/train/folder/1.txt"].decode(), size, 4)
    assert (seen & ~mask.to_array()).sum() == 10
    assert kit.total(done.lost[0], "parts") == {"cat": 10}


def test_objects_with_the_same_class_and_box_all_survive_the_search_for_duplicates(kit):
    size = (30, 30)
    box = Mask.from_box((3, 3, 23, 23), size)
    masks = [box, box - Mask.from_box((8, 8, 12, 12), size), box - Mask.from_box((9, 9, 19, 19), size), box]
    done = kit.render(YoloFormat(), [kit.record(*(kit.region(m) for m in masks))])
    found = objects(done.files["labels/train/folder/1.txt"].decode(), size, 4)
    assert [int(seen.sum()) for _, seen in found] == [m.area for m in masks[:3]]
    assert kit.total(done.lost[0], "duplicate") == {"cat": box.area}


def test_folders_that_are_renamed_for_ultralytics_never_meet_others(kit):
    names = ["images/b.png", "images_/b.png", "images__/b.png", "labels/b.png", "labels_/b.png", "x.png", "x.txt/y.png"]
    items = [kit.record(kit.region(Mask.full((3, 4))), number=n, file_name=name) for n, name in enumerate(names)]
    assert len(kit.render(YoloFormat(), items).files) == len(names)


def test_crowds_are_left_out_and_counted(kit):
    mask = Mask.full((4, 5))
    done = kit.render(YoloFormat(), [kit.record(kit.region(mask, is_crowd=True))])
    assert done.files == {"labels/train/folder/1.txt": b""}
    assert kit.total(done.lost[0], "crowd") == {"cat": 20}


def test_the_yaml_names_folders_and_classes(kit, tmp_path):
    sink = io.BytesIO()
    Image.new("RGB", (5, 4)).save(sink, "PNG")
    mask = Mask.full((4, 5))
    items = [
        kit.record(kit.region(mask), number=1, split="train"),
        kit.record(kit.region(mask), number=2, split="val", file_name="images/x/b.jpg"),
        kit.record(kit.region(mask), number=3, split="test", file_name="c"),
    ]
    images = {item.key: sink.getvalue() for item in items}
    done = kit.export(YoloFormat(), items, tmp_path, images=images)
    assert done.written == ("data.yaml",)
    text = (tmp_path / "data.yaml").read_text()
    document = yaml.safe_load(text)
    assert document["names"] == dict(enumerate(kit.names))
    assert not text.startswith("#")
    for split in ("train", "val", "test"):
        folder = tmp_path / document["path"] / document[split]
        (image,) = (p for p in folder.rglob("*") if p.is_file())
        assert image.suffix == ".png"
        # Ultralytics' rule: the last folder called images becomes labels, the suffix becomes .txt.
        label = "/labels/".join(str(image).rsplit("/images/", 1)).rsplit(".", 1)[0] + ".txt"
        assert Path(label).read_text().startswith("0 ")


def test_without_image_files_the_yaml_says_where_they_belong(kit, tmp_path):
    kit.export(YoloFormat(), [kit.record(kit.region(Mask.full((4, 5))))], tmp_path)
    text = (tmp_path / "data.yaml").read_text()
    assert text.startswith("# Some images are not in this dataset")
    document = yaml.safe_load(text)
    assert document["train"] == document["val"] == "images/train"


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4, unique=True))
def test_any_class_name_survives_the_yaml(kit, names):
    names = [name.encode("utf-8", "replace").decode() for name in names]
    dataset = Dataset({name: i for i, name in enumerate(names, 1)})
    with tempfile.TemporaryDirectory() as folder:
        kit.export(YoloFormat(), [], Path(folder), dataset)
        document = yaml.safe_load((Path(folder) / "data.yaml").read_text(encoding="utf-8"))
    assert document["names"] == dict(enumerate(dataset.categories))
