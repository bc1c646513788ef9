"""Datasets from regions that come one image at a time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.errors import InvalidInput
from maskwright.export.formats.panoptic import PanopticFormat
from maskwright.export.formats.png import PngFormat
from maskwright.export.image_dataset import ImageDatasetWriter
from maskwright.labels import LabelSet
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region

SIZE = (20, 30)
LABELS = LabelSet.of(["car", "road"])


def region(label: str, score: float, *box: int) -> Region:
    return Region(Mask.from_box(box, SIZE), label, score, Provenance("preannotation", "m"))


CAR, ROAD = region("car", 0.9, 5, 5, 15, 15), region("road", 0.5, 0, 0, 30, 20)


def write(folder: Path, *images: tuple[str, list[Region]]) -> None:
    with ImageDatasetWriter(folder, PngFormat(), LABELS) as writer:
        for name, regions in images:
            writer.add(name, SIZE, regions)


def test_panoptic_files_name_every_pixels_segment_and_the_better_region_lies_on_top(tmp_path):
    out = tmp_path / "made"
    with ImageDatasetWriter(out, PanopticFormat(frozenset({"road"})), LABELS, "Of a test.") as writer:
        writer.add("sub/a.png", SIZE, [CAR, ROAD])
        writer.add("b.png", SIZE, [])
    document = json.loads((out / "panoptic.json").read_text())
    assert document["info"]["description"] == "Of a test."
    assert [(one["name"], one["isthing"]) for one in document["categories"]] == [("car", 1), ("road", 0)]
    assert [one["file_name"] for one in document["images"]] == ["sub/a.png", "b.png"]
    assert [one["id"] for one in document["images"]] == [1, 2]
    first = document["annotations"][0]
    pixels = np.array(Image.open(out / "panoptic" / first["file_name"])).astype(int)[..., 0]
    areas = {segment["category_id"]: (pixels == segment["id"]).sum() for segment in first["segments_info"]}
    assert areas == {1: 100, 2: 500}
    assert [path.name for path in tmp_path.iterdir()] == ["made"], "nothing else is left"


def test_images_that_differ_by_their_suffix_have_files_of_their_own(tmp_path):
    write(tmp_path / "made", ("cat.png", [CAR]), ("cat.jpg", [ROAD]))
    index = json.loads((tmp_path / "made" / "index.json").read_text())
    masks = [one["mask"] for one in index["images"]]
    assert len(set(masks)) == 2
    values = [set(np.array(Image.open(tmp_path / "made" / mask)).flatten().tolist()) for mask in masks]
    assert values == [{0, 1}, {2}]


def test_what_fails_leaves_nothing_and_what_is_there_is_never_touched(tmp_path):
    bad = region("tree", 0.5, 0, 0, 5, 5)
    with pytest.raises(InvalidInput, match=r"b.png: a region has the class 'tree'"):
        write(tmp_path / "made", ("a.png", [CAR]), ("b.png", [bad]))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("kept")
    with pytest.raises(InvalidInput, match="no empty folder"):
        write(tmp_path / "mine")
    with pytest.raises(InvalidInput, match="cannot write"):
        write(tmp_path / "no" / "such")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")
    assert (tmp_path / "empty" / "index.json").exists()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["empty", "mine"]
