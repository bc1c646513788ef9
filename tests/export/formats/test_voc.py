from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from maskwright.errors import InvalidInput
from maskwright.export.formats.voc import ROOT, VocFormat
from maskwright.export.records import Dataset
from maskwright.masks import Mask


def encoded(picture, kind, **more):
    sink = io.BytesIO()
    Image.fromarray(picture).save(sink, kind, **more)
    return sink.getvalue()


def boxes(content):
    """VOC counts pixels from 1 and has both ends inside."""
    found = []
    for item in ElementTree.fromstring(content).iter("object"):
        corner = [int(item.findtext(f"bndbox/{name}")) for name in ("xmin", "ymin", "xmax", "ymax")]
        found.append((item.findtext("name"), [corner[0] - 1, corner[1] - 1, corner[2], corner[3]]))
    return found


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_class_and_object_maps_give_the_masks_less_the_counted_loss(kit, data):
    item = data.draw(kit.records())
    done = kit.render(VocFormat(), [item])
    values = [kit.dataset.categories[region.label] for region in item.regions]
    classes = kit.png(done.files[f"{ROOT}/SegmentationClass/folder__1.png"])
    objects = kit.png(done.files[f"{ROOT}/SegmentationObject/folder__1.png"])
    owners = kit.painted(item, range(1, len(values) + 1))
    assert np.array_equal(classes, kit.painted(item, values))
    shown = [i for i in range(1, len(values) + 1) if (owners == i).any()]
    expected = np.zeros(item.size, dtype=int)
    for number, i in enumerate(shown, start=1):
        expected[owners == i] = number
    assert np.array_equal(objects, expected)
    found = boxes(done.files[f"{ROOT}/Annotations/folder__1.xml"])
    assert [name for name, _ in found] == [item.regions[i - 1].label for i in shown]
    for number, (_, (left, top, right, bottom)) in enumerate(found, start=1):
        rows, columns = np.nonzero(objects == number)
        assert [left, top, right, bottom] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    lost = dict.fromkeys(kit.names, 0)
    for i, region in enumerate(item.regions, start=1):
        lost[region.label] += region.mask.area - int((owners == i).sum())
    assert kit.total(done.lost[0]) == {name: n for name, n in lost.items() if n}


def test_the_folders_and_lists_are_those_of_the_devkit(kit, tmp_path):
    mask = Mask.from_box((1, 1, 5, 5), (8, 9))
    splits = ["train", "val", "test", "train"]
    items = [kit.record(kit.region(mask), number=i, split=split) for i, split in enumerate(splits, 1)]
    images = {items[0].key: encoded(np.zeros((8, 9, 3), np.uint8), "PNG")}
    done = kit.export(VocFormat(), items, tmp_path, images=images)
    sets = tmp_path / ROOT / "ImageSets" / "Segmentation"
    assert {p.name: p.read_text().split() for p in sets.iterdir()} == {
        "train.txt": ["folder__1", "folder__4"],
        "val.txt": ["folder__2"],
        "test.txt": ["folder__3"],
        "trainval.txt": ["folder__1", "folder__4", "folder__2"],
    }
    assert done.written[-1] == f"{ROOT}/ImageSets/Segmentation/train.txt"
    for name in ("SegmentationClass", "SegmentationObject"):
        assert Image.open(tmp_path / ROOT / name / "folder__1.png").mode == "P"
    assert Image.open(tmp_path / ROOT / "JPEGImages" / "folder__1.jpg").format == "JPEG"
    colours = Image.open(tmp_path / ROOT / "SegmentationClass" / "folder__1.png").getpalette()
    assert colours[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
    assert colours[255 * 3 :] == [224, 224, 192]


def test_an_upright_jpeg_is_copied_and_a_turned_one_is_set_upright(kit):
    item = kit.record(kit.region(Mask.full((8, 16))))
    picture = np.zeros((8, 16, 3), np.uint8)
    picture[:, :8] = 255
    plain = encoded(picture, "JPEG")
    path = f"{ROOT}/JPEGImages/folder__1.jpg"
    assert kit.render(VocFormat(), [item], images={item.key: plain}).files[path] == plain
    turned = Image.Exif()
    turned[0x0112] = 6
    lying = encoded(np.rot90(picture), "JPEG", exif=turned)
    upright = kit.png(kit.render(VocFormat(), [item], images={item.key: lying}).files[path])
    assert upright.shape == (8, 16, 3)
    assert upright[:, :7].min() > 200 > 50 > upright[:, 9:].max()


def test_a_border_is_void_and_counted(kit):
    item = kit.record(kit.region(Mask.from_box((2, 2, 8, 8), (10, 12))))
    done = kit.render(VocFormat(border=1), [item])
    classes = kit.png(done.files[f"{ROOT}/SegmentationClass/folder__1.png"])
    assert ((classes == 255).sum(), (classes == 1).sum()) == (20, 16)
    assert kit.total(done.lost[0], "border") == {"cat": 20}


def test_many_objects_and_high_ids_need_16_bits(kit):
    size = (20, 20)
    cells = [Mask.from_box((x, y, x + 1, y + 1), size) for y in range(20) for x in range(15)]
    done = kit.render(VocFormat(), [kit.record(*(kit.region(cell) for cell in cells))], Dataset({"cat": 255}))
    assert kit.png(done.files[f"{ROOT}/SegmentationObject/folder__1.png"]).max() == 300
    assert kit.png(done.files[f"{ROOT}/SegmentationClass/folder__1.png"]).dtype != np.uint8


def test_awkward_names_stay_valid_xml(kit):
    dataset = Dataset({"<a> & \x01 b": 1})
    item = kit.record(kit.region(Mask.full((3, 3)), "<a> & \x01 b"), file_name="<&>.png")
    done = kit.render(VocFormat(), [item], dataset)
    assert boxes(done.files[f"{ROOT}/Annotations/<&>.xml"]) == [("<a> & \ufffd b", [0, 0, 3, 3])]


def test_a_damaged_image_is_named(kit):
    item = kit.record(kit.region(Mask.full((3, 4))))
    with pytest.raises(InvalidInput, match=r"folder/1\.png"):
        kit.render(VocFormat(), [item], images={item.key: b"\x89PNG\r\n\x1a\nbroken"})
