from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from maskwright.errors import InvalidInput
from maskwright.export.coco import CocoWriter
from maskwright.labels import LabelSet
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region

LABELS = LabelSet.of(["cat", "Hund & Kätzchen 🐶", "dog"])


def region(mask: Mask, label: str, score: float = 0.5) -> Region:
    return Region(mask, label, score, Provenance("preannotation", "v1"))


def test_pycocotools_reads_the_file_unchanged(tmp_path):
    size = (60, 90)
    ring = Mask.from_ellipse(30, 30, 20, 20, 0, size) - Mask.from_ellipse(30, 30, 8, 8, 0, size)
    box = Mask.from_box((50, 5, 80, 25), size)
    with CocoWriter(tmp_path / "out.json", LABELS, "a test") as writer:
        assert writer.add("a/é.png", size, [region(ring, "dog", 0.75), region(box, "cat")]) == 1
        assert writer.add("empty.png", (10, 20), []) == 2
        assert writer.add("full.png", (3, 4), [region(Mask.full((3, 4)), LABELS.names[1])]) == 3
    coco = COCO(str(tmp_path / "out.json"))
    assert [(c["id"], c["name"]) for c in coco.loadCats(coco.getCatIds())] == list(enumerate(LABELS.names, start=1))
    assert [i["file_name"] for i in coco.loadImgs(coco.getImgIds())] == ["a/é.png", "empty.png", "full.png"]
    first, second, third = coco.loadAnns(coco.getAnnIds())
    assert np.array_equal(coco.annToMask(first), ring.to_array())
    assert first["bbox"] == [10, 10, 40, 40]
    assert first["area"] == ring.area
    assert (first["category_id"], first["image_id"], first["iscrowd"], first["score"]) == (3, 1, 0, 0.75)
    assert np.array_equal(coco.annToMask(second), box.to_array())
    assert (third["image_id"], third["area"]) == (3, 12)


def test_a_file_without_images_is_valid(tmp_path):
    with CocoWriter(tmp_path / "out.json", LABELS):
        pass
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["images"] == document["annotations"] == []


def test_an_interrupted_export_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("old")

    def regions():
        yield region(Mask.full((3, 4)), "cat")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), CocoWriter(path, LABELS) as writer:
        writer.add("a.png", (3, 4), regions())
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_nothing_is_visible_under_the_name_before_the_end(tmp_path):
    with CocoWriter(tmp_path / "out.json", LABELS) as writer:
        writer.add("a.png", (3, 4), [])
        assert not (tmp_path / "out.json").exists()
    assert (tmp_path / "out.json").stat().st_mode & 0o777 == 0o644


def test_a_foreign_class_or_size_is_refused_by_name(tmp_path):
    with CocoWriter(tmp_path / "out.json", LABELS) as writer:
        with pytest.raises(InvalidInput, match=r"a\.png.*'cow'"):
            writer.add("a.png", (3, 4), [region(Mask.full((3, 4)), "cat"), region(Mask.full((3, 4)), "cow")])
        with pytest.raises(InvalidInput, match=r"a\.png: a mask of"):
            writer.add("a.png", (3, 5), [region(Mask.full((3, 4)), "cat")])
        writer.add("b.png", (3, 4), [])
    document = json.loads((tmp_path / "out.json").read_text())
    assert [i["file_name"] for i in document["images"]] == ["b.png"]
    assert document["annotations"] == []


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InvalidInput, match="cannot write"), CocoWriter(tmp_path / "no" / "out.json", LABELS):
        pass
