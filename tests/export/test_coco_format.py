"""COCO files hold what the annotators drew, and pycocotools opens them without a change."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskwright.errors import InvalidInput
from maskwright.export.coco_document import dump, uncompressed, whole_file, write_sections
from maskwright.export.engine import run_export
from maskwright.export.formats.coco import CocoFormat, segmentation_of
from maskwright.export.formats.yolo import YoloFormat
from maskwright.export.json_array import read_array
from maskwright.export.json_file import JsonListFile
from maskwright.export.records import Dataset, ImageRecord
from maskwright.export.simple_polygons import simple_rings
from maskwright.masks import Mask, Polygon
from maskwright.regions import Provenance, Region
from maskwright_label_studio.brush import decode_brush, encode_brush

PERSON = Provenance("person", person="1")
SEGMENTATIONS = ("rle", "rle-uncompressed", "polygon")
masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14)).map(Mask.from_array)


def quiet_coco(path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def region(mask: Mask, label: str = "cat", **fields) -> Region:
    return Region(mask, label, 1.0, PERSON, **fields)


def record(*regions: Region, key: str = "1/5/0", task: str = "5", **fields) -> ImageRecord:
    return ImageRecord(key, task, f"{task}.png", "x", regions[0].mask.size, regions, **fields)


def decoded(segmentation: object, size: tuple[int, int]) -> np.ndarray:
    """As pycocotools' ``annToMask``."""
    found = coco_mask.frPyObjects(segmentation, *size) if not _is_compressed(segmentation) else segmentation
    return coco_mask.decode(coco_mask.merge(found) if isinstance(found, list) else found).astype(bool)


def _is_compressed(segmentation: object) -> bool:
    return isinstance(segmentation, dict) and isinstance(segmentation["counts"], str)


@settings(deadline=None, max_examples=200)
@given(masks, st.sampled_from(SEGMENTATIONS))
def test_pycocotools_finds_every_pixel_of_any_mask_again(mask, segmentation):
    if mask.is_empty:
        return
    written, wrong = segmentation_of(region(mask), Dataset({"cat": 1}, segmentation=segmentation))
    assert wrong == {}
    assert np.array_equal(decoded(json.loads(json.dumps(written)), mask.size), mask.to_array())


@settings(deadline=None, max_examples=200)
@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14)))
def test_a_mask_survives_the_way_from_brush_to_coco_and_back(array):
    drawn = encode_brush(Mask.from_array(array)).tolist()
    coco = json.loads(json.dumps(decode_brush(drawn, array.shape).to_coco()))
    back = encode_brush(Mask.from_coco(coco)).tolist()
    assert back == drawn
    assert np.array_equal(decode_brush(back, array.shape).to_array(), array)


@settings(deadline=None, max_examples=200)
@given(masks)
def test_rings_without_holes_fit_together_to_the_mask(mask):
    pieces = [Mask.from_polygons([ring], mask.size) for ring in simple_rings(mask)]
    assert sum(piece.area for piece in pieces) == mask.area  # none lies on another
    assert Mask.empty(mask.size).union(*pieces) == mask
    assert not any(polygon.holes for piece in pieces for polygon in piece.to_polygons())


@settings(deadline=None, max_examples=100)
@given(masks)
def test_uncompressed_run_lengths_are_those_of_pycocotools(mask):
    assert coco_mask.frPyObjects(uncompressed(mask), *mask.size)["counts"] == mask.counts


def test_a_mask_of_many_holes_is_cut_quickly_and_exactly():
    rng = np.random.default_rng(0)
    mask = Mask.from_array(rng.random((200, 300)) > 0.03)
    rings = simple_rings(mask)
    assert Mask.from_polygons(rings, mask.size) == mask


def test_a_drawn_polygon_is_written_as_it_was_drawn_and_the_difference_of_pycocotools_is_counted():
    corners = np.array([(1.234567, 1.5), (50.25, 3.0), (30.0, 38.123456)])
    mask = Mask.from_polygons([corners], (40, 60))
    drawn = region(mask, outlines=(Polygon(corners),))
    written, wrong = segmentation_of(drawn, Dataset({"cat": 1}, segmentation="polygon"))
    assert written == [[1.235, 1.5, 50.25, 3, 30, 38.123]]
    assert Mask.from_polygons([np.reshape(written[0], (-1, 2))], mask.size) == mask
    difference = int((decoded(written, mask.size) != mask.to_array()).sum())
    assert wrong == ({"outline": difference} if difference else {})


def test_outlines_that_are_not_the_mask_any_more_are_not_written():
    corners = np.array([(1, 1), (50, 3), (30, 38)])
    mask = Mask.from_box((3, 3, 9, 9), (40, 60))
    written, wrong = segmentation_of(
        region(mask, outlines=(Polygon(corners),)), Dataset({"cat": 1}, segmentation="polygon")
    )
    assert np.array_equal(decoded(written, mask.size), mask.to_array())
    assert wrong == {}


@pytest.mark.parametrize(
    "corners", [[(-4, 3), (50, 3), (30, 38)], [(4, 3), (60.5, 3), (30, 38)], [(4, 3), (9, 41), (1, 9)]]
)
def test_where_a_drawn_corner_leaves_the_image_the_outline_of_the_mask_is_written(corners):
    mask = Mask.from_polygons([np.array(corners, dtype=float)], (40, 60))
    drawn = region(mask, outlines=(Polygon(np.array(corners, dtype=float)),))
    written, wrong = segmentation_of(drawn, Dataset({"cat": 1}, segmentation="polygon"))
    points = np.concatenate([np.reshape(ring, (-1, 2)) for ring in written])
    assert points.min() >= 0
    assert (points <= (60, 40)).all()
    assert np.array_equal(decoded(written, mask.size), mask.to_array())
    assert wrong == {}


@pytest.mark.parametrize("tolerance", [np.nan, np.inf, -np.inf])
def test_a_tolerance_that_is_no_distance_is_refused(tolerance):
    mask = Mask.from_box((3, 3, 9, 9), (40, 60))
    dataset = Dataset({"cat": 1}, segmentation="polygon", tolerance=tolerance)
    for use in (
        lambda: segmentation_of(region(mask), dataset),
        lambda: YoloFormat().render(record(region(mask)), dataset, None),
        lambda: simple_rings(mask, tolerance),
    ):
        with pytest.raises(InvalidInput, match="finite number"):
            use()


def test_simplified_polygons_tell_how_many_pixels_they_get_wrong():
    mask = Mask.from_ellipse(30, 20, 25, 15, 10, (40, 60))
    exact, _ = segmentation_of(region(mask), Dataset({"cat": 1}, segmentation="polygon"))
    written, wrong = segmentation_of(region(mask), Dataset({"cat": 1}, segmentation="polygon", tolerance=2))
    assert len(written[0]) < len(exact[0])
    assert wrong == {"simplified": int((decoded(written, mask.size) != mask.to_array()).sum())}


def test_crowds_are_run_lengths_whatever_the_others_are():
    mask = Mask.from_box((3, 3, 9, 9), (40, 60))
    for segmentation in SEGMENTATIONS:
        rows = CocoFormat().render(
            record(region(mask, is_crowd=True)), Dataset({"cat": 1}, segmentation=segmentation), None
        ).rows  # fmt: skip
        entry = json.loads(rows[1][1].partition(b" ")[2])
        assert entry["iscrowd"] == 1
        assert set(entry["segmentation"]) == {"size", "counts"}


@pytest.mark.parametrize("segmentation", SEGMENTATIONS)
def test_a_file_loaded_by_pycocotools_and_written_again_is_the_same(segmentation, tmp_path, files):
    found = files.tasks(9)
    found[3]["annotations"][0]["result"].append(files.polygon([(1.11, 2.22), (55.5, 3.3), (40.04, 90.9)]))
    plan = files.plan(segmentation=segmentation, licence="CC BY 4.0 é", description="Größe 🐶")
    run_export(read_array(files.write(tmp_path, found)), plan, tmp_path / "out")
    path = tmp_path / "out" / "annotations.json"
    loaded = quiet_coco(path)
    for annotation in loaded.loadAnns(loaded.getAnnIds()):
        loaded.annToMask(annotation)
    sections = loaded.dataset.items()
    write_sections(
        tmp_path / "again.json",
        [(name, map(dump, value) if name in ("images", "annotations") else dump(value)) for name, value in sections],
    )
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("segmentation", SEGMENTATIONS)
def test_loaders_find_images_classes_boxes_and_masks(segmentation, tmp_path, files):
    run_export(read_array(files.write(tmp_path, files.tasks(5))), files.plan(segmentation=segmentation), tmp_path / "o")
    coco = quiet_coco(tmp_path / "o" / "annotations.json")
    assert coco.getImgIds() == [1, 2, 3, 4, 5]
    assert {category["name"]: category["id"] for category in coco.loadCats(coco.getCatIds())} == files.LABELS
    for image in coco.loadImgs(coco.getImgIds()):
        assert (image["height"], image["width"]) == files.SIZE
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        assert [a["category_id"] for a in annotations] == [1, 2]
        for annotation in annotations:
            pixels = coco.annToMask(annotation)
            assert annotation["area"] == pixels.sum()
            assert annotation["bbox"] == coco_mask.toBbox(coco_mask.encode(np.asfortranarray(pixels))).tolist()
            assert annotation["iscrowd"] == 0
            assert "score" not in annotation


def test_a_model_evaluated_against_itself_scores_one(tmp_path, files):
    run_export(read_array(files.write(tmp_path, files.tasks(5))), files.plan(), tmp_path / "o")
    coco = quiet_coco(tmp_path / "o" / "annotations.json")
    results = [{**annotation, "score": 0.9} for annotation in coco.dataset["annotations"]]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(coco, coco.loadRes(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == 1.0


def test_ids_stay_when_tasks_come_and_go(tmp_path, files):
    found = files.tasks(6)

    def ids(chosen, name):
        run_export(read_array(files.write(tmp_path, chosen)), files.plan(), tmp_path / name)
        document = json.loads((tmp_path / name / "annotations.json").read_text())
        return {(a["image_id"], a["category_id"]): a["id"] for a in document["annotations"]}

    all_ids = ids(found, "all")
    some = ids([found[4], found[1]], "some")
    assert some.items() <= all_ids.items()
    assert len(some) == 4


def test_copied_regions_get_ids_of_their_own():
    mask = Mask.from_box((3, 3, 9, 9), (40, 60))
    rows = CocoFormat().render(record(region(mask, key="a"), region(mask, key="a")), Dataset({"cat": 1}), None).rows
    numbers = [json.loads(row.partition(b" ")[2])["id"] for name, row in rows if name == "annotations"]
    assert len(set(numbers)) == 2


def test_only_what_nobody_looked_at_has_a_score():
    mask = Mask.from_box((3, 3, 9, 9), (40, 60))
    proposed = replace(region(mask), provenance=Provenance("preannotation", "v1"), score=0.75)
    rows = CocoFormat().render(record(proposed, region(mask)), Dataset({"cat": 1}), None).rows
    scores = [json.loads(row.partition(b" ")[2]).get("score") for name, row in rows if name == "annotations"]
    assert scores == [0.75, None]


def test_a_split_dataset_has_a_file_per_part_besides(tmp_path):
    from maskwright.export.shards import read_rows, write_shard

    dataset, mask = Dataset({"cat": 1}), Mask.from_box((3, 3, 9, 9), (40, 60))
    rows = []
    for number, split in enumerate(["train", "val", "train", None], start=1):
        one = record(region(mask), key=f"1/{number}/0", task=str(number), split=split)
        rows += CocoFormat().render(one, dataset, None).rows
    write_shard(tmp_path / "shard", rows)
    written = CocoFormat().finish(tmp_path, lambda section: read_rows([tmp_path / "shard"], section), dataset)
    assert written == ("annotations_train.json", "annotations_val.json", "annotations.json")
    images = [[i["id"] for i in json.loads((tmp_path / name).read_text())["images"]] for name in written]
    assert images == [[1, 3], [2], [1, 2, 3, 4]]


def test_two_tasks_of_one_number_are_refused(tmp_path, files):
    found = files.tasks(2)
    found[1]["id"] = 1
    with pytest.raises(InvalidInput, match="two images have the key 1/1/0"):
        run_export(read_array(files.write(tmp_path, found)), files.plan(), tmp_path / "out")


def test_a_file_whose_writing_is_broken_off_leaves_nothing(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_sections(tmp_path / "x.json", [("images", map(dump, [{"id": {1, 2}}]))])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("open_file", [whole_file, JsonListFile])
def test_a_file_is_there_whole_or_not_at_all(open_file, tmp_path):
    path = tmp_path / "x.json"
    path.write_text("old")
    with pytest.raises(OSError, match="image"), open_file(path):
        raise OSError("an image is lost")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]
    for wrong in (tmp_path, tmp_path / "none" / "x.json"):
        with pytest.raises(InvalidInput, match="cannot write"), open_file(wrong):
            pass
