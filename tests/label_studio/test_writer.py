from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.export.records import Dataset, ImageRecord
from maskwright.labels import LabelSet
from maskwright.masks import Mask, Polygon
from maskwright.regions import Provenance, Region
from maskwright.settings import read_settings
from maskwright_label_studio import importer as importing
from maskwright_label_studio.config import parse_config
from maskwright_label_studio.export_format import LabelStudioFormat, export_formats
from maskwright_label_studio.importer import AddressedTasks, Importer
from maskwright_label_studio.platform import LabelStudioPlatform
from maskwright_label_studio.reader import LabelStudioReader
from maskwright_label_studio.results import results_to_regions
from maskwright_label_studio.writer import CONTROLS, TaskWriter, category_ids, file_output, image_address, label_config

LABELS = LabelSet.of(["cat", 'Hund & "Kätzchen" <🐶>'])
SIZE = (12, 16)


def region(mask: Mask, label: str = "cat", **changes: object) -> Region:
    return replace(Region(mask, label, 0.5, Provenance("import")), **changes)  # type: ignore[arg-type]


def writer(control: str = "brush", **options: object) -> TaskWriter:
    return TaskWriter(file_output(control, LABELS), **options)  # type: ignore[arg-type]


def square(left: float, top: float, right: float, bottom: float) -> Polygon:
    return Polygon(np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=np.float64))


def drawn(*outlines: Polygon, **changes: object) -> Region:
    return region(Mask.from_polygons(outlines, SIZE), outlines=outlines, **changes)


@settings(max_examples=60, deadline=None)
@given(st.lists(hnp.arrays(bool, SIZE), max_size=4), st.sampled_from(["brush", "bitmask"]))
def test_brush_and_bitmask_hold_every_mask_exactly(arrays, control):
    regions = [region(Mask.from_array(array), key=f"r{n}") for n, array in enumerate(arrays)]
    task = orjson.loads(writer(control).task("/a.png", regions))
    found = results_to_regions(task["predictions"][0]["result"])
    assert [f.mask for f in found] == [r.mask for r in regions if not r.mask.is_empty]


@settings(max_examples=40, deadline=None)
@given(st.lists(hnp.arrays(bool, SIZE).filter(np.any), min_size=1, max_size=3))
def test_polygons_traced_from_masks_lose_no_pixel_together(arrays):
    for array in arrays:
        task = orjson.loads(writer("polygon").task("/a.png", [region(Mask.from_array(array))]))
        found = results_to_regions(task["predictions"][0]["result"])
        union = np.any([f.mask.to_array() for f in found], axis=0)
        assert np.array_equal(union, array)


def test_polygons_and_boxes_keep_the_corners_that_were_drawn():
    one, two = square(1.25, 2.5, 6.75, 7.125), square(8, 1, 15.5, 11)
    task = orjson.loads(writer("polygon").task("/a.png", [drawn(one, two, key="k")]))
    items = task["predictions"][0]["result"]
    assert [item["id"] for item in items] == ["k", "k-2"]
    for item, outline in zip(items, (one, two), strict=True):
        assert item["type"] == "polygonlabels"
        assert set(item["value"]) == {"points", "closed", "polygonlabels"}
        assert np.allclose(np.array(item["value"]["points"]) * (0.16, 0.12), outline.exterior, atol=1e-9)
    (box,) = orjson.loads(writer("rectangle").task("/a.png", [drawn(one)]))["predictions"][0]["result"]
    value = box["value"]
    assert [
        value[key] * side / 100 for key, side in zip(("x", "y", "width", "height"), (16, 12, 16, 12), strict=True)
    ] == (pytest.approx([1.25, 2.5, 5.5, 4.625]))
    (tight,) = orjson.loads(writer("rectangle").task("/a.png", [drawn(one, two)]))["predictions"][0]["result"]
    assert results_to_regions([tight])[0].mask == Mask.from_box((1, 1, 15, 11), SIZE), (
        "a half pixel belongs to what lies right of it"
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 32), st.integers(0, 24)), min_size=3, max_size=9))
def test_a_polygon_of_half_pixels_is_the_same_after_its_way_through_per_cent(corners):
    outline = Polygon(np.array(corners, dtype=np.float64) / 2)
    drawing = drawn(outline)
    task = orjson.loads(writer("polygon").task("/a.png", [drawing]))
    found = results_to_regions(task["predictions"][0]["result"])
    assert [f.mask for f in found] == [drawing.mask] * (not drawing.mask.is_empty)


def test_predictions_carry_version_and_scores_and_annotations_do_not():
    regions = [region(Mask.full(SIZE), score=0.25), region(Mask.full(SIZE), score=0.75)]
    (prediction,) = orjson.loads(writer(model_version="v7").task("/a.png", regions))["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("v7", 0.5)
    assert [item["score"] for item in prediction["result"]] == [0.25, 0.75]
    task = orjson.loads(writer(kind="annotations").task("/a.png", regions, data={"title": "x", "image": "old"}))
    assert task["data"] == {"title": "x", "image": "/a.png"}
    assert "predictions" not in task
    (annotation,) = task["annotations"]
    assert annotation["was_cancelled"] is False
    assert all("score" not in item and item["origin"] == "manual" for item in annotation["result"])


def test_a_task_without_regions_has_a_prediction_of_full_certainty():
    (prediction,) = orjson.loads(writer().task("/a.png", []))["predictions"]
    assert (prediction["result"], prediction["score"]) == ([], 1.0)


def test_equal_input_gives_equal_bytes_and_every_region_an_id_of_its_own():
    regions = [region(Mask.full(SIZE), key=key) for key in ("a", "a", "a-2", "", "")]
    first, again = (writer().task("/a.png", regions) for _ in range(2))
    assert first == again
    ids = [item["id"] for item in orjson.loads(first)["predictions"][0]["result"]]
    assert len(set(ids)) == 5
    assert ids[0] == "a"


@pytest.mark.parametrize("control", CONTROLS)
def test_crowds_are_marked_whatever_draws_them(control):
    regions = [drawn(square(1, 1, 4, 4), square(6, 6, 9, 9), is_crowd=True), region(Mask.full(SIZE))]
    result = orjson.loads(writer(control).task("/a.png", regions))["predictions"][0]["result"]
    assert all(item.get("meta") == {"maskwright": {"iscrowd": True}} for item in result[:-1])
    assert "meta" not in result[-1]


def test_a_foreign_label_and_an_impossible_mask_are_refused_by_name():
    with pytest.raises(InvalidInput, match="'mask' has no label 'cow'"):
        writer().task("/a.png", [region(Mask.full(SIZE), "cow")])
    with pytest.raises(MaskwrightError, match="region big: a brush region can have less"):
        writer().task("/a.png", [region(Mask.full((1 << 15, 1 << 15)), key="big")])
    with pytest.raises(InvalidInput, match="no control 'keypoint'"):
        file_output("keypoint", LABELS)


@pytest.mark.parametrize("control", CONTROLS)
def test_the_configuration_fits_the_tasks_and_names_the_category_ids(control):
    text = label_config(control, {name: 7 * n for n, name in enumerate(LABELS.names, start=1)})
    assert text.count('category="7"') == text.count('category="14"') >= 1
    made = TaskWriter.for_config(text, LABELS.names)
    assert made.output.control.name == file_output(control, LABELS).control.name
    assert made.output.control.shape == control
    assert made.output.labels.names == LABELS.names
    assert made.image_key == "image"
    with pytest.raises(InvalidInput, match="at least one label"):
        label_config(control, {})


PROJECT = """<View><Image name="picture" value="$photo"/>
<PolygonLabels name="p" toName="picture"><Label value="cat"/><Label value="dog"/></PolygonLabels>
<BrushLabels name="b" toName="picture"><Label value="cat"/></BrushLabels>
<Brush name="plain" toName="picture"/><Labels name="names" toName="picture"><Label value="cow"/></Labels></View>"""


@pytest.mark.parametrize("control", CONTROLS)
def test_category_ids_of_an_import_are_found_again_in_the_configuration(control):
    ids = {"zebra": 90, "car": 3, "a/b ü": 17}
    assert category_ids(label_config(control, ids)) == ids
    assert LabelStudioPlatform().category_ids(label_config(control, ids)) == ids


@pytest.mark.parametrize(
    "labels",
    [
        '<Label value="a" category="1"/><Label value="b"/>',
        '<Label value="a" category="1"/><Label value="b" category="1"/>',
        '<Label value="a" category="0"/><Label value="b" category="1"/>',
        '<Label value="a" category="1.5"/><Label value="b" category="2"/>',
        '<Label value="a" category="1"/><Label value="b" category="animals"/>',
        "",
    ],
)
def test_category_ids_count_only_where_every_label_has_one_of_its_own(labels):
    config = f'<View><Image name="i" value="$i"/><BrushLabels name="b" toName="i">{labels}</BrushLabels></View>'
    assert category_ids(config) == {}


def test_labels_in_two_controls_must_agree_on_their_category_id():
    def config(second: str) -> str:
        return (
            '<View><!-- by hand --><Image name="i" value="$i"/><BrushLabels name="b" toName="i">'
            '<Label value="Cat" alias="a" category="7"/></BrushLabels><PolygonLabels name="p" toName="i">'
            f'<Label value="Cat" alias="a" category="{second}"/></PolygonLabels></View>'
        )

    assert category_ids(config("7")) == {"a": 7}
    assert category_ids(config("8")) == {}


@pytest.mark.parametrize("label", ["a\x01b", "\x7f\x00", "\ufffe", "\ud800"])
def test_a_label_that_xml_cannot_hold_is_refused_by_name(label):
    with pytest.raises(InvalidInput) as error:
        label_config("brush", {"fine": 1, label: 2})
    assert repr(label) in str(error.value)
    record = ImageRecord("1/1/0", "1", "a.png", "/a.png", SIZE, ())
    with pytest.raises(InvalidInput):
        LabelStudioFormat().render(record, Dataset({label: 1}), None)


def test_a_project_that_there_is_gets_regions_of_a_control_that_has_their_classes():
    assert TaskWriter.for_config(PROJECT, ["cat"]).output.control.name == "b"
    assert TaskWriter.for_config(PROJECT, ["cat", "dog"]).output.control.name == "p"
    assert TaskWriter.for_config(PROJECT, ["cat"], control="polygon").output.control.name == "p"
    made = TaskWriter.for_config(PROJECT, ["cow"])
    task = orjson.loads(made.task("/a.png", [region(Mask.full(SIZE), "cow", key="k")]))
    assert task["data"] == {"photo": "/a.png"}
    shape, name = task["predictions"][0]["result"]
    assert (shape["id"], shape["from_name"], name["id"], name["from_name"]) == ("k", "plain", "k", "names")
    assert name["value"]["labels"] == ["cow"]
    with pytest.raises(InvalidInput, match="'b' of the project lacks 1 of the file's classes: 'dog'"):
        TaskWriter.for_config(PROJECT, ["cat", "dog"], control="brush")
    with pytest.raises(InvalidInput, match="no control for a bitmask"):
        TaskWriter.for_config(PROJECT, ["cat"], control="bitmask")
    with pytest.raises(InvalidInput, match=r"takes '\$list'"):
        TaskWriter.for_config(PROJECT.replace('value="$photo"', 'valueList="$list"'), ["cat"])
    with pytest.raises(InvalidInput, match="no <Image"):
        TaskWriter.for_config("<View/>", ["cat"])


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("/data/local-files/?d=", "/data/local-files/?d=a%20b/%C3%A9%26%23.png"),
        ("/data/local-files/?d=nuclei/", "/data/local-files/?d=nuclei/a%20b/%C3%A9%26%23.png"),
        ("https://host/x/", "https://host/x/a%20b/%C3%A9%26%23.png"),
        ("s3://bucket/", "s3://bucket/a b/é&#.png"),
    ],
)
def test_addresses_of_images_are_encoded_where_the_web_needs_it(prefix, expected):
    assert image_address("a b/é&#.png", prefix) == expected


def test_what_was_written_as_annotations_is_read_back_the_same():
    rng = np.random.default_rng(1)
    regions = [
        region(Mask.from_array(rng.random(SIZE) < 0.4), LABELS.names[n % 2], key=f"coco-{n}", is_crowd=n == 2)
        for n in range(4)
    ]
    (annotation,) = LabelStudioReader()(writer(kind="annotations").task("/a.png", regions)).annotations
    assert not annotation.problems
    found = annotation.regions[0]
    assert [(f.mask, f.label, f.key, f.is_crowd) for f in found] == [
        (r.mask, r.label, r.key, r.is_crowd) for r in regions
    ]


def test_the_export_format_writes_tasks_that_can_be_imported_again(tmp_path):
    made = pickle.loads(pickle.dumps(export_formats()["label-studio"]))
    assert made == LabelStudioFormat()
    dataset = Dataset({name: n for n, name in enumerate(LABELS.names, start=1)})
    records = [
        ImageRecord("1/5/0", "5", "a.png", "/data/upload/1/a.png", SIZE, (region(Mask.full(SIZE), key="k"),),
                    data={"image": "/data/upload/1/a.png", "patient": 7}),
        ImageRecord("1/6/0", "6", "b.png", "s3://bucket/b.png", SIZE, (), data={"picture": "s3://bucket/b.png"}),
    ]  # fmt: skip
    rows = [row for record in records for _, row in made.render(record, dataset, None).rows]
    assert made.finish(tmp_path, lambda _section: iter(rows), dataset) == ("label-config.xml", "tasks.json")
    one, two = json.loads((tmp_path / "tasks.json").read_text())
    assert one["data"] == {"image": "/data/upload/1/a.png", "patient": 7}
    assert results_to_regions(one["predictions"][0]["result"])[0].mask == Mask.full(SIZE)
    assert two["data"] == {"picture": "s3://bucket/b.png", "image": "s3://bucket/b.png"}
    assert parse_config((tmp_path / "label-config.xml").read_text()).labels_on().names == LABELS.names


class Recorder:
    """A Label Studio that remembers the sizes of imports and refuses after some."""

    def __init__(self, refuse_after: int = 99) -> None:
        self.batches: list[list[dict]] = []
        self.refuse_after = refuse_after

    def import_tasks(self, _project, tasks):
        if len(self.batches) == self.refuse_after:
            raise InvalidInput("no more")
        self.batches.append(orjson.loads(orjson.dumps(tasks)))


def test_tasks_are_sent_some_at_a_time_and_in_order(monkeypatch):
    monkeypatch.setattr(importing, "_MOST_BYTES", 1000)
    client = Recorder()
    importer = Importer(AddressedTasks(writer()), {"cat": 1}, client=client, project=3)  # type: ignore[arg-type]
    counts: list[int] = []
    tasks = [importer.maker.task(f"{n}.png", []) for n in range(30)] + [importer.maker.task("x" * 5000, [])]
    importer.send(tasks, counts.append)
    assert [task for batch in client.batches for task in batch] == [orjson.loads(task) for task in tasks]
    assert counts == [len(batch) for batch in client.batches]
    assert len(counts) > 3
    importer = replace(importer, client=Recorder(refuse_after=1))
    with pytest.raises(MaskwrightError, match=rf"no more \({counts[0]} tasks are in project 3 already"):
        importer.send(tasks, lambda _count: None)


def test_a_project_needs_a_number_an_address_and_a_key(monkeypatch):
    for name in ("URL", "API_KEY"):
        monkeypatch.delenv(f"MASKWRIGHT_LABEL_STUDIO_{name}", raising=False)
    with pytest.raises(InvalidInput, match="not the number"):
        Importer.open(read_settings(), {"cat": 1}, project="first")
    with pytest.raises(InvalidInput, match="MASKWRIGHT_LABEL_STUDIO_URL"):
        Importer.open(read_settings(), {"cat": 1}, project="3")
    with pytest.raises(InvalidInput, match="no project"):
        Importer.open(read_settings(), {"cat": 1}).send([], lambda _count: None)
