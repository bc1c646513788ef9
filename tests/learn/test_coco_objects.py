from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.images import ImageLimits
from maskwright.learn.coco_objects import CocoFile, load_pixels, locate_image, shuffled

LIMITS = ImageLimits(10**6, 10**6)
BLOCK = np.zeros((12, 16), dtype=bool)
BLOCK[2:8, 3:11] = True
POLYGON = [3, 2, 11, 2, 11, 8, 3, 8]


def compressed(mask: np.ndarray) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def uncompressed(mask: np.ndarray) -> dict:
    flat = np.concatenate([[0], mask.ravel(order="F").astype(int), [2]])
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], edges]))
    return {"size": list(mask.shape), "counts": counts.tolist()}


def document(*segmentations: object, **image: object) -> dict:
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": 12, "width": 16} | image],
        "annotations": [
            {"id": 10 + k, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": segmentation}
            for k, segmentation in enumerate(segmentations)
        ],
    }


def test_polygons_and_both_kinds_of_run_lengths_give_the_same_mask_crowds_included():
    content = document([POLYGON], compressed(BLOCK), uncompressed(BLOCK))
    content["annotations"][2]["iscrowd"] = 1
    found = CocoFile.of(content).select(10, 0).by_file["a.png"]
    assert {one.title for one in found} == {"annotation 10", "annotation 11", "annotation 12"}
    for one in found:
        assert np.array_equal(one.mask.to_array(), BLOCK), one.title


def test_the_polygons_of_one_annotation_are_one_object():
    left, right = [3.0, 2.0, 7.0, 2.0, 7.0, 8.0, 3.0, 8.0], [7.0, 2.0, 11.0, 2.0, 11.0, 8.0, 7.0, 8.0]
    (one,) = CocoFile.of(document([left, right])).select(10, 0).by_file["a.png"]
    assert np.array_equal(one.mask.to_array(), BLOCK)


def test_the_choice_depends_on_the_seed_only_and_images_come_one_after_the_other():
    content = {
        "images": [{"id": f"n{k}", "file_name": f"{k % 3}.png", "height": 12, "width": 16} for k in range(6)],
        "annotations": [{"id": k, "image_id": f"n{k % 6}", "segmentation": [POLYGON]} for k in range(60)],
    }
    titles = [
        [one.title for objects in CocoFile.of(content).select(9, seed).by_file.values() for one in objects]
        for seed in (0, 0, 1)
    ]
    assert titles[0] == titles[1] != titles[2]
    assert all(len(found) == 9 for found in titles)
    wanted = {f"annotation {k}" for k in shuffled(range(60), 0)[:9]}
    assert set(titles[0]) == wanted
    selection = CocoFile.of(content).select(1000, 0)
    assert selection.count == 60
    assert list(selection.by_file) == ["0.png", "1.png", "2.png"]


def test_annotations_without_a_pixel_are_left_out_and_named():
    sliver = [3.1, 2.1, 3.2, 2.1, 3.2, 2.2]
    selection = CocoFile.of(document([sliver], [POLYGON], uncompressed(BLOCK & False))).select(3, 0)
    assert [one.title for one in selection.by_file["a.png"]] == ["annotation 11"]
    assert set(selection.left_out) == {"annotation 10", "annotation 12"}
    with pytest.raises(InvalidInput, match="nothing to evaluate"):
        CocoFile.of(document([sliver])).select(3, 0)


@pytest.mark.parametrize(
    ("segmentation", "expected"),
    [
        (None, "list of polygons or run lengths"),
        ([], "list of polygons or run lengths"),
        ("abc", "list of polygons or run lengths"),
        ([[1, 2, 3, 4]], "polygon 0 .* three corners"),
        ([POLYGON, [1, 2, 3, 4, 5, 6, 7]], "polygon 1 .* three corners"),
        (POLYGON, "polygon 0 .* three corners"),
        ([[0, 0, 5, "5", 5, 0]], "'5'"),
        ([[0, 0, 5, float("nan"), 5, 0]], "nan"),
        ([[0, 0, 5, 1e300, 5, 0]], "1e\\+300"),
        ([[0, 0, True, 1, 5, 0]], "True"),
        ({"size": [12, 16]}, "size.*counts"),
        ({"size": [12, 16], "counts": [1, 2]}, "add up to 3"),
        ({"size": [12, 16], "counts": [-1, 193]}, "between 0 and"),
        ({"size": [12, 16], "counts": "~~~"}, "character"),
        ({"size": [12, 16], "counts": "é"}, "character"),
        ({"size": [12], "counts": [12]}, "size"),
        ([[0, 0, 5, json.loads("[" * 900 + "]" * 900), 5, 0]], "corners are numbers"),
        (compressed(np.ones((16, 12), bool)), "12 x 16 pixels, but image 1 is 16 x 12"),
    ],
)
def test_a_malformed_segmentation_is_an_error_that_names_the_annotation(segmentation, expected):
    with pytest.raises(InvalidInput, match=rf"^annotation 10: .*{expected}"):
        CocoFile.of(document(segmentation)).select(5, 0)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([], "images.*annotations"),
        ({"images": []}, "images.*annotations"),
        ({"images": {}, "annotations": []}, "images.*annotations"),
        ({"images": [], "annotations": []}, "nothing to evaluate"),
        ({"images": [5], "annotations": []}, "the image at place 0"),
        ({"images": [{"file_name": "a"}], "annotations": []}, "place 0.*id must be"),
        ({"images": [{"id": [1], "file_name": "a"}], "annotations": []}, "place 0.*id must be"),
        ({"images": [{"id": 7}], "annotations": []}, "image 7: file_name"),
        ({"images": [{"id": 7, "file_name": 3}], "annotations": []}, "image 7: file_name"),
        ({"images": [{"id": 7, "file_name": "a", "height": 1.5, "width": 2}], "annotations": []}, "image 7: height"),
        ({"images": [{"id": 7, "file_name": "a", "height": 0, "width": 2}], "annotations": []}, "image 7: height"),
        ({"images": [{"id": 7, "file_name": "a"}] * 2, "annotations": []}, "image 7: two images"),
        ({"images": [], "annotations": ["x"]}, "the annotation at place 0"),
        ({"images": [], "annotations": [{"id": 3, "image_id": 9}]}, "annotation 3: its image_id 9"),
        ({"images": [], "annotations": [{"image_id": {}}]}, "annotation at place 0 .*image_id"),
        (document([POLYGON], height=None, width=None), "annotation 10: .*height and width of image 1"),
    ],
)
def test_what_is_not_a_coco_file_is_an_error_that_names_the_entry(content, expected):
    with pytest.raises(InvalidInput, match=expected):
        CocoFile.of(content).select(5, 0)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"1" * 10_000], ids=repr)
def test_a_file_that_is_not_json_is_named(tmp_path, content):
    path = tmp_path / "truth.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"truth\.json|lists"):
        CocoFile.read(path)
    with pytest.raises(InvalidInput, match="no COCO file"):
        CocoFile.read(tmp_path / "absent.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.sampled_from(["size", "counts", "id"]), inner),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(JSON | st.lists(st.lists(st.integers() | st.floats(), min_size=6, max_size=8), max_size=3), JSON)
def test_no_file_can_do_more_than_be_refused(segmentation, entry):
    try:
        selection = CocoFile.of(document(segmentation)).select(5, 0)
        assert all(0 < one.mask.area <= 12 * 16 for objects in selection.by_file.values() for one in objects)
    except MaskwrightError as error:
        assert "annotation" in str(error)  # noqa: PT017 - most examples are refused, not all
    for content in (entry, document([POLYGON], file_name=entry), document() | {"annotations": [entry]}):
        with contextlib.suppress(MaskwrightError):
            CocoFile.of(content).select(5, 0)


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "outside").mkdir()
    Image.new("RGB", (16, 12)).save(tmp_path / "outside" / "secret.png")
    inside = tmp_path / "images"
    (inside / "sub").mkdir(parents=True)
    Image.new("RGB", (16, 12)).save(inside / "sub" / "a.png")
    (inside / "link.png").symlink_to(tmp_path / "outside" / "secret.png")
    (inside / "linked").symlink_to(tmp_path / "outside")
    os.mkfifo(inside / "pipe.png")
    return inside


@pytest.mark.parametrize(
    "name",
    ["../outside/secret.png", "{tmp}/outside/secret.png", "sub/../../outside/secret.png", "link.png",
     "linked/secret.png", "/etc/passwd"],
)  # fmt: skip
def test_a_file_name_cannot_lead_out_of_the_folder(folder, name):
    with pytest.raises(InvalidInput, match="leads out of the folder"):
        locate_image(folder, name.format(tmp=folder.parent))


@pytest.mark.parametrize("name", ["b.png", "sub", ".", "pipe.png", "a\0b", "x" * 5000, "\ud800.png"], ids=range(7))
def test_a_file_name_that_names_no_file_is_refused(folder, name):
    assert locate_image(folder, "sub/a.png").name == "a.png"
    with pytest.raises(InvalidInput, match=r"no file|cannot be a file's name"):
        locate_image(folder, name)


def test_a_folder_that_is_itself_a_link_is_fine(folder, tmp_path):
    (tmp_path / "alias").symlink_to(folder)
    assert locate_image(tmp_path / "alias", "sub/a.png").is_file()


def test_an_image_that_does_not_fit_its_masks_is_named_with_the_annotation(tmp_path):
    objects = CocoFile.of(document([POLYGON])).select(5, 0).by_file["a.png"]
    path = tmp_path / "a.png"
    Image.new("RGB", (16, 12)).save(path)
    assert load_pixels(path, objects, LIMITS).size == (12, 16)
    Image.new("RGB", (12, 16)).save(path)
    with pytest.raises(InvalidInput, match=r"annotation 10: its mask is 16 x 12 .*, but the file 'a\.png' shows 12"):
        load_pixels(path, objects, LIMITS)
    path.write_bytes(b"not a picture")
    with pytest.raises(InvalidInput, match=r"image 1, of annotation 10: a\.png"):
        load_pixels(path, objects, LIMITS)
    with pytest.raises(MaskwrightError, match="image 1, of annotation 10"):
        load_pixels(tmp_path / "absent.png", objects, LIMITS)


def test_a_file_written_to_disk_is_read_as_it_is(tmp_path):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(document([POLYGON])))
    assert CocoFile.read(path).select(1, 0).count == 1
