from __future__ import annotations

import copy
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pycocotools import mask as coco_mask

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.export.coco_in import CocoReader, ImportedImage
from maskwright.export.image_folder import ImageFolder
from maskwright.images import ImageLimits

BLOCK = np.zeros((12, 16), dtype=bool)
BLOCK[2:8, 3:11] = True
SQUARE = [3, 2, 11, 2, 11, 8, 3, 8]
LIMITS = ImageLimits(10**6, 10**6)


def compressed(mask: np.ndarray) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def uncompressed(mask: np.ndarray) -> dict:
    flat = np.concatenate([[0], mask.ravel(order="F").astype(int), [2]])
    return {"size": list(mask.shape), "counts": np.diff(np.concatenate([[0], np.flatnonzero(np.diff(flat))])).tolist()}


def document(*segmentations: object, **annotation: object) -> dict:
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": 12, "width": 16}],
        "annotations": [
            {"id": 10 + k, "image_id": 1, "category_id": 4, "iscrowd": 0, "segmentation": segmentation} | annotation
            for k, segmentation in enumerate(segmentations)
        ],
        "categories": [{"id": 4, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


@pytest.fixture
def read(tmp_path):
    def run(content: object, size_of=None) -> list[ImportedImage]:
        path = tmp_path / "instances.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=0))
        with CocoReader(path) as reader:
            return list(reader.images(size_of))

    return run


def test_polygons_and_both_kinds_of_run_lengths_become_regions_with_class_score_and_crowd(read):
    content = document([SQUARE], compressed(BLOCK), uncompressed(BLOCK))
    content["annotations"][1] |= {"score": 0.5, "category_id": 2}
    content["annotations"][2] |= {"iscrowd": 1}
    (image,) = read(content)
    assert (image.file_name, image.size) == ("a.png", (12, 16))
    assert all(np.array_equal(region.mask.to_array(), BLOCK) for region in image.regions)
    assert [r.label for r in image.regions] == ["cat", "dog", "cat"]
    assert [r.score for r in image.regions] == [1, 0.5, 1]
    assert [r.is_crowd for r in image.regions] == [False, False, True]
    assert [r.key for r in image.regions] == ["coco-10", "coco-11", "coco-12"]
    assert image.regions[0].outlines[0].exterior.ravel().tolist() == SQUARE
    assert image.regions[1].outlines == ()


@settings(max_examples=60, deadline=None)
@given(st.lists(hnp.arrays(bool, (7, 9)), min_size=1, max_size=4))
def test_every_mask_of_run_lengths_comes_in_bit_for_bit(tmp_path_factory, masks):
    path = tmp_path_factory.mktemp("coco") / "instances.json"
    content = document(*(form(mask) for mask in masks for form in (compressed, uncompressed)))
    content["images"][0] |= {"height": 7, "width": 9}
    path.write_text(json.dumps(content))
    with CocoReader(path) as reader:
        (image,) = reader.images()
    wanted = [mask for mask in masks for _ in range(2) if mask.any()]
    assert len(image.regions) == len(wanted)
    for region, mask in zip(image.regions, wanted, strict=True):
        assert np.array_equal(region.mask.to_array(), mask)
    assert len(image.without_pixels) == 2 * sum(not mask.any() for mask in masks)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 40), st.floats(0, 30)), min_size=3, max_size=8))
def test_our_filling_of_polygons_and_that_of_pycocotools_differ_only_where_the_outline_runs(tmp_path_factory, corners):
    path = tmp_path_factory.getbasetemp() / "polygon.json"
    flat = [value for corner in corners for value in corner]
    content = document([flat])
    content["images"][0] |= {"height": 30, "width": 40}
    path.write_text(json.dumps(content))
    with CocoReader(path) as reader:
        (image,) = reader.images()
    ours = image.regions[0].mask.to_array() if image.regions else np.zeros((30, 40), bool)
    theirs = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([flat], 30, 40))) > 0
    rows, columns = np.nonzero(ours ^ theirs)
    centres = np.stack([columns, rows], axis=1) + 0.5
    starts, ends = np.array(corners), np.roll(np.array(corners), -1, axis=0)
    along = ends - starts
    part = ((centres[:, None] - starts) * along).sum(2) / np.maximum((along**2).sum(1), 1e-12)
    nearest = starts + np.clip(part, 0, 1)[..., None] * along
    distance = np.linalg.norm(centres[:, None] - nearest, axis=2).min(axis=1)
    assert (distance < 1).all()


@pytest.mark.parametrize("order", [("annotations", "images", "categories"), ("categories", "annotations", "images")])
def test_annotations_may_stand_before_their_images_and_in_any_order(read, order):
    rng = np.random.default_rng(3)
    owners = rng.integers(0, 7, 200).tolist()
    content = {
        "images": [{"id": f"n{k}", "file_name": f"{k}.png", "height": 12, "width": 16} for k in range(7)],
        "annotations": [
            {"id": k, "image_id": f"n{owner}", "category_id": 4, "segmentation": [SQUARE]}
            for k, owner in enumerate(owners)
        ],
        "categories": [{"id": 4, "name": "cat"}],
        "info": {"annotations": ["not these"]},
    }
    images = read({key: content[key] for key in ("info", *order)})
    assert [image.file_name for image in images] == [f"{k}.png" for k in range(7)]
    for number, image in enumerate(images):
        assert [r.key for r in image.regions] == [f"coco-{k}" for k, owner in enumerate(owners) if owner == number]


def test_a_box_without_a_shape_is_told_apart(read):
    (image,) = read(document([], bbox=[3, 2, 8, 6]))
    assert image.boxes == ("annotation 10",)
    assert np.array_equal(image.regions[0].mask.to_array(), BLOCK)


def test_annotations_without_a_pixel_are_left_out_and_named(read):
    (image,) = read(document([[3.1, 2.1, 3.2, 2.1, 3.2, 2.2]], [SQUARE]))
    assert image.without_pixels == ("annotation 10",)
    assert [r.key for r in image.regions] == ["coco-11"]


def test_run_lengths_bring_the_size_that_the_image_lacks_and_must_agree(read):
    content = document(compressed(BLOCK), [SQUARE])
    content["images"] = [{"id": 1, "file_name": "a.png"}]
    (image,) = read(content)
    assert image.size == (12, 16)
    content["annotations"].reverse()
    with pytest.raises(InvalidInput, match=r"annotation 11: .*height and width of image 1"):
        read(content)
    content = document(compressed(BLOCK), compressed(BLOCK.T))
    content["images"] = [{"id": 1, "file_name": "a.png"}]
    with pytest.raises(InvalidInput, match="annotation 11: its mask is 12 x 16 pixels, but image 1 is 16 x 12"):
        read(content)


def test_the_entry_at_fault_among_many_is_named_with_its_line(read):
    content = document(*[[SQUARE]] * 17_500)
    text = json.dumps(content, indent=None, separators=(",", ":")).replace('{"id":', '\n{"id":')
    broken = text.replace('{"id":17352,"image_id":1,', '{"id":17352,"image_id":,', 1)
    line = broken[: broken.index('{"id":17352')].count("\n") + 1
    with pytest.raises(InvalidInput, match=rf"line {line}: the annotation at place 17342 .* not JSON"):
        read(broken)
    with pytest.raises(InvalidInput, match=rf"line {line}, byte \d+: the file ends inside .*place 17342"):
        read(text[: text.index('{"id":17352') + 30])
    wrong = text.replace('{"id":17352,"image_id":1,', '{"id":17352,"image_id":99,', 1)
    with pytest.raises(InvalidInput, match=rf"line {line}: annotation 17352: its image_id 99 is none"):
        read(wrong)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"category_id": 99}, "annotation 10: its category_id 99 is none of the file's categories"),
        ({"category_id": None}, "annotation 10: its category_id None"),
        ({"category_id": [1]}, "annotation 10: its category_id"),
        ({"image_id": "1"}, "annotation 10: its image_id '1' is none"),
        ({"bbox": [float("nan"), 1, 2, 3]}, "annotation 10: bbox .*nan"),
        ({"bbox": [0, 0, 1e12, 3]}, "annotation 10: bbox"),
        ({"bbox": [0, 0, -1, 3]}, "annotation 10: bbox .*negative"),
        ({"bbox": [1, 2, 3]}, "annotation 10: bbox"),
        ({"bbox": "all"}, "annotation 10: bbox"),
        ({"iscrowd": 2}, "annotation 10: iscrowd"),
        ({"score": 37.5}, "annotation 10: score"),
        ({"score": float("inf")}, "annotation 10: score"),
        ({"segmentation": None}, "annotation 10: its segmentation"),
        ({"segmentation": [[1, 2, 3, 4]]}, "annotation 10: polygon 0"),
        ({"segmentation": [[1, 2, 3, 4, 5, 10**400]]}, "annotation 10: polygon 0"),
        ({"segmentation": [[1, 2, 3, 4, 5, float("nan")]]}, "annotation 10: polygon 0 .*nan"),
        ({"segmentation": compressed(BLOCK.T)}, "annotation 10: its mask is 12 x 16 pixels, but image 1 is 16 x 12"),
        ({"segmentation": {"size": [10**9, 10**9], "counts": [10**18]}}, "annotation 10: a mask can have at most"),
        ({"segmentation": {"size": [12, 16], "counts": "~~"}}, "annotation 10: counts"),
        ({"segmentation": json.loads("[" * 19 + "]" * 19)}, "annotation 10"),
        ({"segmentation": json.loads("[" * 50 + "]" * 50)}, "nested"),
    ],
)
def test_a_malformed_annotation_is_named_with_its_cause(read, change, expected):
    with pytest.raises(MaskwrightError, match=rf"^instances\.json, line \d+.*{expected}"):
        read(document([SQUARE], **change))


def broken(path: str, value: object) -> dict:
    content = copy.deepcopy(document([SQUARE], [SQUARE]))
    where = content
    *trail, last = path.split("/")
    for key in trail:
        where = where[int(key) if isinstance(where, list) else key]
    where[int(last) if isinstance(where, list) else last] = value
    return content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (broken("annotations/1/id", 10), "annotation 10: the annotation at place 0 has this id too"),
        (broken("annotations/1", 5), "the annotation at place 1 .*not an object"),
        (broken("images/0", "x"), "the image at place 0 .*not an object"),
        (broken("images/0/file_name", ""), "image 1: file_name"),
        (broken("images/0", {"id": 1, "file_name": "a", "height": 10**7, "width": 10**7}), "image 1: .*at most"),
        (broken("categories/1", {"id": 4, "name": "x"}), "category 4: two categories"),
        (broken("categories/1", {"id": 5, "name": "cat"}), "category 5 and category 4 are both named 'cat'"),
        (broken("categories/1", {"id": 5, "name": " "}), "category 5: its name"),
        (broken("categories/1", {"id": 5, "name": "a\nb"}), "category 5: its name"),
        (broken("categories/1", {"id": "5", "name": "a"}), "category '5': its id"),
        (broken("categories/1", None), "the category at place 1"),
        ({"images": [], "annotations": []}, 'no list "categories"'),
        ([], "must begin with"),
    ],
)  # fmt: skip
def test_what_is_not_a_coco_file_is_told(read, content, expected):
    with pytest.raises(MaskwrightError, match=expected):
        read(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.sampled_from(["size", "counts", "id"]), inner),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["annotations/0", "images/0", "categories/0"]),
    st.text("abi_", max_size=3)
    | st.sampled_from(
        ["segmentation", "bbox", "id", "image_id", "category_id", "file_name", "height", "name", "score", "iscrowd"]
    ),
    JSON,
)
def test_no_entry_can_do_more_than_be_refused(tmp_path_factory, where, key, value):  # fmt: skip
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_text(json.dumps(broken(f"{where}/{key}", value)))
    try:
        with CocoReader(path) as reader:
            list(reader.images())
    except MaskwrightError as error:
        assert str(error)  # noqa: PT017 - some examples are fine


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "large.json"
    row = {"image_id": 1, "category_id": 4, "segmentation": [SQUARE], "note": "x" * 5000}
    with path.open("w") as file:
        file.write('{"annotations":[')
        file.write(",".join(json.dumps({"id": k, **row, "image_id": k % 500}) for k in range(2500)))
        file.write('],"images":[')
        file.write(",".join(json.dumps({"id": k, "file_name": f"{k}", "height": 9, "width": 9}) for k in range(500)))
        file.write('],"categories":[{"id":4,"name":"cat"}]}')
    tracemalloc.start()
    try:
        with CocoReader(path) as reader:
            assert sum(len(i.regions) + len(i.without_pixels) for i in reader.images()) == 2500
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 12e6
    assert peak < 8e6


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document([SQUARE])))
    with CocoReader(path) as reader:
        path.write_text(json.dumps(document([SQUARE])).replace("SQUARE", "") + "    ")
        with pytest.raises(InvalidInput, match="changed while"):
            list(reader.images())
        path.write_text("")
        with pytest.raises(InvalidInput, match="changed while"):
            list(reader.images())
    with pytest.raises(InvalidInput, match="no COCO file"):
        CocoReader(tmp_path / "absent.json")


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    Image.new("RGB", (16, 12)).save(folder / "sub" / "a.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (12, 16)).save(folder / "turned.jpg", exif=turned)
    (folder / "broken.png").write_bytes(b"not a picture")
    (tmp_path / "secret.png").write_bytes((folder / "sub" / "a.png").read_bytes())
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "inside.png").symlink_to(folder / "sub" / "a.png")
    return folder


@pytest.mark.parametrize("name", ["sub/a.png", "images/sub/a.png", "turned.jpg", "inside.png"])
def test_sizes_are_those_of_the_files_as_displayed(read, pictures, name):
    content = document([SQUARE])
    content["images"][0] = {"id": 1, "file_name": name}
    folder = ImageFolder(pictures, LIMITS)
    (image,) = read(content, folder.size_of)
    assert image.size == (12, 16)
    assert folder.path_of(name) == name.removeprefix("images/")


def test_a_size_that_the_file_does_not_have_is_refused_and_the_orientation_told(read, pictures):
    content = document([SQUARE])
    content["images"][0] |= {"file_name": "turned.jpg", "height": 16, "width": 12}
    with pytest.raises(InvalidInput, match=r"line \d+: image 1 is 12 x 16 .* shows 16 x 12 \(turned .*6 says"):
        read(content, ImageFolder(pictures, LIMITS).size_of)


def test_missing_and_damaged_images_are_counted_and_their_annotations_kept(read, pictures):
    folder = ImageFolder(pictures, LIMITS)
    content = document([SQUARE])
    for name in ("absent.png", "broken.png"):
        content["images"][0]["file_name"] = name
        (image,) = read(content, folder.size_of)
        assert len(image.regions) == 1
    assert folder.missing == ["absent.png"]
    assert len(folder.unreadable) == 1
    assert "image 1" in folder.unreadable[0]


@pytest.mark.parametrize("name", ["../secret.png", "link.png", "/etc/passwd", "sub/../../secret.png", "../absent.png"])
def test_no_name_leads_out_of_the_folder(read, pictures, name):
    content = document([SQUARE])
    content["images"][0]["file_name"] = name
    with pytest.raises(InvalidInput, match=r"image 1: file_name .* leads out"):
        read(content, ImageFolder(pictures, LIMITS).size_of)
