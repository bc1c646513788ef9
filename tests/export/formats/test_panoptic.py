"""COCO panoptic, checked by what its documentation and the official evaluation ask for, written here from both."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from maskwright.errors import InvalidInput
from maskwright.export.formats.panoptic import PanopticFormat
from maskwright.masks import Mask


def segment_ids(path):
    pixels = np.array(Image.open(path)).astype(np.int64)
    assert pixels.shape[2:] == (3,)
    return pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]


def checked(folder, name="panoptic"):
    """Ids in PNG and JSON are the same, areas and boxes are true, nothing is there twice."""
    document = json.loads((folder / f"{name}.json").read_text())
    categories = {row["id"]: row for row in document["categories"]}
    assert all(row["isthing"] in (0, 1) and len(row["color"]) == 3 for row in categories.values())
    images = {row["id"]: row for row in document["images"]}
    assert len(images) == len(document["images"]) == len(document["annotations"])
    for annotation in document["annotations"]:
        image = images[annotation["image_id"]]
        ids = segment_ids(folder / name / annotation["file_name"])
        assert ids.shape == (image["height"], image["width"])
        segments = annotation["segments_info"]
        assert len({s["id"] for s in segments}) == len(segments)
        assert {s["id"] for s in segments} == set(np.unique(ids).tolist()) - {0}
        for segment in segments:
            rows, columns = np.nonzero(ids == segment["id"])
            assert segment["area"] == len(rows)
            left, top = columns.min(), rows.min()
            assert segment["bbox"] == [left, top, columns.max() - left + 1, rows.max() - top + 1]
            assert segment["category_id"] in categories
            assert segment["iscrowd"] in (0, 1)
        stuff = [s["category_id"] for s in segments if not categories[s["category_id"]]["isthing"]]
        assert len(set(stuff)) == len(stuff), "one segment per class of stuff"
    return document


def panoptic_quality(folder, truth, found):
    """PQ = sum of IoU of matches / (TP + FP / 2 + FN / 2), per class, averaged (Kirillov et al. 2019, section 4)."""
    iou, tp, fp, fn = Counter(), Counter(), Counter(), Counter()
    predictions = {row["image_id"]: row for row in found["annotations"]}
    for annotation in truth["annotations"]:
        prediction = predictions[annotation["image_id"]]
        ids, others = (segment_ids(folder / "panoptic" / row["file_name"]) for row in (annotation, prediction))
        matched = set()
        for one in annotation["segments_info"]:
            if one["iscrowd"]:
                continue
            for other in prediction["segments_info"]:
                both = int(((ids == one["id"]) & (others == other["id"])).sum())
                either = int(((ids == one["id"]) | ((others == other["id"]) & (ids != 0))).sum())
                if one["category_id"] == other["category_id"] and both / either > 0.5:
                    iou[one["category_id"]] += both / either
                    tp[one["category_id"]] += 1
                    matched.add(other["id"])
                    break
            else:
                fn[one["category_id"]] += 1
        fp.update(s["category_id"] for s in prediction["segments_info"] if s["id"] not in matched and not s["iscrowd"])
    classes = set(tp) | set(fp) | set(fn)
    return sum(iou[c] / (tp[c] + fp[c] / 2 + fn[c] / 2) for c in classes) / len(classes)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_regions_pass_the_official_checks_and_decode_to_the_masks_less_the_counted_loss(kit, data):
    items = [data.draw(kit.records(number=n)) for n in (1, 2)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = kit.export(PanopticFormat(), items, folder)
        for item, lost in zip(items, done.lost, strict=True):
            base = f"panoptic/{item.split}" if item.split else "panoptic"
            ids = segment_ids(folder / base / f"folder/{item.task}.png")
            checked(folder)
            document = checked(folder, base)
            (annotation,) = (a for a in document["annotations"] if a["image_id"] == int(item.task))
            classes = {0: 0} | {s["id"]: s["category_id"] for s in annotation["segments_info"]}
            values = [kit.dataset.categories[r.label] for r in item.regions]
            owners = kit.painted(item, range(1, len(values) + 1))
            assert np.array_equal(np.vectorize(classes.get)(ids), kit.painted(item, values))
            # Same owners, whatever they are numbered.
            pairs = set(zip(ids.ravel().tolist(), owners.ravel().tolist(), strict=True))
            assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
            kept = dict.fromkeys(kit.names, 0)
            for i, region in enumerate(item.regions, start=1):
                kept[region.label] += region.mask.area - int((owners == i).sum())
            assert kit.total(lost) == {name: n for name, n in kept.items() if n}


def test_a_dataset_measured_against_itself_has_a_panoptic_quality_of_one(kit, tmp_path):
    size = (60, 80)
    shapes = [Mask.from_ellipse(20 + 5 * i, 30, 12, 9, 20 * i, size) for i in range(7)]
    items = [
        kit.record(*(kit.region(m, kit.names[i % 3], is_crowd=i == 4) for i, m in enumerate(shapes)), number=1),
        kit.record(kit.region(Mask.full(size), "sky"), kit.region(shapes[0]), number=2),
    ]
    kit.export(PanopticFormat(), items, tmp_path)
    document = checked(tmp_path)
    assert panoptic_quality(tmp_path, document, document) == 1.0
    assert document["annotations"][0]["file_name"] == "folder/1.png"
    assert [s["iscrowd"] for s in document["annotations"][0]["segments_info"]] == [0, 0, 0, 0, 1, 0, 0]


def test_stuff_becomes_one_segment_and_loses_nothing_to_itself(kit, tmp_path):
    size = (10, 20)
    left, middle = Mask.from_box((0, 0, 12, 10), size), Mask.from_box((8, 0, 20, 10), size)
    item = kit.record(kit.region(left, "sky"), kit.region(Mask.from_box((2, 2, 4, 4), size)), kit.region(middle, "sky"))
    done = kit.export(PanopticFormat(stuff=frozenset({"sky"})), [item], tmp_path)
    (annotation,) = checked(tmp_path)["annotations"]
    assert [(s["category_id"], s["area"]) for s in annotation["segments_info"]] == [(4, 196), (1, 4)]
    assert kit.total(done.lost[0]) == {"sky": 4}


def test_more_than_255_segments_use_the_next_channel(kit, tmp_path):
    size = (20, 20)
    cells = [Mask.from_box((x, y, x + 1, y + 1), size) for y in range(20) for x in range(15)]
    kit.export(PanopticFormat(), [kit.record(*(kit.region(cell) for cell in cells))], tmp_path)
    assert len(checked(tmp_path)["annotations"][0]["segments_info"]) == 300


def test_each_part_and_the_whole_have_a_json_file_beside_a_folder_of_its_name(kit, tmp_path):
    mask = Mask.full((3, 4))
    items = [
        kit.record(kit.region(mask), number=i, split=split) for i, split in enumerate(["val", "train", "train"], 1)
    ]
    done = kit.export(PanopticFormat(), items, tmp_path)
    assert done.written == ("panoptic/train.json", "panoptic/val.json", "panoptic.json")
    assert len(checked(tmp_path, "panoptic/train")["images"]) == 2
    assert len(checked(tmp_path, "panoptic/val")["images"]) == 1
    assert [image["id"] for image in checked(tmp_path)["images"]] == [1, 2, 3]


def test_images_of_one_task_have_files_of_their_own(kit, tmp_path):
    mask = Mask.full((3, 4))
    first = kit.record(kit.region(mask), file_name="a.png", is_only_image=False, number=1)
    second = kit.record(kit.region(mask), file_name="a.jpg", is_only_image=False, number=2)
    kit.export(PanopticFormat(), [first, second], tmp_path)
    assert len(checked(tmp_path)["annotations"]) == 2


def test_an_export_without_images_is_valid(kit, tmp_path):
    assert kit.export(PanopticFormat(), [], tmp_path).written == ("panoptic.json",)
    assert checked(tmp_path)["images"] == []


def test_a_mask_of_another_size_is_refused(kit):
    with pytest.raises(InvalidInput, match="height, width"):
        kit.render(PanopticFormat(), [kit.record(kit.region(Mask.full((3, 4))), size=(4, 3))])
